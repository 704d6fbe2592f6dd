//! Who a party is on the link between parties: its node's Ed25519 key, which the others pin. The node's key is elsewhere and signs
//! one short-lived certificate for the key that TLS uses; a certificate that no pinned node signed is nobody's.
//! If this is wrong, a stranger speaks as a party.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use chancery_core::UnixMillis;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::cell::RefCell;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::IdentityError;
use crate::issue::{date, der};

/// How long a link's certificate holds, in milliseconds.
pub const LINK_MS: i64 = 7 * 86_400_000;
/// Other machines' clocks may be this far behind, in milliseconds.
const SKEW_MS: i64 = 300_000;
/// `id-Ed25519` as an AlgorithmIdentifier (RFC 8410 3).
const ED25519_ID: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// The name in every such certificate: the key says whose it is.
const NAME: &str = "chancery party";

/// A fresh TLS key, and its certificate, which the node has still to sign.
pub struct LinkDraft {
    /// What the node signs.
    pub text: Vec<u8>,
    key: KeyPair,
}

/// A link's certificate with its key.
pub struct LinkKey {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
}

impl LinkDraft {
    /// Drafts a certificate of the node with this key.
    ///
    /// # Errors
    /// [`IdentityError::Unmade`].
    pub fn new(node: &[u8; 32], now: UnixMillis) -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Unmade)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named();
        params.not_before = date(now.plus_ms(-SKEW_MS))?;
        params.not_after = date(now.plus_ms(LINK_MS))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let heard = RefCell::default();
        let mut of = CertificateParams::default();
        of.distinguished_name = named();
        params
            .signed_by(&key, &Issuer::new(of, Hand { node, heard: &heard }))
            .map_err(IdentityError::Unmade)?;
        Ok(Self { text: heard.into_inner(), key })
    }

    /// The whole, with the node's signature.
    #[must_use]
    pub fn signed(self, signature: &[u8; 64]) -> LinkKey {
        let certificate = der(0x30, &[&self.text, ED25519_ID, &der(0x03, &[&[0], signature])]);
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        LinkKey { certificate, key: key.into() }
    }
}

/// Whether the node with this key signed a certificate that holds now.
#[must_use]
pub fn is_of_node(certificate: &[u8], node: &[u8; 32], now: UnixMillis) -> bool {
    let Ok(([], parsed)) = X509Certificate::from_der(certificate) else { return false };
    let ms = |seconds: i64| seconds.saturating_mul(1_000);
    let validity = parsed.validity();
    let holds = ms(validity.not_before.timestamp()) <= now.0 && now.0 < ms(validity.not_after.timestamp());
    let signed = || {
        let text = parsed.tbs_certificate.as_ref();
        UnparsedPublicKey::new(&ED25519, node).verify(text, &parsed.signature_value.data).is_ok()
    };
    holds && signed()
}

fn named() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, NAME);
    name
}

/// The node's key, which is not here: it hears what it should sign.
struct Hand<'a> {
    node: &'a [u8; 32],
    heard: &'a RefCell<Vec<u8>>,
}

impl PublicKeyData for Hand<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.node
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for Hand<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        message.clone_into(&mut self.heard.borrow_mut());
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    /// Would catch a certificate of another node, of another day or changed on its way that is taken for a party's.
    #[test]
    fn a_certificate_is_of_the_node_that_signed_it_while_it_holds() {
        let [one, other] = [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap());
        let key = |pair: &Ed25519KeyPair| <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap();
        let now = UnixMillis(1_800_000_000_000);
        let draft = LinkDraft::new(&key(&one), now).unwrap();
        let signature = one.sign(&draft.text).as_ref().try_into().unwrap();
        let link = draft.signed(&signature);
        assert!(is_of_node(&link.certificate, &key(&one), now));
        assert!(!is_of_node(&link.certificate, &key(&other), now));
        for away in [-SKEW_MS - 1_000, LINK_MS + 1_000] {
            assert!(!is_of_node(&link.certificate, &key(&one), now.plus_ms(away)));
        }
        for at in 0..link.certificate.len() {
            let mut changed = link.certificate.clone();
            changed[at] ^= 1;
            // The name of the algorithm outside of what is signed is not looked at: the key decides it.
            let outside = !draft_covers(&link.certificate, at);
            assert!(outside || !is_of_node(&changed, &key(&one), now), "byte {at}");
        }
    }

    fn draft_covers(certificate: &[u8], at: usize) -> bool {
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        let text = parsed.tbs_certificate.as_ref();
        let from = text.as_ptr() as usize - certificate.as_ptr() as usize;
        (from..from + text.len()).contains(&at)
    }
}
