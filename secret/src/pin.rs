//! A token's PIN: read from an inherited descriptor, a systemd credential or an owner-only file straight into secret
//! memory. Never from argv or the environment, which other processes can read.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chancery_core::config::SecretSource;
use rustix::fs::{Mode, OFlags};

use crate::process::inherited;
use crate::{SecretBytes, SecretError};

/// LIMIT: a PIN's length, in bytes.
pub const PIN_BYTES: usize = 256;

/// Why there is no PIN.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The source cannot be opened or read, or is too long.
    #[error("{source_name} cannot be read")]
    Source {
        /// Where it should have come from.
        source_name: String,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// The file could be read by others.
    #[error("`{path}` must be a regular file that only its owner may read")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A credential is named, but the service manager handed none over.
    #[error("no credential `{name}`: `CREDENTIALS_DIRECTORY` is unset, or the name is not a plain file name")]
    NoCredential {
        /// The credential's name.
        name: String,
    },
    /// The source is empty, or holds something that is not one line of text.
    #[error("it must be 1 to {PIN_BYTES} bytes of one line of UTF-8 text")]
    Form,
}

/// A PIN of 1 to [`PIN_BYTES`] bytes of UTF-8 without control characters.
#[derive(Debug, PartialEq, Eq)]
pub struct Pin(SecretBytes);

impl Pin {
    /// Reads the PIN from where the configuration says. One trailing line end is dropped.
    ///
    /// # Errors
    /// [`PinError`]; no message holds any of the bytes read.
    pub fn read(source: &SecretSource) -> Result<Self, PinError> {
        match source {
            SecretSource::Fd(fd) => {
                let name = format!("descriptor {fd}");
                let file = inherited(*fd).map_err(|error| failed(&name, error.into()))?;
                Self::read_from(File::from(file), &name)
            }
            SecretSource::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
                let path = credential(folder.as_deref().map(Path::new), name)
                    .ok_or_else(|| PinError::NoCredential { name: name.clone() })?;
                // systemd may grant the service's user through an access list, which shows as group bits.
                Self::read_file(&path, 0o007)
            }
            SecretSource::File(path) => Self::read_file(path, 0o077),
        }
    }

    /// Checks a PIN that is in secret memory already.
    ///
    /// # Errors
    /// [`PinError::Form`].
    pub fn new(secret: SecretBytes) -> Result<Self, PinError> {
        let text = std::str::from_utf8(secret.expose()).map_err(|_| PinError::Form)?;
        if text.is_empty() || text.len() > PIN_BYTES || text.chars().any(char::is_control) {
            return Err(PinError::Form);
        }
        Ok(Self(secret))
    }

    /// The PIN's bytes, which are UTF-8.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    fn read_file(path: &Path, forbidden: u32) -> Result<Self, PinError> {
        let name = format!("`{}`", path.display());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| failed(&name, std::io::Error::from(error).into()))?;
        let found = file.metadata().map_err(|error| failed(&name, error.into()))?;
        let owner = rustix::process::geteuid().as_raw();
        if !found.is_file() || found.mode() & forbidden != 0 || (found.uid() != owner && found.uid() != 0) {
            return Err(PinError::Exposed { path: path.to_owned() });
        }
        Self::read_from(file, &name)
    }

    fn read_from(source: impl std::io::Read, name: &str) -> Result<Self, PinError> {
        // Two bytes more than a PIN, for its line end.
        let mut secret =
            SecretBytes::read_to_end(source, PIN_BYTES + 2).map_err(|error| failed(name, error))?;
        let text = secret.expose();
        let line =
            text.strip_suffix(b"\n").map_or(text, |line| line.strip_suffix(b"\r").unwrap_or(line)).len();
        secret.truncate(line);
        Self::new(secret)
    }
}

/// The credential's file: a plain name in the folder that the service manager made.
fn credential(folder: Option<&Path>, name: &str) -> Option<PathBuf> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    folder.filter(|_| plain).map(|folder| folder.join(name))
}

fn failed(name: &str, source: SecretError) -> PinError {
    PinError::Source { source_name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::IntoRawFd;
    use std::os::unix::fs::PermissionsExt;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn one_line_end_is_dropped_and_no_more() {
        for (content, pin) in [(&b"1234"[..], "1234"), (b"1234\n", "1234"), (b"1234\r\n", "1234")] {
            let (_folder, path) = file(content, 0o600);
            assert_eq!(Pin::read(&SecretSource::File(path)).unwrap().expose(), pin.as_bytes());
        }
        for content in
            [&b""[..], b"\n", b"12\n34", b"1234\n\n", b"12\x0034", b"\xff\xfe", &[b'1'; PIN_BYTES + 1]]
        {
            let (_folder, path) = file(content, 0o600);
            assert!(Pin::read(&SecretSource::File(path)).is_err(), "{content:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let (_folder, path) = file(b"1234", mode);
            assert!(
                matches!(Pin::read(&SecretSource::File(path)), Err(PinError::Exposed { .. })),
                "{mode:o}"
            );
        }
        let (folder, path) = file(b"1234", 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(path, &link).unwrap();
        assert!(Pin::read(&SecretSource::File(link)).is_err(), "a link may point anywhere");
        assert!(Pin::read(&SecretSource::File(folder.path().to_owned())).is_err(), "a folder is no file");
    }

    #[test]
    fn a_descriptor_is_read_to_its_end_and_closed() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"secret pin\n").unwrap();
        drop(writer);
        rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
        let fd = reader.into_raw_fd();
        assert_eq!(Pin::read(&SecretSource::Fd(fd)).unwrap().expose(), b"secret pin");
        assert!(Pin::read(&SecretSource::Fd(fd)).is_err(), "the descriptor must be closed after use");
    }

    #[test]
    fn a_descriptor_of_our_own_is_not_an_inherited_one() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        assert!(Pin::read(&SecretSource::Fd(fd)).is_err(), "a close-on-exec descriptor was not handed to us");
        assert!(Pin::read(&SecretSource::Fd(1)).is_err());
        assert!(Pin::read(&SecretSource::Fd(-1)).is_err());
    }

    #[test]
    fn a_credential_is_a_plain_name() {
        let folder = Path::new("/run/credentials/chanceryd.service");
        assert_eq!(credential(Some(folder), "hsm-pin"), Some(folder.join("hsm-pin")));
        assert_eq!(credential(None, "hsm-pin"), None);
        for name in ["../pin", "/etc/passwd", "", ".", "..", "a/b"] {
            assert_eq!(credential(Some(folder), name), None, "{name}");
        }
    }
}
