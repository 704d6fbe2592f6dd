//! Parties and how many of them it takes.

use std::fmt;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

/// LIMIT: parties of one key.
pub const PARTIES: u8 = 16;

/// A party of a key, by its number: 1 to [`PARTIES`]. It is the `x` at which the party holds its share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct PartyId(NonZeroU8);

impl PartyId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl TryFrom<u8> for PartyId {
    type Error = SchemeError;

    fn try_from(number: u8) -> Result<Self, SchemeError> {
        NonZeroU8::new(number).filter(|number| number.get() <= PARTIES).map(Self).ok_or(SchemeError::Party)
    }
}

impl From<PartyId> for u8 {
    fn from(party: PartyId) -> Self {
        party.get()
    }
}

impl fmt::Display for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "party {}", self.0)
    }
}

/// Any `threshold` of parties 1 to `parties` sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Scheme {
    threshold: u8,
    parties: u8,
}

impl Scheme {
    /// `threshold` of `parties`.
    ///
    /// # Errors
    /// [`SchemeError::Threshold`] unless `2 <= threshold <= parties <= PARTIES`.
    pub fn new(threshold: u8, parties: u8) -> Result<Self, SchemeError> {
        if 2 <= threshold && threshold <= parties && parties <= PARTIES {
            Ok(Self { threshold, parties })
        } else {
            Err(SchemeError::Threshold)
        }
    }

    /// How many sign.
    #[must_use]
    pub fn threshold(self) -> u8 {
        self.threshold
    }

    /// How many hold a share.
    #[must_use]
    pub fn parties(self) -> u8 {
        self.parties
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = PartyId> {
        (1..=self.parties).filter_map(|number| PartyId::try_from(number).ok())
    }
}

impl TryFrom<(u8, u8)> for Scheme {
    type Error = SchemeError;

    fn try_from((threshold, parties): (u8, u8)) -> Result<Self, SchemeError> {
        Self::new(threshold, parties)
    }
}

impl From<Scheme> for (u8, u8) {
    fn from(scheme: Scheme) -> Self {
        (scheme.threshold, scheme.parties)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.threshold, self.parties)
    }
}

/// Why there is no such party or scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// A number that no party has.
    #[error("a party's number is 1 to {PARTIES}")]
    Party,
    /// A threshold that nobody can or should use.
    #[error("at least 2 of at most {PARTIES} parties sign, and no more than there are")]
    Threshold,
}
