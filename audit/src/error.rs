//! Why the log cannot record, prove or show something. Reading a foreign document has its own errors beside it
//! (`NoteError`, `ReceiptError`, ...): those are findings about the document, these are faults of this appliance.

use std::sync::Arc;

use chancery_core::Code;
use chancery_store::StoreError;

use crate::ml_dsa::MlDsaError;
use crate::note::NoteError;
use crate::trust::TrustError;

/// The signer of checkpoints did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint could not be signed")]
pub struct SignerError {
    /// What the wire says.
    pub code: Code,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A fault of the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the log cannot be read or written.
    #[error("cannot {verb} `{path}`")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The store holds fewer leaves than a checkpoint this log signed: it was cut or replaced by an older copy.
    #[error("the log was rolled back: it holds {found} leaves, a signed head covers {remembered}")]
    RolledBack {
        /// The size of the newest remembered head.
        remembered: u64,
        /// The leaves in the store.
        found: u64,
    },
    /// The store's leaves are not those a checkpoint of this log covers.
    #[error("the log forked: the first {size} leaves are not those of the signed head")]
    Forked {
        /// The size of the head they were compared at.
        size: u64,
    },
    /// Neither remembered head can be read and verified.
    #[error("the remembered head `{path}` does not verify")]
    Head {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: NoteError,
    },
    /// The signer of checkpoints failed; the next attempt starts afresh.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signer returned a signature that does not verify under its own public key.
    #[error("the checkpoint signature does not verify under the log's key")]
    SignatureWrong,
    /// The ML-DSA signature was not made.
    #[error(transparent)]
    MlDsa(#[from] MlDsaError),
    /// An attempt to sign failed for everybody who waited for it.
    #[error("no checkpoint could be made: {0}")]
    NoCheckpoint(Arc<AuditError>),
    /// Too few witnesses cosigned; the next attempt asks them again.
    #[error("{found} of {needed} witnesses cosigned the checkpoint")]
    NotCosigned {
        /// Valid cosignatures got.
        found: usize,
        /// Those asked for.
        needed: usize,
    },
    /// Too many witnesses have seen a longer or another log than this one: no receipt could leave any more.
    #[error(
        "{against} of {witnesses} witnesses contradict this log, which needs {needed}: it was set back, or it forked"
    )]
    Contradicted {
        /// Those that have seen a longer or another log.
        against: usize,
        /// All of them.
        witnesses: usize,
        /// Those asked for.
        needed: usize,
    },
    /// The witnesses cannot be asked for so many cosignatures.
    #[error("the log's witnesses cannot be relied on: the trust in them {0}")]
    Witnesses(#[source] TrustError),
    /// Tiles have not been written for so long that memory would grow without bound.
    #[error("{tiles} tiles wait to be written")]
    Unpublished {
        /// Full tiles in memory only.
        tiles: usize,
    },
    /// The store committed leaves this log was not told of.
    #[error("leaves {expected} to {found} were committed unseen")]
    Gap {
        /// The next leaf the tree expected.
        expected: u64,
        /// The first leaf it was told of.
        found: u64,
    },
    /// A leaf or size beyond the log.
    #[error("{index} is beyond the {size} leaves of the log")]
    OutOfRange {
        /// The leaf asked for.
        index: u64,
        /// The log's size.
        size: u64,
    },
    /// The tree does not hold this leaf at this place.
    #[error("leaf {index} is not included in the checkpoint of {size} leaves")]
    NotIncluded {
        /// The leaf.
        index: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// A record is larger than a leaf may be.
    #[error("a record of {bytes} bytes is longer than a log entry may be")]
    LeafTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A number that RFC 8785 would round.
    #[error("a number is outside the range that canonical JSON carries exactly")]
    Number,
    /// A record cannot be encoded.
    #[error("cannot encode a record")]
    Encode(#[source] serde_json::Error),
    /// The origin is not a name a checkpoint can carry.
    #[error("`{origin}` is not a checkpoint origin: it must be visible characters without spaces or `+`")]
    Origin {
        /// The text.
        origin: String,
    },
    /// The log is stopping.
    #[error("the log is stopping")]
    Stopping,
}

impl AuditError {
    /// What the wire says.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.code(),
            Self::Signer(error) => error.code,
            Self::NoCheckpoint(error) => error.code(),
            Self::SignatureWrong => Code::HsmUnavailable,
            Self::Number => Code::PayloadMalformed,
            Self::LeafTooLong { .. } => Code::PayloadTooComplex,
            Self::Stopping => Code::ShuttingDown,
            Self::OutOfRange { .. } => Code::NotFound,
            Self::NotCosigned { .. } => Code::NotCosigned,
            Self::Encode(_) | Self::Origin { .. } | Self::MlDsa(_) | Self::Witnesses(_) => Code::Internal,
            Self::Io { .. }
            | Self::RolledBack { .. }
            | Self::Forked { .. }
            | Self::Contradicted { .. }
            | Self::Head { .. }
            | Self::Unpublished { .. }
            | Self::Gap { .. }
            | Self::NotIncluded { .. } => Code::StoreUnavailable,
        }
    }

    pub(crate) fn io(verb: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { verb, path: path.display().to_string(), source }
    }
}
