//! Proofs about policy bundles: each claim is handed to a solver in a process of its own, and what it answers is told in
//! words. A claim counts as proved only where the solver says that nothing breaks it; anything else (an answer it does not
//! know, time that ran out, a solver that is not there) is not. If this is wrong, goals are believed that do not hold.

mod ask;
mod error;
mod process;
mod prove;
mod proved;
mod report;
mod solver;

pub use ask::LONGEST;
pub use error::ProveError;
pub use process::Process;
pub use prove::{Options, Progress, Prover};
pub use proved::Proved;
pub use report::{Proof, Report, Verdict};
pub use solver::{Solver, StartSolver, arguments, environment};
