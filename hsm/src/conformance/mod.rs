//! What any module must do before it may hold keys here, as a list of checks; `hardware-tests` is its front door.
//! Runs in the calling process, which must load no other module. Session keys only, except for the benchmark.

mod bench;
mod checks;
mod given;

use std::path::Path;
use std::sync::Arc;

use chancery_secret::Pin;
use cryptoki::session::Session;
use serde::Serialize;

use crate::error::HsmError;
use crate::wire::{Fault, Token};
use crate::worker::module::{Module, Slot};

pub use bench::Rate;
pub use given::{Hash, Said, Wrapping, judge};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it must be.
    Pass,
    /// Not as it must be: the module may not hold keys here.
    Fail,
    /// The module has not got it; nothing was shown.
    NotSupported,
    /// A property that the appliance copes with either way.
    Noted,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was checked, such as `sign`.
    pub check: &'static str,
    /// On what: an algorithm or mechanism.
    pub subject: String,
    /// How it came out.
    pub outcome: Outcome,
    /// The figure or the module's own answer.
    pub detail: String,
}

/// A module and token under test, logged in.
pub struct Bench {
    slot: Arc<Slot>,
    session: Session,
}

impl Bench {
    /// Loads the module into this process and logs in.
    ///
    /// # Errors
    /// [`HsmError::Refused`] with the module's answer.
    pub fn open(
        module: &Path,
        init_argument: Option<&str>,
        token: &str,
        pin: &Pin,
    ) -> Result<Self, HsmError> {
        let slot = Module::load(module, init_argument)?.open(token, None)?;
        let session = slot.login(pin)?;
        Ok(Self { slot: Arc::new(slot), session })
    }

    /// The token as it describes itself.
    #[must_use]
    pub fn token(&self) -> &Token {
        self.slot.token()
    }

    /// The mechanisms the token offers, by name.
    ///
    /// # Errors
    /// [`HsmError::Refused`] with the module's answer.
    pub fn mechanisms(&self) -> Result<Vec<String>, HsmError> {
        Ok(self.slot.mechanisms()?)
    }

    /// Runs every check. A check that cannot be made is a row, not an error.
    #[must_use]
    pub fn run(&self) -> Vec<Row> {
        checks::all(&self.slot, &self.session)
    }
}

impl From<Fault> for HsmError {
    fn from(fault: Fault) -> Self {
        Self::Refused { reason: fault.what }
    }
}
