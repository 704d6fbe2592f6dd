//! The door's files, read as one set and judged as one: certificate, key, authorities, revocation lists.
//!
//! What the appliance itself issued is known beside them. A set is good when it parses, its parts belong together and nobody it
//! should admit would be refused for a date. If this is wrong, a half-written file shuts everybody out, or lets somebody in.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chancery_core::{Mode, UnixMillis, config, limit};
use chancery_enclave::Issued;
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
    client_ca: Option<Vec<u8>>,
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
            client_ca: tls.client_ca.as_ref().map(|path| Ok(read(path)?.0)).transpose()?,
            crl: tls.crl.iter().map(|path| Ok(read(path)?.0)).collect::<Result<_, ServerError>>()?,
        })
    }

    pub(crate) fn digest(&self) -> Digested {
        let mut hash = Sha256::new_with_prefix(self.key_mode.to_be_bytes());
        for bytes in [&self.certificate, &*self.key].into_iter().chain(&self.client_ca).chain(&self.crl) {
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// Makes of the set, and of what the appliance itself `issued`, what connections are accepted with. The files are judged
    /// as of `now`; those that are in force already need not be.
    ///
    /// # Errors
    /// A [`ServerError`] that names the file; [`ServerError::NobodyKnown`].
    pub(crate) fn lay(
        &self,
        tls: &config::Tls,
        mode: Mode,
        issued: &[Issued],
        now: Option<UnixMillis>,
    ) -> Result<Threshold, ServerError> {
        guard_key(&tls.key, self.key_mode, mode)?;
        let certificates = certificates(&tls.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(bad_pem(&tls.key, "a private key"))?;
        let (mut client_ca, mut authority) = (Vec::new(), None);
        if let (Some(path), Some(bytes)) = (&tls.client_ca, &self.client_ca) {
            client_ca = self::certificates(path, bytes)?;
            authority = Some(self.outside(tls, path, &client_ca, now)?);
        }
        for Issued { tenant, authority: own, list, .. } in issued {
            let own = CertificateDer::from(own.clone());
            let known = Authority::of_tenant(tenant.clone(), own.clone(), list.as_slice().into())
                .map_err(ServerError::OwnAuthority)?;
            client_ca.push(own);
            authority = Some(match authority {
                Some(others) => known.and(others),
                None => known,
            });
        }
        let authority = authority.ok_or(ServerError::NobodyKnown)?;
        let server = certificates.first().map(Dates::of_certificate).transpose();
        let server = server
            .ok()
            .flatten()
            .filter(|dates| now.is_none_or(|now| dates.hold(now)))
            .ok_or_else(|| ServerError::CertificateOutOfTime { path: tls.certificate.clone() })?;
        configure(certificates, key, client_ca, authority, server)
            .map_err(|source| ServerError::Tls { key: tls.key.clone(), source })
    }

    /// The authorities outside the appliance, and their lists.
    fn outside(
        &self,
        tls: &config::Tls,
        path: &Path,
        client_ca: &[CertificateDer<'static>],
        now: Option<UnixMillis>,
    ) -> Result<Authority, ServerError> {
        let mut lists = Vec::new();
        for (path, bytes) in tls.crl.iter().zip(&self.crl) {
            lists.extend(revocation_lists(path, bytes)?);
        }
        let authority = if tls.crl.is_empty() {
            Authority::new(client_ca.iter().cloned())
        } else {
            Authority::with_lists(client_ca.iter().cloned(), lists)
        };
        let judged = authority.and_then(|authority| {
            now.map_or(Ok(()), |now| authority.in_force(now))?;
            Ok(authority)
        });
        judged.map_err(|source| ServerError::ClientAuthorities { path: path.to_owned(), source })
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
