//! A ceremony's folder: files that are there whole or not at all, and synced before anybody is told of them.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::CeremonyError;

/// The script.
pub const SCRIPT: &str = "script.json";
/// What happened.
pub const TRANSCRIPT: &str = "transcript.cose";
/// Who holds which share, and what each is checked against.
pub const SHARES: &str = "shares.json";
/// Who holds which share of a wallet's seed, and what comes out of them.
pub const SEED: &str = "seed.json";
/// The wrapped keys.
pub const BACKUP: &str = "backup.json";

/// LIMIT: any file that is read here, in bytes.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a file of at most 4 MiB.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CeremonyError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(CeremonyError::file(path))?;
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(CeremonyError::file(path))?;
    if bytes.len() as u64 > FILE_BYTES {
        let what = format!("is longer than {FILE_BYTES} bytes");
        return Err(CeremonyError::Content { path: path.to_owned(), what });
    }
    Ok(bytes)
}

/// Writes a file in place of what is there. A crash leaves the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CeremonyError> {
    replace(path, bytes, 0o600)
}

/// The same for a file that others read.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), CeremonyError> {
    replace(path, bytes, 0o644)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CeremonyError> {
    let draft = path.with_extension("new");
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.map_err(CeremonyError::file(path))?;
    sync_folder(path)
}

/// Makes a folder for its owner, with those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), CeremonyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(CeremonyError::file(path))
}

/// Syncs the folder that a file is in.
pub(crate) fn sync_folder(path: &Path) -> Result<(), CeremonyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(CeremonyError::file(folder))
}
