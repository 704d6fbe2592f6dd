//! Secrets that must live outside the token, kept encrypted under a key that never leaves it (AES-256-GCM). Each is
//! wrapped or unwrapped by a worker of its own, which ends with it: the long-lived processes never have it in a buffer.
//! If this is wrong, such a secret can be read from the disk or from a worker's memory.

use std::fmt;

use chancery_core::KeyId;
use chancery_secret::SecretBytes;
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::handle::{Hsm, UNEXPECTED};
use crate::supervisor::Worker;
use crate::wire::{Reply, Request, Sealing};

/// LIMIT: a secret to be wrapped, in bytes.
pub(crate) const SECRET_BYTES: usize = 256;

/// An encrypted secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    nonce: [u8; 12],
    /// Ciphertext and tag.
    bytes: Vec<u8>,
}

impl Wrapped {
    pub(crate) fn of(nonce: [u8; 12], bytes: Vec<u8>) -> Self {
        Self { nonce, bytes }
    }

    pub(crate) fn parts(&self) -> ([u8; 12], &[u8]) {
        (self.nonce, &self.bytes)
    }
}

/// Never used twice under one key.
pub(crate) fn fresh_nonce() -> Result<[u8; 12], HsmError> {
    let mut nonce = [0; 12];
    aws_lc_rs::rand::fill(&mut nonce)
        .map_err(|_| HsmError::Interrupted { reason: "no random bytes".to_owned() })?;
    Ok(nonce)
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes)", self.bytes.len())
    }
}

impl Hsm {
    /// Encrypts a secret of at most 256 bytes on the token under a KEK that was made there. `context` is authenticated
    /// with it and must be given again.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where the token has no such KEK, does not guard it, or does no AES-GCM; else what kept a
    /// worker from starting.
    pub async fn wrap(&self, kek: KeyId, context: &[u8], secret: &SecretBytes) -> Result<Wrapped, HsmError> {
        if secret.is_empty() || secret.len() > SECRET_BYTES {
            return Err(HsmError::MessageForm);
        }
        let nonce = fresh_nonce()?;
        let sealing = Sealing { kek: *kek.as_bytes(), nonce, context: context.to_vec() };
        let (settings, pin) = self.access();
        let bytes = Worker::wrap(settings, pin, &self.token().serial, sealing, secret).await?;
        Ok(Wrapped { nonce, bytes })
    }

    /// Encrypts anew under `to` what is encrypted under `from`, and answers it once it was seen to open. The secret is in the
    /// worker's memory alone, and not for long.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where it does not open, or `to` was not made on this token or is not guarded.
    pub async fn rewrap(
        &self,
        context: &[u8],
        (from, wrapped): (KeyId, &Wrapped),
        to: KeyId,
    ) -> Result<Wrapped, HsmError> {
        let sealing = |kek: KeyId, nonce| Sealing { kek: *kek.as_bytes(), nonce, context: context.to_vec() };
        let nonce = fresh_nonce()?;
        let request = Request::Rewrap {
            from: sealing(from, wrapped.nonce),
            wrapped: wrapped.bytes.clone(),
            to: sealing(to, nonce),
        };
        match self.call(to, request).await? {
            Reply::Wrapped(bytes) => Ok(Wrapped { nonce, bytes }),
            _ => Err(UNEXPECTED),
        }
    }

    /// Decrypts on the token what [`Hsm::wrap`] encrypted under the same KEK and context.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where it was changed, or KEK or context are others; else as [`Hsm::wrap`].
    pub async fn unwrap(
        &self,
        kek: KeyId,
        context: &[u8],
        wrapped: &Wrapped,
    ) -> Result<SecretBytes, HsmError> {
        let sealing = Sealing { kek: *kek.as_bytes(), nonce: wrapped.nonce, context: context.to_vec() };
        let (settings, pin) = self.access();
        Worker::unwrap(settings, pin, &self.token().serial, sealing, wrapped.bytes.clone()).await
    }
}
