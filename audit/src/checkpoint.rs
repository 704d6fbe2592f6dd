//! Checkpoints (c2sp.org/tlog-checkpoint): origin, size and root, as a signed note. A `SignedCheckpoint` exists only
//! where a signature under a trusted key was verified, whether it was read or has just been made.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cosignature::Cosignature;
use crate::merkle::Hash;
use crate::ml_dsa::{self, MlDsaSigner};
use crate::note::{CosignerKey, Note, NoteError, VerifierKey};
use crate::trust::Trust;
use crate::{AuditError, SignerError};

/// The head of a log: what a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text. Extension lines are refused: this log never writes any, and no monitor can audit them.
    ///
    /// # Errors
    /// [`NoteError::Checkpoint`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Checkpoint;
        let mut lines = text.strip_suffix('\n').ok_or(malformed("no last newline"))?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed("it has not three lines"));
        };
        if origin.is_empty() {
            return Err(malformed("the origin is empty"));
        }
        let size = decimal(size).ok_or(malformed("the size"))?;
        let root = hash(root).ok_or(malformed("the root"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A decimal number without leading zeroes, below 2^63.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if plain { text.parse().ok().filter(|n| *n < 1 << 63) } else { None }
}

/// A hash in padded standard base64.
pub(crate) fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A checkpoint whose signature was verified, and those of the witnesses that cosigned it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
    ml_dsa_time_s: Option<u64>,
    cosignatures: Vec<Cosignature>,
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint and verifies it: the log's signature, its ML-DSA one where `trust` names a key for that, and
    /// as many cosignatures as `trust` asks for.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong; another log's checkpoint is [`NoteError::Origin`].
    pub fn open(note: &[u8], trust: &Trust) -> Result<Self, NoteError> {
        let parsed = Note::parse(note)?;
        let text = parsed.verify(trust.log_keys())?;
        let checkpoint = Checkpoint::parse(text)?;
        if checkpoint.origin != trust.origin() {
            return Err(NoteError::Origin { expected: trust.origin().to_owned(), found: checkpoint.origin });
        }
        let mut signers = trust.log_keys().iter().filter(|key| trust.may_sign(key, checkpoint.size));
        if !signers.any(|key| parsed.signature(key).is_ok_and(|found| found.is_some())) {
            return Err(NoteError::Retired { size: checkpoint.size });
        }
        // INVARIANT: who trusts two kinds of keys asks for both, so that taking a line off gains nothing.
        let keys = trust.ml_dsa_keys().iter().filter(|key| trust.may_sign(key, checkpoint.size));
        let ml_dsa_time_s = ml_dsa::signed(&parsed, &checkpoint, keys)?;
        if ml_dsa_time_s.is_none() && !trust.ml_dsa_keys().is_empty() {
            return Err(NoteError::NoMlDsa);
        }
        let mut cosignatures = Vec::new();
        for witness in trust.witness_keys() {
            cosignatures.extend(Cosignature::find(&parsed, text, witness)?);
        }
        // INVARIANT: the witnesses of a trust file are different keys, so each one counts once.
        let (found, needed) = (cosignatures.len(), trust.quorum());
        if found < needed {
            return Err(NoteError::Cosignatures { found, needed });
        }
        let note = String::from_utf8(note.to_vec()).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        Ok(Self { checkpoint, note, ml_dsa_time_s, cosignatures })
    }

    /// The cosignature that a witness's answer (c2sp.org/tlog-witness: signature lines) gives this checkpoint.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] where the answer has none by this witness, else what is wrong with it.
    pub fn cosignature_in(&self, answer: &str, witness: &CosignerKey) -> Result<Cosignature, NoteError> {
        let text = self.checkpoint.text();
        let note = format!("{text}\n{answer}");
        Cosignature::find(&Note::parse(note.as_bytes())?, &text, witness)?.ok_or(NoteError::Unsigned)
    }

    /// This checkpoint with one more cosignature, which must be of it. A second one by the same witness changes nothing.
    #[must_use]
    pub(crate) fn cosigned(mut self, cosignature: Cosignature) -> Self {
        if self.cosignatures.iter().all(|known| known.witness() != cosignature.witness()) {
            self.note.push_str(cosignature.line());
            self.cosignatures.push(cosignature);
        }
        self
    }

    /// Signs a checkpoint with both keys at once, and verifies each signature before anybody can see it.
    pub(crate) async fn sign(
        checkpoint: Checkpoint,
        key: &VerifierKey,
        signer: &dyn CheckpointSigner,
        ml_dsa: Option<&Arc<MlDsaSigner>>,
    ) -> Result<Self, AuditError> {
        let text = checkpoint.text();
        // It computes while the token does: the request that waits for both waits for the slower one.
        let beside = ml_dsa.map(|signer| {
            let (signer, checkpoint) = (Arc::clone(signer), checkpoint.clone());
            tokio::task::spawn_blocking(move || signer.sign(&checkpoint))
        });
        let signature = signer.sign(text.as_bytes()).await?;
        if !key.verifies(text.as_bytes(), &signature) {
            return Err(AuditError::SignatureWrong);
        }
        let mut note = format!("{text}\n{}", key.line(&signature));
        let mut ml_dsa_time_s = None;
        if let Some(beside) = beside {
            let (line, time_s) = beside.await.unwrap_or(Err(AuditError::Stopping))?;
            note.push_str(&line);
            ml_dsa_time_s = Some(time_s);
        }
        Ok(Self { checkpoint, note, ml_dsa_time_s, cosignatures: Vec::new() })
    }

    /// The note with the lines of the keys of `trust` alone, each of which was verified: whoever handed the note on may have added
    /// others.
    #[must_use]
    pub fn by_log_alone(&self, trust: &Trust) -> String {
        let mut note = format!("{}\n", self.checkpoint.text());
        if let Ok(parsed) = Note::parse(self.note.as_bytes()) {
            let lines =
                trust.log_keys().iter().filter_map(|key| Some(key.line(parsed.signature(key).ok()??)));
            note.extend(lines);
            let lines =
                trust.ml_dsa_keys().iter().filter_map(|key| Some(key.line(parsed.signature(key).ok()??)));
            note.extend(lines);
        }
        note
    }

    /// The note with the signature lines of another over the same checkpoint behind its own.
    pub(crate) fn with_lines_of(self, other: &Self) -> String {
        let head = format!("{}\n", other.checkpoint.text());
        self.note + other.note.strip_prefix(&head).unwrap_or_default()
    }

    /// What it says.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Leaves it covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.checkpoint.root
    }

    /// Whether a trusted ML-DSA key of the log signed it too; the time it names, in seconds since 1970, 0 for none.
    #[must_use]
    pub fn ml_dsa_time_s(&self) -> Option<u64> {
        self.ml_dsa_time_s
    }

    /// The witnesses that cosigned it, of those that are trusted.
    #[must_use]
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }

    /// The signed note, as served and as carried in proofs.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl fmt::Debug for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedCheckpoint").field(&self.checkpoint).finish()
    }
}

/// A signature that is being made.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<[u8; 64], SignerError>> + Send + 'a>>;

/// Signs checkpoints with the log's Ed25519 key. At most one call is under way at a time.
pub trait CheckpointSigner: Send + Sync {
    /// The Ed25519 signature (RFC 8032) of `message`.
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;

    /// The public key, as RFC 8032 encodes it.
    fn public_key(&self) -> [u8; 32];
}
