//! `trust.json`: which log a stranger believes, `{"v":1,"origin":"...","log_keys":["<vkey>"]}`. Everything an offline
//! verification proves is proved relative to this file, so it must come by another way than the receipts.

use serde::{Deserialize, Serialize};

use crate::canonical::refuse_repeated_names;
use crate::digest::V1;
use crate::note::{NoteError, VerifierKey, is_name};

/// LIMIT: a trust file, in bytes.
pub const TRUST_BYTES: usize = 64 * 1024;
/// LIMIT: the keys of one log, those of past years included.
pub const LOG_KEYS: usize = 16;

/// Why a trust file is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Longer than [`TRUST_BYTES`].
    #[error("the trust file is longer than {TRUST_BYTES} bytes")]
    TooLong,
    /// Not the JSON it must be.
    #[error("the trust file does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Well-formed, but not allowed.
    #[error("the trust file {0}")]
    Rule(&'static str),
    /// A key that is none.
    #[error("`log_keys` holds a text that is {0}")]
    Key(#[source] NoteError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    v: V1,
    origin: String,
    log_keys: Vec<String>,
}

/// A log's name and the keys that sign its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    origin: String,
    log_keys: Vec<VerifierKey>,
}

impl Trust {
    /// Trust in one key. Its name must be the log's origin.
    ///
    /// # Errors
    /// [`NoteError::Key`] where `origin` cannot name a key.
    pub fn in_key(origin: &str, public_key: [u8; 32]) -> Result<Self, NoteError> {
        Ok(Self { origin: origin.to_owned(), log_keys: vec![VerifierKey::new(origin, public_key)?] })
    }

    /// Reads `trust.json`.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > TRUST_BYTES {
            return Err(TrustError::TooLong);
        }
        refuse_repeated_names(bytes)?;
        let file: File = serde_json::from_slice(bytes)?;
        if !is_name(&file.origin) {
            return Err(TrustError::Rule("names an origin that is empty or holds spaces or `+`"));
        }
        if !(1..=LOG_KEYS).contains(&file.log_keys.len()) {
            return Err(TrustError::Rule("must hold 1 to 16 log keys"));
        }
        let log_keys = file
            .log_keys
            .iter()
            .map(|text| text.parse().map_err(TrustError::Key))
            .collect::<Result<Vec<VerifierKey>, _>>()?;
        if log_keys.iter().any(|key| key.name() != file.origin) {
            return Err(TrustError::Rule("holds a key of another name than the origin"));
        }
        Ok(Self { origin: file.origin, log_keys })
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (origin, log_keys) =
            (self.origin.clone(), self.log_keys.iter().map(ToString::to_string).collect());
        let text = serde_json::to_string_pretty(&File { v: V1, origin, log_keys });
        // Three fields of plain text always encode.
        text.unwrap_or_default() + "\n"
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys that sign its checkpoints.
    #[must_use]
    pub fn log_keys(&self) -> &[VerifierKey] {
        &self.log_keys
    }
}
