//! Whether the person before the camera is the one who enrolled: decode, detect, align, embed, judge liveness, and the
//! template that is kept instead of a face. Functions over bytes and frames; only `models` and `evaluate` read files.
//! Trusts the models that the manifest names by hash. If this is wrong, another person passes, or a face can be rebuilt.

pub mod challenge;
pub mod engine;
pub mod evaluate;
pub mod models;
pub mod pipeline;
mod refusal;
pub mod template;

pub use refusal::Refusal;

use engine::EngineError;
use models::ModelError;

/// Why there is no answer about a face.
#[derive(Debug, thiserror::Error)]
pub enum FaceError {
    /// The image, or what it shows, does not do. The person can put it right.
    #[error("{}: {}", .0.code(), .0.advice())]
    Refused(Refusal),
    /// The models are not those of the manifest. An operator must act.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A net did not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<Refusal> for FaceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl FaceError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Model(error) => error.code(),
            Self::Engine(error) => error.code(),
        }
    }
}
