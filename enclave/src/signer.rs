//! The log's key: an Ed25519 key in the HSM under an id that follows from the log's name. It is made once, while the log
//! is empty; a log with entries whose key is gone does not start, because nobody could tell its head from a forged one.

use std::sync::Arc;

use chancery_audit::{CheckpointSigner, SignerError, Signing, log_key_id};
use chancery_hsm::{Algorithm, Hsm, HsmError, KeyRef, Message};

/// Signs checkpoints in the HSM.
pub(crate) struct LogSigner {
    hsm: Hsm,
    key: KeyRef,
    public: [u8; 32],
}

impl LogSigner {
    /// Finds the key of the log `origin`, or makes it where `empty` says that the log has no entries yet.
    pub async fn find_or_make(hsm: &Hsm, origin: &str, empty: bool) -> Result<Arc<Self>, HsmError> {
        let id = log_key_id(origin);
        let public = match hsm.find(id).await? {
            Some(public) => public,
            None if empty => hsm.generate(id, &format!("chancery/log/{origin}"), Algorithm::Ed25519).await?,
            None => return Err(HsmError::KeyNotFound { key: id }),
        };
        let bytes = public.bytes().try_into().map_err(|_| HsmError::KeyNotFound { key: id })?;
        Ok(Arc::new(Self { hsm: hsm.clone(), key: KeyRef { id, public }, public: bytes }))
    }
}

impl CheckpointSigner for LogSigner {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(async move {
            match self.hsm.sign(&self.key, Message::Bytes(message.to_vec())).await {
                Ok(sealed) => Ok(sealed.open().bytes),
                Err(error) => Err(SignerError { code: error.code(), source: Box::new(error) }),
            }
        })
    }

    fn public_key(&self) -> [u8; 32] {
        self.public
    }
}
