//! The walks that go on in this process. A permitted request that is not among them was left open by a crash or by a
//! store that could not write its end; the resolver ends it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_core::RequestId;

/// The requests under way.
#[derive(Clone, Default)]
pub(crate) struct Walks(Arc<Mutex<HashSet<RequestId>>>);

/// A walk under way, until dropped.
pub struct InFlight {
    walks: Walks,
    id: RequestId,
}

impl Walks {
    pub fn enter(&self, id: RequestId) -> InFlight {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        InFlight { walks: self.clone(), id }
    }

    pub fn hold(&self, id: RequestId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.walks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
