//! The log's ML-DSA-44 signature of a checkpoint (c2sp.org/tlog-cosignature, `subtree/v1`), for the day on which Ed25519
//! falls. It says no more than the Ed25519 one beside it: both are the log's. Trusts the seed to be secret, and the kernel
//! to keep it so. If this is wrong, a receipt of today can be forged later.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{KeyPair, ML_DSA_44_SIGNING, PqdsaKeyPair};
use chancery_core::Clock;
use chancery_secret::SecretBytes;

use crate::AuditError;
use crate::checkpoint::Checkpoint;
use crate::note::{MlDsaKey, Note, NoteError};

/// The length of a seed, in bytes (FIPS 204, algorithm 1).
pub const ML_DSA_SEED_BYTES: usize = 32;

/// Why a seed gives no key.
#[derive(Debug, thiserror::Error)]
pub enum MlDsaError {
    /// The seed, or the key that is made of it for one signature, is refused.
    #[error("the seed makes no ML-DSA-44 key")]
    Seed,
    /// The key's name.
    #[error("the log's name cannot name its ML-DSA key: {0}")]
    Name(#[from] NoteError),
    /// Nothing was signed.
    #[error("no ML-DSA-44 signature was made")]
    Unsigned,
}

/// Signs checkpoints with the log's ML-DSA-44 key. It keeps the seed alone, in secret memory; the key is made of it for
/// each signature, because AWS-LC keeps keys in ordinary memory, which it wipes when it lets them go.
pub struct MlDsaSigner {
    key: MlDsaKey,
    seed: SecretBytes,
    clock: Arc<dyn Clock>,
}

impl MlDsaSigner {
    /// The signer of the log `origin` with this seed of [`ML_DSA_SEED_BYTES`].
    ///
    /// # Errors
    /// [`MlDsaError`].
    pub fn new(origin: &str, seed: SecretBytes, clock: Arc<dyn Clock>) -> Result<Self, MlDsaError> {
        let public = pair(&seed)?.public_key().as_ref().try_into().map_err(|_| MlDsaError::Seed)?;
        Ok(Self { key: MlDsaKey::new(origin, public)?, seed, clock })
    }

    /// Its public half.
    #[must_use]
    pub fn key(&self) -> &MlDsaKey {
        &self.key
    }

    /// The signature line of a checkpoint, verified, and the time it names in seconds since 1970: 0, which says nothing of
    /// the time, while the clock cannot be trusted.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> Result<(String, u64), AuditError> {
        let time_s = self.clock.now().ok().and_then(|now| u64::try_from(now.0 / 1_000).ok()).unwrap_or(0);
        let message = message(&self.key, checkpoint, time_s).ok_or(MlDsaError::Unsigned)?;
        let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
        pair(&self.seed)?.sign(&message, &mut signature).map_err(|_| MlDsaError::Unsigned)?;
        // What a fault in memory or processor made must not leave.
        if !self.key.verifies(&message, &signature) {
            return Err(AuditError::SignatureWrong);
        }
        let signature = [time_s.to_be_bytes().as_slice(), &signature].concat();
        Ok((self.key.line(&signature), time_s))
    }
}

impl fmt::Debug for MlDsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MlDsaSigner").field(&self.key).finish()
    }
}

fn pair(seed: &SecretBytes) -> Result<PqdsaKeyPair, MlDsaError> {
    PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed.expose()).map_err(|_| MlDsaError::Seed)
}

/// The time that the signature of one of `keys` over this checkpoint names, in seconds since 1970; `None` where none of
/// them signed.
///
/// # Errors
/// [`NoteError::WrongSignature`] where one does not verify, [`NoteError::Malformed`] where there are two of one key.
pub(crate) fn signed<'k>(
    note: &Note<'_>,
    checkpoint: &Checkpoint,
    keys: impl Iterator<Item = &'k MlDsaKey>,
) -> Result<Option<u64>, NoteError> {
    let mut newest = None;
    for key in keys {
        let Some(signature) = note.signature(key)? else { continue };
        let (time, ml_dsa) = signature.split_first_chunk::<8>().ok_or_else(|| key.wrong())?;
        let time_s = u64::from_be_bytes(*time);
        let message = message(key, checkpoint, time_s).filter(|_| time_s < 1 << 63);
        if !message.is_some_and(|message| key.verifies(&message, ml_dsa)) {
            return Err(key.wrong());
        }
        newest = newest.max(Some(time_s));
    }
    Ok(newest)
}

/// `cosigned_message` of the specification, in the presentation language of RFC 8446; `None` where a name is too long
/// for it.
fn message(key: &MlDsaKey, checkpoint: &Checkpoint, time_s: u64) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    let name = |text: &str, message: &mut Vec<u8>| {
        message.push(u8::try_from(text.len()).ok().filter(|len| *len > 0)?);
        message.extend_from_slice(text.as_bytes());
        Some(())
    };
    name(key.name(), &mut message)?;
    message.extend_from_slice(&time_s.to_be_bytes());
    name(&checkpoint.origin, &mut message)?;
    message.extend_from_slice(&0_u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(&checkpoint.root);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of the specification, written out by hand: would catch a field that is left out, moved or resized.
    #[test]
    fn the_message_is_that_of_the_specification() {
        let key = MlDsaKey::new("a.example/log", [7; 1312]).unwrap();
        let checkpoint = Checkpoint { origin: "b.example".to_owned(), size: 20_852_163, root: [9; 32] };
        let expected = concat!(
            "737562747265652f76310a00",     // "subtree/v1\n\0"
            "0d612e6578616d706c652f6c6f67", // 13, cosigner_name
            "00000000641850cb",             // timestamp
            "09622e6578616d706c65",         // 9, log_origin
            "0000000000000000",             // start
            "00000000013e2dc3",             // end
            "0909090909090909090909090909090909090909090909090909090909090909", // hash
        );
        let message = message(&key, &checkpoint, 0x6418_50cb).unwrap();
        assert_eq!(hex::encode(message), expected);
        assert!(MlDsaKey::new(&"n".repeat(256), [7; 1312]).is_err(), "its length must fit one byte");
    }
}
