//! Where the key of a wallet lives, and so how far away from an attacker it is. Policy reads it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a wallet's key lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// It was made in the HSM and never leaves it.
    #[default]
    Hsm,
    /// It is derived from a seed that the HSM keeps encrypted, and that is opened for each signature.
    Hd,
    /// It never is in the appliance: somebody signs on a machine without a network.
    Cold,
    /// Nobody has it: several parties hold shares, and so many of them sign.
    Mpc,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 4] = [Self::Hsm, Self::Hd, Self::Cold, Self::Mpc];

    /// The wire name, which is `context.tier` as well.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hsm => "hsm",
            Self::Hd => "hd",
            Self::Cold => "cold",
            Self::Mpc => "mpc",
        }
    }

    /// Whether it is the tier that records leave out, because it was the only one.
    #[must_use]
    pub fn is_hsm(&self) -> bool {
        *self == Self::Hsm
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
