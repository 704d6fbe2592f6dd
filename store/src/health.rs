//! Whether the store can record, as the last commit showed. A failed commit turns it red, the next good one green.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The store's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why the last write failed; `None` when it succeeded.
    pub red: Option<String>,
    /// Jobs that wait for the writer.
    pub waiting: usize,
    /// Commits since start.
    pub commits: u64,
    /// Jobs in those commits.
    pub jobs: u64,
}

impl Health {
    /// True when the last write succeeded.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.red.is_none()
    }
}

/// What the writer tells and `Store::health` reads.
#[derive(Debug, Default)]
pub(crate) struct Watch {
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

    pub(crate) fn health(&self, waiting: usize) -> Health {
        Health {
            red: self.red.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            waiting,
            commits: self.commits.load(Ordering::Relaxed),
            jobs: self.jobs.load(Ordering::Relaxed),
        }
    }
}
