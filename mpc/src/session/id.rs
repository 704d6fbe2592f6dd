//! What names a session: everything that its parties agreed on before it began. Two runs that differ in any of it take none of
//! each other's messages.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::machine::Machine;
use crate::party::{PartyId, Scheme};

/// The parties of a session, with the public key of each one's node.
pub type Members = BTreeMap<PartyId, [u8; 32]>;

/// What a session is about.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The key, by its name.
    pub key: &'a str,
    /// The epoch of its shares: 0 before there are any.
    pub epoch: u64,
    /// How many of how many.
    pub scheme: Scheme,
    /// Who takes part.
    pub members: &'a Members,
    /// What is signed or changed: the digest of the intent, or nothing.
    pub about: &'a [u8],
    /// A part of 32 random bytes of each member, by hash: no two sessions have the same.
    pub nonce: [u8; 32],
}

/// The name of one session, used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId([u8; 32]);

impl SessionId {
    pub(super) fn of<M: Machine>(terms: &Terms<'_>) -> Self {
        Self::named_by(M::PROTOCOL, terms)
    }

    pub(crate) fn named_by(protocol: &str, terms: &Terms<'_>) -> Self {
        let Terms { key, epoch, scheme, members, about, nonce } = terms;
        let mut hash = Sha256::new();
        // Each part by its length: no two sets of terms are one text.
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(b"chancery mpc session v1");
        add(protocol.as_bytes());
        add(key.as_bytes());
        add(&epoch.to_be_bytes());
        add(&[scheme.threshold(), scheme.parties()]);
        for (party, key) in *members {
            add(&[party.get()]);
            add(key);
        }
        add(about);
        add(nonce);
        Self(hash.finalize().into())
    }

    /// Of its 32 bytes, as they were kept or told.
    #[must_use]
    pub fn named(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
