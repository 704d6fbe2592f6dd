//! What went wrong in a session, and by whom.

use std::collections::BTreeSet;
use std::fmt;

use crate::PartyId;

/// Why a session ended without its outcome. It is never gone on with: a new one begins with fresh nonces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", named(culprits))]
pub struct Fault {
    /// What.
    pub reason: Reason,
    /// Who did it, where that can be told.
    pub culprits: BTreeSet<PartyId>,
    /// The culprits must never take part with this key again: each further run with them may leak a part of it.
    pub ban: bool,
}

fn named(culprits: &BTreeSet<PartyId>) -> String {
    let names: Vec<String> = culprits.iter().map(ToString::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" (party {})", names.join(", ")) }
}

impl Fault {
    pub(crate) fn by(reason: Reason, culprits: impl IntoIterator<Item = PartyId>) -> Self {
        Self { reason, culprits: culprits.into_iter().collect(), ban: false }
    }

    pub(crate) fn nobodys(reason: Reason) -> Self {
        Self::by(reason, [])
    }
}

/// What went wrong. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A message is not of this session, step or sender, or its signature is wrong. It was not taken; the session goes on.
    Foreign,
    /// A party sent two messages for one step.
    Repeated,
    /// A party signed a message that is none of the protocol's.
    Malformed,
    /// A party told others something else than this one.
    Equivocation,
    /// A party does not know the secret that it committed to.
    Proof,
    /// A party sent a share that does not lie on the polynomial it committed to.
    Share,
    /// A party's part of the signature is wrong.
    SignatureShare,
    /// A party did not open what it had committed to.
    Commitment,
    /// A party cheated where that may leak a part of a share.
    Transfer,
    /// The outcome is not what all parts together should give, and nobody can be named.
    Outcome,
    /// Not everybody came to the same outcome.
    Disagreement,
    /// This party was asked for what it cannot do: another signer set, a foreign share, a step out of order.
    Misuse,
    /// A party was not heard in time.
    Silent,
}

impl Reason {
    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign-message",
            Self::Repeated => "repeated-message",
            Self::Malformed => "malformed-message",
            Self::Equivocation => "equivocation",
            Self::Proof => "wrong-proof",
            Self::Share => "wrong-share",
            Self::SignatureShare => "wrong-signature-share",
            Self::Commitment => "wrong-commitment",
            Self::Transfer => "wrong-transfer",
            Self::Outcome => "wrong-outcome",
            Self::Disagreement => "disagreement",
            Self::Misuse => "misuse",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
