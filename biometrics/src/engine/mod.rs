//! What runs a net. One trait, so that another engine can be held against the default on the same faces.
//! Trusts the engine to be memory-safe on input of the right shape. Nothing it answers is used before its length and
//! numbers are looked at.

mod pure;

pub use pure::Pure;

use crate::models::Role;

/// Runs nets.
pub trait Engine: Send + Sync {
    /// Its name and version, which a template is bound to.
    fn name(&self) -> &'static str;

    /// Runs the net of `role` on planes of the shape that its manifest gives, and answers the outputs that the manifest
    /// names, in that order.
    ///
    /// # Errors
    /// [`EngineError`].
    fn run(&self, role: Role, planes: Vec<f32>) -> Result<Vec<Vec<f32>>, EngineError>;
}

/// Why a net gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file is not a net that this engine runs.
    #[error("the net `{}` does not load: {what}", .role.as_str())]
    Load {
        /// Which.
        role: Role,
        /// What the engine says.
        what: String,
    },
    /// It does not run.
    #[error("the net `{}` does not run: {what}", .role.as_str())]
    Run {
        /// Which.
        role: Role,
        /// What the engine says.
        what: String,
    },
    /// It answers something else than its role says.
    #[error("the net `{}` answers in another form than its role's", .role.as_str())]
    Form {
        /// Which.
        role: Role,
    },
}

impl EngineError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Load { .. } => "model-refused",
            Self::Run { .. } => "engine-failed",
            Self::Form { .. } => "engine-answer",
        }
    }
}
