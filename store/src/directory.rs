//! The directory of one store: made private, locked by one process, its entries synced. Trusts the file system to keep
//! `flock` (a network file system may not). Wrong here: two writers, and two logs that disagree.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::StoreError;

const DATABASE: &str = "store.sqlite";
const LOCK: &str = "lock";

/// A locked directory. The lock ends with this value or with the process, whichever comes first.
#[derive(Debug)]
pub(crate) struct Directory {
    database: PathBuf,
    /// Outlives every connection: POSIX takes away a process's locks on a file with the first descriptor that it closes.
    file: File,
    _lock: File,
}

impl Directory {
    /// Makes the directory where missing, and takes the lock.
    pub(crate) fn claim(path: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| StoreError::file(path, error))?;
        private(path, 0o700)?;
        let lock = file(&path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
            TryLockError::Error(error) => StoreError::file(path.join(LOCK), error),
        })?;
        let database = path.join(DATABASE);
        // SQLite gives its WAL and index the mode of the database, so that one is made here.
        let file = file(&database)?;
        // ORDER: the names reach the disk before anything is answered from the file. A crash before this leaves an
        // empty directory, which the next start takes as new.
        synced(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            synced(parent)?;
        }
        Ok(Self { database, file, _lock: lock })
    }

    /// Syncs the directory's entries. Called again once the WAL exists: SQLite syncs its name too, but ignores an
    /// error of that.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.database.parent().map_or(Ok(()), synced)
    }

    /// Syncs what was written to the database, by whatever connection.
    pub(crate) fn sync_database(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::file(&self.database, error))
    }

    /// The database file.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }
}

fn file(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::file(path, error))?;
    private(path, 0o600)?;
    Ok(file)
}

/// Takes away what group and others may do, also where an earlier hand gave it.
fn private(path: &Path, mode: u32) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(|error| StoreError::file(path, error))?.permissions().mode();
    if found & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| StoreError::file(path, error))?;
    }
    Ok(())
}

fn synced(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::file(directory, error))
}
