//! What an epoch is, and how it follows from the one before: who held the key's shares agreed, or so many of them that the rest
//! cannot sign without one who did.

use serde::{Deserialize, Serialize};

use super::EpochError;
use crate::machine::write;
use crate::party::{PartyId, Scheme};
use crate::session::{Certificate, Hash, Members, SessionId, Terms, hash};

/// Starts what names a change, and what names an epoch.
const CHANGE: &[u8] = b"chancery mpc change v1\n";
const EPOCH: &[u8] = b"chancery mpc epoch v1\n";

/// An epoch that is to be: a new key, or other shares of a key that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The protocol that deals the shares: [`Machine::PROTOCOL`](crate::Machine::PROTOCOL).
    pub protocol: String,
    /// The key, by its name.
    pub key: String,
    /// The epoch's number: larger than that of any epoch, or change, that those who take part know.
    pub number: u64,
    /// The epoch whose shares are dealt on; nothing for a new key.
    pub base: Option<Base>,
    /// How many sign, of how many who hold shares then.
    pub scheme: Scheme,
    /// Who holds shares then.
    pub holders: Members,
    /// Who takes part: those who deal, those who are dealt to, and who leaves and agrees to it. All of them confirm.
    pub members: Members,
    /// A part of 32 random bytes of each member, by hash.
    pub nonce: [u8; 32],
}

/// An epoch, by its number and [`Link::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: [u8; 32],
}

impl Change {
    /// What its session is about, for its [`Terms`].
    #[must_use]
    pub fn about(&self) -> [u8; 32] {
        // Numbers, texts and keys: there is nothing that could not be written.
        hash(&[CHANGE, &write(self).unwrap_or_default()].concat())
    }

    /// The terms of the session that deals its shares; `about` is [`Change::about`].
    #[must_use]
    pub fn terms<'a>(&'a self, about: &'a [u8; 32]) -> Terms<'a> {
        Terms {
            key: &self.key,
            epoch: self.base.map_or(0, |base| base.number),
            scheme: self.scheme,
            members: &self.members,
            about,
            nonce: self.nonce,
        }
    }

    /// The id of that session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId::named_by(&self.protocol, &self.terms(&self.about()))
    }

    fn is_whole(&self) -> bool {
        let take_part = self.holders.iter().all(|(party, node)| self.members.get(party) == Some(node));
        take_part && self.holders.len() == usize::from(self.scheme.parties())
    }
}

/// An epoch that is: all who took part hold what they should, and say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What it is.
    pub change: Change,
    /// Everybody's word, and what all know of the key.
    pub certificate: Certificate,
}

impl Link {
    /// Its name: of what all signed.
    #[must_use]
    pub fn name(&self) -> Hash {
        hash(&[EPOCH, self.certificate.session.as_bytes(), &hash(&self.certificate.public)].concat())
    }

    /// It, as the base of another.
    #[must_use]
    pub fn base(&self) -> Base {
        Base { number: self.change.number, name: self.name() }
    }

    /// Whether this party holds a share in it.
    #[must_use]
    pub fn is_held_by(&self, party: PartyId, node: &[u8; 32]) -> bool {
        self.change.holders.get(&party) == Some(node)
    }

    /// Whether it is an epoch, and follows from that one.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn follows(&self, before: Option<&Self>) -> Result<(), EpochError> {
        let Self { change, certificate } = self;
        may_follow(change, before)?;
        if certificate.session == change.session() && certificate.holds(&change.members) {
            Ok(())
        } else {
            Err(EpochError::Certificate)
        }
    }
}

/// Whether a change is one, and of that epoch.
pub(super) fn may_follow(change: &Change, before: Option<&Link>) -> Result<(), EpochError> {
    let fits = match before {
        None => change.base.is_none(),
        Some(before) => change.base == Some(before.base()) && change.key == before.change.key,
    };
    if !fits {
        return Err(EpochError::Base);
    }
    if !change.is_whole() {
        return Err(EpochError::Parties);
    }
    let Some(before) = before.map(|link| &link.change) else { return Ok(()) };
    if change.number <= before.number {
        return Err(EpochError::Number);
    }
    if enough(before, &change.members) { Ok(()) } else { Err(EpochError::TooFew) }
}

/// Whether as many of an epoch's holders take part as it takes to sign, and so many that the others could not sign without
/// one of them.
pub(super) fn enough(epoch: &Change, members: &Members) -> bool {
    let taking_part = epoch.holders.iter().filter(|(party, node)| members.get(party) == Some(node)).count();
    let threshold = usize::from(epoch.scheme.threshold());
    taking_part >= threshold && epoch.holders.len() - taking_part < threshold
}
