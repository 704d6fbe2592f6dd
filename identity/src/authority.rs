//! Verifies a certificate chain for client authentication and reads who it names.
//!
//! Depends on nothing the TLS layer concluded: the chain is verified here again, so a misconfigured listener still
//! admits nobody. If this is wrong, a stranger becomes a client.

use std::fmt;
use std::time::Duration;

use chancery_core::UnixMillis;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::peer::Fingerprint;
use crate::{IdentityError, Peer, name};

/// LIMIT: certificates a peer may send; path building is quadratic in them at worst.
const CHAIN_CERTIFICATES: usize = 8;

/// The certificate authorities whose word is taken for who somebody is.
pub struct Authority {
    anchors: Vec<Anchor>,
}

struct Anchor {
    trust: TrustAnchor<'static>,
    not_before_s: i64,
    not_after_s: i64,
}

impl Authority {
    /// From the certificates of the authorities.
    ///
    /// # Errors
    /// [`IdentityError::NoAuthority`] if there is none, [`IdentityError::Authority`] if one does not parse or is not a
    /// certificate authority.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, IdentityError> {
        let anchors = certificates
            .into_iter()
            .enumerate()
            .map(|(index, der)| {
                let broken = |rule| IdentityError::Authority { index, rule };
                let (rest, certificate) =
                    X509Certificate::from_der(&der).map_err(|_| broken("it must be an X.509 certificate"))?;
                if !rest.is_empty() || !certificate.is_ca() {
                    return Err(broken("it must be marked as a certificate authority"));
                }
                let validity = certificate.validity();
                let (not_before_s, not_after_s) =
                    (validity.not_before.timestamp(), validity.not_after.timestamp());
                let trust = webpki::anchor_from_trusted_cert(&der)
                    .map_err(|_| broken("it must be an X.509 v3 certificate"))?
                    .to_owned();
                Ok(Anchor { trust, not_before_s, not_after_s })
            })
            .collect::<Result<Vec<_>, _>>()?;
        if anchors.is_empty() {
            return Err(IdentityError::NoAuthority);
        }
        Ok(Self { anchors })
    }

    /// Says who showed this chain (leaf first), as of `now`.
    ///
    /// Possession of the private key is the TLS handshake's part; everything the chain itself can prove is proved here.
    ///
    /// # Errors
    /// Any doubt is an [`IdentityError`] whose code is `unauthenticated`.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>], now: UnixMillis) -> Result<Peer, IdentityError> {
        let (leaf, intermediates) = chain.split_first().ok_or(IdentityError::NoCertificate)?;
        if chain.len() > CHAIN_CERTIFICATES {
            return Err(IdentityError::Chain(webpki::Error::MaximumPathDepthExceeded));
        }
        self.verify(leaf, intermediates, now)?;
        let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        require_client_auth(&certificate)?;
        let (tenant, role, id) = name::parse(only_uri(&certificate)?)?;
        Ok(Peer::admit(role, tenant, id, Fingerprint(Sha256::digest(leaf).into())))
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixMillis,
    ) -> Result<(), IdentityError> {
        let now_ms = u64::try_from(now.0).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let trusted: Vec<_> = self.anchors.iter().map(|anchor| anchor.trust.clone()).collect();
        let leaf = EndEntityCert::try_from(leaf).map_err(IdentityError::Chain)?;
        let path = leaf
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &trusted,
                intermediates,
                time,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(IdentityError::Chain)?;
        // RFC 5280 leaves an anchor's own dates to the relying party, and webpki does not look at them.
        let now_s = now.0.div_euclid(1_000);
        let in_time = self.anchors.iter().any(|anchor| {
            anchor.trust == *path.anchor() && (anchor.not_before_s..=anchor.not_after_s).contains(&now_s)
        });
        if in_time { Ok(()) } else { Err(IdentityError::AuthorityOutOfTime) }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("anchors", &self.anchors.len()).finish()
    }
}

/// webpki takes a certificate without any extended key usage for every use; a client's must say `clientAuth`.
fn require_client_auth(certificate: &X509Certificate<'_>) -> Result<(), IdentityError> {
    match certificate.extended_key_usage().map_err(IdentityError::Extensions)? {
        Some(usage) if usage.value.client_auth => Ok(()),
        _ => Err(IdentityError::NotForClients),
    }
}

/// The one subject alternative name. Any second name, of any kind, makes the certificate ambiguous.
fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(IdentityError::Extensions)?
        .map_or(&[][..], |extension| extension.value.general_names.as_slice());
    match names {
        [GeneralName::URI(uri)] => Ok(uri),
        [_] => Err(IdentityError::Name { rule: "it is a URI" }),
        _ => Err(IdentityError::Names { count: names.len() }),
    }
}
