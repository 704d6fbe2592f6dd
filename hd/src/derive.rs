//! From a seed to a key (SLIP-10; for secp256k1 that is BIP-32). Private keys live in a box that is wiped, and what
//! arithmetic leaves on the stack is overwritten by [`scrub_stack`]. Trusts libsecp256k1 and AWS-LC.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_secret::SecretBytes;
use secp256k1::{All, Message, PublicKey, Scalar, Secp256k1, SecretKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{HARDENED, HdError, Path};

static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// What a key is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// ECDSA (BIP-32).
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
