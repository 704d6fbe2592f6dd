//! One session and the thread that owns it. Handles live as long as the session: a session that fails is replaced, its
//! keys are found again, and the call is tried once more; what fails again costs the process.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState};

use super::counter;
use super::keys::{self, Keep};
use super::module::Slot;
use super::seeds;
use crate::key::Algorithm;
use crate::signature::Message;
use crate::wire::{Class, Fault, Reply, Request};

/// LIMIT: handles kept for each session.
const HANDLES: usize = 10_000;

pub(super) struct Signer {
    slot: Arc<Slot>,
    session: Session,
    handles: HashMap<[u8; 16], Known>,
    last: Option<[u8; 16]>,
}

struct Known {
    handle: ObjectHandle,
    algorithm: Algorithm,
    public: Vec<u8>,
}

/// True when only a fresh process can serve after this reply.
pub(super) fn is_lost(reply: &Reply) -> bool {
    matches!(reply, Reply::Failed(Fault { class: Class::Reinitialise, .. }))
}

impl Signer {
    pub(super) fn new(slot: Arc<Slot>, session: Session) -> Self {
        Self { slot, session, handles: HashMap::new(), last: None }
    }

    pub(super) fn answer(&mut self, request: Request) -> Reply {
        let done = match request {
            Request::Sign { key, algorithm, public, message } => {
                self.twice(|signer| signer.sign(key, algorithm, &public, &message))
            }
            Request::Generate { key, algorithm, label, recoverable } => self.once(|session| {
                let keep = Keep::on_token(recoverable);
                let (public, _) = keys::generate(session, algorithm, &key, &label, keep)?;
                Ok(Reply::Public(algorithm, public.bytes().to_vec()))
            }),
            Request::GenerateKek { key, label, recoverable } => self.once(|session| {
                keys::generate_kek(session, &key, &label, Keep::on_token(recoverable)).map(|_| Reply::Done)
            }),
            Request::Destroy { key } => {
                self.once(|session| keys::destroy(session, &key).map(|()| Reply::Done))
            }
            Request::NewSeed(sealing) => self.twice(|signer| {
                let _using = signer.slot.using();
                seeds::make(&signer.session, &sealing)
            }),
            Request::Rewrap { from, wrapped, to } => self.twice(|signer| {
                let _using = signer.slot.using();
                seeds::rewrap(&signer.session, &from, &wrapped, &to)
            }),
            Request::Derive(derived) => self.twice(|signer| {
                let _using = signer.slot.using();
                seeds::derive(&signer.session, &derived)
            }),
            Request::SignDerived(derived, message) => self.twice(|signer| {
                let _using = signer.slot.using();
                seeds::sign(&signer.session, &derived, &message)
            }),
            Request::Find { key } => self.twice(|signer| {
                let _using = signer.slot.using();
                let found = keys::find_public(&signer.session, &key)?;
                Ok(found.map_or(Reply::Nothing, |key| Reply::Public(key.algorithm(), key.bytes().to_vec())))
            }),
            Request::Count { counter } => self.twice(|signer| {
                let _using = signer.slot.using();
                counter::read(&signer.session, &counter).map(Reply::Count)
            }),
            Request::Raise { counter, to } => {
                self.once(|session| counter::raise(session, &counter, to).map(|()| Reply::Done))
            }
            Request::Ping => self.check().map(|()| Reply::Done),
        };
        done.unwrap_or_else(Reply::Failed)
    }

    /// Is the session alive and logged in, the token still the same, the key last used still there and the same?
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        self.twice(|signer| {
            signer.slot.check()?;
            let info = signer.session.get_session_info()?;
            if !matches!(info.session_state(), SessionState::RwUser | SessionState::RoUser) {
                return Err(Fault::new(Class::Reinitialise, "the login is lost"));
            }
            let Some((id, known)) = signer.last.and_then(|id| Some((id, signer.handles.get(&id)?))) else {
                return Ok(());
            };
            let _using = signer.slot.using();
            match signer.slot.keys().find_private(&signer.session, &id, known.algorithm, &known.public) {
                Ok(_) => Ok(()),
                // Destroyed through another session: to be forgotten, not mourned.
                Err(fault) if fault.class == Class::Missing => {
                    signer.handles.remove(&id);
                    signer.last = None;
                    signer.slot.check()
                }
                Err(fault) => Err(fault),
            }
        })
    }

    /// Tries, and tries once more with a new session where that can help.
    fn twice<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        match act(self) {
            Err(fault) if fault.class == Class::NewSession => {
                self.session = self.slot.session()?;
                self.handles.clear();
                act(self).map_err(lost)
            }
            done => done,
        }
    }

    /// Makes or destroys objects, alone. Not tried again: whether it happened is not known.
    fn once<T>(&mut self, act: impl FnOnce(&Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let _changing = self.slot.changing();
        act(&self.session).map_err(lost)
    }

    fn sign(
        &mut self,
        id: [u8; 16],
        algorithm: Algorithm,
        public: &[u8],
        message: &Message,
    ) -> Result<Reply, Fault> {
        let _using = self.slot.using();
        let known =
            self.handles.get(&id).filter(|known| known.algorithm == algorithm && known.public == public);
        let handle = match known {
            Some(known) => known.handle,
            None => {
                let handle = self.slot.keys().find_private(&self.session, &id, algorithm, public)?;
                if self.handles.len() >= HANDLES {
                    self.handles.clear();
                }
                self.handles.insert(id, Known { handle, algorithm, public: public.to_vec() });
                handle
            }
        };
        self.last = Some(id);
        Ok(Reply::Signature(self.session.sign(&keys::mechanism(algorithm), handle, message.bytes())?))
    }
}

/// A failure that a new session did not cure.
fn lost(fault: Fault) -> Fault {
    match fault.class {
        Class::NewSession => Fault::new(Class::Reinitialise, fault.what),
        _ => fault,
    }
}
