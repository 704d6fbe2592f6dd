//! A network in memory: every message of every session, delivered in an order that a seed decides, changed on its way where a test
//! wants that.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "helpers of tests may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_mpc::{
    Certificate, Envelope, Fault, Identity, Machine, Members, Outcome, PartyId, Scheme, Session, SessionId,
    Terms,
};
use sha2::{Digest, Sha256};

pub fn party(number: u8) -> PartyId {
    PartyId::try_from(number).unwrap()
}

pub fn scheme(threshold: u8, parties: u8) -> Scheme {
    Scheme::new(threshold, parties).unwrap()
}

pub fn set(parties: impl IntoIterator<Item = u8>) -> BTreeSet<PartyId> {
    parties.into_iter().map(party).collect()
}

/// A node's key.
pub struct Node(Ed25519KeyPair);

impl Identity for Node {
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).as_ref().try_into().unwrap()
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }
}

pub fn node(party: PartyId) -> Arc<Node> {
    Arc::new(Node(Ed25519KeyPair::from_seed_unchecked(&[party.get(); 32]).unwrap()))
}

pub fn members(parties: &BTreeSet<PartyId>) -> Members {
    parties.iter().map(|party| (*party, node(*party).public_key())).collect()
}

/// The sender signs what it has changed.
pub fn sign(envelope: &mut Envelope, session: &SessionId) {
    let hash = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    let mut text = b"chancery mpc message v1\n".to_vec();
    text.extend(session.as_bytes());
    text.extend([envelope.step, envelope.from.get(), envelope.to.get()]);
    text.extend(hash(&envelope.to_all));
    text.extend(hash(&envelope.to_me));
    envelope.signature = node(envelope.from).sign(&text);
}

/// What one party came to.
pub struct Came<T> {
    pub outcome: Option<T>,
    pub certificate: Option<Certificate>,
    pub fault: Option<Fault>,
    /// Messages that were refused and changed nothing.
    pub foreign: usize,
}

/// What happens to a message on its way.
pub type Way<'a> = &'a mut dyn FnMut(Envelope, &SessionId) -> Vec<Envelope>;

pub struct Run<'a> {
    pub scheme: Scheme,
    pub about: &'a [u8],
    pub epoch: u64,
    pub nonce: u8,
    pub seed: u64,
}

impl Run<'_> {
    pub fn of(scheme: Scheme) -> Self {
        Self { scheme, about: b"", epoch: 0, nonce: 0, seed: 0 }
    }

    /// Runs these machines to their end.
    pub fn run<M: Machine>(&self, machines: BTreeMap<PartyId, M>) -> BTreeMap<PartyId, Came<M::Output>> {
        self.run_over(machines, &mut |envelope, _| vec![envelope])
    }

    /// The same, over a way that may change messages.
    pub fn run_over<M: Machine>(
        &self,
        machines: BTreeMap<PartyId, M>,
        way: Way<'_>,
    ) -> BTreeMap<PartyId, Came<M::Output>> {
        let members = members(&machines.keys().copied().collect());
        let Self { scheme, about, epoch, nonce, .. } = *self;
        let terms = Terms { key: "treasury", epoch, scheme, members: &members, about, nonce: [nonce; 32] };
        let mut sessions = BTreeMap::new();
        let mut came = BTreeMap::new();
        let mut under_way = Vec::new();
        for (me, machine) in machines {
            let mut one = Came { outcome: None, certificate: None, fault: None, foreign: 0 };
            match Session::begin(machine, &terms, me, node(me)) {
                Ok((session, first)) => {
                    for envelope in first {
                        under_way.extend(way(envelope, session.id()));
                    }
                    sessions.insert(me, session);
                }
                Err(fault) => one.fault = Some(fault),
            }
            came.insert(me, one);
        }
        let mut order = self.seed;
        while !under_way.is_empty() {
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let next =
                if self.seed == 0 { 0 } else { usize::try_from(order >> 33).unwrap() % under_way.len() };
            let envelope = under_way.remove(next);
            // Every message crosses the wire as bytes.
            let envelope: Envelope = postcard::from_bytes(&postcard::to_stdvec(&envelope).unwrap()).unwrap();
            let (Some(session), Some(one)) = (sessions.get_mut(&envelope.to), came.get_mut(&envelope.to))
            else {
                continue;
            };
            if one.fault.is_some() {
                continue;
            }
            let mut progress = session.receive(envelope);
            loop {
                match progress {
                    Err(fault) if fault.reason == chancery_mpc::Reason::Foreign => one.foreign += 1,
                    Err(fault) => one.fault = Some(fault),
                    Ok(progress_made) => {
                        for envelope in progress_made.send {
                            under_way.extend(way(envelope, session.id()));
                        }
                        match progress_made.came_to {
                            None => {}
                            Some(Outcome::Done(outcome)) => one.outcome = Some(outcome),
                            Some(Outcome::Certified(certificate)) => {
                                assert!(certificate.holds(&members));
                                one.certificate = Some(certificate);
                            }
                            Some(Outcome::Made(outcome)) => {
                                one.outcome = Some(outcome);
                                progress = session.confirm();
                                continue;
                            }
                        }
                    }
                }
                break;
            }
        }
        came
    }
}

/// The outcomes, where everything went well.
pub fn outcomes<T>(came: BTreeMap<PartyId, Came<T>>) -> BTreeMap<PartyId, T> {
    came.into_iter()
        .map(|(party, one)| {
            assert_eq!((one.fault, one.foreign), (None, 0), "{party:?}");
            (party, one.outcome.unwrap_or_else(|| panic!("{party:?} came to nothing")))
        })
        .collect()
}
