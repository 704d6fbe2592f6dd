//! TLS at the door: 1.3 only, X25519MLKEM768 first, a client certificate always.
//!
//! Every refused certificate gets the same alert; the reason is in the log. Resumed sessions carry their chain in the
//! ticket and are authenticated again by the connection. If this is wrong, strangers come in or traffic can be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use chancery_core::{Mode, UnixMillis, config, limit};
use chancery_identity::Authority;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use crate::ServerError;
use crate::telemetry::chain;

/// The names of HTTP/2 and HTTP/1.1 in ALPN (RFC 7301), in the order the door prefers them.
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// How connections are accepted, and whom the door knows.
pub(crate) struct Threshold {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) authority: Arc<Authority>,
}

impl Threshold {
    /// Reads the files and sets up TLS.
    ///
    /// # Errors
    /// A [`ServerError`] that names the file.
    pub(crate) fn lay(tls: &config::Tls, mode: Mode) -> Result<Self, ServerError> {
        let certificates = certificates(&tls.certificate)?;
        guard_key_file(&tls.key, mode)?;
        let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|source| ServerError::Pem {
            path: tls.key.clone(),
            what: "a private key",
            source,
        })?;
        let client_ca = self::certificates(&tls.client_ca)?;
        let authority = Arc::new(
            Authority::new(client_ca.iter().cloned())
                .map_err(|source| ServerError::ClientAuthorities { path: tls.client_ca.clone(), source })?,
        );
        let config = configure(certificates, key, client_ca, &authority).map_err(ServerError::Tls)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let failed = |source| ServerError::Pem { path: path.to_owned(), what: "a certificate", source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(failed(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// In production nobody but its owner may read the private key.
fn guard_key_file(path: &Path, mode: Mode) -> Result<(), ServerError> {
    let metadata =
        fs::metadata(path).map_err(|source| ServerError::KeyFile { path: path.to_owned(), source })?;
    let bits = metadata.permissions().mode() & 0o7777;
    if bits & 0o077 == 0 {
        return Ok(());
    }
    if mode.is_production() {
        return Err(ServerError::KeyOpenToOthers { path: path.to_owned(), mode: bits });
    }
    tracing::warn!(path = %path.display(), mode = format!("{bits:04o}"), "the door's private key is open to others");
    Ok(())
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn configure(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Vec<CertificateDer<'static>>,
    authority: &Arc<Authority>,
) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(provider());
    let mut roots = RootCertStore::empty();
    for certificate in client_ca {
        roots.add(certificate)?;
    }
    let webpki =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let doorkeeper = Doorkeeper { webpki, authority: Arc::clone(authority) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(doorkeeper))
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    // Early data can be replayed; no request of ours may be.
    config.max_early_data_size = 0;
    Ok(config)
}

/// rustls' own verifier and ours: both must agree, and a refusal never says which did not, or why.
#[derive(Debug)]
struct Doorkeeper {
    webpki: Arc<dyn ClientCertVerifier>,
    authority: Arc<Authority>,
}

impl ClientCertVerifier for Doorkeeper {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused = |reason: String| {
            tracing::info!(target: "door", reason, "a client certificate was refused");
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        };
        let now_ms = i64::try_from(now.as_secs().saturating_mul(1_000)).unwrap_or(i64::MAX);
        let chain_of: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        self.authority.authenticate(&chain_of, UnixMillis(now_ms)).map_err(|error| refused(chain(&error)))?;
        self.webpki.verify_client_cert(end_entity, intermediates, now).map_err(|error| refused(chain(&error)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}

/// A handshake's failure as one of a few causes, for the metrics.
pub(crate) fn failure(error: &std::io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => "no-certificate",
        Some(rustls::Error::InvalidCertificate(_)) => "certificate",
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        Some(_) => "tls",
        None => "closed",
    }
}

/// The time a handshake has, from accept to finish.
pub(crate) const HANDSHAKE: std::time::Duration = std::time::Duration::from_millis(limit::STALL_MS);
