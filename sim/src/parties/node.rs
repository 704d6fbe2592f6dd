//! One honest party, as its program would be: it writes before it speaks, remembers which sessions it has begun, and keeps nonces
//! and sessions in memory alone. Its disk may be set back; its counter and its log, which others hold copies of, may not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_mpc::epoch::{Act, Change, Holding, Link, Standing, Word};
use chancery_mpc::{
    Envelope, Fault, Identity, Machine, Members, Outcome, PartyId, Progress, Random, Reason, Session,
    SessionId, Terms,
};

use super::Planted;
use super::kind::Kind;
use super::watch::Watch;
use crate::machine::dice::Dice;

/// LIMIT: sessions that a party runs at once; the oldest gives way.
const SESSIONS: usize = 6;

/// What one party sends another.
#[derive(Clone)]
pub enum Mail {
    /// Let us change who holds shares, beginning from these epochs.
    Change(Box<Change>, Vec<Link>),
    /// Let us sign.
    Sign(Box<Errand>),
    /// Of a session.
    Session(SessionId, Envelope),
    /// Of the epochs.
    Word(Word),
}

/// What is to be signed, by whom, and with the shares of which epoch.
#[derive(Clone)]
pub struct Errand {
    pub epoch: Link,
    pub signers: Members,
    pub message: [u8; 32],
    pub nonce: [u8; 32],
}

/// Mail, and to whom.
pub type Post = Vec<(PartyId, Mail)>;

/// What a party does next, in this order; a crash may come between any two.
#[derive(Default)]
pub struct Does {
    pub keep: Option<(Vec<u8>, u64)>,
    pub post: Post,
}

/// A node's key.
struct Node25519(Ed25519KeyPair);

impl Identity for Node25519 {
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(text).as_ref());
        signature
    }

    fn public_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }
}

/// The key of a party's node.
pub fn identity(party: PartyId) -> Option<Arc<dyn Identity>> {
    Some(Arc::new(Node25519(Ed25519KeyPair::from_seed_unchecked(&[party.get(); 32]).ok()?)))
}

/// The parties, with their nodes' keys.
pub fn members(parties: &BTreeSet<PartyId>) -> Members {
    parties.iter().filter_map(|party| Some((*party, identity(*party)?.public_key()))).collect()
}

enum Running<K: Kind> {
    Make(Box<Session<K::Dkg>>, Change),
    Deal(Box<Session<K::Reshare>>, Change),
    Sign(Box<Session<K::Sign>>, Errand),
}

/// A party.
pub struct Node<K: Kind> {
    pub me: PartyId,
    identity: Arc<dyn Identity>,
    pub key: String,
    /// What is in memory; nothing while it is down.
    pub holding: Option<Holding>,
    sessions: Vec<(SessionId, Running<K>)>,
    early: Vec<(PartyId, SessionId, Envelope)>,
    dice: Dice,
    /// What survives a crash.
    pub disk: Vec<u8>,
    pub counter: u64,
    /// Its log: the sessions it has begun, and what it decided to sign.
    pub log: BTreeMap<SessionId, Option<[u8; 32]>>,
    pub life: u64,
    planted: Option<Planted>,
}

impl<K: Kind> Node<K> {
    pub fn new(me: PartyId, key: &str, seed: u64, planted: Option<Planted>) -> Option<Self> {
        let identity = identity(me)?;
        let holding = Some(Holding::new(key, me, identity.public_key()));
        let dice = Dice::of(seed, &format!("party {me}"));
        let (sessions, early, disk, log) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        let key = key.to_owned();
        Some(Self {
            me,
            identity,
            key,
            holding,
            sessions,
            early,
            dice,
            disk,
            counter: 0,
            log,
            life: 0,
            planted,
        })
    }

    /// Everything in memory is gone.
    pub fn dies(&mut self) {
        self.holding = None;
        if self.planted != Some(Planted::GoesOn) {
            self.sessions.clear();
            self.early.clear();
        }
    }

    /// It comes back, with what is on its disk.
    pub fn starts(&mut self, seed: u64) -> Post {
        self.life += 1;
        let life = if self.planted == Some(Planted::SameDice) { 0 } else { self.life };
        self.dice = Dice::of(seed, &format!("party {} life {life}", self.me));
        let holding = if self.disk.is_empty() {
            Some(Holding::new(&self.key, self.me, self.identity.public_key()).counted(self.counter))
        } else {
            Holding::open(&self.disk, self.counter).ok()
        };
        self.holding = holding;
        self.asks().into_iter().collect()
    }

    /// Mail to everybody it knows; addressed to itself, for the world to spread.
    pub fn asks(&self) -> Option<(PartyId, Mail)> {
        Some((self.me, Mail::Word(self.holding.as_ref()?.ask())))
    }

    pub fn signs_in(&self) -> Option<&Link> {
        let holding = self.holding.as_ref()?;
        matches!(holding.standing(), Standing::Signs(_)).then_some(holding.epoch()?)
    }

    fn random(&mut self) -> Random {
        Random::of(Source(Dice::of(self.dice.number(), "nonce")))
    }

    fn share(&self) -> Option<K::Share> {
        K::read(self.holding.as_ref()?.share()?)
    }

    /// What follows from mail.
    pub fn receives(&mut self, from: PartyId, mail: Mail, watch: &mut Watch) -> Does {
        let mut does = Does::default();
        match mail {
            Mail::Change(change, links) => self.changes(from, *change, links, watch, &mut does),
            Mail::Sign(errand) => self.signs(from, *errand, watch, &mut does),
            Mail::Word(word) => {
                let asked = matches!(word, Word::Asks { .. });
                let identity = self.identity.clone();
                if let Some(holding) = &mut self.holding
                    && let Ok(act) = holding.hear(from, word, &*identity)
                {
                    self.act(act, if asked { from } else { self.me }, &mut does);
                }
            }
            Mail::Session(id, envelope) => self.session(from, id, envelope, watch, &mut does),
        }
        does
    }

    fn act(&mut self, act: Act, to: PartyId, does: &mut Does) {
        if let Some(kept) = act.keep {
            does.keep = Some((kept.bytes.to_vec(), kept.counter));
            // Another epoch may be in force: a signature with the shares of this one is over.
            let epoch = self.holding.as_ref().and_then(Holding::epoch).map(Link::name);
            if self.planted != Some(Planted::GoesOn) {
                self.sessions.retain(|(_, running)| match running {
                    Running::Sign(_, errand) => Some(errand.epoch.name()) == epoch,
                    Running::Make(..) | Running::Deal(..) => true,
                });
            }
        }
        does.post.extend(act.say.into_iter().map(|word| (to, Mail::Word(word))));
    }

    fn begins(
        &mut self,
        id: SessionId,
        running: Running<K>,
        first: Vec<Envelope>,
        watch: &mut Watch,
        does: &mut Does,
    ) {
        let errand = if let Running::Sign(_, errand) = &running { Some(errand) } else { None };
        self.log.insert(id, errand.map(|errand| errand.message));
        if let Some(errand) = errand {
            watch.begins(self.me, id, errand.epoch.name(), errand.message, self.life);
        }
        self.sessions.push((id, running));
        if self.sessions.len() > SESSIONS {
            self.sessions.remove(0);
        }
        self.post(id, first, watch, does);
        let (now, later) = std::mem::take(&mut self.early).into_iter().partition(|(_, of, _)| *of == id);
        self.early = later;
        for (from, id, envelope) in now {
            self.session(from, id, envelope, watch, does);
        }
    }

    fn post(&self, id: SessionId, envelopes: Vec<Envelope>, watch: &mut Watch, does: &mut Does) {
        for envelope in envelopes {
            watch.sends(self.me, id, &envelope, self.life);
            does.post.push((envelope.to, Mail::Session(id, envelope)));
        }
    }

    fn changes(
        &mut self,
        from: PartyId,
        change: Change,
        links: Vec<Link>,
        watch: &mut Watch,
        does: &mut Does,
    ) {
        let (me, identity, id) = (self.me, self.identity.clone(), change.session());
        let Some(holding) = &mut self.holding else { return };
        if holding.standing() == Standing::New && !links.is_empty() {
            if let Ok(joining) = Holding::joining(&self.key, me, identity.public_key(), links) {
                *holding = joining.counted(self.counter);
            }
        } else if let Ok(act) = holding.hear(from, Word::Shows(links), &*identity) {
            self.act(act, me, does);
        }
        let Some(holding) = &self.holding else { return };
        if let Err(why) = holding.accepts(&change) {
            return watch.note(format!("party {me} takes no part: {why}"));
        }
        if self.log.contains_key(&id) {
            return;
        }
        let about = change.about();
        let Some(epoch) = holding.epoch().cloned() else {
            let machine = K::dkg(me, change.scheme, self.random());
            if let Ok((session, first)) = Session::begin(machine, &change.terms(&about), me, identity) {
                self.begins(id, Running::Make(Box::new(session), change), first, watch, does);
            }
            return;
        };
        // Those who hold shares and take part deal, but for one whose number the change's nonce says: it may have lost its share.
        let mut dealers: BTreeSet<PartyId> =
            epoch.change.holders.keys().filter(|party| change.members.contains_key(party)).copied().collect();
        let spared = change.nonce.first().and_then(|number| PartyId::try_from(*number).ok());
        if let Some(spared) = spared.filter(|spared| change.holders.contains_key(spared))
            && dealers.len() > usize::from(epoch.change.scheme.threshold())
        {
            dealers.remove(&spared);
        }
        let own = dealers.contains(&me).then(|| self.share()).flatten();
        let (to, group) = (change.holders.keys().copied().collect(), &epoch.certificate.public);
        let random = self.random();
        let machine = K::reshare(me, group, own, &dealers, &to, change.scheme.threshold(), random);
        if let Ok(machine) = machine
            && let Ok((session, first)) = Session::begin(machine, &change.terms(&about), me, identity)
        {
            self.begins(id, Running::Deal(Box::new(session), change), first, watch, does);
        }
    }

    fn signs(&mut self, from: PartyId, errand: Errand, watch: &mut Watch, does: &mut Does) {
        let name = errand.epoch.name();
        if self.signs_in().map(Link::name) != Some(name) {
            // One of the two is behind.
            does.post.extend(self.asks().map(|(_, asks)| (from, asks)));
            if let Some(holding) = &self.holding {
                does.post.push((from, Mail::Word(Word::Shows(holding.epochs().to_vec()))));
            }
            return;
        }
        let Errand { epoch, signers, message, nonce } = &errand;
        let Change { key, number, scheme, .. } = &epoch.change;
        let terms =
            Terms { key, epoch: *number, scheme: *scheme, members: signers, about: message, nonce: *nonce };
        let random = self.random();
        let Some(share) = self.share() else { return };
        let Ok(machine) = K::sign(share, &signers.keys().copied().collect(), *message, random) else {
            return;
        };
        if let Ok((session, first)) = Session::begin(machine, &terms, self.me, self.identity.clone()) {
            let id = *session.id();
            if !self.log.contains_key(&id) {
                self.begins(id, Running::Sign(Box::new(session), errand), first, watch, does);
            }
        }
    }

    fn session(
        &mut self,
        from: PartyId,
        id: SessionId,
        envelope: Envelope,
        watch: &mut Watch,
        does: &mut Does,
    ) {
        let Some(at) = self.sessions.iter().position(|(one, _)| *one == id) else {
            // It may come before the proposal; of a session that is over it never counts.
            if !self.log.contains_key(&id) && self.early.len() < 64 {
                self.early.push((from, id, envelope));
            }
            return;
        };
        let (id, mut running) = self.sessions.remove(at);
        let goes_on = match &mut running {
            Running::Make(session, change) => {
                let (change, progress) = (change.clone(), session.receive(envelope));
                self.made(session, id, &change, progress, |share| Some(K::write(&share)), watch, does)
            }
            Running::Deal(session, change) => {
                let (change, progress) = (change.clone(), session.receive(envelope));
                let share = |output| K::reshared(output).map(|share| K::write(&share));
                self.made(session, id, &change, progress, share, watch, does)
            }
            Running::Sign(session, errand) => match session.receive(envelope) {
                Ok(progress) => {
                    self.post(id, progress.send, watch, does);
                    match progress.came_to {
                        Some(Outcome::Done(signature)) => {
                            watch.released(errand, &<K::Sign as Machine>::public(&signature));
                            false
                        }
                        _ => true,
                    }
                }
                Err(fault) => self.faults(&fault, watch),
            },
        };
        if goes_on {
            self.sessions.push((id, running));
        }
    }

    /// Whether the session goes on.
    fn faults(&self, fault: &Fault, watch: &mut Watch) -> bool {
        watch.fault(self.me, fault);
        fault.reason == Reason::Foreign
    }

    #[allow(clippy::too_many_arguments, reason = "one place for both protocols that make keys")]
    fn made<M: Machine>(
        &mut self,
        session: &mut Session<M>,
        id: SessionId,
        change: &Change,
        mut progress: Result<Progress<M::Output>, Fault>,
        write: impl Fn(M::Output) -> Option<Vec<u8>>,
        watch: &mut Watch,
        does: &mut Does,
    ) -> bool {
        loop {
            let Progress { send, came_to } = match progress {
                Ok(progress) => progress,
                Err(fault) => return self.faults(&fault, watch),
            };
            self.post(id, send, watch, does);
            let identity = self.identity.clone();
            let Some(holding) = &mut self.holding else { return false };
            match came_to {
                None => return true,
                Some(Outcome::Done(_)) => return false,
                Some(Outcome::Made(output)) => {
                    let public = M::public(&output);
                    let share = write(output).map(Into::into);
                    let Ok(act) = holding.prepare(change.clone(), public, share, &*identity) else {
                        return false;
                    };
                    if self.planted == Some(Planted::SaysFirst) {
                        does.post.extend(act.say.into_iter().map(|word| (self.me, Mail::Word(word))));
                    } else {
                        self.act(act, self.me, does);
                    }
                    progress = session.confirm();
                }
                Some(Outcome::Certified(certificate)) => {
                    if let Ok(act) = holding.certified(certificate) {
                        self.act(act, self.me, does);
                    }
                    return false;
                }
            }
        }
    }
}

/// The simulation's dice, for protocols.
struct Source(Dice);

impl rand_core::RngCore for Source {
    fn next_u32(&mut self) -> u32 {
        (self.0.number() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.number()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::CryptoRng for Source {}
