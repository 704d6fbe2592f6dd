//! What can be wrong with a log: each finding names the file or entry and has one reason code that scripts may rely on.
//! The table in docs/audit.md is held against `Reason::ALL`.

use std::fmt;

use crate::digest::Digest;
use crate::endorsement::EndorsementError;
use crate::mirror::MirrorError;
use crate::note::NoteError;
use crate::record::RecordError;
use crate::timestamp::TimestampError;

/// What is wrong with a log, or why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The mirror does not answer: nothing is known about the log.
    #[error("`{path}` cannot be read: {source}")]
    Mirror {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: MirrorError,
    },
    /// Whoever was told of the progress wants no more.
    #[error("the verification was stopped: {0}")]
    Stopped(#[source] MirrorError),
    /// There is no checkpoint.
    #[error("there is no `checkpoint`")]
    NoCheckpoint,
    /// The checkpoint is not to be believed.
    #[error("the checkpoint is not to be believed: {0}")]
    Checkpoint(#[source] NoteError),
    /// A file that the checkpoint needs is not there.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// A tile that is shorter or longer than it must be.
    #[error("`{path}` has {found} bytes and must have {expected}")]
    Length {
        /// The file.
        path: String,
        /// Its length, or a little more than is allowed.
        found: usize,
        /// What it must be.
        expected: usize,
    },
    /// An entry bundle that does not come apart into the entries it must hold.
    #[error("`{path}` does not come apart into {width} entries")]
    Bundle {
        /// The file.
        path: String,
        /// How many it must hold.
        width: u64,
    },
    /// An entry that is not the one whose hash the tile holds: one of the two was changed.
    #[error("entry {index} is not the one whose hash is in `{path}`")]
    Leaf {
        /// Its index.
        index: u64,
        /// The tile.
        path: String,
    },
    /// A tile above the entries that is not made of the tiles below it.
    #[error("`{path}` does not match the entries")]
    Tile {
        /// The file.
        path: String,
    },
    /// An entry that is not a record.
    #[error("entry {index}: {source}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// An outcome that belongs to no earlier decision, or to one that has ended already.
    #[error("entry {index}: the outcome is of entry {decision}, but {rule}")]
    Outcome {
        /// Its index.
        index: u64,
        /// The entry it names.
        decision: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// An approval of a decision that does not wait.
    #[error("entry {index}: the approval is of entry {decision}, but {rule}")]
    Approval {
        /// Its index.
        index: u64,
        /// The entry it names.
        decision: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// A decision about a request that waited, which does not follow from what was said.
    #[error("entry {index}: the decision reviews entry {decision}, but {rule}")]
    Review {
        /// Its index.
        index: u64,
        /// The entry it names.
        decision: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// A policy entry whose bundle is not signed as it must be.
    #[error("entry {index}: bundle {bundle}: {}", endorsed(source))]
    Endorsement {
        /// The entry.
        index: u64,
        /// The bundle that it put in force.
        bundle: Digest,
        /// What its signatures lack.
        #[source]
        source: EndorsementError,
    },
    /// The appliance was changed past those who must agree.
    #[error("entry {index}: {rule}")]
    Change {
        /// Its index.
        index: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// A certificate that was never issued is taken back, or one is taken back or issued again.
    #[error("entry {index}: {rule}")]
    Certificate {
        /// Its index.
        index: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// A rotation of the log's keys that the keys before did not vouch for.
    #[error("entry {index}: the log's keys are not rotated as they must be: {rule}")]
    Rotation {
        /// The entry.
        index: u64,
        /// What does not hold.
        rule: &'static str,
    },
    /// The checkpoint is signed by keys that the log itself says were replaced.
    #[error("the log's keys were rotated, and its {size} entries are not signed by those in force: {source}")]
    KeyRetired {
        /// The checkpoint's size.
        size: u64,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// More decisions wait for their outcome than any appliance keeps open.
    #[error("entry {index}: {open} decisions before it have not ended")]
    Open {
        /// The entry.
        index: u64,
        /// How many.
        open: usize,
    },
    /// The entries do not hash to the signed root.
    #[error("the {size} entries do not hash to the signed root")]
    Root {
        /// The checkpoint's size.
        size: u64,
    },
    /// The older checkpoint is of more entries than there are: the log was cut.
    #[error("the log has {size} entries, an older checkpoint covers {older}: it was cut")]
    Cut {
        /// Entries now.
        size: u64,
        /// Entries then.
        older: u64,
    },
    /// The older checkpoint is of other entries: history was changed.
    #[error("the first {older} entries are not those of the older checkpoint: history was changed")]
    Rewritten {
        /// Entries then.
        older: u64,
    },
    /// The list of timestamps is none.
    #[error("`timestamps/index` is no list of timestamps")]
    Index,
    /// A timestamp that is not to be believed.
    #[error("`{path}`: {source}")]
    Timestamp {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: TimestampError,
    },
    /// A timestamped checkpoint that is not to be believed.
    #[error("`{path}`: {source}")]
    Stamped {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// A timestamped checkpoint of which this log is not the continuation.
    #[error("the log of {size} entries does not begin with the {stamped} that were timestamped in `{path}`")]
    Contradicted {
        /// The file of the checkpoint.
        path: String,
        /// Its entries.
        stamped: u64,
        /// Entries now.
        size: u64,
    },
}

/// What signatures lack, told to who reads a log and not to who applies a bundle.
fn endorsed(error: &EndorsementError) -> String {
    match error {
        EndorsementError::Few { found, needed } => {
            format!("it is signed by {found} of the policy keys, and must be by {needed}")
        }
        other => other.to_string(),
    }
}

/// What is wrong with a log, in one word. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no `checkpoint`.
    CheckpointMissing,
    /// It is no checkpoint.
    CheckpointMalformed,
    /// No key of the trust file signed it, or a signature is wrong.
    CheckpointSignature,
    /// It is another log's.
    CheckpointForeign,
    /// Too few witnesses cosigned it.
    CheckpointCosignatures,
    /// A tile or bundle is not there.
    FileMissing,
    /// A tile has another length than it must.
    TileTruncated,
    /// A tile is not made of what is below it.
    TileAltered,
    /// A bundle does not come apart.
    BundleMalformed,
    /// An entry and its hash in the tile differ.
    LeafAltered,
    /// An entry is no record.
    EntryMalformed,
    /// An outcome belongs to no open decision.
    OutcomeUnfounded,
    /// An approval is of no decision that waits.
    ApprovalUnfounded,
    /// A decision counts approvals that are not there, or reviews what did not wait.
    ReviewUnfounded,
    /// A policy bundle is not signed by those who must.
    PolicyUnsigned,
    /// A bundle, a wallet or a certificate that nobody agreed to, where the bundle in force says who must.
    ChangeUnfounded,
    /// A certificate is taken back that the log does not say was issued.
    CertificateUnfounded,
    /// The log's keys were rotated without the word of those before, or a key goes on that was replaced.
    RotationUnfounded,
    /// Too many decisions are open.
    TooManyOpen,
    /// The entries are not those that were signed.
    RootMismatch,
    /// The log is shorter than it was.
    LogRolledBack,
    /// The log has another history than it had.
    LogForked,
    /// A timestamp, or their list, is not the form of one.
    TimestampMalformed,
    /// A timestamped checkpoint is not this log's, or no key of the trust file signed it.
    TimestampCheckpoint,
    /// A timestamp is not of the checkpoint beside it.
    TimestampMismatch,
    /// The signature of a timestamp, or what it must cover.
    TimestampSignature,
    /// The signer of a timestamp was no authority under the roots given.
    TimestampAuthority,
}

impl Reason {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::CheckpointMissing,
        Self::CheckpointMalformed,
        Self::CheckpointSignature,
        Self::CheckpointForeign,
        Self::CheckpointCosignatures,
        Self::FileMissing,
        Self::TileTruncated,
        Self::TileAltered,
        Self::BundleMalformed,
        Self::LeafAltered,
        Self::EntryMalformed,
        Self::OutcomeUnfounded,
        Self::ApprovalUnfounded,
        Self::ReviewUnfounded,
        Self::PolicyUnsigned,
        Self::ChangeUnfounded,
        Self::CertificateUnfounded,
        Self::RotationUnfounded,
        Self::TooManyOpen,
        Self::RootMismatch,
        Self::LogRolledBack,
        Self::LogForked,
        Self::TimestampMalformed,
        Self::TimestampCheckpoint,
        Self::TimestampMismatch,
        Self::TimestampSignature,
        Self::TimestampAuthority,
    ];

    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheckpointMissing => "checkpoint-missing",
            Self::CheckpointMalformed => "checkpoint-malformed",
            Self::CheckpointSignature => "checkpoint-signature",
            Self::CheckpointForeign => "checkpoint-foreign",
            Self::CheckpointCosignatures => "checkpoint-cosignatures",
            Self::FileMissing => "file-missing",
            Self::TileTruncated => "tile-truncated",
            Self::TileAltered => "tile-altered",
            Self::BundleMalformed => "bundle-malformed",
            Self::LeafAltered => "leaf-altered",
            Self::EntryMalformed => "entry-malformed",
            Self::OutcomeUnfounded => "outcome-unfounded",
            Self::ApprovalUnfounded => "approval-unfounded",
            Self::ReviewUnfounded => "review-unfounded",
            Self::PolicyUnsigned => "policy-unsigned",
            Self::ChangeUnfounded => "change-unfounded",
            Self::CertificateUnfounded => "certificate-unfounded",
            Self::RotationUnfounded => "rotation-unfounded",
            Self::TooManyOpen => "too-many-open",
            Self::RootMismatch => "root-mismatch",
            Self::LogRolledBack => "log-rolled-back",
            Self::LogForked => "log-forked",
            Self::TimestampMalformed => "timestamp-malformed",
            Self::TimestampCheckpoint => "timestamp-checkpoint",
            Self::TimestampMismatch => "timestamp-mismatch",
            Self::TimestampSignature => "timestamp-signature",
            Self::TimestampAuthority => "timestamp-authority",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LogError {
    /// The finding; `None` where nothing was found out about the log.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Mirror { .. } | Self::Stopped(_) => return None,
            Self::NoCheckpoint => Reason::CheckpointMissing,
            Self::Checkpoint(NoteError::Origin { .. }) => Reason::CheckpointForeign,
            Self::Checkpoint(NoteError::Cosignatures { .. }) => Reason::CheckpointCosignatures,
            Self::Checkpoint(
                NoteError::Unsigned | NoteError::Retired { .. } | NoteError::WrongSignature(_),
            ) => Reason::CheckpointSignature,
            Self::Checkpoint(_) => Reason::CheckpointMalformed,
            Self::Missing { .. } => Reason::FileMissing,
            Self::Length { .. } => Reason::TileTruncated,
            Self::Tile { .. } => Reason::TileAltered,
            Self::Bundle { .. } => Reason::BundleMalformed,
            Self::Leaf { .. } => Reason::LeafAltered,
            Self::Entry { .. } => Reason::EntryMalformed,
            Self::Outcome { .. } => Reason::OutcomeUnfounded,
            Self::Approval { .. } => Reason::ApprovalUnfounded,
            Self::Review { .. } => Reason::ReviewUnfounded,
            Self::Endorsement { .. } => Reason::PolicyUnsigned,
            Self::Change { .. } => Reason::ChangeUnfounded,
            Self::Certificate { .. } => Reason::CertificateUnfounded,
            Self::Rotation { .. } | Self::KeyRetired { .. } => Reason::RotationUnfounded,
            Self::Open { .. } => Reason::TooManyOpen,
            Self::Root { .. } => Reason::RootMismatch,
            Self::Cut { .. } => Reason::LogRolledBack,
            Self::Rewritten { .. } => Reason::LogForked,
            Self::Contradicted { stamped, size, .. } if stamped > size => Reason::LogRolledBack,
            Self::Contradicted { .. } => Reason::LogForked,
            Self::Index => Reason::TimestampMalformed,
            Self::Stamped { .. } => Reason::TimestampCheckpoint,
            Self::Timestamp { source, .. } => match source {
                TimestampError::Imprint => Reason::TimestampMismatch,
                TimestampError::Signature(_) => Reason::TimestampSignature,
                TimestampError::Signer(_) | TimestampError::Chain(_) => Reason::TimestampAuthority,
                TimestampError::TooLong
                | TimestampError::Der(_)
                | TimestampError::Malformed(_)
                | TimestampError::Refused { .. }
                | TimestampError::Nonce => Reason::TimestampMalformed,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_page_and_nothing_else_is() {
        let page = include_str!("../../../docs/audit.md");
        let table = page.split("| reason |").nth(1).unwrap();
        let table = table.split("\n\n").next().unwrap();
        let listed: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(listed, known, "docs/audit.md");
    }
}
