//! One run of a protocol among named parties.
//!
//! Every message is signed by its sender for one session, step and receiver, and counts once. Where keys are made, each round
//! that spoke to all is followed by an echo, in which everybody shows everybody what was received, signatures included: who told
//! two parties different things is convicted by both. Where nobody waits for that, the next round's messages carry it. At the end everybody signs what came out, and only with all signatures
//! is it a key. A message that was not signed for this session is refused and changes nothing.

mod certificate;
mod envelope;
mod id;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use certificate::Certificate;
pub use envelope::{ENVELOPE_BYTES, Envelope, Identity};
pub use id::{Members, SessionId, Terms};

use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, read, write};
use crate::party::PartyId;
use envelope::Head;
pub(crate) use envelope::{Hash, hash};

/// What a message, or a confirmation, led to.
pub struct Progress<T> {
    /// To be sent.
    pub send: Vec<Envelope>,
    /// What the session came to, if it did.
    pub came_to: Option<Outcome<T>>,
}

/// What a session comes to.
pub enum Outcome<T> {
    /// The outcome of a protocol that makes no keys.
    Done(T),
    /// A share, which is kept before [`Session::confirm`] and not used before [`Outcome::Certified`].
    Made(T),
    /// Everybody has the same key.
    Certified(Certificate),
}

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Self { send: Vec::new(), came_to: None }
    }
}

enum Stage {
    /// The messages of a round are awaited.
    Round,
    /// What others received of the round is awaited.
    Echo(BTreeMap<PartyId, Envelope>),
    /// The outcome is there and not yet confirmed by this party.
    Made {
        public: Vec<u8>,
    },
    /// The others' signatures over the outcome are awaited.
    Confirm {
        public: Vec<u8>,
        own: Vec<u8>,
    },
    Over,
}

/// One run.
pub struct Session<M: Machine> {
    id: SessionId,
    me: PartyId,
    /// The node key of each other party.
    peers: Members,
    identity: Arc<dyn Identity>,
    machine: M,
    step: u8,
    stage: Stage,
    /// What this party sent everybody in the round.
    told: Hash,
    inbox: BTreeMap<PartyId, Envelope>,
    /// What this party sent all and received in the round before, where rounds echo.
    before: Option<(Hash, BTreeMap<PartyId, Heard>)>,
    /// Who is a step ahead. LIMIT: one message of each; nobody can be two ahead without a message of this party.
    early: BTreeMap<PartyId, Envelope>,
}

/// What a party received of another in a round: all that the sender's signature covers.
#[derive(Serialize, Deserialize)]
struct Heard {
    of: PartyId,
    to_all: Hash,
    to_each: Hash,
    #[serde(with = "envelope::signature")]
    signature: [u8; 64],
}

impl<M: Machine> Session<M> {
    /// Begins a run of `machine` as party `me` under these terms. The id must never have been used before: that is the
    /// caller's to remember.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where `me` is not among the members.
    pub fn begin(
        machine: M,
        terms: &Terms<'_>,
        me: PartyId,
        identity: Arc<dyn Identity>,
    ) -> Result<(Self, Vec<Envelope>), Fault> {
        let mut peers = terms.members.clone();
        peers.remove(&me).ok_or(Fault::nobodys(Reason::Misuse))?;
        let mut session = Self {
            id: SessionId::of::<M>(terms),
            me,
            peers,
            identity,
            machine,
            step: 0,
            stage: Stage::Over,
            told: hash(&[]),
            inbox: BTreeMap::new(),
            before: None,
            early: BTreeMap::new(),
        };
        let first = session.machine.begin(&session.id)?;
        let envelopes = session.send(first, Stage::Round)?;
        Ok((session, envelopes))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Who was not heard in this step.
    pub fn missing(&self) -> impl Iterator<Item = PartyId> + '_ {
        self.peers.keys().copied().filter(|peer| !self.inbox.contains_key(peer))
    }

    /// Takes a message. After a fault other than [`Reason::Foreign`] the session is over.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn receive(&mut self, envelope: Envelope) -> Result<Progress<M::Output>, Fault> {
        let foreign = || Fault::nobodys(Reason::Foreign);
        let from = envelope.from;
        let key = self.peers.get(&from).ok_or_else(foreign)?;
        let fits = envelope.to_all.len() + envelope.to_me.len() <= ENVELOPE_BYTES;
        if !fits || envelope.to != self.me || !envelope.is_signed(&self.id, key) {
            return Err(foreign());
        }
        let slot = match envelope.step.checked_sub(self.step) {
            _ if matches!(self.stage, Stage::Over) => return Err(foreign()),
            Some(0) => &mut self.inbox,
            Some(1) => &mut self.early,
            _ => return Err(foreign()),
        };
        match slot.get(&from) {
            None => drop(slot.insert(from, envelope)),
            // What is delivered twice is one message; what was signed twice is two.
            Some(known) if known.says_the_same(&envelope) => return Ok(Progress::default()),
            Some(_) => {
                self.stage = Stage::Over;
                return Err(Fault::by(Reason::Repeated, [from]));
            }
        }
        self.advance(Vec::new())
    }

    /// Signs the outcome, which the caller has kept.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where there is none, [`Fault`] of a message that was there before.
    pub fn confirm(&mut self) -> Result<Progress<M::Output>, Fault> {
        let Stage::Made { public } = mem::replace(&mut self.stage, Stage::Over) else {
            return Err(Fault::nobodys(Reason::Misuse));
        };
        let own = Certificate::sign(&self.id, &public, &*self.identity).to_vec();
        let sent = Sent { to_all: own.clone(), to_each: BTreeMap::new() };
        let send = self.send(sent, Stage::Confirm { public, own })?;
        self.advance(send)
    }

    /// Addresses and signs what this step sends; those who were early are heard.
    fn send(&mut self, mut sent: Sent, stage: Stage) -> Result<Vec<Envelope>, Fault> {
        self.step = self.step.checked_add(1).ok_or(Fault::nobodys(Reason::Misuse))?;
        self.stage = stage;
        self.inbox = mem::take(&mut self.early);
        if let Some((_, held)) = &self.before {
            sent.to_all = write(&(held.values().collect::<Vec<_>>(), sent.to_all))?;
        }
        self.told = hash(&sent.to_all);
        let to = |peer: &PartyId| {
            let to_me = sent.to_each.remove(peer).unwrap_or_default();
            let (from, to, step) = (self.me, *peer, self.step);
            let signature =
                Head { session: &self.id, step, from, to, to_all: self.told, to_each: hash(&to_me) }
                    .sign(&*self.identity);
            Envelope { step, from, to, to_all: sent.to_all.clone(), to_me, signature }
        };
        Ok(self.peers.keys().map(to).collect())
    }

    /// Goes on as long as everybody was heard. Who is early may complete the next step at once.
    fn advance(&mut self, mut send: Vec<Envelope>) -> Result<Progress<M::Output>, Fault> {
        loop {
            let idle = matches!(self.stage, Stage::Made { .. } | Stage::Over);
            if idle || self.inbox.len() < self.peers.len() {
                return Ok(Progress { send, came_to: None });
            }
            let inbox = mem::take(&mut self.inbox);
            let step = match mem::replace(&mut self.stage, Stage::Over) {
                Stage::Round if M::MAKES_KEYS && inbox.values().any(|one| !one.to_all.is_empty()) => {
                    let heard: Vec<Heard> = inbox.values().map(Heard::of).collect();
                    let echo = Sent { to_all: write(&heard)?, to_each: BTreeMap::new() };
                    // What was told everybody in the round is what comes back, not the echo of it.
                    let told = self.told;
                    send.extend(self.send(echo, Stage::Echo(inbox))?);
                    self.told = told;
                    continue;
                }
                Stage::Round if M::ECHOES => {
                    let inbox = self.heard(inbox)?;
                    self.round(inbox)?
                }
                Stage::Round => self.round(inbox)?,
                Stage::Echo(held) => {
                    let heard = held.iter().map(|(from, envelope)| (*from, Heard::of(envelope))).collect();
                    let echo =
                        |(from, envelope): (&PartyId, &Envelope)| Ok((*from, read(*from, &envelope.to_all)?));
                    self.compare(self.told, &heard, inbox.iter().map(echo).collect::<Result<_, Fault>>()?)?;
                    self.round(held)?
                }
                Stage::Confirm { public, own } => {
                    let certified = Outcome::Certified(self.certify(public, own, &inbox)?);
                    return Ok(Progress { send, came_to: Some(certified) });
                }
                Stage::Made { .. } | Stage::Over => return Ok(Progress { send, came_to: None }),
            };
            match step {
                Step::Send(sent) => send.extend(self.send(sent, Stage::Round)?),
                Step::Done(output) if M::MAKES_KEYS => {
                    self.stage = Stage::Made { public: M::public(&output) };
                    return Ok(Progress { send, came_to: Some(Outcome::Made(output)) });
                }
                Step::Done(output) => return Ok(Progress { send, came_to: Some(Outcome::Done(output)) }),
            }
        }
    }

    fn round(&mut self, inbox: BTreeMap<PartyId, Envelope>) -> Result<Step<M::Output>, Fault> {
        let received = inbox.into_iter().map(|(from, envelope)| (from, envelope.into_received())).collect();
        self.machine.receive(&received)
    }

    /// Takes off the messages what their senders received in the round before, and compares.
    fn heard(
        &mut self,
        mut inbox: BTreeMap<PartyId, Envelope>,
    ) -> Result<BTreeMap<PartyId, Envelope>, Fault> {
        let now = inbox.iter().map(|(from, envelope)| (*from, Heard::of(envelope))).collect();
        if let Some((told, held)) = self.before.replace((self.told, now)) {
            let mut echoes = BTreeMap::new();
            for (from, envelope) in &mut inbox {
                let (heard, said) = read(*from, &envelope.to_all)?;
                envelope.to_all = said;
                echoes.insert(*from, heard);
            }
            self.compare(told, &held, echoes)?;
        }
        Ok(inbox)
    }

    /// Whether everybody received what this party did in the round before.
    fn compare(
        &self,
        told: Hash,
        held: &BTreeMap<PartyId, Heard>,
        echoes: BTreeMap<PartyId, Vec<Heard>>,
    ) -> Result<(), Fault> {
        let round = self.step - 1;
        let mut culprits = BTreeSet::new();
        for (echoer, heard) in echoes {
            let of: BTreeSet<PartyId> = heard.iter().map(|one| one.of).collect();
            let mut others: BTreeSet<PartyId> = self.peers.keys().copied().collect();
            others.remove(&echoer);
            others.insert(self.me);
            if of != others || heard.len() != others.len() {
                return Err(Fault::by(Reason::Malformed, [echoer]));
            }
            for Heard { of, to_all, to_each, signature } in heard {
                let (told, key) = match held.get(&of).zip(self.peers.get(&of)) {
                    Some((here, key)) => (here.to_all, *key),
                    None => (told, self.identity.public_key()),
                };
                // Who claims the truth need not prove it, where the proof would cost each signature.
                if M::ECHOES && told == to_all {
                    continue;
                }
                let head = Head { session: &self.id, step: round, from: of, to: echoer, to_all, to_each };
                if !head.is_signed(&key, &signature) {
                    return Err(Fault::by(Reason::Malformed, [echoer]));
                }
                if told != to_all {
                    culprits.insert(of);
                }
            }
        }
        if culprits.is_empty() { Ok(()) } else { Err(Fault::by(Reason::Equivocation, culprits)) }
    }

    fn certify(
        &self,
        public: Vec<u8>,
        own: Vec<u8>,
        inbox: &BTreeMap<PartyId, Envelope>,
    ) -> Result<Certificate, Fault> {
        let mut members = self.peers.clone();
        members.insert(self.me, self.identity.public_key());
        let mut signatures: BTreeMap<PartyId, Vec<u8>> =
            inbox.iter().map(|(from, envelope)| (*from, envelope.to_all.clone())).collect();
        signatures.insert(self.me, own);
        let certificate = Certificate { session: self.id, public, signatures };
        let wrong = certificate.wrong(&members);
        if wrong.is_empty() { Ok(certificate) } else { Err(Fault::by(Reason::Disagreement, wrong)) }
    }
}

impl Heard {
    fn of(envelope: &Envelope) -> Self {
        Self {
            of: envelope.from,
            to_all: hash(&envelope.to_all),
            to_each: hash(&envelope.to_me),
            signature: envelope.signature,
        }
    }
}

impl Envelope {
    fn into_received(self) -> Received {
        let Self { to_all, to_me, .. } = self;
        Received { to_all, to_me }
    }
}
