//! Why a ceremony does not go on. Each says who or what must be put right; none holds a PIN, a share or a key.

use std::io;
use std::path::PathBuf;

use chancery_hsm::HsmError;
use chancery_secret::{PinError, SecretError};

/// Everything that stops a ceremony.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The script is not one.
    #[error("the script {0}")]
    Script(String),
    /// The script is not the one that was agreed.
    #[error("the script's hash is {found}, agreed was {agreed}")]
    OtherScript {
        /// What the file hashes to.
        found: String,
        /// What was given.
        agreed: String,
    },
    /// The transcript does not verify.
    #[error("the transcript does not verify: {0}")]
    Transcript(String),
    /// A signer's key is not here.
    #[error("`{0}` must sign and has brought no key")]
    Absent(String),
    /// A key that signs nothing here.
    #[error("the key of `{0}` is not of a signer of this script")]
    Stranger(String),
    /// Somebody said no.
    #[error("stopped before step {step}: nothing of it was done; `run` goes on from here")]
    Stopped {
        /// The step.
        step: usize,
    },
    /// Somebody does not agree with what was shown.
    #[error("step {step} was done, and not everybody agreed with it: `run` does it again")]
    Disputed {
        /// The step.
        step: usize,
    },
    /// The ceremony is over.
    #[error("this ceremony is closed; plan another")]
    Closed,
    /// Keys are there that this ceremony did not make.
    #[error("{0}; a ceremony never begins over keys that exist")]
    Occupied(String),
    /// Too few shares.
    #[error("{have} of {need} shares: {missing}")]
    TooFew {
        /// Good shares.
        have: usize,
        /// The threshold.
        need: usize,
        /// Who did not come, and whose share was bad.
        missing: String,
    },
    /// What is read does not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// The people's input ended, or was not understood.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The house itself, by the word of `chanceryd`.
    #[error("{0}")]
    House(String),
    /// The token.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// A PIN that cannot be one.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Secret memory.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file.
    #[error("`{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file whose content is wrong.
    #[error("`{}` {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A seed that was not made, opened or derived from.
    #[error(transparent)]
    Seed(#[from] chancery_hd::HdError),
    /// A password that opens nothing.
    #[error("the password does not open `{}`, or it was changed", .0.display())]
    Locked(PathBuf),
    /// Arithmetic of shares that does not hold.
    #[error("the shares cannot be dealt or joined: {0}")]
    Sharing(String),
}

impl CeremonyError {
    /// The stable text code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Script(_) => "ceremony-script",
            Self::OtherScript { .. } => "ceremony-other-script",
            Self::Transcript(_) => "ceremony-transcript",
            Self::Absent(_) | Self::Stranger(_) => "ceremony-signer",
            Self::Stopped { .. } => "ceremony-stopped",
            Self::Disputed { .. } => "ceremony-disputed",
            Self::Closed => "ceremony-closed",
            Self::Occupied(_) => "ceremony-occupied",
            Self::TooFew { .. } => "ceremony-too-few-shares",
            Self::House(_) => "ceremony-house",
            Self::Mismatch(_) => "ceremony-mismatch",
            Self::NoAnswer(_) | Self::Pin(_) => "ceremony-no-answer",
            Self::Hsm(error) => error.code().as_str(),
            Self::Secret(_) | Self::File { .. } => "local-io",
            Self::Content { .. } => "local-content",
            Self::Sharing(_) | Self::Seed(_) => "ceremony-sharing",
            Self::Locked(_) => "cold-locked",
        }
    }

    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
