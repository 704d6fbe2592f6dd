//! TLS at the door: 1.3 only, X25519MLKEM768 first, a client certificate always.
//!
//! Every refused certificate gets the same alert; the reason is in the log. Resumed sessions carry their chain in the
//! ticket and are authenticated again by the connection. If this is wrong, strangers come in or traffic can be read.

use std::sync::Arc;

use chancery_core::{UnixMillis, causes, limit};
use chancery_identity::{Authority, Dates};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

/// The names of HTTP/2 and HTTP/1.1 in ALPN (RFC 7301), in the order the door prefers them.
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// How connections are accepted, and whom the door knows.
pub(crate) struct Threshold {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) authority: Arc<Authority>,
    /// The dates of the server's own certificate.
    pub(crate) server: Dates,
    /// That certificate, which says by what names the door is known.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Threshold {
    /// Everything in it that ends one day, and what it is.
    pub(crate) fn dated(&self) -> impl Iterator<Item = (&'static str, &Dates)> {
        std::iter::once(("server", &self.server))
            .chain(self.authority.authorities().map(|dates| ("authority", dates)))
            .chain(self.authority.lists().map(|dates| ("crl", dates)))
    }
}

/// The cryptography of every connection here.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// Sets up TLS. Tickets are sealed with a key of this set: those of an older one end in a whole handshake.
///
/// # Errors
/// When the key is not the certificate's, or an authority is none.
pub(crate) fn configure(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: Vec<CertificateDer<'static>>,
    authority: Authority,
    server: Dates,
) -> Result<Threshold, Box<dyn std::error::Error + Send + Sync>> {
    let certificate = certificates.first().cloned().ok_or("there is no server certificate")?;
    let authority = Arc::new(authority);
    let provider = Arc::new(provider());
    let mut roots = RootCertStore::empty();
    for certificate in client_ca {
        roots.add(certificate)?;
    }
    // Without our revocation lists: rustls would hold the list of one authority against another of the same name.
    let webpki =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let doorkeeper = Doorkeeper { webpki, authority: Arc::clone(&authority) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(doorkeeper))
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    // Early data can be replayed; no request of ours may be.
    config.max_early_data_size = 0;
    Ok(Threshold { acceptor: TlsAcceptor::from(Arc::new(config)), authority, server, certificate })
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
        self.authority
            .authenticate(&chain_of, UnixMillis(now_ms))
            .map_err(|error| refused(causes(&error)))?;
        self.webpki
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| refused(causes(&error)))
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
