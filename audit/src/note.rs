//! C2SP signed notes (c2sp.org/signed-note) with Ed25519 and ML-DSA-44 keys: text, a blank line, signature lines. A note's
//! text is worth nothing until `verify` has returned; unknown keys are ignored, a wrong signature of a known key is fatal.
//! A key's type is part of its type here, so that a witness's key cannot stand for the log's.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, ML_DSA_44, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// LIMIT: one note, in bytes.
pub const NOTE_BYTES: usize = 64 * 1024;
/// LIMIT: signature lines of one note (C2SP asks for at least 16).
pub const NOTE_SIGNATURES: usize = 32;

const ED25519_TYPE: u8 = 1;
const COSIGNATURE_TYPE: u8 = 4;
const ML_DSA_TYPE: u8 = 6;
const DASH: &str = "\u{2014} ";

/// What is wrong with a note, a checkpoint or a verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES`].
    #[error("the note is longer than {NOTE_BYTES} bytes")]
    TooLong,
    /// Not the form of a signed note.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// No line is signed by a key in the trust file.
    #[error(
        "no signature is by a trusted key; one of a log whose keys were rotated needs the trust file of after"
    )]
    Unsigned,
    /// Only a key signed that was retired before the log had so many entries.
    #[error(
        "the checkpoint of {size} entries is signed by keys of the log that were retired before it had so many"
    )]
    Retired {
        /// The checkpoint's.
        size: u64,
    },
    /// The log signed with Ed25519 alone, or with an ML-DSA key that is not in the trust file, which asks for one that is.
    #[error("no ML-DSA-44 signature is by a trusted key")]
    NoMlDsa,
    /// A trusted key's signature does not verify.
    #[error("the signature of `{0}` does not verify")]
    WrongSignature(String),
    /// The note's text is not a checkpoint.
    #[error("the checkpoint is malformed: {0}")]
    Checkpoint(&'static str),
    /// A checkpoint of another log.
    #[error("the checkpoint is of `{found}`, not of `{expected}`")]
    Origin {
        /// The trusted origin.
        expected: String,
        /// The checkpoint's.
        found: String,
    },
    /// Fewer witnesses than the trust file asks for have cosigned.
    #[error("{found} of the {needed} cosignatures that are asked for are there")]
    Cosignatures {
        /// Valid cosignatures by witnesses in the trust file.
        found: usize,
        /// The trust file's `cosignatures`.
        needed: usize,
    },
    /// Not a verifier key.
    #[error("not a verifier key `name+hash+base64`: {0}")]
    Key(&'static str),
}

/// Whether a text can be a key name: not empty, no Unicode spaces, no plus, no control characters.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

/// A public key of `LEN` bytes with a name. Its text form is `name+hash+base64(TYPE || key)`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamedKey<const TYPE: u8, const LEN: usize> {
    name: String,
    id: [u8; 4],
    key: [u8; LEN],
}

/// A log's Ed25519 key: it signs the note's text as it is (type 1).
pub type VerifierKey = NamedKey<ED25519_TYPE, 32>;

/// A witness's Ed25519 key: it signs a cosignature's message (type 4, c2sp.org/tlog-cosignature).
pub type CosignerKey = NamedKey<COSIGNATURE_TYPE, 32>;

/// A log's ML-DSA-44 key (FIPS 204): it signs what the checkpoint says (type 6, c2sp.org/tlog-cosignature).
pub type MlDsaKey = NamedKey<ML_DSA_TYPE, 1312>;

impl<const TYPE: u8, const LEN: usize> NamedKey<TYPE, LEN> {
    const ALGORITHM: &dyn VerificationAlgorithm = if TYPE == ML_DSA_TYPE { &ML_DSA_44 } else { &ED25519 };

    /// The key of this name.
    ///
    /// # Errors
    /// [`NoteError::Key`] where the name is empty or holds a space or `+`, or is too long for the messages of its type.
    pub fn new(name: &str, key: [u8; LEN]) -> Result<Self, NoteError> {
        // LIMIT: `cosigner_name<1..2^8-1>` of the message that is signed.
        if !is_name(name) || (TYPE == ML_DSA_TYPE && name.len() > 255) {
            return Err(NoteError::Key("the name"));
        }
        let hash: [u8; 32] =
            Sha256::new().chain_update(name).chain_update([b'\n', TYPE]).chain_update(key).finalize().into();
        let [a, b, c, d, ..] = hash;
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], key })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key, as RFC 8032 or FIPS 204 encodes it.
    #[must_use]
    pub fn key(&self) -> &[u8; LEN] {
        &self.key
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(Self::ALGORITHM, &self.key).verify(message, signature).is_ok()
    }

    pub(crate) fn wrong(&self) -> NoteError {
        NoteError::WrongSignature(self.name.clone())
    }

    /// This key's signature line in a note, newline included.
    #[must_use]
    pub fn line(&self, signature: &[u8]) -> String {
        let blob = [self.id.as_slice(), signature].concat();
        format!("{DASH}{} {}\n", self.name, STANDARD.encode(blob))
    }
}

impl<const TYPE: u8, const LEN: usize> fmt::Debug for NamedKey<TYPE, LEN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.name, hex::encode(self.id))
    }
}

impl<const TYPE: u8, const LEN: usize> fmt::Display for NamedKey<TYPE, LEN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = vec![TYPE];
        blob.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(blob))
    }
}

impl<const TYPE: u8, const LEN: usize> FromStr for NamedKey<TYPE, LEN> {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("three parts are needed"));
        };
        let blob = STANDARD.decode(blob).map_err(|_| NoteError::Key("the base64"))?;
        let key = match blob.split_first() {
            Some((kind, key)) if *kind == TYPE => key,
            _ => return Err(NoteError::Key("its type is another: 1 and 6 sign a log, 4 cosigns")),
        };
        let key = key.try_into().map_err(|_| NoteError::Key("the key's length"))?;
        let parsed = Self::new(name, key)?;
        if hex::encode(parsed.id) != id {
            return Err(NoteError::Key("the hash is not of this name and key"));
        }
        Ok(parsed)
    }
}

impl<const TYPE: u8, const LEN: usize> TryFrom<String> for NamedKey<TYPE, LEN> {
    type Error = NoteError;

    fn try_from(text: String) -> Result<Self, NoteError> {
        text.parse()
    }
}

impl<const TYPE: u8, const LEN: usize> From<NamedKey<TYPE, LEN>> for String {
    fn from(key: NamedKey<TYPE, LEN>) -> Self {
        key.to_string()
    }
}

struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// A note taken apart, not yet verified.
pub struct Note<'a> {
    text: &'a str,
    lines: Vec<Line<'a>>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    ///
    /// # Errors
    /// [`NoteError::TooLong`] or [`NoteError::Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(NoteError::Malformed("a control character"));
        }
        let (body, signatures) =
            note.rsplit_once("\n\n").ok_or(NoteError::Malformed("no blank line before the signatures"))?;
        let text = note.get(..=body.len()).ok_or(NoteError::Malformed("the text"))?;
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no last newline"))?;
        let lines = signatures.split('\n').map(Line::parse).collect::<Result<Vec<_>, _>>()?;
        if lines.len() > NOTE_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        Ok(Self { text, lines })
    }

    /// The text, if at least one of `keys` signed it and no signature of theirs is wrong or repeated.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`], [`NoteError::WrongSignature`], [`NoteError::Malformed`].
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<&'a str, NoteError> {
        let mut signed = false;
        for key in keys {
            let Some(signature) = self.signature(key)? else { continue };
            if !key.verifies(self.text.as_bytes(), signature) {
                return Err(key.wrong());
            }
            signed = true;
        }
        if signed { Ok(self.text) } else { Err(NoteError::Unsigned) }
    }

    /// The text, which nobody has verified.
    #[must_use]
    pub fn unverified_text(&self) -> &'a str {
        self.text
    }

    /// What stands in this key's line, not yet verified; `None` where there is no such line.
    pub(crate) fn signature<const TYPE: u8, const LEN: usize>(
        &self,
        key: &NamedKey<TYPE, LEN>,
    ) -> Result<Option<&[u8]>, NoteError> {
        let mut lines = self.lines.iter().filter(|line| line.name == key.name && line.id == key.id);
        match (lines.next(), lines.next()) {
            (_, Some(_)) => Err(NoteError::Malformed("a key signed twice")),
            (line, None) => Ok(line.map(|line| line.signature.as_slice())),
        }
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed("a signature line");
        let (name, blob) =
            line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(malformed.clone())?;
        let blob = STANDARD.decode(blob).map_err(|_| malformed.clone())?;
        match blob.split_first_chunk::<4>() {
            Some((id, signature)) if is_name(name) && !signature.is_empty() => {
                Ok(Self { name, id: *id, signature: signature.to_vec() })
            }
            _ => Err(malformed),
        }
    }
}
