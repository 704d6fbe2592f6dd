//! Parties of one key, from a seed: their messages late, doubled, lost and out of order, crashes between any two writes and
//! messages, a disk that is set back, and changes of who holds shares among it all. Afterwards the weather is fair, and whoever is
//! left must have one key in one epoch. The seed gives the weather and FROST's nonces; ECDSA's are the library's own, and no
//! weather depends on them. If it is kinder than the world, its silence means nothing.

mod kind;
mod matrix;
mod node;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use chancery_mpc::epoch::{Change, Holding, Standing};
use chancery_mpc::{Machine, PartyId, Scheme};
use sha2::{Digest, Sha256};

use crate::life::Told;
use crate::machine::dice::Dice;
use kind::{Ecdsa, Ed25519, Kind};
use node::{Does, Errand, Mail, Node, Post, members};
use watch::Watch;

pub use matrix::run;

/// Of so many seeds one is of ECDSA.
const DEAR: u64 = 500;
/// Parties there are, of whom some hold shares.
const PARTIES: u8 = 5;
/// Errands of one life.
const ERRANDS: u64 = 14;
/// LIMIT: events of one life.
const EVENTS: usize = 200_000;

/// Something wrong on purpose, which must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planted {
    /// Parties that go on with a session after a restart
    GoesOn,
    /// Parties whose randomness begins again with each life
    SameDice,
    /// Parties that confirm a share before it is written
    SaysFirst,
}

impl Planted {
    /// As the command line says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GoesOn => "goes-on",
            Self::SameDice => "same-dice",
            Self::SaysFirst => "says-first",
        }
    }
}

/// Runs the life of a seed.
#[must_use]
pub fn simulate(seed: u64, planted: Option<Planted>) -> Told {
    let watch = if seed.is_multiple_of(DEAR) {
        World::<Ecdsa>::new(seed, planted).life()
    } else {
        World::<Ed25519>::new(seed, planted).life()
    };
    let mut hash = Sha256::new();
    watch.lines.iter().for_each(|line| hash.update(line.as_bytes()));
    Told { hash: hex::encode(hash.finalize()), lines: watch.lines, broken: watch.broken }
}

enum Event {
    Mail(PartyId, PartyId, Mail),
    Start(PartyId),
    Errand,
}

struct World<K: Kind> {
    seed: u64,
    planted: Option<Planted>,
    dice: Dice,
    nodes: BTreeMap<PartyId, Node<K>>,
    /// What is on the way, by when and in which order.
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    /// Who does not hear whom, and until when.
    cuts: BTreeMap<(PartyId, PartyId), u64>,
    /// What each disk held before.
    older: BTreeMap<PartyId, Vec<Vec<u8>>>,
    set_back: Option<PartyId>,
    may_set_back: bool,
    fair: bool,
    messages: u8,
    key: Option<Vec<u8>>,
    watch: Watch,
}

impl<K: Kind> World<K> {
    fn new(seed: u64, planted: Option<Planted>) -> Self {
        let mut dice = Dice::of(seed, "weather");
        let may_set_back = dice.percent(50);
        Self {
            seed,
            planted,
            dice,
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            cuts: BTreeMap::new(),
            older: BTreeMap::new(),
            set_back: None,
            may_set_back,
            fair: false,
            messages: 0,
            key: None,
            watch: Watch::default(),
        }
    }

    fn life(mut self) -> Watch {
        for attempt in 0..3 {
            self.make(attempt);
            if self.nodes.values().any(|node| node.signs_in().is_some()) {
                break;
            }
        }
        if !self.nodes.values().any(|node| node.signs_in().is_some()) {
            self.watch.breaks("there is no key though nothing was in its way");
            return self.watch;
        }
        self.key = self.shares().into_iter().next().map(|(_, share)| K::key(&share));
        self.fair = false;
        for errand in 0..ERRANDS {
            let at = self.watch.now + errand * self.dice.spread(100, 3_000);
            self.after(at, Event::Errand);
        }
        self.go();
        self.settle();
        self.judge();
        self.watch
    }

    /// A key of this name, the third time in fair weather.
    fn make(&mut self, attempt: u8) {
        self.fair = attempt == 2;
        let parties = 3 + self.dice.below(2) as u8;
        let threshold = 2 + self.dice.below(u64::from(parties) - 2) as u8;
        let all = (1..=PARTIES).filter_map(|party| PartyId::try_from(party).ok());
        let (key, seed, planted) = (format!("key {attempt}"), self.seed, self.planted);
        self.nodes = all
            .filter_map(|me| Some((me, Node::new(me, &key, seed ^ u64::from(attempt), planted)?)))
            .collect();
        self.queue.clear();
        self.older.clear();
        let Ok(scheme) = Scheme::new(threshold, parties) else { return };
        let holders = members(&scheme.all().collect());
        let mut nonce = [0; 32];
        self.dice.fill(&mut nonce);
        let change = Change {
            protocol: K::Dkg::PROTOCOL.to_owned(),
            key,
            number: 0,
            base: None,
            scheme,
            members: holders.clone(),
            holders,
            nonce,
        };
        self.watch.note(format!("a key of {scheme} is made"));
        self.propose(change, Vec::new());
        self.go();
        self.settle();
    }

    fn propose(&mut self, change: Change, links: Vec<chancery_mpc::epoch::Link>) {
        for party in change.members.keys() {
            let mail = Mail::Change(Box::new(change.clone()), links.clone());
            self.after(self.watch.now + 1, Event::Mail(*party, *party, mail));
        }
    }

    fn after(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    /// Mail goes out: to one, or to all where it is addressed to its sender.
    fn sends(&mut self, from: PartyId, post: Post) {
        for (to, mail) in post {
            let all: Vec<PartyId> = self.nodes.keys().copied().filter(|one| *one != from).collect();
            let to = if to == from { all } else { vec![to] };
            for to in to {
                let copies = if self.fair { 1 } else { self.copies() };
                for _ in 0..copies {
                    let late = if self.fair { 1 } else { self.dice.spread(1, 800) };
                    self.after(self.watch.now + late, Event::Mail(from, to, mail.clone()));
                }
            }
        }
    }

    /// How often a message arrives.
    fn copies(&mut self) -> u8 {
        match self.dice.below(100) {
            0..4 => 2,
            4 => 0,
            _ => 1,
        }
    }

    fn go(&mut self) {
        for _ in 0..EVENTS {
            let Some(((at, _), event)) = self.queue.pop_first() else { return };
            self.watch.now = self.watch.now.max(at);
            match event {
                Event::Mail(from, to, mail) => self.arrives(from, to, mail),
                Event::Start(party) => self.starts(party),
                Event::Errand => self.errand(),
            }
        }
        self.watch.breaks("it does not come to an end");
    }

    fn arrives(&mut self, from: PartyId, to: PartyId, mail: Mail) {
        let now = self.watch.now;
        let cut = |until: &u64| *until > now;
        if !self.fair && from != to && self.cuts.get(&(from, to)).is_some_and(cut) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&to).filter(|node| node.holding.is_some()) else { return };
        let epoch = node.holding.as_ref().map(Holding::standing);
        let Does { keep, mut post } = node.receives(from, mail, &mut self.watch);
        let standing = node.holding.as_ref().map(Holding::standing);
        if standing != epoch {
            self.watch.note(format!("party {to}: {standing:?}"));
            self.watch.changed += 1;
        }
        let crash = (!self.fair && self.dice.percent(1)).then(|| self.dice.below(4));
        if crash != Some(0)
            && let Some((bytes, counter)) = keep
            && let Some(node) = self.nodes.get_mut(&to)
        {
            let before = std::mem::replace(&mut node.disk, bytes);
            self.older.entry(to).or_default().push(before);
            if crash != Some(1) {
                node.counter = node.counter.max(counter);
            }
        }
        match crash {
            Some(0..=2) => post.clear(),
            Some(_) => post.truncate(usize::try_from(self.dice.below(post.len() as u64 + 1)).unwrap_or(0)),
            None => {}
        }
        self.sends(to, post);
        if crash.is_some() {
            self.dies(to);
        }
    }

    fn dies(&mut self, party: PartyId) {
        self.watch.note(format!("party {party} dies"));
        if let Some(node) = self.nodes.get_mut(&party) {
            node.dies();
        }
        let back = self.watch.now + self.dice.spread(10, 5_000);
        self.after(back, Event::Start(party));
    }

    fn starts(&mut self, party: PartyId) {
        let older = self.older.get(&party).map_or(0, Vec::len) as u64;
        let back =
            self.may_set_back && !self.fair && self.key.is_some() && older > 0 && self.dice.percent(30);
        let which = usize::try_from(self.dice.below(older)).unwrap_or(0);
        let Some(node) = self.nodes.get_mut(&party) else { return };
        if back && let Some(disk) = self.older.get(&party).and_then(|older| older.get(which)) {
            node.disk.clone_from(disk);
            (self.may_set_back, self.set_back) = (false, Some(party));
            self.watch.note(format!("the disk of party {party} is set back"));
        }
        let post = node.starts(self.seed);
        let standing = node.holding.as_ref().map(Holding::standing);
        self.watch.note(format!("party {party} is back: {standing:?}"));
        self.sends(party, post);
    }

    fn errand(&mut self) {
        let Some(coordinator) = self.any_signer() else { return };
        if self.dice.percent(20) {
            let parties: Vec<PartyId> = self.nodes.keys().copied().collect();
            let until = self.watch.now + self.dice.spread(100, 4_000);
            for other in parties.into_iter().filter(|other| *other != coordinator) {
                if self.dice.percent(50) {
                    self.cuts.insert((coordinator, other), until);
                    self.cuts.insert((other, coordinator), until);
                }
            }
        }
        if self.dice.percent(10) {
            self.dies(coordinator);
        } else if self.dice.percent(60) {
            self.sign(coordinator);
        } else {
            self.change(coordinator);
        }
    }

    fn any_signer(&mut self) -> Option<PartyId> {
        let able: Vec<PartyId> =
            self.nodes.values().filter(|node| node.signs_in().is_some()).map(|node| node.me).collect();
        able.get(usize::try_from(self.dice.below(able.len() as u64)).ok()?).copied()
    }

    fn sign(&mut self, coordinator: PartyId) {
        let Some(epoch) = self.nodes.get(&coordinator).and_then(Node::signs_in).cloned() else { return };
        let mut signers = BTreeSet::from([coordinator]);
        let holders: Vec<PartyId> = epoch.change.holders.keys().copied().collect();
        while signers.len() < usize::from(epoch.change.scheme.threshold()) {
            let at = usize::try_from(self.dice.below(holders.len() as u64)).unwrap_or(0);
            signers.extend(holders.get(at));
        }
        self.messages = self.messages.wrapping_add(1);
        let mut nonce = [0; 32];
        self.dice.fill(&mut nonce);
        self.watch.note(format!("party {coordinator} asks {signers:?} for message {}", self.messages));
        let errand = Errand { epoch, signers: members(&signers), message: [self.messages; 32], nonce };
        for signer in signers {
            let late = if self.fair || signer == coordinator { 1 } else { self.dice.spread(1, 500) };
            let mail = Mail::Sign(Box::new(errand.clone()));
            self.after(self.watch.now + late, Event::Mail(coordinator, signer, mail));
        }
    }

    fn change(&mut self, coordinator: PartyId) {
        let Some(holding) = self.nodes.get(&coordinator).and_then(|node| node.holding.as_ref()) else {
            return;
        };
        let Some(epoch) = holding.epoch() else { return };
        let (links, key) = (holding.epochs().to_vec(), epoch.change.key.clone());
        // It asks those who are up what they know of.
        let up = self.nodes.values().filter_map(|node| node.holding.as_ref());
        let number = up.map(Holding::next_number).max().unwrap_or_default();
        let (before, base) = (epoch.change.holders.clone(), epoch.base());
        let mut holders: BTreeSet<PartyId> = before.keys().copied().collect();
        let any = |dice: &mut Dice| PartyId::try_from(1 + dice.below(u64::from(PARTIES)) as u8).ok();
        if self.dice.percent(40) {
            holders.extend(any(&mut self.dice));
        }
        if holders.len() > 3
            && let Some(leaves) = any(&mut self.dice).filter(|_| self.dice.percent(50))
        {
            holders.remove(&leaves);
        }
        let parties = holders.len() as u8;
        let threshold = 2 + self.dice.below(u64::from(parties) - 2).min(1) as u8;
        let Ok(scheme) = Scheme::new(threshold, parties) else { return };
        let mut members = node::members(&holders);
        let leavers = before.into_iter().filter(|_| self.fair || self.dice.percent(80));
        members.extend(leavers);
        let mut nonce = [0; 32];
        self.dice.fill(&mut nonce);
        // Who lost its share cannot deal.
        nonce[0] = self.without_share(&holders).map_or(self.dice.below(4) as u8, PartyId::get);
        let protocol = K::Reshare::PROTOCOL.to_owned();
        let (holders, base) = (node::members(&holders), Some(base));
        self.watch.note(format!("party {coordinator} wants {scheme} of {:?}", holders.keys()));
        self.propose(Change { protocol, key, number, base, scheme, holders, members, nonce }, links);
    }

    /// Who should hold a share of the last epoch and does not.
    fn last_lacks(&self) -> Option<PartyId> {
        let last = self.nodes.values().filter_map(|node| node.holding.as_ref()?.epoch());
        let last = last.max_by_key(|link| link.change.number)?;
        self.without_share(&last.change.holders.keys().copied().collect())
    }

    fn without_share(&self, among: &BTreeSet<PartyId>) -> Option<PartyId> {
        let lost = |node: &&Node<K>| {
            let standing = node.holding.as_ref().map(Holding::standing);
            matches!(standing, Some(Standing::New | Standing::Lost(_) | Standing::RolledBack(_)))
        };
        self.nodes.values().filter(|node| among.contains(&node.me)).find(lost).map(|node| node.me)
    }

    /// Everybody is up, hears everybody, and asks.
    fn settle(&mut self) {
        self.fair = true;
        self.go();
        let parties: Vec<PartyId> = self.nodes.keys().copied().collect();
        for party in parties {
            let Some(node) = self.nodes.get_mut(&party) else { continue };
            let post = if node.holding.is_none() {
                node.starts(self.seed)
            } else {
                node.asks().into_iter().collect()
            };
            self.sends(party, post);
            self.go();
        }
    }

    fn shares(&self) -> Vec<(PartyId, K::Share)> {
        let share = |node: &Node<K>| Some((node.me, K::read(node.holding.as_ref()?.share()?)?));
        self.nodes.values().filter_map(share).collect()
    }

    fn judge(&mut self) {
        let known: BTreeSet<[u8; 32]> =
            self.nodes.values().filter_map(|node| Some(node.holding.as_ref()?.epoch()?.name())).collect();
        if known.len() > 1 {
            self.watch.breaks(format!("they know {} epochs as the last one", known.len()));
        }
        let Some(last) = self.nodes.values().find_map(|node| node.holding.as_ref()?.epoch().cloned()) else {
            return self.watch.breaks("nobody knows of the key");
        };
        let able = self.shares();
        for holder in last.change.holders.keys() {
            if self.set_back != Some(*holder) && !able.iter().any(|(party, _)| party == holder) {
                self.watch.breaks(format!("party {holder} has confirmed a share that it does not hold"));
            }
        }
        if able.len() < usize::from(last.change.scheme.threshold()) {
            return self.watch.breaks("the key is lost");
        }
        // Who was set back is dealt to again, and then each that should signs; who is left out by chance has a second one.
        for _ in 0..4 {
            if self.last_lacks().is_some()
                && let Some(coordinator) = self.any_signer()
            {
                self.change(coordinator);
                self.go();
                self.settle();
            }
        }
        if let Some(party) = self.last_lacks() {
            self.watch.breaks(format!("party {party} is not dealt to again"));
        }
        let key = self.key.clone().unwrap_or_default();
        let after = self.shares();
        if after.iter().any(|(_, share)| K::key(share) != key) {
            self.watch.breaks("there is another key");
        }
        let released = self.watch.released.len();
        if let Some(coordinator) = self.any_signer() {
            self.sign(coordinator);
        }
        self.go();
        if self.watch.released.len() == released
            && self.without_share(&self.nodes.keys().copied().collect()).is_none()
        {
            self.watch.breaks("nothing is in the way, and they do not sign");
        }
        let mut broken = Vec::new();
        for one in &self.watch.released {
            if !K::verifies(&key, &one.message, &one.signature) {
                broken.push(format!("the signature of message {} is wrong", one.message[0]));
            }
            if !self.nodes.values().any(|node| node.log.values().any(|logged| *logged == Some(one.message))) {
                broken.push(format!("no party's log explains message {}", one.message[0]));
            }
        }
        broken.into_iter().for_each(|what| self.watch.breaks(what));
    }
}
