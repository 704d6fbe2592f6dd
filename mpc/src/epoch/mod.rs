//! The shares of one key at one party, through refreshes, repairs and other parties.
//!
//! A change begins from the epoch in force. Its shares are kept beside the old ones and signed for; the certificate of all of them
//! is what puts it into force, for whoever sees it and whenever, and only then are the old ones erased. In doubt a party signs with
//! what is in force for it and asks the others; no message decides anything alone, so none can be lost. Of two epochs the higher
//! number counts. If this is wrong, parties sign with shares of two epochs, or erase the last ones.

mod change;
mod word;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use change::{Base, Change, Link};
pub use word::Word;

use crate::machine::write;
use crate::party::PartyId;
use crate::session::{Certificate, Identity, SessionId};
use change::{enough, may_follow};

/// LIMIT: epochs of one key.
pub const EPOCHS: usize = 1024;
/// LIMIT: changes that a party has confirmed and does not know the end of.
pub const PREPARED: usize = 4;
/// LIMIT: bytes of a share: an ECDSA key's of 16 parties are the most.
const SHARE_BYTES: usize = 4 * 1024 * 1024;

/// Why a change is none, or none for this party now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// It does not begin from the epoch in force.
    #[error("the change does not begin from the epoch in force")]
    Base,
    /// Its holders do not all take part, or are not as many as it says.
    #[error("who holds shares is not who takes part")]
    Parties,
    /// There was one of this number, or a higher one.
    #[error("there is an epoch or a change of this number, or a higher one")]
    Number,
    /// So many do not take part that they could sign without the others.
    #[error("too few of those who hold shares take part")]
    TooFew,
    /// A key of this name may have been made already.
    #[error("a key of this name may have been made already")]
    Undecided,
    /// Not everybody confirmed it.
    #[error("not all who take part have confirmed")]
    Certificate,
    /// This party has nothing to do with it.
    #[error("this party does not take part")]
    Stranger,
    /// This party does not hold what it would deal.
    #[error("this party has no share that it could deal")]
    NoShare,
    /// A limit is reached.
    #[error("more epochs or changes than a key may have")]
    Limit,
    /// What was kept cannot be read.
    #[error("what was kept of a key's epochs cannot be read")]
    Unreadable,
}

impl EpochError {
    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "epoch-base",
            Self::Parties => "epoch-parties",
            Self::Number => "epoch-number",
            Self::TooFew => "epoch-too-few",
            Self::Undecided => "epoch-undecided",
            Self::Certificate => "epoch-certificate",
            Self::Stranger => "epoch-stranger",
            Self::NoShare => "epoch-no-share",
            Self::Limit => "epoch-limit",
            Self::Unreadable => "epoch-unreadable",
        }
    }
}

/// How a party stands to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It knows of no epoch.
    New,
    /// It signs in this one.
    Signs(u64),
    /// It should hold a share of this one and does not: it must be dealt to in a next one.
    Lost(u64),
    /// What it holds is older than what it once wrote. It signs nothing until it is dealt to, or [`Holding::vouch`].
    RolledBack(u64),
    /// Since this one it holds no share.
    Out(u64),
}

/// What a party does next: first it makes `keep` durable, then its counter, and only then it says what is to be said.
#[must_use = "what is not kept must not be said"]
#[derive(Debug, Default)]
pub struct Act {
    /// What must be kept, in place of what was kept before.
    pub keep: Option<Kept>,
    /// What is said to all others.
    pub say: Vec<Word>,
}

/// What must be kept.
pub struct Kept {
    /// All of it, secret.
    pub bytes: Zeroizing<Vec<u8>>,
    /// What the counter that cannot be set back is raised to when the bytes are durable.
    pub counter: u64,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// What a party holds of one key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    key: String,
    me: PartyId,
    node: [u8; 32],
    writes: u64,
    /// From the first epoch to the one in force.
    chain: Vec<Link>,
    /// Of the one in force.
    share: Option<Zeroizing<Vec<u8>>>,
    prepared: Vec<Prepared>,
    rolled_back: bool,
}

/// What this party has signed for, and may be in force.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prepared {
    change: Change,
    public: Vec<u8>,
    /// Of one who holds a share then.
    share: Option<Zeroizing<Vec<u8>>>,
    /// Who was heard to confirm. It is asked for again after a restart.
    #[serde(skip)]
    signatures: BTreeMap<PartyId, Vec<u8>>,
}

impl Holding {
    /// Of party `me`, whose node key is `node`, before there is anything.
    #[must_use]
    pub fn new(key: &str, me: PartyId, node: [u8; 32]) -> Self {
        let (key, chain, prepared) = (key.to_owned(), Vec::new(), Vec::new());
        Self { key, me, node, writes: 0, chain, share: None, prepared, rolled_back: false }
    }

    /// Of one who is to be dealt shares of a key that there is, by these epochs of it. Whether they are the right ones, and their
    /// first holders who they should be, the caller knows from elsewhere.
    ///
    /// # Errors
    /// [`EpochError`] where they do not follow from each other.
    pub fn joining(key: &str, me: PartyId, node: [u8; 32], links: Vec<Link>) -> Result<Self, EpochError> {
        let mut holding = Self::new(key, me, node);
        holding.verify(&links, 0)?;
        holding.chain = links;
        Ok(holding)
    }

    /// The same, of a party whose counter stands there already: its disk is new, or empty again.
    #[must_use]
    pub fn counted(mut self, counter: u64) -> Self {
        self.writes = self.writes.max(counter);
        self
    }

    /// Reads what was kept. `counter` is the one that cannot be set back.
    ///
    /// # Errors
    /// [`EpochError::Unreadable`].
    pub fn open(bytes: &[u8], counter: u64) -> Result<Self, EpochError> {
        let mut holding: Self = match postcard::take_from_bytes(bytes) {
            Ok((holding, [])) => holding,
            _ => return Err(EpochError::Unreadable),
        };
        // One more than the counter: the crash came between the two.
        holding.rolled_back |= holding.writes < counter;
        holding.writes = holding.writes.max(counter);
        Ok(holding)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(link) = self.chain.last() else { return Standing::New };
        let number = link.change.number;
        match &self.share {
            _ if !link.is_held_by(self.me, &self.node) => Standing::Out(number),
            _ if self.rolled_back => Standing::RolledBack(number),
            Some(_) => Standing::Signs(number),
            None => Standing::Lost(number),
        }
    }

    /// The epoch in force, as this party knows it.
    #[must_use]
    pub fn epoch(&self) -> Option<&Link> {
        self.chain.last()
    }

    /// All epochs, from the first.
    #[must_use]
    pub fn epochs(&self) -> &[Link] {
        &self.chain
    }

    /// The share to sign with, of the epoch in force. A session that was begun with it is dropped when another epoch comes into force.
    #[must_use]
    pub fn share(&self) -> Option<&[u8]> {
        matches!(self.standing(), Standing::Signs(_)).then_some(self.share.as_deref()?.as_slice())
    }

    /// The changes that it has confirmed, and does not know the end of.
    pub fn in_doubt(&self) -> impl Iterator<Item = &Change> {
        self.prepared.iter().map(|prepared| &prepared.change)
    }

    /// The number that a next change has at least.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        let numbers = self.in_doubt().map(|change| change.number);
        numbers.chain(self.chain.last().map(|link| link.change.number)).max().map_or(0, |number| number + 1)
    }

    /// Whether this party takes part in a change now.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn accepts(&self, change: &Change) -> Result<(), EpochError> {
        if change.key != self.key || change.members.get(&self.me) != Some(&self.node) {
            return Err(EpochError::Stranger);
        }
        may_follow(change, self.chain.last())?;
        if change.number < self.next_number() {
            return Err(EpochError::Number);
        }
        if change.base.is_none() && !self.prepared.is_empty() {
            return Err(EpochError::Undecided);
        }
        // What is in doubt may be in force elsewhere: it must not go on without those who take part now.
        if !self.in_doubt().all(|one| enough(one, &change.members)) {
            return Err(EpochError::TooFew);
        }
        if self.prepared.len() >= PREPARED || self.chain.len() >= EPOCHS {
            return Err(EpochError::Limit);
        }
        Ok(())
    }

    /// Keeps what a change's session came to, and confirms it: the session's [`confirm`](crate::Session::confirm) comes after what
    /// this gives is durable. `share` is of one who holds a share then.
    ///
    /// # Errors
    /// [`EpochError`]; nothing is kept.
    pub fn prepare(
        &mut self,
        change: Change,
        public: Vec<u8>,
        share: Option<Zeroizing<Vec<u8>>>,
        identity: &dyn Identity,
    ) -> Result<Act, EpochError> {
        self.accepts(&change)?;
        let holds = change.holders.get(&self.me) == Some(&self.node);
        if holds != share.is_some() || share.as_ref().is_some_and(|share| share.len() > SHARE_BYTES) {
            return Err(EpochError::NoShare);
        }
        let prepared = Prepared { change, public, share, signatures: BTreeMap::new() };
        let say = vec![prepared.confirm(identity)];
        self.prepared.push(prepared);
        self.keep(say)
    }

    /// All have confirmed: the epoch is in force, and the shares of the one before are no more.
    ///
    /// # Errors
    /// [`EpochError`] where this is no certificate of what this party prepared; nothing is changed.
    pub fn certified(&mut self, certificate: Certificate) -> Result<Act, EpochError> {
        if self.chain.iter().any(|link| link.certificate.session == certificate.session) {
            return Ok(Act::default());
        }
        let found = self.prepared.iter().find(|one| one.change.session() == certificate.session);
        let prepared = found.ok_or(EpochError::Stranger)?;
        let link = Link { change: prepared.change.clone(), certificate };
        self.shown(vec![link])
    }

    /// What a party asks when it comes back, or has waited for long enough.
    #[must_use]
    pub fn ask(&self) -> Word {
        let prepared = self.in_doubt().map(Change::session).collect();
        Word::Asks { epoch: self.chain.last().map(Link::name), prepared }
    }

    /// What another says. What is not shown to be true changes nothing. The answer is for all, or for who asked.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn hear(&mut self, from: PartyId, word: Word, identity: &dyn Identity) -> Result<Act, EpochError> {
        match word {
            Word::Asks { epoch, prepared } => {
                let mut say = Vec::new();
                let known = self.chain.iter().position(|link| Some(link.name()) == epoch);
                let news = self.chain.get(known.map_or(0, |at| at + 1)..).unwrap_or_default();
                if !news.is_empty() {
                    say.push(Word::Shows(news.to_vec()));
                }
                let theirs = self.prepared.iter().filter(|one| prepared.contains(&one.change.session()));
                say.extend(theirs.map(|one| one.confirm(identity)));
                Ok(Act { keep: None, say })
            }
            Word::Confirms { session, signature } => {
                let Some(prepared) = self.prepared.iter_mut().find(|one| one.change.session() == session)
                else {
                    return Ok(Act::default());
                };
                let Prepared { change, public, signatures, .. } = prepared;
                let signed = |key| Certificate::is_signed(&session, public, key, &signature);
                if !change.members.get(&from).is_some_and(signed) {
                    return Err(EpochError::Certificate);
                }
                signatures.insert(from, signature);
                let own = || Certificate::sign(&session, public, identity).to_vec();
                signatures.entry(self.me).or_insert_with(own);
                if !signatures.keys().eq(change.members.keys()) {
                    return Ok(Act::default());
                }
                let (public, signatures) = (public.clone(), signatures.clone());
                self.certified(Certificate { session, public, signatures })
            }
            Word::Shows(links) => self.shown(links),
        }
    }

    /// The officers' word that nothing newer than what was set back was ever in force: what they say is not looked into.
    ///
    /// # Errors
    /// [`EpochError::Unreadable`], which it never gives.
    pub fn vouch(&mut self) -> Result<Act, EpochError> {
        self.rolled_back = false;
        self.keep(Vec::new())
    }

    /// Epochs, the first of which follows from one that is known. Of two that follow from the same the higher number counts.
    fn shown(&mut self, links: Vec<Link>) -> Result<Act, EpochError> {
        let Some((first, last)) = links.first().zip(links.last()) else { return Ok(Act::default()) };
        let known = self.chain.last().map(|link| link.change.number);
        if known.is_some_and(|known| last.change.number <= known) {
            return Ok(Act::default());
        }
        let at = match first.change.base {
            Some(_) => {
                1 + self
                    .chain
                    .iter()
                    .position(|link| Some(link.base()) == first.change.base)
                    .ok_or(EpochError::Base)?
            }
            // A key is made once; what was not known before is believed where this party took part.
            None if self
                .chain
                .first()
                .map_or_else(|| self.took_part(first), |known| known.name() == first.name()) =>
            {
                0
            }
            None => return Err(EpochError::Stranger),
        };
        self.verify(&links, at)?;
        self.chain.truncate(at);
        self.enter(links)
    }

    fn took_part(&self, link: &Link) -> bool {
        self.in_doubt().any(|change| change.session() == link.certificate.session)
    }

    fn enter(&mut self, links: Vec<Link>) -> Result<Act, EpochError> {
        let say = vec![Word::Shows(links.clone())];
        self.chain.extend(links);
        let Some(last) = self.chain.last() else { return Err(EpochError::Base) };
        let (session, number) = (last.certificate.session, last.change.number);
        let mine = self.prepared.iter().position(|one| one.change.session() == session);
        self.share = mine.and_then(|at| self.prepared.swap_remove(at).share);
        // A share of this epoch was made after what was set back.
        self.rolled_back &= self.share.is_none();
        self.prepared.retain(|one| one.change.number > number);
        self.keep(say)
    }

    /// Whether these follow from the first `known` of the chain, and each from the one before.
    fn verify(&self, links: &[Link], known: usize) -> Result<(), EpochError> {
        if known + links.len() > EPOCHS {
            return Err(EpochError::Limit);
        }
        let mut before = known.checked_sub(1).and_then(|at| self.chain.get(at));
        for link in links {
            if link.change.key != self.key {
                return Err(EpochError::Stranger);
            }
            link.follows(before)?;
            before = Some(link);
        }
        Ok(())
    }

    fn keep(&mut self, say: Vec<Word>) -> Result<Act, EpochError> {
        self.writes += 1;
        let bytes = Zeroizing::new(write(self).map_err(|_| EpochError::Unreadable)?);
        Ok(Act { keep: Some(Kept { bytes, counter: self.writes }), say })
    }
}

impl Prepared {
    fn confirm(&self, identity: &dyn Identity) -> Word {
        let session: SessionId = self.change.session();
        Word::Confirms { session, signature: Certificate::sign(&session, &self.public, identity).to_vec() }
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding")
            .field("key", &self.key)
            .field("me", &self.me)
            .field("standing", &self.standing())
            .field("in_doubt", &self.prepared.len())
            .finish_non_exhaustive()
    }
}
