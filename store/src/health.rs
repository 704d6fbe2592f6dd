//! Whether the store can record, as the last commit showed. A failed commit turns it red, the next good one green; damage
//! that was found in it stays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The store's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is damaged, or why the last write failed; `None` when all is well.
    pub red: Option<String>,
    /// Jobs that wait for the writer.
    pub waiting: usize,
    /// Commits since start.
    pub commits: u64,
    /// Jobs in those commits.
    pub jobs: u64,
}

impl Health {
    /// True when the last write succeeded and no damage was found.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.red.is_none()
    }
}

/// What the writer tells and `Store::health` reads.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    damage: OnceLock<String>,
    red: Mutex<Option<String>>,
    commits: AtomicU64,
    jobs: AtomicU64,
}

impl Watch {
    pub(crate) fn committed(&self, jobs: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
        *self.red.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn failed(&self, reason: String) {
        *self.red.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub(crate) fn condemn(&self, finding: String) {
        let _ = self.damage.set(finding);
    }

    pub(crate) fn health(&self, waiting: usize) -> Health {
        Health {
            red: self
                .damage
                .get()
                .cloned()
                .or_else(|| self.red.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            waiting,
            commits: self.commits.load(Ordering::Relaxed),
            jobs: self.jobs.load(Ordering::Relaxed),
        }
    }
}
