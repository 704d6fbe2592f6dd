//! What parties tell each other of a key's epochs, outside of any session: after a crash, a lost message, or a long absence.

use serde::{Deserialize, Serialize};

use super::{EPOCHS, Link, PREPARED};
use crate::fault::{Fault, Reason};
use crate::session::SessionId;

/// What one party tells another of a key. Asking is harmless, and the rest is signed by those whose word it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// What is there after this epoch, and who has confirmed these?
    Asks {
        /// The asker's epoch, by name.
        epoch: Option<[u8; 32]>,
        /// What the asker prepared, and does not know whether it came into force.
        prepared: Vec<SessionId>,
    },
    /// The sender keeps its share of what came out of a session: its part of the [`Certificate`](crate::Certificate).
    Confirms {
        /// The session.
        session: SessionId,
        /// Its signature.
        signature: Vec<u8>,
    },
    /// Epochs, each of which follows from the one before.
    Shows(Vec<Link>),
}

impl Word {
    /// Its bytes.
    ///
    /// # Errors
    /// [`Reason::Misuse`], which a word never gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        crate::machine::write(self)
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Reason::Foreign`] where they are none, or say more than a word may.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let foreign = || Fault::nobodys(Reason::Foreign);
        let word = match postcard::take_from_bytes(bytes) {
            Ok((word, [])) => word,
            _ => return Err(foreign()),
        };
        let fits = match &word {
            Self::Asks { prepared, .. } => prepared.len() <= PREPARED,
            Self::Confirms { signature, .. } => signature.len() == 64,
            Self::Shows(links) => links.len() <= EPOCHS,
        };
        if fits { Ok(word) } else { Err(foreign()) }
    }
}
