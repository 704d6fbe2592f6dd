//! How the log hears of commits. The store is opened with the observer before the log can read the store, so what is
//! committed in between is kept until the log follows.

use std::sync::{Arc, Mutex, PoisonError};

use chancery_store::Observer;

use crate::log::Inner;
use crate::merkle::Hash;

enum State {
    /// Not opened yet: what was committed so far.
    Before(Vec<(u64, Vec<Hash>)>),
    Following(Arc<Inner>),
}

/// The log's end: given to `Log::open`.
pub struct Feed(Arc<Mutex<State>>);

/// The store's end: given to `Store::open`.
pub struct LogObserver(Arc<Mutex<State>>);

/// Both ends.
#[must_use]
pub fn feed() -> (LogObserver, Feed) {
    let state = Arc::new(Mutex::new(State::Before(Vec::new())));
    (LogObserver(Arc::clone(&state)), Feed(state))
}

impl Feed {
    /// The log takes up what was committed while it was being opened; leaves it has read already are passed over.
    pub(crate) fn follow(&self, log: &Arc<Inner>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Before(kept) = std::mem::replace(&mut *state, State::Following(Arc::clone(log))) {
            kept.iter().for_each(|(first, hashes)| log.tree.grow(*first, hashes));
        }
    }
}

impl Observer for LogObserver {
    fn committed(&mut self, first_index: u64, leaf_hashes: &[Hash]) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Before(kept) => kept.push((first_index, leaf_hashes.to_vec())),
            State::Following(log) => log.tree.grow(first_index, leaf_hashes),
        }
    }
}
