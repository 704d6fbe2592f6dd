//! What this party has said yes to, and waits for the others to begin. If this is wrong, one party has another hold more than its
//! share of what can be under way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chancery_audit::{Digest, PartyDecision};
use chancery_core::{Code, RequestId, limit};
use chancery_mpc::PartyId;
use tokio::sync::{mpsc, oneshot};

use super::wire::{Begin, Cancel, Consent};
use crate::refusal::Refusal;

/// What whoever asked wants now.
pub(super) enum Order {
    /// To begin, with these parts of the nonce, after these decisions.
    Begin(BTreeMap<PartyId, Digest>, Vec<PartyDecision>),
    /// To give up.
    Cancel,
}

type Key = (PartyId, RequestId);

/// Everything that is waited for, by who asked and their name for it.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<Key, mpsc::Sender<Order>>>);

/// One thing that is waited for, until dropped.
pub(super) struct Expected {
    waiting: Arc<Waiting>,
    pub from: PartyId,
    id: RequestId,
    pub orders: mpsc::Receiver<Order>,
}

/// A seat that another party's question left this one: its yes goes there, and its orders come from there.
pub(crate) struct Member {
    pub(super) expected: Expected,
    pub(super) consent: oneshot::Sender<Consent>,
}

impl Waiting {
    /// Waits for orders of `from` about `id`.
    ///
    /// # Errors
    /// [`Code::Overloaded`] for more than a party may have under way, [`Code::RequestInProgress`] for the same twice.
    pub fn expect(self: &Arc<Self>, from: PartyId, id: RequestId) -> Result<Expected, Refusal> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.keys().filter(|(party, _)| *party == from).count() >= limit::PARTY_SESSIONS {
            return Err(Refusal::new(Code::Overloaded, "this party has too much under way here"));
        }
        if waiting.contains_key(&(from, id)) {
            return Err(Refusal::new(Code::RequestInProgress, "this was asked already"));
        }
        let (tell, orders) = mpsc::channel(2);
        waiting.insert((from, id), tell);
        Ok(Expected { waiting: Arc::clone(self), from, id, orders })
    }

    /// Passes on that it begins.
    ///
    /// # Errors
    /// [`Code::NotFound`] where nothing waits, [`Code::BadRequest`] for a party that is none.
    pub fn begin(&self, from: PartyId, begin: Begin) -> Result<(), Refusal> {
        let no_party = |error: chancery_mpc::SchemeError| Refusal::new(Code::BadRequest, error.to_string());
        let nonces = begin
            .nonces
            .into_iter()
            .map(|(party, nonce)| Ok((PartyId::try_from(party).map_err(no_party)?, nonce)));
        self.tell((from, begin.id), Order::Begin(nonces.collect::<Result<_, Refusal>>()?, begin.decisions))
    }

    /// Passes on that it is given up. Where nothing waits any more, that is the same.
    pub fn cancel(&self, from: PartyId, cancel: &Cancel) {
        drop(self.tell((from, cancel.id), Order::Cancel));
    }

    fn tell(&self, key: Key, order: Order) -> Result<(), Refusal> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || Refusal::new(Code::NotFound, "nothing waits for this, or not any more");
        waiting.get(&key).and_then(|tell| tell.try_send(order).ok()).ok_or_else(gone)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&(self.from, self.id));
    }
}
