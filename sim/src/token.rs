//! The token and the worker that speaks for it, simulated: it delays, dies, hangs, answers late, out of order, to questions
//! nobody asked, and lies. The token outlives the process. What it was asked to sign is written down: each must turn out to
//! have been decided and recorded before.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_core::{KeyId, config};
use chancery_hsm::wire::{self, Class, Fault, Inbox, Reply, Request, Start, Started};
use chancery_hsm::{
    Algorithm, Body, Ending, Finding, KeyRef, Launch, Message, PublicKey, Token as Description,
};
use secp256k1::{Secp256k1, SecretKey, SignOnly};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};

use crate::machine::{self, dice::Dice};

/// The token's PIN. It comes as a frame of bare bytes, which is how an array of this length is written too.
pub const PIN: [u8; 4] = *b"1234";

/// How the token and its worker behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// Answers in a hundred that are late, lost or out of order.
    pub slow: u64,
    /// Answers in a hundred before which the worker dies, hangs or speaks nonsense.
    pub fails: u64,
    /// Answers in a thousand that are lies.
    pub lies: u64,
}

enum Secret {
    Ecdsa(SecretKey),
    Eddsa([u8; 32]),
}

struct Inside {
    dice: Dice,
    manners: Manners,
    keys: BTreeMap<[u8; 16], Secret>,
    /// The last signature of each length.
    last: Option<Vec<u8>>,
    asked: Vec<[u8; 32]>,
}

/// A handle to the token.
#[derive(Clone)]
pub struct Token {
    inside: Arc<Mutex<Inside>>,
    curve: Secp256k1<SignOnly>,
}

/// What the worker does with one question.
enum Deed {
    Answer(Reply),
    Die,
    Nonsense,
    /// The number of another question.
    Misnumbered(Reply),
    Silence,
}

impl Token {
    /// An empty token.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inside = Inside {
            dice: Dice::of(seed, "token"),
            manners: Manners::default(),
            keys: BTreeMap::new(),
            last: None,
            asked: Vec::new(),
        };
        Self { inside: Arc::new(Mutex::new(inside)), curve: Secp256k1::signing_only() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it behaves from here on.
    pub fn behave(&self, manners: Manners) {
        self.inside().manners = manners;
    }

    /// Every digest that a wallet's key was asked to sign.
    #[must_use]
    pub fn asked(&self) -> Vec<[u8; 32]> {
        self.inside().asked.clone()
    }

    fn delay(&self) -> Duration {
        let mut inside = self.inside();
        let slow = inside.manners.slow;
        let ms =
            if inside.dice.percent(slow) { inside.dice.spread(50, 4_000) } else { inside.dice.below(12) };
        Duration::from_millis(ms)
    }

    fn deed(&self, request: &Request) -> Deed {
        let mut inside = self.inside();
        let manners = inside.manners;
        if inside.dice.percent(manners.fails) {
            return match inside.dice.below(5) {
                0 => Deed::Nonsense,
                1 => Deed::Silence,
                2 => Deed::Misnumbered(self.answer(&mut inside, request)),
                // The work is done and the answer lost, or not even that.
                3 => {
                    self.answer(&mut inside, request);
                    Deed::Die
                }
                _ => Deed::Die,
            };
        }
        let reply = self.answer(&mut inside, request);
        if inside.dice.below(1_000) < manners.lies {
            return Deed::Answer(lie(&mut inside, reply));
        }
        Deed::Answer(reply)
    }

    fn answer(&self, inside: &mut Inside, request: &Request) -> Reply {
        match request {
            Request::Ping => Reply::Done,
            Request::Find { key } => match inside.keys.get(key) {
                None => Reply::Nothing,
                Some(secret) => self.public(secret),
            },
            Request::Generate { key, .. } if inside.keys.contains_key(key) => failed(Class::Exists),
            Request::Generate { key, algorithm, .. } => {
                let mut seed = [0; 32];
                inside.dice.fill(&mut seed);
                let secret = match algorithm {
                    Algorithm::Ed25519 => Secret::Eddsa(seed),
                    _ => match SecretKey::from_slice(&seed) {
                        Ok(secret) => Secret::Ecdsa(secret),
                        Err(_) => return failed(Class::Retry),
                    },
                };
                let public = self.public(&secret);
                inside.keys.insert(*key, secret);
                public
            }
            Request::GenerateKek { .. }
            | Request::NewSeed(_)
            | Request::Rewrap { .. }
            | Request::Derive(_)
            | Request::Count { .. }
            | Request::Raise { .. }
            | Request::SignDerived(..) => failed(Class::Refused),
            Request::Destroy { key } => match inside.keys.remove(key) {
                None => failed(Class::Missing),
                Some(_) => Reply::Done,
            },
            Request::Sign { key, message, public, algorithm } => {
                let signature = match (inside.keys.get(key), message) {
                    (Some(Secret::Ecdsa(secret)), Message::Digest(digest)) => {
                        if !is_proof(*key, *algorithm, public, message) {
                            inside.asked.push(*digest);
                        }
                        let message = secp256k1::Message::from_digest(*digest);
                        self.curve.sign_ecdsa(&message, secret).serialize_compact().to_vec()
                    }
                    (Some(Secret::Eddsa(seed)), Message::Bytes(message)) => match eddsa(seed) {
                        Some(pair) => pair.sign(message).as_ref().to_vec(),
                        None => return failed(Class::Refused),
                    },
                    _ => return failed(Class::Missing),
                };
                Reply::Signature(signature)
            }
        }
    }

    fn public(&self, secret: &Secret) -> Reply {
        match secret {
            Secret::Ecdsa(secret) => {
                Reply::Public(Algorithm::Secp256k1, secret.public_key(&self.curve).serialize().to_vec())
            }
            Secret::Eddsa(seed) => eddsa(seed).map_or(Reply::Nothing, |pair| {
                Reply::Public(Algorithm::Ed25519, pair.public_key().as_ref().to_vec())
            }),
        }
    }

    async fn serve(self, mut stream: UnixStream) -> Option<()> {
        let mut inbox = Inbox::default();
        let _start: Start = next(&mut stream, &mut inbox).await?;
        let _pin: [u8; PIN.len()] = next(&mut stream, &mut inbox).await?;
        let mut out = Vec::new();
        tokio::time::sleep(self.delay()).await;
        wire::encode(&ready(), &mut out).ok()?;
        stream.write_all(&out).await.ok()?;
        let (mut reading, mut writing) = stream.into_split();
        let mut working = JoinSet::new();
        loop {
            let mut bytes = [0; 4_096];
            tokio::select! {
                biased;
                Some(done) = working.join_next() => {
                    let frame: Option<Vec<u8>> = done.ok()?;
                    writing.write_all(&frame?).await.ok()?;
                }
                count = reading.read(&mut bytes) => {
                    let read = bytes.get(..count.ok()?).filter(|read| !read.is_empty())?;
                    inbox.space().extend_from_slice(read);
                    while let Some((number, request)) = inbox.take::<(u64, Request)>().ok()? {
                        let (token, delay) = (self.clone(), self.delay());
                        working.spawn(async move {
                            tokio::time::sleep(delay).await;
                            token.frame(number, &request).await
                        });
                    }
                }
            }
        }
    }

    /// The bytes to send; `None` ends the worker.
    async fn frame(&self, number: u64, request: &Request) -> Option<Vec<u8>> {
        // The token stands outside the machine: what a dead process still sends, it never gets.
        if !machine::alive() {
            return None;
        }
        let mut frame = Vec::new();
        match self.deed(request) {
            Deed::Answer(reply) => wire::encode(&(number, reply), &mut frame).ok()?,
            Deed::Misnumbered(reply) => {
                machine::note("the worker answers another question");
                wire::encode(&(number.wrapping_add(1), reply), &mut frame).ok()?;
            }
            Deed::Nonsense => {
                machine::note("the worker speaks nonsense");
                frame.extend([3, 0, 0, 0, 0xff, 0xff, 0xff]);
            }
            Deed::Silence => {
                machine::note("the worker hangs");
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
            Deed::Die => {
                machine::note("the worker dies");
                return None;
            }
        }
        Some(frame)
    }
}

/// Whether a fresh key is asked to prove itself, which needs no decision.
fn is_proof(id: [u8; 16], algorithm: Algorithm, public: &[u8], message: &Message) -> bool {
    let id = KeyId::from_bytes(id);
    PublicKey::parse(algorithm, public).is_ok_and(|public| KeyRef { id, public }.proof() == *message)
}

fn eddsa(seed: &[u8; 32]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(seed).ok()
}

fn failed(class: Class) -> Reply {
    Reply::Failed(Fault { class, what: "simulated".to_owned() })
}

fn lie(inside: &mut Inside, truth: Reply) -> Reply {
    let choice = inside.dice.below(8);
    machine::note(format!("the token lies ({choice})"));
    let Reply::Signature(mut signature) = truth else {
        return match choice {
            0..4 => failed(Class::Retry),
            _ => truth,
        };
    };
    let last = inside.last.replace(signature.clone());
    match choice {
        0 => {
            let bit = inside.dice.below(512);
            if let Some(byte) = signature.get_mut(usize::try_from(bit / 8).unwrap_or(0)) {
                *byte ^= 1 << (bit % 8);
            }
            Reply::Signature(signature)
        }
        1 => Reply::Signature(last.unwrap_or_default()),
        2 => {
            signature.truncate(63);
            Reply::Signature(signature)
        }
        3 => Reply::Signature(vec![0; 64]),
        4 => failed(Class::Mismatch),
        5 => Reply::Nothing,
        6 => failed(Class::Reinitialise),
        _ => failed(Class::Missing),
    }
}

fn ready() -> Started {
    let token = Description {
        label: "simulated".to_owned(),
        serial: "1".to_owned(),
        manufacturer: String::new(),
        model: String::new(),
        firmware: String::new(),
        library: String::new(),
    };
    Started::Ready { token, mechanisms: Vec::new(), findings: Vec::<Finding>::new() }
}

async fn next<T: serde::de::DeserializeOwned>(stream: &mut UnixStream, inbox: &mut Inbox) -> Option<T> {
    loop {
        if let Some(value) = inbox.take().ok()? {
            return Some(value);
        }
        stream.read_buf(inbox.space()).await.ok().filter(|count| *count > 0)?;
    }
}

impl Launch for Token {
    fn launch(&self, _: &config::Hsm) -> io::Result<(UnixStream, Box<dyn Body>)> {
        let (ours, theirs) = UnixStream::pair()?;
        machine::note("a worker starts");
        let serving = tokio::spawn(self.clone().serve(theirs));
        Ok((ours, Box::new(Worker { serving })))
    }
}

struct Worker {
    serving: JoinHandle<Option<()>>,
}

impl Body for Worker {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn kill(&mut self) {
        self.serving.abort();
    }

    fn ended(&mut self) -> Ending<'_> {
        Box::pin(async {
            if !self.serving.is_finished() {
                let _ = (&mut self.serving).await;
            }
            "it ended".to_owned()
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
