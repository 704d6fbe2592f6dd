//! From the bytes a token answers to a signature that may be released: the only place that makes a [`Sealed`].
//! Trusts nothing of the worker or the module. If this is wrong, a wrong or malleable signature leaves the house.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::ParsedPublicKey;
use chancery_core::Taproot;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Secp256k1, VerifyOnly, schnorr};
use serde::{Deserialize, Serialize};

use crate::key::{Algorithm, Parsed, PublicKey};
use crate::taproot;

/// LIMIT: the longest message an Ed25519 key signs, in bytes: a log checkpoint or a chain message, not a document.
pub const MESSAGE_BYTES: usize = 64 * 1024;

/// What is signed. The digest is computed by this appliance; a client never supplies one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The 32-byte digest that ECDSA signs.
    Digest([u8; 32]),
    /// The whole message, for Ed25519; at most [`MESSAGE_BYTES`].
    Bytes(Vec<u8>),
    /// The 32-byte digest that a secp256k1 key signs with Schnorr (BIP-340), as taproot uses the key. No token does.
    Schnorr([u8; 32], Taproot),
}

impl Message {
    /// What a key is given.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Digest(digest) | Self::Schnorr(digest, _) => digest,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A released signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// `r || s`, big-endian, `s` in the lower half of the order (BIP 62, EIP-2) for ECDSA; `R || S` of RFC 8032 for Ed25519;
    /// `R.x || s` of BIP-340 for Schnorr.
    pub bytes: [u8; 64],
    /// For ECDSA on secp256k1: 0 or 1, the parity of the nonce point's y (`yParity` of EIP-2718 transactions), after low-S.
    pub recovery_id: Option<u8>,
    /// What it was made with.
    pub algorithm: Algorithm,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, hex::encode(self.bytes))
    }
}

/// A verified, low-S signature that nobody has read yet. Only this crate can make one.
pub struct Sealed(Signature);

impl Sealed {
    /// A signature that was made elsewhere by whoever has the key: `r || s` in its one form, low-S.
    ///
    /// # Errors
    /// [`WrongAnswer`], also for a signature that is not low-S.
    pub fn brought(public: &PublicKey, message: &Message, raw: &[u8]) -> Result<Self, WrongAnswer> {
        let sealed = seal(public, message, raw)?;
        if sealed.0.bytes == raw { Ok(sealed) } else { Err(WrongAnswer::Range) }
    }

    /// Breaks the seal. Whoever calls this has recorded the outcome.
    #[must_use]
    pub fn open(self) -> Signature {
        self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sealed>")
    }
}

/// What was wrong with a token's answer. Each of these sets the key apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAnswer {
    /// Not 64 bytes.
    #[error("the signature is not 64 bytes long")]
    Length,
    /// `r` or `s` is zero or not below the order.
    #[error("the signature's numbers are out of range")]
    Range,
    /// It does not verify under the pinned public key.
    #[error("the signature does not verify under the pinned public key")]
    Unverified,
    /// The token holds another key under this id.
    #[error("the token holds another public key under this id")]
    OtherKey,
}

static SECP256K1: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// True when `message` has the form that a derived key of `algorithm` signs: Schnorr too.
pub(crate) fn fits_derived(algorithm: Algorithm, message: &Message) -> bool {
    matches!((algorithm, message), (Algorithm::Secp256k1, Message::Schnorr(..))) || fits(algorithm, message)
}

/// True when `message` has the form that `algorithm` signs.
pub(crate) fn fits(algorithm: Algorithm, message: &Message) -> bool {
    match (algorithm, message) {
        (Algorithm::Secp256k1 | Algorithm::P256, Message::Digest(_)) => true,
        (Algorithm::Ed25519, Message::Bytes(bytes)) => bytes.len() <= MESSAGE_BYTES,
        _ => false,
    }
}

/// Checks `raw`, a token's answer, against the pinned key and puts it in its one canonical form.
pub(crate) fn seal(public: &PublicKey, message: &Message, raw: &[u8]) -> Result<Sealed, WrongAnswer> {
    let raw: [u8; 64] = raw.try_into().map_err(|_| WrongAnswer::Length)?;
    let (bytes, recovery_id) = match (&public.parsed, message) {
        (Parsed::Secp256k1(key), Message::Digest(digest)) => seal_secp256k1(key, digest, &raw)?,
        (Parsed::Secp256k1(key), Message::Schnorr(digest, taproot)) => {
            (seal_schnorr(key, digest, *taproot, &raw)?, None)
        }
        (Parsed::P256(key), Message::Digest(digest)) => (seal_p256(key, digest, &raw)?, None),
        (Parsed::Ed25519(key), Message::Bytes(message)) => {
            key.verify_sig(message, &raw).map_err(|_| WrongAnswer::Unverified)?;
            (raw, None)
        }
        _ => return Err(WrongAnswer::Unverified),
    };
    Ok(Sealed(Signature { bytes, recovery_id, algorithm: public.algorithm() }))
}

/// Recovering the public key from the signature and finding the pinned one is verification, and yields the parity.
fn seal_secp256k1(
    key: &secp256k1::PublicKey,
    digest: &[u8; 32],
    raw: &[u8; 64],
) -> Result<([u8; 64], Option<u8>), WrongAnswer> {
    let mut signature = secp256k1::ecdsa::Signature::from_compact(raw).map_err(|_| WrongAnswer::Range)?;
    signature.normalize_s();
    let bytes = signature.serialize_compact();
    let (r, s) = bytes.split_at(32);
    if is_zero(r) || is_zero(s) {
        return Err(WrongAnswer::Range);
    }
    let digest = secp256k1::Message::from_digest(*digest);
    for parity in 0..=1_u8 {
        let recovered = RecoveryId::from_i32(parity.into())
            .and_then(|id| RecoverableSignature::from_compact(&bytes, id))
            .and_then(|signature| SECP256K1.recover_ecdsa(&digest, &signature));
        if recovered.as_ref() == Ok(key) {
            return Ok((bytes, Some(parity)));
        }
    }
    // A nonce point whose x is not below the order (probability 2^-128) has ids 2 and 3, which no chain accepts.
    Err(WrongAnswer::Unverified)
}

/// A signature has one form: there is nothing to normalize, and libsecp256k1 refuses numbers out of range.
fn seal_schnorr(
    key: &secp256k1::PublicKey,
    digest: &[u8; 32],
    taproot: Taproot,
    raw: &[u8; 64],
) -> Result<[u8; 64], WrongAnswer> {
    let output = taproot::output(&SECP256K1, key, taproot).ok_or(WrongAnswer::Unverified)?;
    let signature = schnorr::Signature::from_slice(raw).map_err(|_| WrongAnswer::Range)?;
    let digest = secp256k1::Message::from_digest(*digest);
    SECP256K1.verify_schnorr(&signature, &digest, &output).map_err(|_| WrongAnswer::Unverified)?;
    Ok(*raw)
}

fn seal_p256(key: &ParsedPublicKey, digest: &[u8; 32], raw: &[u8; 64]) -> Result<[u8; 64], WrongAnswer> {
    let mut bytes = *raw;
    let (r, s) = bytes.split_at_mut(32);
    if is_zero(r) || is_zero(s) || *r >= P256_ORDER[..] || *s >= P256_ORDER[..] {
        return Err(WrongAnswer::Range);
    }
    if *s > P256_HALF_ORDER[..] {
        let mut borrow = 0;
        for (digit, order) in s.iter_mut().zip(P256_ORDER).rev() {
            let difference = i16::from(order) - i16::from(*digit) - borrow;
            borrow = i16::from(difference < 0);
            *digit = difference.rem_euclid(256) as u8;
        }
    }
    let digest = Digest::import_less_safe(digest, &SHA256).map_err(|_| WrongAnswer::Unverified)?;
    key.verify_digest_sig(&digest, &bytes).map_err(|_| WrongAnswer::Unverified)?;
    Ok(bytes)
}

fn is_zero(number: &[u8]) -> bool {
    number.iter().all(|byte| *byte == 0)
}

/// The order of P-256's group (FIPS 186-5, SP 800-186).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Half of it, rounded down.
const P256_HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

#[cfg(test)]
mod tests;
