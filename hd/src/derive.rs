//! From a seed to a key (SLIP-10; for secp256k1 that is BIP-32). Private keys live in a box that is wiped, and what
//! arithmetic leaves on the stack is overwritten by [`scrub_stack`]. Trusts libsecp256k1 and AWS-LC.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_secret::SecretBytes;
use secp256k1::{All, Keypair, Message, PublicKey, Scalar, Secp256k1, SecretKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{HARDENED, HdError, Path};

static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// What a key is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// ECDSA and Schnorr (BIP-32).
    Secp256k1,
    /// Ed25519, by hardened steps alone.
    Ed25519,
}

/// What may be known of a derived key: enough to derive the public keys below it, where the curve allows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// Compressed SEC 1, or 32 bytes after a zero for Ed25519 (as SLIP-10 writes it).
    pub public: [u8; 33],
    /// What the steps below it are hashed with.
    pub chain_code: [u8; 32],
    /// The public key one step above; zeros at the seed.
    pub parent: [u8; 33],
}

/// A private key and its chain code.
pub struct Key {
    curve: Curve,
    /// `key || chain code`, in a box so that no move copies it.
    secret: Box<Zeroizing<[u8; 64]>>,
}

impl Key {
    /// The key at `path` of a seed of 16 to 64 bytes.
    ///
    /// # Errors
    /// [`HdError::Seed`], [`HdError::NotHardened`], [`HdError::NoKey`].
    pub fn derive(curve: Curve, seed: &SecretBytes, path: &Path) -> Result<Self, HdError> {
        Self::master(curve, seed)?.below(path.steps())
    }

    /// The same, with what may be known of it.
    ///
    /// # Errors
    /// As [`Key::derive`].
    pub fn extended(curve: Curve, seed: &SecretBytes, path: &Path) -> Result<Extended, HdError> {
        let Some((last, above)) = path.steps().split_last() else {
            return Self::master(curve, seed)?.known([0; 33]);
        };
        let parent = Self::master(curve, seed)?.below(above)?;
        let above = parent.public()?;
        parent.below(&[*last])?.known(above)
    }

    fn known(&self, parent: [u8; 33]) -> Result<Extended, HdError> {
        let mut chain_code = [0; 32];
        chain_code.copy_from_slice(self.chain_code());
        Ok(Extended { public: self.public()?, chain_code, parent })
    }

    fn master(curve: Curve, seed: &SecretBytes) -> Result<Self, HdError> {
        if !(16..=64).contains(&seed.len()) {
            return Err(HdError::Seed);
        }
        let name: &[u8] = match curve {
            Curve::Secp256k1 => b"Bitcoin seed",
            Curve::Ed25519 => b"ed25519 seed",
        };
        let key = Self { curve, secret: keyed_hash(name, seed.expose()) };
        key.public().map(|_| key)
    }

    fn below(self, steps: &[u32]) -> Result<Self, HdError> {
        steps.iter().try_fold(self, |key, step| key.child(*step))
    }

    /// `CKDpriv` of BIP-32, or its counterpart of SLIP-10.
    fn child(&self, step: u32) -> Result<Self, HdError> {
        let mut data = Zeroizing::new([0_u8; 37]);
        {
            let (key, index) = data.split_at_mut(33);
            if step >= HARDENED {
                key.split_at_mut(1).1.copy_from_slice(self.private());
            } else if self.curve == Curve::Secp256k1 {
                key.copy_from_slice(&self.public()?);
            } else {
                return Err(HdError::NotHardened);
            }
            index.copy_from_slice(&step.to_be_bytes());
        }
        let mut secret = keyed_hash(self.chain_code(), &data[..]);
        if self.curve == Curve::Secp256k1 {
            let (left, _) = secret.split_at_mut(32);
            let mut tweak = Zeroizing::new([0_u8; 32]);
            tweak.copy_from_slice(left);
            let tweak = Scalar::from_be_bytes(*tweak).map_err(|_| HdError::NoKey)?;
            let mut parent = self.secp256k1()?;
            let child = parent.add_tweak(&tweak).map_err(|_| HdError::NoKey);
            parent.non_secure_erase();
            let mut child = child?;
            left.copy_from_slice(&child[..]);
            child.non_secure_erase();
        }
        Ok(Self { curve: self.curve, secret })
    }

    fn private(&self) -> &[u8] {
        self.secret.split_at(32).0
    }

    fn chain_code(&self) -> &[u8] {
        self.secret.split_at(32).1
    }

    fn secp256k1(&self) -> Result<SecretKey, HdError> {
        SecretKey::from_slice(self.private()).map_err(|_| HdError::NoKey)
    }

    fn ed25519(&self) -> Result<Ed25519KeyPair, HdError> {
        Ed25519KeyPair::from_seed_unchecked(self.private()).map_err(|_| HdError::NoKey)
    }

    /// Its public key, as [`Extended`] writes it.
    ///
    /// # Errors
    /// [`HdError::NoKey`].
    pub fn public(&self) -> Result<[u8; 33], HdError> {
        match self.curve {
            Curve::Secp256k1 => {
                let mut key = self.secp256k1()?;
                let public = PublicKey::from_secret_key(&SECP, &key).serialize();
                key.non_secure_erase();
                Ok(public)
            }
            Curve::Ed25519 => {
                let mut public = [0; 33];
                let pair = self.ed25519()?;
                public.split_at_mut(1).1.copy_from_slice(pair.public_key().as_ref());
                Ok(public)
            }
        }
    }

    /// Signs a digest of 32 bytes with ECDSA (RFC 6979, low-S; `r || s`), or any message with Ed25519 (RFC 8032).
    ///
    /// # Errors
    /// [`HdError::Message`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], HdError> {
        match self.curve {
            Curve::Secp256k1 => {
                let message = Message::from_digest(message.try_into().map_err(|_| HdError::Message)?);
                let mut key = self.secp256k1()?;
                let signature = SECP.sign_ecdsa(&message, &key).serialize_compact();
                key.non_secure_erase();
                Ok(signature)
            }
            Curve::Ed25519 => self.ed25519()?.sign(message).as_ref().try_into().map_err(|_| HdError::Message),
        }
    }
}

impl Key {
    /// Signs a digest with Schnorr (BIP-340; `R.x || s`), with `tweak` added to the key as BIP-341 does. `aux` is what the BIP
    /// calls auxiliary random data.
    ///
    /// # Errors
    /// [`HdError::Message`] for an Ed25519 key; [`HdError::NoKey`] for a tweak that leads to none.
    pub fn sign_schnorr(
        &self,
        digest: [u8; 32],
        tweak: Option<[u8; 32]>,
        aux: &[u8; 32],
    ) -> Result<[u8; 64], HdError> {
        if self.curve != Curve::Secp256k1 {
            return Err(HdError::Message);
        }
        let mut key = self.secp256k1()?;
        let mut pair = Keypair::from_secret_key(&SECP, &key);
        key.non_secure_erase();
        if let Some(tweak) = tweak {
            let tweak = Scalar::from_be_bytes(tweak).map_err(|_| HdError::NoKey)?;
            let tweaked = pair.add_xonly_tweak(&SECP, &tweak);
            pair.non_secure_erase();
            pair = tweaked.map_err(|_| HdError::NoKey)?;
        }
        let signature = SECP.sign_schnorr_with_aux_rand(&Message::from_digest(digest), &pair, aux);
        pair.non_secure_erase();
        Ok(*signature.as_ref())
    }
}

/// HMAC-SHA-512.
fn keyed_hash(key: &[u8], data: &[u8]) -> Box<Zeroizing<[u8; 64]>> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, key), data);
    let mut hash = Box::new(Zeroizing::new([0; 64]));
    hash.copy_from_slice(tag.as_ref());
    hash
}

/// Overwrites what the calls before have left on this thread's stack: libraries wipe their keys, not every copy that a
/// compiler made of them. Called by whoever opened a seed, once the last [`Key`] is gone.
#[inline(never)]
pub fn scrub_stack() {
    // More than the deepest of the calls above uses.
    let mut below = [0_u8; 64 * 1024];
    below.zeroize();
    std::hint::black_box(&below);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::key::TapTweak as _;
    use secp256k1::schnorr;

    fn key(secret: &str) -> Key {
        let mut both = Box::new(Zeroizing::new([0; 64]));
        both[..32].copy_from_slice(&hex::decode(secret).unwrap());
        Key { curve: Curve::Secp256k1, secret: both }
    }

    fn array(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// BIP-340, test-vectors.csv: those with a secret key, and a message of 32 bytes.
    #[test]
    fn schnorr_signatures_are_those_of_the_bip() {
        let (zeros, ones) = ("00".repeat(32), "ff".repeat(32));
        for (secret, aux, digest, signature) in [
            (
                "0000000000000000000000000000000000000000000000000000000000000003",
                zeros.as_str(),
                zeros.as_str(),
                "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca821525f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0",
            ),
            (
                "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef",
                "0000000000000000000000000000000000000000000000000000000000000001",
                "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
                "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de33418906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a",
            ),
            (
                "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b14e5c9",
                "c87aa53824b4d7ae2eb035a2b5bbbccc080e76cdc6d1692c4b0b62d798e6d906",
                "7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
                "5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1bab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7",
            ),
            (
                "0b432b2677937381aef05bb02a66ecd012773062cf3fa2549e44f58ed2401710",
                ones.as_str(),
                ones.as_str(),
                "7eb0509757e246f19449885651611cb965ecc1a187dd51b64fda1edc9637d5ec97582b9cb13db3933705b32ba982af5af25fd78881ebb32771fc5922efc66ea3",
            ),
        ] {
            let made = key(secret).sign_schnorr(array(digest), None, &array(aux)).unwrap();
            assert_eq!(hex::encode(made), signature);
        }
    }

    /// Would catch a tweak of the key that is not negated to its even point first.
    #[test]
    fn a_tweaked_key_signs_for_the_output_that_bitcoin_derives() {
        for byte in 1..=16_u8 {
            let key = key(&hex::encode([byte; 32]));
            let point = PublicKey::from_slice(&key.public().unwrap()).unwrap();
            let (internal, _) = point.x_only_public_key();
            let (output, _) = internal.tap_tweak(&SECP, None);
            let tweak = bitcoin::TapTweakHash::from_key_and_tweak(internal, None).to_scalar().to_be_bytes();
            let made = key.sign_schnorr([7; 32], Some(tweak), &[0; 32]).unwrap();
            let made = schnorr::Signature::from_slice(&made).unwrap();
            let digest = Message::from_digest([7; 32]);
            SECP.verify_schnorr(&made, &digest, &output.to_x_only_public_key()).unwrap();
        }
        let ed25519 = Key { curve: Curve::Ed25519, ..key(&"01".repeat(32)) };
        assert!(ed25519.sign_schnorr([0; 32], None, &[0; 32]).is_err());
    }
}
