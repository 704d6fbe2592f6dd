//! Brings the WAL into the database, on a thread of its own, so that no commit waits for the copying of thousands of pages.
//! SQLite's automatic checkpoint swallows its errors; here they count as those of a commit. Trusts the kernel to report a
//! write that failed to every open file, so that writer and copier both hear of it (Linux 4.13). Wrong here: rows that were
//! answered and stand neither in the WAL nor in the database.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use crate::StoreError;
use crate::directory::Directory;
use crate::fault::{self, Fatal, Phase, Verdict};
use crate::health::Watch;
use crate::link::Link;

/// LIMIT: WAL frames (pages of 4 KiB) not yet in the database, above which they are copied beside the writer.
const BESIDE_FRAMES: i64 = 4_000;
/// LIMIT: frames of the WAL above which the writer waits for the few that are missing, so that the file starts over.
const RESTART_FRAMES: i64 = 16_000;
/// LIMIT: frames of the WAL above which it waits for however many are missing.
const MOST_FRAMES: i64 = 64_000;

/// Who copies, on a connection of its own.
struct Copier {
    link: Link,
    directory: Arc<Directory>,
    watch: Arc<Watch>,
    fatal: Fatal,
}

/// One copying at a time; `None` once the store is closed or durability is unknown.
type Shared = Arc<Mutex<Option<Copier>>>;

/// The writer's side: asks for what is due.
pub(crate) struct Checkpoints {
    copier: Shared,
    ask: SyncSender<()>,
}

/// The other side: does what was asked for, beside the writer.
pub(crate) struct Beside {
    copier: Shared,
    asked: Receiver<()>,
}

/// Both sides, for the database of `directory`.
pub(crate) fn open(
    directory: Arc<Directory>,
    watch: Arc<Watch>,
    fatal: Fatal,
) -> Result<(Checkpoints, Beside), StoreError> {
    let link = Link::writer(directory.database())?;
    link.make_durable()?;
    let copier = Arc::new(Mutex::new(Some(Copier { link, directory, watch, fatal })));
    let (ask, asked) = sync_channel(1);
    Ok((Checkpoints { copier: Arc::clone(&copier), ask }, Beside { copier, asked }))
}

impl Checkpoints {
    /// Looks at the WAL after a commit on `link`. To break is to end: durability is unknown.
    pub(crate) fn when_due(&self, link: &Link) -> ControlFlow<()> {
        let frames = link.one("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)));
        match frames.ok().flatten().map_or(Some(Due::Beside), |(log, done)| due(log, done)) {
            None => ControlFlow::Continue(()),
            Some(Due::Restart) => locked(&self.copier)
                .as_ref()
                .map_or(ControlFlow::Break(()), |copier| copier.checkpoint("PRAGMA wal_checkpoint(RESTART)")),
            Some(Due::Beside) => match self.ask.try_send(()) {
                Ok(()) | Err(TrySendError::Full(())) => ControlFlow::Continue(()),
                Err(TrySendError::Disconnected(())) => ControlFlow::Break(()),
            },
        }
    }

    /// Empties the WAL, for good.
    pub(crate) fn close(self) -> ControlFlow<()> {
        let copier = locked(&self.copier).take();
        let Some(copier) = copier else { return ControlFlow::Break(()) };
        copier.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)")
    }
}

impl Beside {
    /// Works until the writer has closed, or until durability is unknown.
    pub(crate) fn run(self) {
        while self.asked.recv().is_ok() && self.copy().is_continue() {}
    }

    /// The same for one request that may have come.
    pub(crate) fn turn(&self) -> ControlFlow<()> {
        self.asked.try_recv().map_or(ControlFlow::Continue(()), |()| self.copy())
    }

    fn copy(&self) -> ControlFlow<()> {
        let mut copier = locked(&self.copier);
        let copied = copier.as_ref().map_or(ControlFlow::Break(()), Copier::copy);
        if copied.is_break() {
            *copier = None;
        }
        copied
    }
}

impl Copier {
    /// Brings over what stands in the WAL by now, while the writer goes on.
    fn copy(&self) -> ControlFlow<()> {
        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")?;
        // SQLite syncs the database only where the writer wrote nothing meanwhile. What is synced here need not be when the
        // writer waits.
        match self.directory.sync_database() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => self.end(&error),
        }
    }

    fn checkpoint(&self, pragma: &str) -> ControlFlow<()> {
        // ORDER: SQLite syncs the WAL, then writes and syncs the database, then lets the WAL start over. A crash
        // between any two leaves the WAL as it was. A failed sync here may have lost answered rows: the process ends.
        self.link.take_fault();
        if let Err(error) = self.link.one(pragma, [], |_| Ok(())) {
            let code = self.link.take_fault().unwrap_or(ffi::SQLITE_ERROR);
            if fault::verdict(Phase::Work, code) == Verdict::End {
                return self.end(&error);
            }
            tracing::warn!(%error, code, "a checkpoint was put off");
            self.watch.failed(error.to_string());
        }
        ControlFlow::Continue(())
    }

    fn end(&self, error: &StoreError) -> ControlFlow<()> {
        let reason = format!("a checkpoint met an I/O error: {error}");
        self.watch.failed(reason.clone());
        (self.fatal)(&reason);
        ControlFlow::Break(())
    }
}

fn locked(copier: &Shared) -> MutexGuard<'_, Option<Copier>> {
    copier.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Copying, while the writer goes on.
    Beside,
    /// Copying what is missing before the writer goes on, so that the WAL starts over.
    Restart,
}

/// What is due when `log` frames stand in the WAL, and `done` of them in the database already.
fn due(log: i64, done: i64) -> Option<Due> {
    let missing = log.saturating_sub(done);
    match () {
        () if log >= MOST_FRAMES => Some(Due::Restart),
        () if missing >= BESIDE_FRAMES => Some(Due::Beside),
        () if log >= RESTART_FRAMES => Some(Due::Restart),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_waits_for_few_frames_or_where_it_must() {
        assert_eq!(due(BESIDE_FRAMES - 1, 0), None);
        assert_eq!(due(BESIDE_FRAMES, 0), Some(Due::Beside));
        assert_eq!(due(BESIDE_FRAMES, 1), None, "what is in the database already is not copied again");
        assert_eq!(due(RESTART_FRAMES, RESTART_FRAMES - BESIDE_FRAMES), Some(Due::Beside));
        assert_eq!(due(RESTART_FRAMES, RESTART_FRAMES - 1), Some(Due::Restart));
        assert_eq!(due(MOST_FRAMES, 0), Some(Due::Restart), "the WAL grows for ever where copying is slow");
    }
}
