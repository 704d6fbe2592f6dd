//! Evidence that every goal of a tested bundle was proved, here and by this process: a client's word that it proved them
//! is none. Only such a bundle is put in force.

use chancery_policy::Tested;

use crate::report::Verdict;
use crate::{Progress, ProveError, Prover};

/// A tested bundle whose goals are all proved; or that has none. Not made otherwise:
///
/// ```compile_fail,E0451
/// fn unproved(tested: chancery_policy::Tested) -> chancery_prove::Proved {
///     chancery_prove::Proved { tested }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Proved {
    tested: Tested,
}

impl Proved {
    /// Proves a bundle's goals, telling of each. Blocks until all are asked.
    ///
    /// # Errors
    /// [`ProveError::NoSolver`] when there are goals and no prover; [`ProveError::Unproved`] with every goal that does not
    /// stand; any other [`ProveError`] when nothing could be asked.
    pub fn of(tested: Tested, prover: Option<&Prover>, progress: Progress<'_>) -> Result<Self, ProveError> {
        if tested.bundle().goals().next().is_none() {
            return Ok(Self { tested });
        }
        let report = prover.ok_or(ProveError::NoSolver)?.prove(tested.bundle(), None, progress)?;
        let failed: Vec<_> =
            report.proofs.into_iter().filter(|proof| proof.verdict != Verdict::Proved).collect();
        if failed.is_empty() { Ok(Self { tested }) } else { Err(ProveError::Unproved { failed }) }
    }

    /// The bundle, tested.
    #[must_use]
    pub fn into_tested(self) -> Tested {
        self.tested
    }
}
