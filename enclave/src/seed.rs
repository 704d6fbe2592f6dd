//! The seed of the log's ML-DSA-44 key: made once in secret memory, kept in the store encrypted under an AES key of the HSM,
//! and opened at every start. A token signs no ML-DSA yet, so this key is the one that leaves it, wrapped.
//! If this is wrong, the log's second signature can be forged, or is lost and with it every receipt's.

use std::sync::Arc;

use chancery_audit::{ML_DSA_SEED_BYTES, MlDsaError, MlDsaSigner, V1};
use chancery_core::{Clock, KeyId};
use chancery_hsm::{Hsm, HsmError, Wrapped};
use chancery_secret::{SecretBytes, SecretError};
use chancery_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::kek::{self, Purpose};

/// Why the log has no ML-DSA key.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The token does not open it, or cannot keep it.
    #[error("the HSM does not keep it: {0}")]
    Hsm(#[from] HsmError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No secret memory, or no randomness.
    #[error(transparent)]
    Memory(#[from] SecretError),
    /// The seed makes no key.
    #[error(transparent)]
    MlDsa(#[from] MlDsaError),
    /// What the store holds is no such record.
    #[error("its record does not parse: {0}")]
    Record(#[from] serde_json::Error),
    /// Its encrypting key is there and encrypts nothing more, because it was not made on this token.
    #[error(
        "the token has the encrypting key of `{origin}` from a backup, and this store no seed under it: the log of that name is elsewhere, or over; \
         begin another by another `log.origin`"
    )]
    Restored {
        /// The log.
        origin: String,
        /// What the token said.
        #[source]
        source: HsmError,
    },
    /// The opened seed makes another key than the one recorded with it.
    #[error("it is of another key than `{expected}`")]
    Other {
        /// The recorded verifier key.
        expected: String,
    },
}

/// The record in the store.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    v: V1,
    /// The verifier key; also what the ciphertext is bound to.
    pub key: String,
    pub wrapped: Wrapped,
}

/// How the store names the seed of the log's first key.
pub(crate) fn name(origin: &str) -> String {
    format!("log/ml-dsa-44/{origin}")
}

/// Opens the seed of the log `origin`, or makes it where the store has none: a new log, or one that an older release
/// began.
pub(crate) async fn find_or_make(
    hsm: &Hsm,
    store: &Store,
    origin: &str,
    clock: &Arc<dyn Clock>,
) -> Result<MlDsaSigner, SeedError> {
    let name = name(origin);
    if let Some(bytes) = store.read(|rows| rows.wrapped(&name))? {
        return open(hsm, store, &name, origin, clock, serde_json::from_slice(&bytes)?).await;
    }
    let (signer, record) = make(hsm, store, origin, clock).await?;
    let bytes = serde_json::to_vec(&record)?;
    store.write(move |tx| tx.keep_wrapped(&name, &bytes)).await?;
    tracing::info!(key = ?signer.key(), "the log has an ML-DSA-44 key from now on: hand out its trust file again");
    Ok(signer)
}

/// Makes a seed, and a record of it that the store has yet to keep.
pub(crate) async fn make(
    hsm: &Hsm,
    store: &Store,
    origin: &str,
    clock: &Arc<dyn Clock>,
) -> Result<(MlDsaSigner, Record), SeedError> {
    let purpose = Purpose::log(origin);
    let kek = store.read(|rows| purpose.in_force(rows))?;
    // Made before a crash that left no record, or restored.
    let found = purpose.have(hsm, kek).await?;
    let seed = SecretBytes::random(ML_DSA_SEED_BYTES)?;
    let copy = SecretBytes::read_exact(seed.expose(), seed.len())?;
    let key = MlDsaSigner::new(origin, copy, Arc::clone(clock))?.key().to_string();
    let wrapped = hsm.wrap(kek, &context(&key), &seed).await;
    let wrapped = wrapped.map_err(|source| match found {
        true => SeedError::Restored { origin: origin.to_owned(), source },
        false => source.into(),
    })?;
    let record = Record { v: V1, wrapped, key };
    drop(seed);
    // ORDER: it is kept only once the token was seen to open it. A crash before this leaves a key that signed nothing.
    let signer = opened(hsm, kek, origin, clock, &record).await?;
    Ok((signer, record))
}

/// Opens the seed that the store keeps under `name`, or has encrypted anew since.
pub(crate) async fn open(
    hsm: &Hsm,
    store: &Store,
    name: &str,
    origin: &str,
    clock: &Arc<dyn Clock>,
    record: Record,
) -> Result<MlDsaSigner, SeedError> {
    let (kek, record) = at(store, name, origin, record)?;
    opened(hsm, kek, origin, clock, &record).await
}

/// The record as it stands, and the key that encrypts it.
pub(crate) fn at(
    store: &Store,
    name: &str,
    origin: &str,
    record: Record,
) -> Result<(KeyId, Record), StoreError> {
    store.read(|rows| {
        Ok(match kek::renewed(rows, name)? {
            Some((kek, wrapped)) => (kek, Record { wrapped, ..record }),
            None => (Purpose::log(origin).in_force(rows)?, record),
        })
    })
}

async fn opened(
    hsm: &Hsm,
    kek: KeyId,
    origin: &str,
    clock: &Arc<dyn Clock>,
    record: &Record,
) -> Result<MlDsaSigner, SeedError> {
    let seed = hsm.unwrap(kek, &context(&record.key), &record.wrapped).await?;
    let signer = MlDsaSigner::new(origin, seed, Arc::clone(clock))?;
    if signer.key().to_string() == record.key {
        return Ok(signer);
    }
    Err(SeedError::Other { expected: record.key.clone() })
}

pub(crate) fn context(key: &str) -> Vec<u8> {
    format!("chancery log ml-dsa-44 seed v1\n{key}").into_bytes()
}
