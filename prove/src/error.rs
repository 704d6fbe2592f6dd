//! Why nothing could be proved at all. A claim that was asked and not proved is no error: it is a verdict.

use std::path::PathBuf;

/// What went wrong before or beside the claims.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is no solver.
    #[error("no solver: neither `CVC5` nor a `cvc5` in PATH")]
    NoSolver,
    /// The solver does not start, or is none.
    #[error("the solver `{}` {what}", path.display())]
    Solver {
        /// Its path.
        path: PathBuf,
        /// How it failed.
        what: String,
    },
    /// A bundle cannot be written as claims.
    #[error("the bundle cannot be proved about: {0}")]
    Unwritable(String),
    /// The process or thread that solvers are run from cannot be made.
    #[error("cannot run solvers")]
    Run(#[source] std::io::Error),
}
