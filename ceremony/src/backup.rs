//! A backup: keys wrapped under the backup key (`CKM_AES_KEY_WRAP_PAD`, RFC 5649), and which keys could not be. Public: whoever
//! has it and less than a threshold of shares has nothing. What it is checked against stands in the transcript.

use std::path::Path;

use chancery_audit::{Digest, HexBytes, V1, canonical};
use chancery_core::{KeyId, UnixMillis};
use chancery_hsm::{Use, WrappedKey};
use serde::{Deserialize, Serialize};

use crate::error::CeremonyError;
use crate::store;

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The format: 1.
    pub v: V1,
    /// The ceremony that made it.
    pub ceremony: KeyId,
    /// When, in milliseconds since 1970.
    pub made_ms: UnixMillis,
    /// The serial number of the token.
    pub serial: String,
    /// What the keys are wrapped under.
    pub backup_key: KeyId,
    /// The keys.
    pub keys: Vec<Kept>,
    /// Labels of keys that may not leave the token, and are lost with it.
    pub left_out: Vec<String>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    id: KeyId,
    label: String,
    uses: Use,
    public: HexBytes,
    point: HexBytes,
    wrapped: HexBytes,
}

impl Kept {
    /// Out of the token.
    pub(crate) fn of(key: WrappedKey) -> Self {
        let WrappedKey { id, label, uses, public, point, wrapped } = key;
        let id = KeyId::from_bytes(id);
        Self { id, label, uses, public: public.into(), point: point.into(), wrapped: wrapped.into() }
    }

    /// Into a token.
    pub(crate) fn to_wrapped(&self) -> WrappedKey {
        WrappedKey {
            id: *self.id.as_bytes(),
            label: self.label.clone(),
            uses: self.uses,
            public: self.public.as_bytes().to_vec(),
            point: self.point.as_bytes().to_vec(),
            wrapped: self.wrapped.as_bytes().to_vec(),
        }
    }
}

impl Backup {
    /// Reads the backup of a folder.
    ///
    /// # Errors
    /// [`CeremonyError::Content`] for what is none.
    pub fn read(folder: &Path) -> Result<Self, CeremonyError> {
        let path = folder.join(store::BACKUP);
        let bytes = store::read(&path)?;
        let wrong = |what: String| CeremonyError::Content { path: path.clone(), what };
        let backup: Self =
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is no backup: {error}")))?;
        if backup.bytes()? == bytes { Ok(backup) } else { Err(wrong("is not in canonical form".to_owned())) }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), CeremonyError> {
        store::write(&folder.join(store::BACKUP), &self.bytes()?)
    }

    /// Its hash.
    ///
    /// # Errors
    /// [`CeremonyError::Mismatch`] where it does not encode.
    pub fn hash(&self) -> Result<Digest, CeremonyError> {
        Ok(Digest::of(&self.bytes()?))
    }

    fn bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let failed = |error: &dyn std::fmt::Display| CeremonyError::Mismatch(error.to_string());
        let value = serde_json::to_value(self).map_err(|error| failed(&error))?;
        canonical(&value).map_err(|error| failed(&error))
    }
}
