//! The log's keys: an Ed25519 key in the HSM and a wrapped ML-DSA seed in the store. The first ones' names follow from the log's
//! name, and they are made once, while the log is empty; those that a ceremony put in their place stand in the store. A log with
//! entries whose key is gone does not start, because nobody could tell its head from a forged one.

use std::sync::Arc;

use chancery_audit::{CheckpointSigner, LogKeys, MlDsaSigner, Retired, SignerError, Signing, V1, log_key_id};
use chancery_core::{Clock, KeyId};
use chancery_hsm::{Algorithm, Hsm, HsmError, KeyRef, Message};
use chancery_store::{Reader, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::seed;
use crate::start::StartError;

/// Signs checkpoints in the HSM.
pub(crate) struct LogSigner {
    hsm: Hsm,
    key: KeyRef,
    public: [u8; 32],
}

impl LogSigner {
    /// Finds the first key of the log `origin`, or makes it where `empty` says that the log has no entries yet.
    async fn find_or_make(hsm: &Hsm, origin: &str, empty: bool) -> Result<Arc<Self>, HsmError> {
        let id = log_key_id(origin);
        match Self::find(hsm, id).await {
            Err(HsmError::KeyNotFound { .. }) if empty => {}
            found => return found,
        }
        hsm.generate(id, &format!("chancery/log/{origin}"), Algorithm::Ed25519).await?;
        Self::find(hsm, id).await
    }

    /// The key of this id.
    pub async fn find(hsm: &Hsm, id: KeyId) -> Result<Arc<Self>, HsmError> {
        let public = hsm.find(id).await?.ok_or(HsmError::KeyNotFound { key: id })?;
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

/// Keys that were named in the log to follow those in force; with `leaf`, keys that do.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Next {
    pub v: V1,
    /// `CKA_ID` of the Ed25519 key.
    pub key: KeyId,
    /// The one before.
    pub key_before: KeyId,
    pub keys: LogKeys,
    pub before: LogKeys,
    /// The seed of the ML-DSA key, as it was made.
    pub seed: seed::Record,
    /// The entry that names them.
    pub named: u64,
    /// The entry that put them in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leaf: Option<u64>,
}

impl Next {
    /// How the store names keys that are named.
    pub fn named(origin: &str) -> String {
        format!("log/key/named/{origin}")
    }

    /// How it names keys in force.
    pub fn in_force(origin: &str) -> String {
        format!("log/key/{origin}")
    }

    /// How it names the seed of theirs that was encrypted anew.
    pub fn seed_name(origin: &str, key: KeyId) -> String {
        format!("{}/{key}", seed::name(origin))
    }

    /// Every record of a name, the first first.
    pub fn all(rows: &Reader<'_>, name: &str) -> Result<Vec<Self>, StoreError> {
        let parse = |record: Vec<u8>| {
            serde_json::from_slice(&record).map_err(|_| StoreError::Corrupt { what: "the log's keys" })
        };
        rows.renewals(name)?.into_iter().map(parse).collect()
    }
}

/// The keys in force, and those before.
pub(crate) struct Signers {
    pub id: KeyId,
    pub signer: Arc<LogSigner>,
    /// None in a simulation alone.
    pub ml_dsa: Option<MlDsaSigner>,
    pub retired: Vec<Retired>,
}

impl Signers {
    /// Opens the keys in force of the log `origin`. `doubly` says whether it has an ML-DSA key.
    pub async fn open(
        hsm: &Hsm,
        store: &Store,
        origin: &str,
        clock: &Arc<dyn Clock>,
        doubly: bool,
    ) -> Result<Self, StartError> {
        let (empty, turns) =
            store.read(|rows| Ok((rows.tree_size()? == 0, Next::all(rows, &Next::in_force(origin))?)))?;
        let retired =
            turns.iter().map(|turn| Retired { keys: turn.before.clone(), size: turn.leaf.unwrap_or(0) });
        let retired = retired.collect();
        let Some(last) = turns.last() else {
            let signer = LogSigner::find_or_make(hsm, origin, empty).await?;
            let ml_dsa = match doubly {
                true => Some(seed::find_or_make(hsm, store, origin, clock).await?),
                false => None,
            };
            return Ok(Self { id: log_key_id(origin), signer, ml_dsa, retired });
        };
        let signer = LogSigner::find(hsm, last.key).await?;
        let ml_dsa = last.open_seed(hsm, store, origin, clock).await?;
        Ok(Self { id: last.key, signer, ml_dsa: Some(ml_dsa), retired })
    }
}

impl Next {
    /// The signer that its seed makes.
    pub async fn open_seed(
        &self,
        hsm: &Hsm,
        store: &Store,
        origin: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<MlDsaSigner, StartError> {
        let name = Self::seed_name(origin, self.key);
        Ok(seed::open(hsm, store, &name, origin, clock, self.seed.clone()).await?)
    }
}
