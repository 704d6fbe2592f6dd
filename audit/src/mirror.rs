//! Where a copy of a log's static files is read from: a folder, a web server, the appliance. Nothing that a mirror
//! answers is believed; the worst it can do is answer slowly or not at all.

use std::path::Path;

use crate::files::Files;

/// Why a mirror gave no answer.
pub type MirrorError = Box<dyn std::error::Error + Send + Sync>;

/// A place that serves the static files of one log (c2sp.org/tlog-tiles). Read from several threads at once.
pub trait Mirror: Sync {
    /// The bytes of the file at `path` below the log's root; `None` where there is none. Of a file longer than `limit`
    /// bytes no more than one byte beyond need be returned, and no more is looked at.
    ///
    /// # Errors
    /// Why there is no answer. That a file is not there is an answer.
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, MirrorError>;

    /// How many files are asked for at once.
    fn lanes(&self) -> usize;
}

/// A folder on this machine.
#[derive(Clone, Debug)]
pub struct Folder {
    files: Files,
}

impl Folder {
    /// The log's folder, which is only read.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { files: Files::existing(root) }
    }
}

impl Mirror for Folder {
    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        Ok(self.files.read_at_most(path, limit)?)
    }

    /// As many as can hash at the same time.
    fn lanes(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
