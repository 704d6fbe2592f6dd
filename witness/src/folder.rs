//! The witness's folder: `key`, `logs/*.json` (a trust file for each log that is watched) and `seen/` (what it has cosigned,
//! see `memory`). A folder without `seen/` is no witness: one that forgot would vouch for anything.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chancery_audit::{NoteError, Trust, TrustError};
use zeroize::Zeroizing;

use crate::Key;

/// Why a witness does not start, or must end.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A file.
    #[error("cannot {verb} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file.
    #[error("the key {0}")]
    Key(&'static str),
    /// The key file, or the folder's lock.
    #[error("`{}` {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// What it must be.
        rule: &'static str,
    },
    /// A log's trust file.
    #[error("`{}`: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TrustError,
    },
    /// What was seen of a log cannot be read: nothing may be cosigned in its place.
    #[error("`{}` is damaged, and with it the memory of a log: {source}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
}

impl WitnessError {
    pub(crate) fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }

    fn rule(path: &Path, rule: &'static str) -> Self {
        Self::Rule { path: path.to_owned(), rule }
    }
}

/// A witness's folder, held by this process alone.
pub struct Folder {
    root: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder of a new witness and its key.
    ///
    /// # Errors
    /// [`WitnessError`]; what is there already is never overwritten.
    pub fn init(root: &Path, name: &str) -> Result<Key, WitnessError> {
        let text = Key::fresh(name)?;
        let folder = |path: &Path| {
            DirBuilder::new().mode(0o700).create(path).map_err(WitnessError::file("make", path))
        };
        folder(root)?;
        let path = root.join("key");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(WitnessError::file("make", &path))?;
        file.write_all(text.as_bytes()).map_err(WitnessError::file("write", &path))?;
        file.sync_all().map_err(WitnessError::file("sync", &path))?;
        folder(&root.join("logs"))?;
        // ORDER: `seen` last. A crash before leaves a folder that does not serve.
        folder(&root.join("seen"))?;
        sync(root)?;
        Key::parse(&text)
    }

    /// Opens a folder that `init` made.
    ///
    /// # Errors
    /// [`WitnessError`]: something is missing, or another process watches from here.
    pub fn open(root: &Path) -> Result<Self, WitnessError> {
        let seen = root.join("seen");
        let lock = File::open(&seen).map_err(WitnessError::file("open", &seen))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(WitnessError::rule(&seen, "is in use by another process: two memories would be none"))
            }
            Err(TryLockError::Error(error)) => Err(WitnessError::file("lock", &seen)(error)),
        }
    }

    /// The key of a folder that `init` made, from a file nobody else may read.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn key(root: &Path) -> Result<Key, WitnessError> {
        let path = root.join("key");
        let mode = fs::metadata(&path).map_err(WitnessError::file("read", &path))?.mode();
        if mode & 0o077 != 0 {
            return Err(WitnessError::rule(&path, "may be read by others; `chmod 600` it"));
        }
        let text = fs::read_to_string(&path).map_err(WitnessError::file("read", &path))?;
        Key::parse(&Zeroizing::new(text))
    }

    /// The logs that are watched. Their own witnesses are nothing to this one.
    ///
    /// # Errors
    /// [`WitnessError`]; two files for one origin are refused, because one of them would be ignored.
    pub fn logs(&self) -> Result<Vec<Trust>, WitnessError> {
        let folder = self.root.join("logs");
        let mut logs: Vec<Trust> = Vec::new();
        for entry in fs::read_dir(&folder).map_err(WitnessError::file("read", &folder))? {
            let path = entry.map_err(WitnessError::file("read", &folder))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(WitnessError::file("read", &path))?;
            let trust = Trust::parse(&bytes)
                .map_err(|source| WitnessError::Log { path: path.clone(), source })?
                .without_quorum();
            if logs.iter().any(|log| log.origin() == trust.origin()) {
                return Err(WitnessError::rule(&path, "names a log that another file names too"));
            }
            logs.push(trust);
        }
        Ok(logs)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn seen(&self) -> PathBuf {
        self.root.join("seen")
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), WitnessError> {
    let open = File::open(folder).map_err(WitnessError::file("open", folder))?;
    open.sync_all().map_err(WitnessError::file("sync", folder))
}
