//! Why nothing could be proved at all. A claim that was asked and not proved is no error: it is a verdict.

use std::path::PathBuf;

use crate::report::Proof;

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
    /// Goals that do not stand.
    #[error("{} goals are not proved: {}", failed.len(), names(failed))]
    Unproved {
        /// Each of them.
        failed: Vec<Proof>,
    },
    /// The process or thread that solvers are run from cannot be made.
    #[error("cannot run solvers")]
    Run(#[source] std::io::Error),
}

fn names(failed: &[Proof]) -> String {
    failed.iter().map(|proof| proof.subject.to_string()).collect::<Vec<_>>().join(", ")
}
