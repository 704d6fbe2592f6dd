//! TLS between parties: 1.3 only, both sides by a certificate that a pinned node signed. No authority stands behind it, no name is
//! looked at and nothing is resumed: who has the key of a pinned node is that party, and nobody else is let in.

use std::sync::{Arc, PoisonError, RwLock};

use chancery_core::UnixMillis;
use chancery_enclave::LinkPeer;
use chancery_identity::node::{LinkKey, is_of_node};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::door::{H2, provider};

/// The pinned nodes of some parties.
#[derive(Debug)]
pub(super) struct Pins {
    nodes: Vec<(u8, [u8; 32])>,
    provider: Arc<CryptoProvider>,
}

impl Pins {
    pub(super) fn of<'a>(peers: impl IntoIterator<Item = &'a LinkPeer>) -> Arc<Self> {
        let nodes = peers.into_iter().map(|peer| (peer.party, peer.node_key)).collect();
        Arc::new(Self { nodes, provider: Arc::new(provider()) })
    }

    /// The party whose node signed this certificate.
    pub(super) fn party(&self, certificate: &CertificateDer<'_>, now: UnixMillis) -> Option<u8> {
        let signed = |(_, node): &&(u8, [u8; 32])| is_of_node(certificate, node, now);
        self.nodes.iter().find(signed).map(|(party, _)| *party)
    }

    fn verify(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let now_ms = i64::try_from(now.as_secs().saturating_mul(1_000)).unwrap_or(i64::MAX);
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        self.party(certificate, UnixMillis(now_ms)).map(drop).ok_or(refused)
    }

    fn handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// No connection of an older TLS comes to be.
fn too_old() -> Error {
    PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pins {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.handshake(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}

/// This party's own certificate, which is made anew while it is used.
#[derive(Debug)]
pub(super) struct Own(RwLock<Arc<CertifiedKey>>);

impl Own {
    pub(super) fn new(link: LinkKey) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(RwLock::new(certified(link)?))))
    }

    pub(super) fn renew(&self, link: LinkKey) -> Result<(), Error> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified(link)?;
        Ok(())
    }

    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn certified(LinkKey { certificate, key }: LinkKey) -> Result<Arc<CertifiedKey>, Error> {
    CertifiedKey::from_der(vec![certificate.into()], key, &provider()).map(Arc::new)
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl rustls::client::ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// How the others are let in.
pub(super) fn inwards(pins: &Arc<Pins>, own: &Arc<Own>) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&pins.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::clone(pins) as Arc<dyn ClientCertVerifier>);
    let mut config = builder.with_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// How one of them is called: only its node answers.
pub(super) fn outwards(pins: &Arc<Pins>, own: &Arc<Own>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&pins.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(pins) as Arc<dyn ServerCertVerifier>);
    let mut config = builder.with_client_cert_resolver(Arc::clone(own) as _);
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
