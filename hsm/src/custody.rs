//! Keys that outlive their token: wrapped under a backup key that the token trusts, and unwrapped in another token by whoever
//! brings that backup key. Each act is a worker of its own, which ends with it. For ceremonies; a node that serves asks
//! for none of it. If this is wrong, a key leaves the token readable, or is lost with it.

use std::fmt;

use chancery_core::KeyId;
use chancery_secret::{Pin, SecretBytes};
use serde::{Deserialize, Serialize};

use crate::error::HsmError;
use crate::finding::{Finding, Probe, Verdict};
use crate::handle::Settings;
use crate::key::Algorithm;
use crate::supervisor::Worker;
use crate::wire::{Started, Task, Token};

/// A backup key, in bytes: AES-256.
pub const BACKUP_KEY_BYTES: usize = 32;
/// LIMIT: keys of one token that a ceremony looks at.
pub const KEYS: usize = 1_000;
/// LIMIT: keys of one message between parent and worker.
const BATCH: usize = 100;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// It signs.
    Sign(Algorithm),
    /// It encrypts other keys.
    Encrypt,
    /// It wraps keys for backups.
    BackUp,
}

/// A key that a token has, as the token describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// `CKA_ID`.
    pub id: [u8; 16],
    /// `CKA_LABEL`.
    pub label: String,
    /// What it does.
    pub uses: Use,
    /// Whether it may leave the token under a trusted key.
    pub recoverable: bool,
    /// The public key's encoding, empty for a secret key.
    pub public: Vec<u8>,
    /// `CKA_CHECK_VALUE` of a secret key, where the token gives one.
    pub check_value: Vec<u8>,
}

/// A key that left its token under a backup key (`CKM_AES_KEY_WRAP_PAD`, RFC 5649): PKCS#8 of a private key, the bytes of a
/// secret one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// `CKA_ID`.
    pub id: [u8; 16],
    /// `CKA_LABEL`.
    pub label: String,
    /// What it does.
    pub uses: Use,
    /// The public key's encoding, empty for a secret key.
    pub public: Vec<u8>,
    /// `CKA_EC_POINT` as the token spells it.
    pub point: Vec<u8>,
    /// The ciphertext.
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({}, {} bytes)", hex::encode(self.id), self.wrapped.len())
    }
}

/// What a token is and holds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The token as it describes itself.
    pub token: Token,
    /// What the honesty probe found.
    pub findings: Vec<Finding>,
    /// Its keys, in the order of their ids.
    pub keys: Vec<Found>,
    /// Objects with a key that are none of ours.
    pub others: usize,
}

/// Whether the token was seen to wrap a key that asks for it under trusted keys alone. Any other lets keys out.
pub(crate) fn wraps_under_trusted_keys_alone(findings: &[Finding]) -> Result<(), HsmError> {
    let asked = |finding: &&Finding| finding.probe == Probe::WrapWithTrusted;
    if findings.iter().find(asked).is_some_and(|finding| finding.verdict == Verdict::Honest) {
        return Ok(());
    }
    let reason = "a recoverable key needs a token that wraps it under trusted keys alone".to_owned();
    Err(HsmError::Refused { reason })
}

/// A token that no daemon serves, and the user PIN to it.
pub struct Custody {
    settings: Settings,
    pin: Pin,
}

impl Custody {
    /// Names a token; nothing is started.
    #[must_use]
    pub fn new(settings: Settings, pin: Pin) -> Self {
        Self { settings, pin }
    }

    /// Looks at the token: what it is, whether it is honest, which keys it has.
    ///
    /// # Errors
    /// [`HsmError::Untrustworthy`] for a token that lies, [`HsmError::Refused`] for one that was not seen to wrap under trusted
    /// keys alone. Else what kept a worker from starting.
    pub async fn survey(&self) -> Result<Survey, HsmError> {
        let worker = Worker::start(&self.settings, &self.pin, None).await?;
        let (token, findings) = (worker.token.clone(), worker.findings.clone());
        worker.dismiss().await;
        wraps_under_trusted_keys_alone(&findings)?;
        match self.errand(Task::Survey, Some(&token.serial), &[self.pin.expose()]).await? {
            Started::Surveyed(mut keys, others) => {
                keys.sort_by_key(|key| key.id);
                Ok(Survey { token, findings, keys, others })
            }
            other => Err(Worker::refusal(other)),
        }
    }

    /// Puts a backup key on the token: trusted, for wrapping alone, never to leave it.
    ///
    /// # Errors
    /// [`HsmError::Refused`] when the id is taken, or the token does not keep the key so.
    pub async fn entrust(
        &self,
        so_pin: &Pin,
        key: KeyId,
        label: &str,
        secret: &SecretBytes,
    ) -> Result<(), HsmError> {
        if secret.len() != BACKUP_KEY_BYTES {
            return Err(HsmError::MessageForm);
        }
        let task = Task::Entrust { key: *key.as_bytes(), label: label.to_owned() };
        let secrets = [so_pin.expose(), self.pin.expose(), secret.expose()];
        match self.errand(task, None, &secrets).await? {
            Started::BackedUp(none) if none.is_empty() => Ok(()),
            other => Err(Worker::refusal(other)),
        }
    }

    /// Wraps keys under a backup key of the token. Those of a kind that the token wraps under none are not in the answer.
    ///
    /// # Errors
    /// [`HsmError::Refused`] for a key that may not leave, or a backup key that is not trusted.
    pub async fn back_up(&self, under: KeyId, keys: &[KeyId]) -> Result<Vec<WrappedKey>, HsmError> {
        let mut wrapped = Vec::new();
        for batch in keys.chunks(BATCH) {
            let keys = batch.iter().map(|key| *key.as_bytes()).collect();
            let task = Task::BackUp { under: *under.as_bytes(), keys };
            match self.errand(task, None, &[self.pin.expose()]).await? {
                Started::BackedUp(some) if some.len() <= batch.len() => wrapped.extend(some),
                other => return Err(Worker::refusal(other)),
            }
        }
        Ok(wrapped)
    }

    /// Unwraps keys into the token. A key that is there already, whole and with the same public key, stays.
    ///
    /// # Errors
    /// [`HsmError::Refused`] for a key that does not open, or whose id another key has.
    pub async fn restore(&self, secret: &SecretBytes, keys: &[WrappedKey]) -> Result<(), HsmError> {
        if secret.len() != BACKUP_KEY_BYTES {
            return Err(HsmError::MessageForm);
        }
        for batch in keys.chunks(BATCH) {
            let secrets = [self.pin.expose(), secret.expose()];
            match self.errand(Task::Restore(batch.to_vec()), None, &secrets).await? {
                Started::BackedUp(none) if none.is_empty() => {}
                other => return Err(Worker::refusal(other)),
            }
        }
        Ok(())
    }

    /// The settings, and the PIN again for a worker that serves.
    #[must_use]
    pub fn into_parts(self) -> (Settings, Pin) {
        (self.settings, self.pin)
    }

    async fn errand(&self, task: Task, serial: Option<&str>, secrets: &[&[u8]]) -> Result<Started, HsmError> {
        Worker::errand(&self.settings, task, serial, secrets).await
    }
}
