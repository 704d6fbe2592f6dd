//! Keys as the parent knows them: an id, an algorithm and the public key that every signature must verify under.
//! A [`PublicKey`] that exists is a valid point. If this is wrong, a signature is checked against the wrong key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use chancery_core::KeyId;
use serde::{Deserialize, Serialize};

use crate::signature::Message;

/// What a signing key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// ECDSA over secp256k1 (SEC 2); signs a 32-byte digest.
    Secp256k1,
    /// ECDSA over NIST P-256 (FIPS 186-5); signs a 32-byte digest.
    P256,
    /// Ed25519 (RFC 8032); signs the message itself.
    Ed25519,
}

impl Algorithm {
    /// Every algorithm, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Secp256k1, Self::P256, Self::Ed25519];

    /// The name in configuration, records and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Algorithm {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(KeyError::Algorithm)
    }
}

/// Why bytes are not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a name of [`Algorithm`].
    #[error("unknown key algorithm")]
    Algorithm,
    /// Not an encoding of a point on the curve.
    #[error("not a {0} public key")]
    Point(Algorithm),
}

/// A valid public key. Its one encoding is compressed SEC 1 (33 bytes) for ECDSA and RFC 8032 (32 bytes) for Ed25519.
#[derive(Clone)]
pub struct PublicKey {
    bytes: Arc<[u8]>,
    pub(crate) parsed: Parsed,
}

#[derive(Clone)]
pub(crate) enum Parsed {
    Secp256k1(secp256k1::PublicKey),
    P256(Arc<ParsedPublicKey>),
    Ed25519(Arc<ParsedPublicKey>),
}

impl PublicKey {
    /// Parses a public key: SEC 1, compressed or uncompressed, for ECDSA; 32 bytes for Ed25519.
    ///
    /// # Errors
    /// [`KeyError::Point`] when the bytes encode no point of the curve.
    pub fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let error = KeyError::Point(algorithm);
        match algorithm {
            Algorithm::Secp256k1 => {
                // Hybrid encodings (06, 07) are a second spelling of the same point: refused.
                if !matches!(bytes.first(), Some(2..=4)) {
                    return Err(error);
                }
                let key = secp256k1::PublicKey::from_slice(bytes).map_err(|_| error)?;
                Ok(Self { bytes: key.serialize().as_slice().into(), parsed: Parsed::Secp256k1(key) })
            }
            Algorithm::P256 => {
                let compressed = compress(bytes).ok_or(error)?;
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map_err(|_| error)?;
                Ok(Self { bytes: compressed.as_slice().into(), parsed: Parsed::P256(Arc::new(key)) })
            }
            Algorithm::Ed25519 => {
                let key = ParsedPublicKey::new(&ED25519, bytes).map_err(|_| error)?;
                Ok(Self { bytes: bytes.into(), parsed: Parsed::Ed25519(Arc::new(key)) })
            }
        }
    }

    /// Parses `CKA_EC_POINT`: a DER OCTET STRING around the point (PKCS#11 2.40, SoftHSM2), or the bare point (kryoptic).
    pub(crate) fn from_ec_point(algorithm: Algorithm, point: &[u8]) -> Result<Self, KeyError> {
        // An OCTET STRING starts with 04 as an uncompressed point does: the length that follows tells them apart.
        match point {
            [0x04, len, inner @ ..] if usize::from(*len) == inner.len() && *len < 0x80 => {
                Self::parse(algorithm, inner)
            }
            bare => Self::parse(algorithm, bare),
        }
    }

    /// Which algorithm the key is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.parsed {
            Parsed::Secp256k1(_) => Algorithm::Secp256k1,
            Parsed::P256(_) => Algorithm::P256,
            Parsed::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The canonical encoding: compressed SEC 1, or 32 bytes for Ed25519.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The uncompressed SEC 1 point `04 || x || y` of a secp256k1 key, of which an Ethereum address is made.
    #[must_use]
    pub fn uncompressed(&self) -> Option<[u8; 65]> {
        match &self.parsed {
            Parsed::Secp256k1(key) => Some(key.serialize_uncompressed()),
            Parsed::P256(_) | Parsed::Ed25519(_) => None,
        }
    }

    /// The DER of its SubjectPublicKeyInfo (RFC 5280 4.1), as a certificate holds it; none of a secp256k1 key.
    #[must_use]
    pub fn subject_public_key_info(&self) -> Option<Vec<u8>> {
        match &self.parsed {
            Parsed::Secp256k1(_) => None,
            Parsed::P256(key) | Parsed::Ed25519(key) => {
                let der: PublicKeyX509Der<'_> = key.as_der().ok()?;
                Some(der.as_ref().to_vec())
            }
        }
    }
}

fn compress(bytes: &[u8]) -> Option<[u8; 33]> {
    let mut compressed = [0; 33];
    match bytes {
        [2 | 3, x @ ..] if x.len() == 32 => compressed.copy_from_slice(bytes),
        [4, point @ ..] if point.len() == 64 => {
            let (x, y) = point.split_at(32);
            let (sign, rest) = compressed.split_at_mut(1);
            sign.fill(2 + (y.last()? & 1));
            rest.copy_from_slice(x);
        }
        _ => return None,
    }
    Some(compressed)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.algorithm().hash(state);
        self.bytes.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), hex::encode(&self.bytes))
    }
}

/// Names one key: where the token keeps it and what its signatures must verify under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    /// `CKA_ID`.
    pub id: KeyId,
    /// The pinned public key.
    pub public: PublicKey,
}

impl KeyRef {
    /// What a fresh key signs to prove that it is this one: SHA-256 of `chancery key proof v1`, the id and the public key,
    /// or those bytes themselves for Ed25519. No chain and no log asks for a signature over it.
    #[must_use]
    pub fn proof(&self) -> Message {
        let bytes = [b"chancery key proof v1\n", &self.id.as_bytes()[..], self.public.bytes()].concat();
        match self.public.algorithm() {
            Algorithm::Ed25519 => Message::Bytes(bytes),
            Algorithm::Secp256k1 | Algorithm::P256 => {
                let mut digest = [0; 32];
                digest.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
                Message::Digest(digest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The generators: SEC 2 (secp256k1), FIPS 186-5 (P-256); RFC 8032 7.1 test 1 (Ed25519).
    const K1: &str = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
    const P256: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    const ED: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn both_spellings_of_a_point_are_one_key() {
        for (algorithm, text, compressed) in [
            (Algorithm::Secp256k1, K1, "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
            (Algorithm::P256, P256, "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        ] {
            let long = PublicKey::parse(algorithm, &hex::decode(text).unwrap()).unwrap();
            let short = PublicKey::parse(algorithm, &hex::decode(compressed).unwrap()).unwrap();
            assert_eq!(long, short);
            assert_eq!(hex::encode(long.bytes()), compressed);
        }
    }

    #[test]
    fn a_certificate_holds_the_whole_point() {
        let short = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        let key = PublicKey::parse(Algorithm::P256, &hex::decode(short).unwrap()).unwrap();
        let der = hex::encode(key.subject_public_key_info().unwrap());
        assert!(der.starts_with("3059301306072a8648ce3d020106082a8648ce3d030107034200"), "{der}");
        assert!(der.ends_with(P256), "{der}");
    }

    #[test]
    fn an_ec_point_is_read_wrapped_and_bare() {
        for (algorithm, text) in
            [(Algorithm::Secp256k1, K1), (Algorithm::P256, P256), (Algorithm::Ed25519, ED)]
        {
            let bare = hex::decode(text).unwrap();
            let wrapped = [&[0x04, u8::try_from(bare.len()).unwrap()], bare.as_slice()].concat();
            let key = PublicKey::parse(algorithm, &bare).unwrap();
            assert_eq!(PublicKey::from_ec_point(algorithm, &bare).unwrap(), key);
            assert_eq!(PublicKey::from_ec_point(algorithm, &wrapped).unwrap(), key);
        }
    }

    #[test]
    fn what_is_no_point_is_no_key() {
        for (algorithm, text) in [(Algorithm::Secp256k1, K1), (Algorithm::P256, P256)] {
            let good = hex::decode(text).unwrap();
            let mut off_curve = good.clone();
            off_curve[64] ^= 1;
            let mut hybrid = good.clone();
            hybrid[0] = 6 + (good[64] & 1);
            for bad in [&off_curve[..], &hybrid, &good[..64], &[0], &[]] {
                assert!(PublicKey::parse(algorithm, bad).is_err(), "{algorithm} {}", hex::encode(bad));
            }
        }
        assert!(PublicKey::parse(Algorithm::Ed25519, &[1; 31]).is_err());
    }
}
