//! The seed of the log's ML-DSA-44 key: made once in secret memory, kept in the store encrypted under an AES key of the HSM,
//! and opened at every start. A token signs no ML-DSA yet, so this key is the one that leaves it, wrapped.
//! If this is wrong, the log's second signature can be forged, or is lost and with it every receipt's.

use std::sync::Arc;

use chancery_audit::{ML_DSA_SEED_BYTES, MlDsaError, MlDsaSigner, V1, kek_id};
use chancery_core::Clock;
use chancery_hsm::{Hsm, HsmError, Wrapped};
use chancery_secret::{SecretBytes, SecretError};
use chancery_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

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
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    v: V1,
    /// The verifier key; also what the ciphertext is bound to.
    key: String,
    wrapped: Wrapped,
}

/// Opens the seed of the log `origin`, or makes it where the store has none: a new log, or one that an older release
/// began.
pub(crate) async fn find_or_make(
    hsm: &Hsm,
    store: &Store,
    origin: &str,
    clock: &Arc<dyn Clock>,
) -> Result<MlDsaSigner, SeedError> {
    let name = format!("log/ml-dsa-44/{origin}");
    if let Some(bytes) = store.read(|rows| rows.wrapped(&name))? {
        return open(hsm, origin, clock, &serde_json::from_slice(&bytes)?).await;
    }
    let found = match hsm.generate_kek(kek_id(origin), &format!("chancery/log/kek/{origin}")).await {
        Ok(()) => false,
        // Made before a crash that left no record, or restored.
        Err(HsmError::KeyExists { .. }) => true,
        Err(error) => return Err(error.into()),
    };
    let seed = SecretBytes::random(ML_DSA_SEED_BYTES)?;
    let copy = SecretBytes::read_exact(seed.expose(), seed.len())?;
    let key = MlDsaSigner::new(origin, copy, Arc::clone(clock))?.key().to_string();
    let wrapped = hsm.wrap(kek_id(origin), context(&key).as_bytes(), &seed).await;
    let wrapped = wrapped.map_err(|source| match found {
        true => SeedError::Restored { origin: origin.to_owned(), source },
        false => source.into(),
    })?;
    let record = Record { v: V1, wrapped, key };
    drop(seed);
    // ORDER: it is kept only once the token was seen to open it. A crash before this leaves a key that signed nothing.
    let signer = open(hsm, origin, clock, &record).await?;
    let bytes = serde_json::to_vec(&record)?;
    store.write(move |tx| tx.keep_wrapped(&name, &bytes)).await?;
    tracing::info!(key = ?signer.key(), "the log has an ML-DSA-44 key from now on: hand out its trust file again");
    Ok(signer)
}

async fn open(
    hsm: &Hsm,
    origin: &str,
    clock: &Arc<dyn Clock>,
    record: &Record,
) -> Result<MlDsaSigner, SeedError> {
    let seed = hsm.unwrap(kek_id(origin), context(&record.key).as_bytes(), &record.wrapped).await?;
    let signer = MlDsaSigner::new(origin, seed, Arc::clone(clock))?;
    if signer.key().to_string() == record.key {
        return Ok(signer);
    }
    Err(SeedError::Other { expected: record.key.clone() })
}

fn context(key: &str) -> String {
    format!("chancery log ml-dsa-44 seed v1\n{key}")
}
