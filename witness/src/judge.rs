//! The judgement of one submission (c2sp.org/tlog-witness, `add-checkpoint`): known log, its signature, the size it was last
//! seen with, the proof that it grew from there. Check and memory are one step under the log's lock, and the memory is
//! durable before the cosignature is out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chancery_audit::merkle::{empty_root, verify_consistency};
use chancery_audit::{NoteError, SignedCheckpoint, Submission, Trust};

use crate::memory::{Memory, Seen};
use crate::{Folder, Key, WitnessError};

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The HTTP status.
    pub status: u16,
    /// The body: a cosignature line, a size (409), or a word on what is wrong.
    pub body: String,
}

impl Judged {
    fn of(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }
}

struct Log {
    trust: Trust,
    memory: Memory,
    seen: Mutex<Option<Seen>>,
}

/// A witness at work.
pub struct Witness {
    key: Key,
    logs: BTreeMap<String, Log>,
    _folder: Folder,
}

impl Witness {
    /// Remembers what was seen of every log in the folder.
    ///
    /// # Errors
    /// [`WitnessError`]: a key, a log or a memory cannot be read. No witness starts without its memory.
    pub fn open(folder: Folder) -> Result<Self, WitnessError> {
        let key = Folder::key(folder.root())?;
        let mut logs = BTreeMap::new();
        for trust in folder.logs()? {
            let memory = Memory::of(&folder.seen(), trust.origin());
            let seen = memory.recall(trust.origin(), key.public())?;
            logs.insert(trust.origin().to_owned(), Log { trust, memory, seen: Mutex::new(seen) });
        }
        Ok(Self { key, logs, _folder: folder })
    }

    /// What its cosignatures are verified under.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The logs it watches and the size it has seen of each.
    #[must_use]
    pub fn watched(&self) -> Vec<(String, u64)> {
        let size = |log: &Log| {
            log.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |s| s.checkpoint.size)
        };
        self.logs.iter().map(|(origin, log)| (origin.clone(), size(log))).collect()
    }

    /// Judges one submission. It writes to disk, so it blocks.
    ///
    /// # Errors
    /// [`WitnessError::File`] where the memory cannot be made durable: what is on disk is then unknown, and the process
    /// must end and read it again.
    pub fn judge(&self, body: &[u8]) -> Result<Judged, WitnessError> {
        let Some(submission) = Submission::parse(body) else {
            return Ok(Judged::of(400, "not an add-checkpoint body\n"));
        };
        let Some(log) = self.logs.get(submission.origin()) else {
            return Ok(Judged::of(404, "this log is not watched here\n"));
        };
        let signed = match SignedCheckpoint::open(submission.note.as_bytes(), &log.trust) {
            Ok(signed) => signed,
            Err(
                error @ (NoteError::Unsigned
                | NoteError::NoMlDsa
                | NoteError::Retired { .. }
                | NoteError::WrongSignature(_)),
            ) => {
                return Ok(Judged::of(403, format!("{error}\n")));
            }
            Err(error) => return Ok(Judged::of(400, format!("{error}\n"))),
        };
        let (old, size) = (submission.old, signed.size());
        if old > size {
            return Ok(Judged::of(400, "the old size is above the checkpoint's\n"));
        }
        let Ok(now_s) = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()) else {
            return Ok(Judged::of(503, "the clock stands before 1970\n"));
        };

        let mut seen = log.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, root, time_s) = seen
            .as_ref()
            .map_or((0, empty_root(), 0), |seen| (seen.checkpoint.size, seen.checkpoint.root, seen.time_s));
        if old != known {
            return Ok(Judged::of(409, format!("{known}\n")));
        }
        if old == size && *signed.root() != root {
            tracing::error!(log = submission.origin(), size, "FORKED: two roots of one size");
            return Ok(Judged::of(409, format!("{known}\n")));
        }
        if !verify_consistency(old, size, &submission.proof, &root, signed.root()) {
            tracing::error!(
                log = submission.origin(),
                old,
                size,
                "not shown to have grown from what was seen"
            );
            return Ok(Judged::of(422, "the consistency proof does not verify\n"));
        }
        // A cosignature says that no larger tree was seen until its time: time must not run backwards.
        if now_s < time_s {
            return Ok(Judged::of(503, "the clock stands behind the last cosignature\n"));
        }
        let checkpoint = signed.checkpoint().clone();
        let cosignature = self.key.cosign(&checkpoint.text(), now_s);
        // A note that comes back has our own line already, and anybody can add lines: what is kept must parse again.
        log.memory.keep(&format!("{}{}", signed.by_log_alone(&log.trust), cosignature.line()))?;
        *seen = Some(Seen { checkpoint, time_s: now_s });
        Ok(Judged::of(200, cosignature.line()))
    }
}
