//! Files this program makes and reads: owner-only where they are secret, never written over, and bounded when read.
//! If this is wrong, a private key lies open or an existing trust anchor is replaced in silence.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::Error;

/// For its owner only.
pub const SECRET: u32 = 0o600;
/// For everybody to read.
pub const PUBLIC: u32 = 0o644;

/// LIMIT: a file read whole, in bytes: an audit receipt, a typed-data document, a certificate chain.
pub const READ_BYTES: u64 = 16 * 1024 * 1024;

/// Makes a folder that only its owner may enter; one that exists keeps its content and its mode.
///
/// # Errors
/// [`Error::File`].
pub fn make_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file("make the folder", path))
}

/// Writes a file that must not exist yet, with exactly `mode`, and waits until it is on the disk.
///
/// # Errors
/// [`Error::File`], also when the file exists.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let create = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // The umask may have taken bits away; a mode that is written down is the mode that is there.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    create().map_err(Error::file("create", path))
}

/// Writes a result the user named with `--out`, over what was there.
///
/// # Errors
/// [`Error::File`].
pub fn write_result(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::file("write", path))
}

/// Replaces a file that a running server may be reading: it sees the old one or the new one, whole.
///
/// # Errors
/// [`Error::File`].
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().set_permissions(Permissions::from_mode(mode))?;
        // ORDER: its bytes are on the disk before its name is; a crash leaves the old file or the new.
        beside.as_file().sync_all()?;
        beside.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(Error::file("replace", path))
}

/// Reads a whole file of at most [`READ_BYTES`].
///
/// # Errors
/// [`Error::File`], or [`Error::Content`] when it is longer.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_up_to(path, READ_BYTES)
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    bounded(File::open(path).map_err(Error::file("read", path))?, path, limit)
}

/// Reads a whole text file.
///
/// # Errors
/// As [`read`], and [`Error::Content`] when it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    String::from_utf8(read(path)?).map_err(|_| Error::content(path, "is not UTF-8 text"))
}

/// Reads standard input for `-`, and the file otherwise.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_or_stdin(path: &Path) -> Result<String, Error> {
    if path != Path::new("-") {
        return read_text(path);
    }
    let path = Path::new("standard input");
    String::from_utf8(bounded(std::io::stdin().lock(), path, READ_BYTES)?)
        .map_err(|_| Error::content(path, "is not UTF-8 text"))
}

/// Reads bytes from standard input for `-`, and from the file otherwise.
///
/// # Errors
/// As [`read`].
pub fn read_or_stdin(path: &Path) -> Result<Vec<u8>, Error> {
    if path == Path::new("-") {
        bounded(std::io::stdin().lock(), Path::new("standard input"), READ_BYTES)
    } else {
        read(path)
    }
}

fn bounded(from: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::content(path, format!("is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// The permission bits that let others than the owner in, such as `0o044`; 0 for an owner-only file.
///
/// # Errors
/// [`Error::File`] when the file cannot be looked at.
pub fn open_to_others(path: &Path) -> Result<u32, Error> {
    let meta = path.metadata().map_err(Error::file("read", path))?;
    Ok(meta.permissions().mode() & 0o077)
}
