//! C2SP tlog-proof (c2sp.org/tlog-proof@v1): an index, an inclusion proof and a signed checkpoint in one text.
//! `Proven` is the evidence that this process verified one against its own tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{SignedCheckpoint, decimal, hash};
use crate::merkle::{self, Hash, PROOF_HASHES};
use crate::note::{NOTE_BYTES, NoteError};
use crate::trust::Trust;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof does not convince.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the form of a proof.
    #[error("the proof is malformed: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead from the leaf to the root.
    #[error("the leaf is not in the log at index {index}")]
    NotIncluded {
        /// The claimed index.
        index: u64,
    },
}

/// A proof taken apart, or made. Worth nothing until [`TlogProof::verify`] has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: String,
}

impl TlogProof {
    pub(crate) fn new(index: u64, hashes: Vec<Hash>, checkpoint: &SignedCheckpoint) -> Self {
        Self { index, hashes, checkpoint: checkpoint.note().to_owned() }
    }

    /// Reads a proof. The optional `extra` line is refused: it is not authenticated, and none is written here.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let malformed = ProofError::Malformed;
        // LIMIT: the checkpoint, and before it at most 64 hashes of 45 bytes and two short lines.
        if text.len() > NOTE_BYTES + 4_096 {
            return Err(malformed("too long"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(malformed("the first line"));
        }
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(decimal)
            .ok_or(malformed("the index"))?;
        let hashes = lines.map(hash).collect::<Option<Vec<_>>>().ok_or(malformed("a hash"))?;
        if hashes.len() > PROOF_HASHES {
            return Err(malformed("too many hashes"));
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Whether the log that `trust` names holds this leaf at the proof's index.
    ///
    /// # Errors
    /// [`ProofError`] says what does not hold.
    pub fn verify(&self, leaf: &Hash, trust: &Trust) -> Result<SignedCheckpoint, ProofError> {
        let checkpoint = SignedCheckpoint::open(self.checkpoint.as_bytes(), trust)?;
        if !merkle::verify_inclusion(leaf, self.index, checkpoint.size(), &self.hashes, checkpoint.root()) {
            return Err(ProofError::NotIncluded { index: self.index });
        }
        Ok(checkpoint)
    }

    /// The leaf's claimed index.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }
}

impl std::fmt::Display for TlogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Evidence: this leaf was found in the log's own tree under a signed checkpoint. Made only by `Log::prove`.
#[derive(Clone, Debug)]
pub struct Proven(TlogProof);

impl Proven {
    pub(crate) fn new(proof: TlogProof) -> Self {
        Self(proof)
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> &TlogProof {
        &self.0
    }
}
