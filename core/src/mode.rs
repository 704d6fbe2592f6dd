//! Whether this appliance guards real keys.

use serde::{Deserialize, Serialize};

/// Production refuses what development only warns of: a token that lies, a software key, a missing TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Guards real keys; every dev-only provider is refused.
    Production,
    /// For trying things out; every weakness is said loudly.
    Development,
}

impl Mode {
    /// True where a dev-only provider must be refused.
    #[must_use]
    pub fn is_production(self) -> bool {
        self == Self::Production
    }
}
