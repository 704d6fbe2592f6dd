//! What the witness has seen of one log: the last checkpoint it cosigned, kept as that note with its own cosignature, in a
//! file named by the hash of the origin. The cosignature makes damage visible; the note is evidence should the log fork.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use chancery_audit::{Checkpoint, Cosignature, CosignerKey, Digest, Note, NoteError};

use crate::WitnessError;
use crate::folder::sync;

/// The largest tree of a log that was cosigned.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) time_s: u64,
}

pub(crate) struct Memory {
    folder: PathBuf,
    path: PathBuf,
}

impl Memory {
    pub(crate) fn of(folder: &Path, origin: &str) -> Self {
        let path = folder.join(Digest::of(origin.as_bytes()).to_string());
        Self { folder: folder.to_owned(), path }
    }

    /// What was seen; `None` where this log is new.
    pub(crate) fn recall(&self, origin: &str, key: &CosignerKey) -> Result<Option<Seen>, WitnessError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WitnessError::file("read", &self.path)(error)),
        };
        let damaged = |source| WitnessError::Memory { path: self.path.clone(), source };
        let note = Note::parse(&bytes).map_err(damaged)?;
        let text = note.unverified_text();
        let own = Cosignature::find(&note, text, key).map_err(damaged)?;
        let own = own.ok_or_else(|| damaged(NoteError::Unsigned))?;
        let checkpoint = Checkpoint::parse(text).map_err(damaged)?;
        if checkpoint.origin != origin {
            let found = checkpoint.origin;
            return Err(damaged(NoteError::Origin { expected: origin.to_owned(), found }));
        }
        Ok(Some(Seen { checkpoint, time_s: own.time_s() }))
    }

    /// Remembers a note that holds the witness's cosignature.
    ///
    /// ORDER: bytes, fsync, rename, folder. A crash leaves the old memory or the new one; what the new one cosigned was not
    /// answered yet, or was.
    pub(crate) fn keep(&self, note: &str) -> Result<(), WitnessError> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new).map_err(WitnessError::file("make", &new))?;
        file.write_all(note.as_bytes()).map_err(WitnessError::file("write", &new))?;
        file.sync_all().map_err(WitnessError::file("sync", &new))?;
        fs::rename(&new, &self.path).map_err(WitnessError::file("rename", &self.path))?;
        sync(&self.folder)
    }
}
