//! Which objects carry an id, known to all sessions of a worker. Many tokens search object by object: one with thousands
//! of keys would spend its life searching, so a token that proves slow is read through once, a little at each search.
//! What stands here is only where to look: a key is believed by what its objects say when it is asked for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::keys;
use crate::key::Algorithm;
use crate::wire::Fault;

type Id = [u8; 16];

/// A search that takes longer is one by one.
const SLOW: Duration = Duration::from_millis(4);
/// How long one call reads on.
const SLICE: Duration = Duration::from_millis(200);
/// LIMIT: objects read through.
const OBJECTS: usize = 200_000;

#[derive(Default)]
pub(super) struct Catalogue(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    known: HashMap<Id, Vec<ObjectHandle>>,
    /// `None` until a search was slow.
    unread: Option<Vec<ObjectHandle>>,
}

impl Catalogue {
    /// As [`keys::believe`], wherever the key's objects are.
    pub(super) fn find_private(
        &self,
        session: &Session,
        id: &Id,
        algorithm: Algorithm,
        expected: &[u8],
    ) -> Result<ObjectHandle, Fault> {
        let known = self.pages().known.get(id).cloned();
        if let Some(objects) = known
            && let Ok(key) = keys::believe(session, id, &objects, algorithm, expected)
        {
            return Ok(key);
        }
        let started = Instant::now();
        let objects = keys::search(session, id)?;
        let slow = started.elapsed() > SLOW;
        let key = keys::believe(session, id, &objects, algorithm, expected)?;
        self.pages().known.insert(*id, objects);
        if slow {
            self.read_on(session)?;
        }
        Ok(key)
    }

    fn read_on(&self, session: &Session) -> Result<(), Fault> {
        let mut pages = self.pages();
        if pages.unread.is_none() {
            let mut all = session.find_objects(&[])?;
            all.truncate(OBJECTS);
            pages.unread = Some(all);
        }
        let started = Instant::now();
        while started.elapsed() < SLICE
            && let Some(object) = pages.unread.as_mut().and_then(Vec::pop)
        {
            // An object that is gone by now, or has no such id, is none of ours.
            if let Ok(Some(id)) = keys::id_of(session, object) {
                let objects = pages.known.entry(id).or_default();
                if !objects.contains(&object) {
                    objects.push(object);
                }
            }
        }
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
