//! A few connections for reading. A lease is a snapshot; it ends with the lease, also when the reader panics.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::link::Link;
use crate::{Reader, StoreError};

/// LIMIT: reads at the same time; the next one waits for its turn.
const READERS: usize = 4;

pub(crate) struct Pool {
    /// `None` once closed.
    idle: Mutex<Option<Vec<Link>>>,
    freed: Condvar,
}

impl Pool {
    pub(crate) fn open(database: &Path) -> Result<Self, StoreError> {
        let links = (0..READERS).map(|_| Link::reader(database)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { idle: Mutex::new(Some(links)), freed: Condvar::new() })
    }

    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lease = Lease { pool: self, link: Some(self.take()?) };
        let Some(link) = &lease.link else { return Err(StoreError::Closed) };
        link.control("BEGIN")?;
        read(&Reader { link })
    }

    /// Closes idle connections now and the others when they come back.
    pub(crate) fn close(&self) {
        *self.locked() = None;
        self.freed.notify_all();
    }

    fn take(&self) -> Result<Link, StoreError> {
        let mut idle = self.locked();
        loop {
            match idle.as_mut() {
                None => return Err(StoreError::Closed),
                Some(links) => {
                    if let Some(link) = links.pop() {
                        return Ok(link);
                    }
                }
            }
            idle = self.freed.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Vec<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lease<'a> {
    pool: &'a Pool,
    link: Option<Link>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        if !link.is_idle()
            && let Err(error) = link.control("ROLLBACK")
        {
            tracing::warn!(%error, "a snapshot did not end");
        }
        if let Some(links) = self.pool.locked().as_mut() {
            links.push(link);
        }
        self.pool.freed.notify_one();
    }
}
