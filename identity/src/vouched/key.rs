//! The kinds of keys that client certificates have, and whether one of them signed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use x509_parser::asn1_rs::oid;
use x509_parser::prelude::X509Certificate;

/// A signature algorithm of RFC 9421 section 3.3; 64 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `ecdsa-p256-sha256`: `r || s`.
    EcdsaP256Sha256,
    /// `ed25519`.
    Ed25519,
}

impl Algorithm {
    /// The name in the registry of RFC 9421.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::Ed25519 => "ed25519",
        }
    }

    pub(crate) fn named(text: &str) -> Option<Self> {
        [Self::EcdsaP256Sha256, Self::Ed25519].into_iter().find(|one| one.as_str() == text)
    }
}

/// A certificate's public key.
pub(crate) struct Key<'a> {
    algorithm: Algorithm,
    /// An uncompressed point, or the 32 bytes of Ed25519.
    bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// `None` for a key of another kind.
    pub(crate) fn of(certificate: &'a X509Certificate<'_>) -> Option<Self> {
        let key = certificate.public_key();
        let bytes = &*key.subject_public_key.data;
        let curve = key.algorithm.parameters.as_ref().map(|curve| curve.as_oid());
        let (kind, length) = match curve {
            Some(Ok(curve))
                if key.algorithm.algorithm == oid!(1.2.840.10045.2.1)
                    && curve == oid!(1.2.840.10045.3.1.7) =>
            {
                (Algorithm::EcdsaP256Sha256, 65)
            }
            None if key.algorithm.algorithm == oid!(1.3.101.112) => (Algorithm::Ed25519, 32),
            _ => return None,
        };
        (bytes.len() == length).then_some(Self { algorithm: kind, bytes })
    }

    #[cfg(test)]
    pub(crate) fn raw(algorithm: Algorithm, bytes: &'a [u8]) -> Self {
        Self { algorithm, bytes }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::EcdsaP256Sha256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.bytes).verify(message, signature)
            }
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, self.bytes).verify(message, signature),
        };
        verified.is_ok()
    }
}
