//! This party's node: an Ed25519 key of the HSM, made once, that signs every message of a session and the certificate of the link.
//! The others pin it. If this is wrong, somebody else speaks as this party.

use std::sync::Arc;

use chancery_audit::key_id;
use chancery_core::UnixMillis;
use chancery_hsm::{Algorithm, Hsm, HsmError, KeyRef, Message};
use chancery_identity::node::{LinkDraft, LinkKey};
use chancery_mpc::Identity;
use tokio::runtime::Handle;

use crate::refusal::Refusal;

/// The node's key.
pub(crate) struct Node {
    hsm: Hsm,
    key: KeyRef,
    public: [u8; 32],
}

impl Node {
    /// Finds the key of the appliance whose log has this name, or makes it.
    pub async fn find_or_make(hsm: &Hsm, origin: &str) -> Result<Arc<Self>, HsmError> {
        let id = key_id("chancery party node key v1", origin);
        let public = match hsm.find(id).await? {
            Some(public) => public,
            None => hsm.generate(id, &format!("chancery/party/{origin}"), Algorithm::Ed25519).await?,
        };
        let bytes = public.bytes().try_into().map_err(|_| HsmError::KeyNotFound { key: id })?;
        Ok(Arc::new(Self { hsm: hsm.clone(), key: KeyRef { id, public }, public: bytes }))
    }

    /// A fresh key for TLS, certified by the node.
    pub async fn link(&self, now: UnixMillis) -> Result<LinkKey, Refusal> {
        let draft = LinkDraft::new(&self.public, now)?;
        let signature = self.signature(draft.text.clone()).await?;
        Ok(draft.signed(&signature))
    }

    async fn signature(&self, text: Vec<u8>) -> Result<[u8; 64], HsmError> {
        Ok(self.hsm.sign(&self.key, Message::Bytes(text)).await?.open().bytes)
    }
}

/// Sessions run where a thread may block.
impl Identity for Node {
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        let signed = Handle::current().block_on(self.signature(text.to_vec()));
        // A message without a signature is none to anybody: the session ends by silence.
        signed.unwrap_or_else(|error| {
            tracing::error!(%error, "the node's key does not sign: a session ends");
            [0; 64]
        })
    }

    fn public_key(&self) -> [u8; 32] {
        self.public
    }
}
