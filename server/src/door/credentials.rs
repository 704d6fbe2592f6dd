//! The door's files, read as one set and judged as one: certificate, key, authorities, revocation lists.
//!
//! A set is good when it parses, its parts belong together and nobody it should admit would be refused for a date. If
//! this is wrong, a half-written file shuts everybody out, or lets somebody in.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chancery_core::{Mode, UnixMillis, config, limit};
use chancery_identity::{Authority, Dates};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tls::{Threshold, configure};
use crate::ServerError;

/// What the files hold, not yet looked into. The key's bytes are wiped with it.
pub(crate) struct Credentials {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    /// The key file's permission bits.
    key_mode: u32,
    client_ca: Vec<u8>,
    crl: Vec<Vec<u8>>,
}

/// Tells one state of the files from another.
pub(crate) type Digested = [u8; 32];

impl Credentials {
    /// Reads every file.
    ///
    /// # Errors
    /// [`ServerError::TlsFile`] names the one that cannot be read.
    pub(crate) fn read(tls: &config::Tls) -> Result<Self, ServerError> {
        let (key, key_mode) = read(&tls.key)?;
        Ok(Self {
            certificate: read(&tls.certificate)?.0,
            key: Zeroizing::new(key),
            key_mode,
            client_ca: read(&tls.client_ca)?.0,
            crl: tls.crl.iter().map(|path| Ok(read(path)?.0)).collect::<Result<_, ServerError>>()?,
        })
    }

    pub(crate) fn digest(&self) -> Digested {
        let mut hash = Sha256::new_with_prefix(self.key_mode.to_be_bytes());
        for bytes in [&self.certificate, &*self.key, &self.client_ca].into_iter().chain(&self.crl) {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// Judges the set as of `now` and makes of it what connections are accepted with.
    ///
    /// # Errors
    /// A [`ServerError`] that names the file.
    pub(crate) fn lay(
        &self,
        tls: &config::Tls,
        mode: Mode,
        now: UnixMillis,
    ) -> Result<Threshold, ServerError> {
        guard_key(&tls.key, self.key_mode, mode)?;
        let certificates = certificates(&tls.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(bad_pem(&tls.key, "a private key"))?;
        let client_ca = self::certificates(&tls.client_ca, &self.client_ca)?;
        let mut lists = Vec::new();
        for (path, bytes) in tls.crl.iter().zip(&self.crl) {
            lists.extend(revocation_lists(path, bytes)?);
        }
        let unusable = |source| ServerError::ClientAuthorities { path: tls.client_ca.clone(), source };
        let authority = if tls.crl.is_empty() {
            Authority::new(client_ca.iter().cloned())
        } else {
            Authority::with_lists(client_ca.iter().cloned(), lists)
        };
        let authority = authority.map_err(unusable)?;
        authority.in_force(now).map_err(unusable)?;
        let server = certificates.first().map(Dates::of_certificate).transpose();
        let server = server
            .ok()
            .flatten()
            .filter(|dates| dates.hold(now))
            .ok_or_else(|| ServerError::CertificateOutOfTime { path: tls.certificate.clone() })?;
        configure(certificates, key, client_ca, authority, server)
            .map_err(|source| ServerError::Tls { key: tls.key.clone(), source })
    }
}

/// A whole file and its permission bits.
fn read(path: &Path) -> Result<(Vec<u8>, u32), ServerError> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mode = metadata.permissions().mode() & 0o7777;
        // All of it at once: a buffer that grows leaves copies of the key behind.
        let length = metadata.len().min(limit::CERTIFICATES_BYTES);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(64));
        file.take(limit::CERTIFICATES_BYTES + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit::CERTIFICATES_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok((bytes, mode))
    };
    open().map_err(|source| ServerError::TlsFile { path: path.to_owned(), source })
}

fn bad_pem(path: &Path, what: &'static str) -> impl Fn(pem::Error) -> ServerError {
    let path: PathBuf = path.to_owned();
    move |source| ServerError::Pem { path: path.clone(), what, source }
}

/// One or more items in PEM, whole.
fn all<T: PemObject>(path: &Path, bytes: &[u8], what: &'static str) -> Result<Vec<T>, ServerError> {
    let items: Result<Vec<_>, _> = T::pem_slice_iter(bytes).collect();
    let items =
        items.and_then(|items| if items.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(items) });
    items.map_err(bad_pem(path, what))
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    all(path, bytes, "a certificate")
}

fn revocation_lists(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, ServerError> {
    // DER begins with the tag of a SEQUENCE, which PEM never does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    all(path, bytes, "a revocation list")
}

/// In production nobody but its owner may read the private key.
fn guard_key(path: &Path, bits: u32, mode: Mode) -> Result<(), ServerError> {
    if bits & 0o077 == 0 {
        return Ok(());
    }
    if mode.is_production() {
        return Err(ServerError::KeyOpenToOthers { path: path.to_owned(), mode: bits });
    }
    tracing::warn!(path = %path.display(), mode = format!("{bits:04o}"), "the door's private key is open to others");
    Ok(())
}
