//! Seeds of HD wallets from the parent's side: made, kept and opened by the worker and the token alone. This process has
//! the ciphertext, and public keys that every signature must verify under. If this is wrong, a signature is checked
//! against the wrong key.

use chancery_core::KeyId;
use chancery_hd::Path;

use crate::error::HsmError;
use crate::handle::{Hsm, UNEXPECTED};
use crate::key::{Algorithm, PublicKey};
use crate::signature::{Message, Sealed, fits_derived, seal};
use crate::wire::{Derived, Reply, Request, Sealing};
use crate::wrap::{Wrapped, fresh_nonce};

/// An encrypted seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The key that it is encrypted under.
    pub kek: KeyId,
    /// What it is bound to.
    pub context: Vec<u8>,
    /// The ciphertext.
    pub wrapped: Wrapped,
}

/// What may be known of a derived key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The key.
    pub public: PublicKey,
    /// What the steps below it are hashed with (BIP-32).
    pub chain_code: [u8; 32],
    /// The key one step above; zeros at the seed.
    pub parent: Vec<u8>,
}

impl Seed {
    fn derived(&self, algorithm: Algorithm, path: &Path) -> Derived {
        let (nonce, wrapped) = self.wrapped.parts();
        Derived {
            sealing: Sealing { kek: *self.kek.as_bytes(), nonce, context: self.context.clone() },
            wrapped: wrapped.to_vec(),
            algorithm,
            path: path.steps().to_vec(),
        }
    }
}

impl Hsm {
    /// Makes a seed in the worker, encrypted under a KEK that was made on the token. `context` is authenticated with it.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where the token has no such KEK, does not guard it, or does no AES-GCM.
    pub async fn new_seed(&self, kek: KeyId, context: &[u8]) -> Result<Seed, HsmError> {
        let nonce = fresh_nonce()?;
        let sealing = Sealing { kek: *kek.as_bytes(), nonce, context: context.to_vec() };
        match self.call(kek, Request::NewSeed(sealing)).await? {
            Reply::Wrapped(bytes) => {
                Ok(Seed { kek, context: context.to_vec(), wrapped: Wrapped::of(nonce, bytes) })
            }
            _ => Err(UNEXPECTED),
        }
    }

    /// What may be known of a key that is derived from a seed.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where the seed does not open, or the path leads nowhere.
    pub async fn derive(&self, seed: &Seed, algorithm: Algorithm, path: &Path) -> Result<Extended, HsmError> {
        match self.call(seed.kek, Request::Derive(seed.derived(algorithm, path))).await? {
            Reply::Extended { public, chain_code, parent } => {
                let public = PublicKey::parse(algorithm, &public)
                    .map_err(|_| HsmError::Protocol { what: "not a public key" })?;
                Ok(Extended { public, chain_code, parent })
            }
            _ => Err(UNEXPECTED),
        }
    }

    /// Signs with the key at `path` of a seed, and verifies the answer under the pinned public key; ECDSA comes out low-S.
    ///
    /// # Errors
    /// [`HsmError::Wrong`] when it does not verify; else as [`Hsm::derive`].
    pub async fn sign_derived(
        &self,
        seed: &Seed,
        path: &Path,
        public: &PublicKey,
        message: Message,
    ) -> Result<Sealed, HsmError> {
        let algorithm = public.algorithm();
        if !fits_derived(algorithm, &message) {
            return Err(HsmError::MessageForm);
        }
        let request = Request::SignDerived(seed.derived(algorithm, path), message.clone());
        match self.call(seed.kek, request).await? {
            // The seed was the right one, or its tag would not have fitted: there is no key of the token to set apart.
            Reply::Signature(raw) => {
                seal(public, &message, &raw).map_err(|source| HsmError::Wrong { key: seed.kek, source })
            }
            _ => Err(UNEXPECTED),
        }
    }
}
