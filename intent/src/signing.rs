//! What is to be signed. One payload may need several signatures; they are permitted together, under one digest that
//! commits to all of them in their order. If that digest missed one, it would be signed without a decision.

use bitcoin::TapNodeHash;
use bitcoin::hashes::{Hash as _, sha256 as sha};
use bitcoin::key::TapTweak as _;
use bitcoin::secp256k1::PublicKey;
use chancery_core::Taproot;

use crate::bitcoin::SECP;

/// Starts what [`commitment`] hashes, so that it is no other 32 bytes that anybody signs.
const DOMAIN: &[u8] = b"chancery signing digests v1\n";

/// How a digest is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ECDSA, low-S.
    Ecdsa,
    /// BIP-340, with the key as taproot uses it.
    Schnorr(Taproot),
    /// RFC 8032: signs the intent's preimage itself, of which the digest is SHA-256.
    Ed25519,
}

/// One signature that a payload needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signing {
    /// How.
    pub scheme: Scheme,
    /// Over what.
    pub digest: [u8; 32],
    /// With which key, of a wallet whose keys are derived; else with the one that it has.
    pub key: Option<Derived>,
}

impl Signing {
    /// The key that the signature verifies under, where it is another than `own`, the wallet's: of a derived key its compressed SEC 1;
    /// of Schnorr 32 bytes, x-only (BIP-340), tweaked where it spends by the key. Nothing too where `own` is no key.
    #[must_use]
    pub fn signer(&self, own: &[u8]) -> Option<Vec<u8>> {
        let derived = self.key.as_ref().map(|key| key.public.as_slice());
        let Scheme::Schnorr(taproot) = self.scheme else { return derived.map(<[u8]>::to_vec) };
        let (key, _) = PublicKey::from_slice(derived.unwrap_or(own)).ok()?.x_only_public_key();
        let signer = match taproot {
            Taproot::Leaf(_) => key,
            Taproot::Key(root) => {
                key.tap_tweak(&*SECP, root.map(TapNodeHash::assume_hidden)).0.to_x_only_public_key()
            }
        };
        Some(signer.serialize().to_vec())
    }
}

/// A key that is derived from a wallet's account (BIP-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Derived {
    /// The steps from the account: branch and index.
    pub steps: [u32; 2],
    /// The public key: compressed SEC 1.
    pub public: [u8; 33],
}

/// A signature in its two halves: ECDSA's low-S numbers, or the nonce point and number of the others, as their standards
/// write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The first half.
    pub r: [u8; 32],
    /// The second.
    pub s: [u8; 32],
    /// Of ECDSA alone: whether the nonce point's y is odd.
    pub y_parity: Option<bool>,
}

impl Signature {
    /// Both halves.
    #[must_use]
    pub fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (r, s) = bytes.split_at_mut(32);
        r.copy_from_slice(&self.r);
        s.copy_from_slice(&self.s);
        bytes
    }
}

/// What commits to several digests: a domain, then each digest. SHA-256 of it is the intent's signing digest.
///
/// Every digest is of one length, so two lists never give the same bytes. The scheme follows from the wallet and the
/// payload, which the decision names.
pub(crate) fn commitment(signings: &[Signing]) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    for signing in signings {
        bytes.extend(signing.digest);
    }
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha::Hash::hash(bytes).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commitment_is_to_each_digest_in_its_place() {
        let signing = |byte| Signing { scheme: Scheme::Ecdsa, digest: [byte; 32], key: None };
        let digest =
            |bytes: &[u8]| sha256(&commitment(&bytes.iter().copied().map(signing).collect::<Vec<_>>()));
        // Computed apart: sha256("chancery signing digests v1\n" || 01 * 32 || 02 * 32). `audit` has the same vector.
        assert_eq!(
            hex::encode(digest(&[1, 2])),
            "a818e8dbaa3a3158c55d3f6ae60502e5aeb68cd88d5153899892b93fa05a794d"
        );
        for other in [&[1][..], &[2, 1], &[1, 2, 2], &[]] {
            assert_ne!(digest(other), digest(&[1, 2]), "{other:?}");
        }
    }
}
