//! What can go wrong between this process and a token, as callers must tell it apart: try again, give up, or set a key
//! apart. No message holds a PIN or key material.

use std::io;
use std::time::Duration;

use chancery_core::{Code, KeyId};

use crate::finding::Finding;
use crate::signature::WrongAnswer;

/// Why the HSM did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The queue is full. Nothing was sent to the token.
    #[error("{waiting} calls wait for the HSM already")]
    Overloaded {
        /// Calls that wait or are being worked on.
        waiting: usize,
    },
    /// No answer in time. Whether the token did the work is not known; its answer will not be used.
    #[error("the HSM did not answer within {limit_ms} ms")]
    Deadline {
        /// The time a call has, in milliseconds.
        limit_ms: u64,
    },
    /// The worker went away, or the token asked to be called again; a new attempt may succeed.
    #[error("the HSM is interrupted: {reason}")]
    Interrupted {
        /// What happened.
        reason: String,
    },
    /// The HSM is out of service until an operator acts: a wrong PIN is never tried twice.
    #[error("the HSM is down: {reason}")]
    Down {
        /// What must be put right.
        reason: String,
    },
    /// The token does what its own attributes forbid; production refuses it.
    #[error("the token cannot be trusted: {}", sentences(.lies))]
    Untrustworthy {
        /// Each lie it was caught in.
        lies: Vec<Finding>,
    },
    /// The key is set apart, because the token answered wrongly with it.
    #[error("key `{key}` is quarantined")]
    Quarantined {
        /// The key.
        key: KeyId,
    },
    /// The token answered wrongly with this key just now; it is quarantined from here on.
    #[error("the token answered wrongly with key `{key}`")]
    Wrong {
        /// The key.
        key: KeyId,
        /// What was wrong.
        #[source]
        source: WrongAnswer,
    },
    /// The token has no such key.
    #[error("the token has no key `{key}`")]
    KeyNotFound {
        /// The key.
        key: KeyId,
    },
    /// The id is taken.
    #[error("the token has a key `{key}` already")]
    KeyExists {
        /// The key.
        key: KeyId,
    },
    /// The message is not what this algorithm signs, or too long.
    #[error("the message is not of the form that the key signs")]
    MessageForm,
    /// The module refuses; calling again will not help.
    #[error("the module refused: {reason}")]
    Refused {
        /// The function and its return value.
        reason: String,
    },
    /// The worker process cannot be started.
    #[error("the HSM worker cannot be started")]
    Spawn(#[source] io::Error),
    /// The worker sent something that is not an answer.
    #[error("the HSM worker broke the protocol: {what}")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
    /// The appliance is stopping.
    #[error("the HSM is stopped")]
    Stopped,
}

impl HsmError {
    /// The code this error has on the wire.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Overloaded { .. } => Code::Overloaded,
            Self::Deadline { .. }
            | Self::Interrupted { .. }
            | Self::Down { .. }
            | Self::Untrustworthy { .. }
            | Self::Spawn(_)
            | Self::Protocol { .. } => Code::HsmUnavailable,
            Self::Quarantined { .. } | Self::Wrong { .. } => Code::KeyQuarantined,
            Self::KeyNotFound { .. } => Code::NotFound,
            Self::KeyExists { .. } => Code::AlreadyExists,
            Self::MessageForm | Self::Refused { .. } => Code::Internal,
            Self::Stopped => Code::ShuttingDown,
        }
    }

    /// When the same call may be made again with hope, or `None` when it may not.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { .. } => Some(Duration::from_secs(1)),
            Self::Deadline { .. } | Self::Interrupted { .. } => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}

fn sentences(lies: &[Finding]) -> String {
    lies.iter().map(|lie| lie.probe.lie()).collect::<Vec<_>>().join("; ")
}
