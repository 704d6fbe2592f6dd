//! Cosignatures (c2sp.org/tlog-cosignature, Ed25519): a witness says that at a time the checkpoint was the largest it had
//! seen of this log, and that it follows from all it saw before. One exists here only where it was verified, or has just
//! been made.

use crate::note::{CosignerKey, Note, NoteError};

/// A witness's word on one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    witness: String,
    time_s: u64,
    line: String,
}

impl Cosignature {
    /// The cosignature of `witness` in a note over a checkpoint; `None` where it has none.
    ///
    /// # Errors
    /// [`NoteError::WrongSignature`] where it does not verify, [`NoteError::Malformed`] where there are two.
    pub fn find(note: &Note<'_>, text: &str, witness: &CosignerKey) -> Result<Option<Self>, NoteError> {
        let Some(signature) = note.signature(witness)? else { return Ok(None) };
        let wrong = || witness.wrong();
        let (time, ed25519) = signature.split_first_chunk::<8>().ok_or_else(wrong)?;
        let time_s = u64::from_be_bytes(*time);
        if time_s >= 1 << 63 || !witness.verifies(message(text, time_s).as_bytes(), ed25519) {
            return Err(wrong());
        }
        Ok(Some(Self { witness: witness.name().to_owned(), time_s, line: witness.line(signature) }))
    }

    /// Makes the cosignature of a checkpoint's `text` at `time_s`, in seconds since 1970; `sign` is of the witness's key.
    #[must_use]
    pub fn make(
        witness: &CosignerKey,
        text: &str,
        time_s: u64,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Self {
        let ed25519 = sign(message(text, time_s).as_bytes());
        let line = witness.line(&[time_s.to_be_bytes().as_slice(), &ed25519].concat());
        Self { witness: witness.name().to_owned(), time_s, line }
    }

    /// Who.
    #[must_use]
    pub fn witness(&self) -> &str {
        &self.witness
    }

    /// When, in seconds since 1970, by the witness's clock.
    #[must_use]
    pub fn time_s(&self) -> u64 {
        self.time_s
    }

    /// The signature line, as it stands in the note.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}

fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}
