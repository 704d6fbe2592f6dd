//! One session at its table: what is to be said is carried to the others until they take it, what they say is taken in, within the
//! time that a round has. Where a message goes first before its receiver has sat down, it is brought again.
//! If this is wrong, sessions hang, or one party fills another's memory.

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_core::{Code, limit};
use chancery_mpc::{Envelope, Fault, Machine, Outcome, PartyId, Progress, Reason, Session, Terms};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout_at};

use super::Parties;
use super::wire::Call;
use crate::refusal::Refusal;

/// The answer to a message that was taken.
const TAKEN: &[u8] = b"taken";
/// The answer where nobody sits at that table, or too much lies on it.
const LATER: &[u8] = b"later";

/// How often a message is brought again.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(100);

/// Why a session ended without its outcome.
#[derive(Debug)]
pub(super) enum Broken {
    /// The protocol's word.
    Fault(Fault),
    /// These were not heard in time.
    Silent(BTreeSet<PartyId>),
    /// This party could not go on.
    Refused(Refusal),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Silent(parties) => {
                let parties: Vec<_> = parties.iter().map(ToString::to_string).collect();
                write!(f, "party {} was not heard in time", parties.join(", "))
            }
            Self::Refused(refusal) => write!(f, "{refusal}"),
        }
    }
}

impl Broken {
    /// The parties without whom it may go better.
    pub fn without(&self) -> BTreeSet<PartyId> {
        match self {
            Self::Fault(fault) => fault.culprits.clone(),
            Self::Silent(parties) => parties.clone(),
            Self::Refused(_) => BTreeSet::new(),
        }
    }

    /// As the asker is told.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            other => Refusal::new(Code::PartiesFailed, other.to_string()).retry_after(2),
        }
    }
}

/// The tables that are sat at, by session.
#[derive(Default)]
pub(super) struct Tables(Mutex<HashMap<[u8; 32], Place>>);

struct Place {
    members: BTreeSet<PartyId>,
    inbox: mpsc::Sender<Envelope>,
}

impl Tables {
    /// Takes a message from the party that the link proved.
    pub fn take(&self, from: PartyId, session: &[u8; 32], body: &[u8]) -> &'static [u8] {
        let Ok((envelope, [])) = postcard::take_from_bytes::<Envelope>(body) else { return LATER };
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.get(session).filter(|place| place.members.contains(&from));
        match place {
            Some(place) if envelope.from == from && place.inbox.try_send(envelope).is_ok() => TAKEN,
            _ => LATER,
        }
    }
}

/// One session under way.
pub(super) struct Table<M: Machine> {
    parties: Arc<Parties>,
    session: Session<M>,
    inbox: mpsc::Receiver<Envelope>,
    say: Vec<Envelope>,
    round: Duration,
}

impl<M: Machine> Table<M> {
    /// Sits down. Each round has so long.
    pub fn open(
        parties: &Arc<Parties>,
        machine: M,
        terms: &Terms<'_>,
        round_ms: u64,
    ) -> Result<Self, Broken> {
        let node = Arc::clone(&parties.node);
        let (session, say) = block_in_place(|| Session::begin(machine, terms, parties.me, node))?;
        let (tell, inbox) = mpsc::channel(limit::PARTY_MESSAGES);
        let members = terms.members.keys().copied().filter(|party| *party != parties.me).collect();
        let mut places = parties.tables.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(*session.id().as_bytes(), Place { members, inbox: tell });
        drop(places);
        let round = Duration::from_millis(round_ms);
        Ok(Self { parties: Arc::clone(parties), session, inbox, say, round })
    }

    /// The session's name.
    pub fn id(&self) -> [u8; 32] {
        *self.session.id().as_bytes()
    }

    /// The latest step of what is to be said.
    pub fn says(&self) -> Option<u8> {
        self.say.iter().map(|envelope| envelope.step).max()
    }

    /// Says it.
    pub fn speak(&mut self) {
        for envelope in mem::take(&mut self.say) {
            tokio::spawn(carry(Arc::clone(&self.parties), self.id(), envelope, self.round));
        }
    }

    /// Hears the others until there is something to say, or an outcome.
    pub async fn listen(&mut self) -> Result<Option<Outcome<M::Output>>, Broken> {
        let until = Instant::now() + self.round;
        loop {
            let Ok(Some(envelope)) = timeout_at(until, self.inbox.recv()).await else {
                return Err(Broken::Silent(self.session.missing().collect()));
            };
            match block_in_place(|| self.session.receive(envelope)) {
                Ok(Progress { send, came_to }) => {
                    self.say.extend(send);
                    if came_to.is_some() || !self.say.is_empty() {
                        return Ok(came_to);
                    }
                }
                Err(fault) if fault.reason == Reason::Foreign => {
                    tracing::warn!(session = %self.session.id(), "a message is of another session: not taken");
                }
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Gives this party's word for the outcome that it has kept.
    pub fn confirm(&mut self) -> Result<Option<Outcome<M::Output>>, Broken> {
        let Progress { send, came_to } = block_in_place(|| self.session.confirm())?;
        self.say.extend(send);
        Ok(came_to)
    }
}

impl<M: Machine> Drop for Table<M> {
    fn drop(&mut self) {
        let mut places = self.parties.tables.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.remove(&self.id());
    }
}

/// Brings a message until it is taken. It outlives the table: the last word is for others.
async fn carry(parties: Arc<Parties>, session: [u8; 32], envelope: Envelope, within: Duration) {
    let (to, until) = (envelope.to, Instant::now() + within);
    let Ok(bytes) = postcard::to_stdvec(&envelope) else { return };
    let bytes = zeroize::Zeroizing::new(bytes);
    let mut pause = *PAUSES.start();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = parties.call(to, Call::Message(session), bytes.to_vec(), left).await;
        if left.is_zero() || answer.is_ok_and(|answer| answer == TAKEN) {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(*PAUSES.end());
    }
}
