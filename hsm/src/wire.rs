//! What parent and worker say to each other: length-prefixed postcard over an inherited socket that nobody else holds.
//! The parent believes none of it beyond its form; the worker obeys its parent. Both are the same executable. Public for
//! whoever plays the worker: it gives no way to a [`crate::Sealed`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::custody::{Found, WrappedKey};
use crate::finding::Finding;
use crate::key::Algorithm;
use crate::signature::Message;

/// Raised with any change to the types here: an executable replaced under a running parent is refused, not guessed at.
pub const PROTOCOL: u16 = 6;
/// LIMIT: one frame, in bytes.
pub const FRAME_BYTES: usize = 256 * 1024;

/// The first frame, from parent to worker. The PIN follows as bare bytes in a frame of its own (for
/// [`Task::Initialise`] and [`Task::Entrust`], the security officer's PIN comes before it; for [`Task::Wrap`],
/// [`Task::Entrust`] and [`Task::Restore`], the secret after it).
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// What the worker shall do.
    pub task: Task,
    /// The vendor's shared object.
    pub module: String,
    /// The reserved argument of `C_Initialize`.
    pub init_argument: Option<String>,
    /// Folders that the module may write to.
    pub writable: Vec<String>,
    /// The token's label.
    pub token: String,
    /// The serial number of the token that served before, if one did.
    pub serial: Option<String>,
    /// Sessions to open.
    pub sessions: usize,
}

/// What a worker is started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// To answer requests.
    Serve,
    /// To make a token.
    Initialise,
    /// To encrypt a secret and end.
    Wrap(Sealing),
    /// To decrypt a secret and end. It follows as bare bytes once the parent has sent an empty frame, which says that it
    /// reads straight into secret memory from here on.
    Unwrap(Sealing, Vec<u8>),
    /// To tell which keys the token has, and end.
    Survey,
    /// To put a backup key on the token, marked as trusted by the security officer, and end.
    Entrust {
        /// Its id.
        key: [u8; 16],
        /// Its label.
        label: String,
    },
    /// To wrap keys under a backup key of the token, and end.
    BackUp {
        /// The backup key.
        under: [u8; 16],
        /// The keys.
        keys: Vec<[u8; 16]>,
    },
    /// To unwrap keys that were wrapped under the backup key that is handed over, and end.
    Restore(Vec<WrappedKey>),
}

/// What AES-256-GCM needs beside the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// The id of the AES key.
    pub kek: [u8; 16],
    /// Never used twice under one key.
    pub nonce: [u8; 12],
    /// The additional authenticated data.
    pub context: Vec<u8>,
}

/// A token as it describes itself. Every field is the token's own claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// `CK_TOKEN_INFO.label`.
    pub label: String,
    /// `CK_TOKEN_INFO.serialNumber`; a worker serves no other token after the first.
    pub serial: String,
    /// `CK_TOKEN_INFO.manufacturerID`.
    pub manufacturer: String,
    /// `CK_TOKEN_INFO.model`.
    pub model: String,
    /// `CK_TOKEN_INFO.firmwareVersion`.
    pub firmware: String,
    /// `CK_INFO.libraryDescription` and version.
    pub library: String,
}

/// The worker's first frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Started {
    /// It serves, or has a secret to hand over.
    Ready {
        /// What it serves.
        token: Token,
        /// PKCS#11 names.
        mechanisms: Vec<String>,
        /// What the honesty probe found.
        findings: Vec<Finding>,
    },
    /// The answer to [`Task::Wrap`]: ciphertext and tag.
    Wrapped(Vec<u8>),
    /// The answer to [`Task::Survey`]: the keys with an id of ours, and how many others there are.
    Surveyed(Vec<Found>, usize),
    /// The answer to [`Task::BackUp`].
    BackedUp(Vec<WrappedKey>),
    /// It cannot.
    Refused(Fault),
}

/// A question, sent with its number. Keys are named by `CKA_ID`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// A signature, by the key that has this public key.
    Sign {
        /// The key.
        key: [u8; 16],
        /// Its kind.
        algorithm: Algorithm,
        /// Its public key.
        public: Vec<u8>,
        /// What to sign.
        message: Message,
    },
    /// A new signing key.
    Generate {
        /// Its id.
        key: [u8; 16],
        /// Its kind.
        algorithm: Algorithm,
        /// Its label.
        label: String,
        /// Whether it may leave the token under a trusted key.
        recoverable: bool,
    },
    /// A new key that encrypts keys.
    GenerateKek {
        /// Its id.
        key: [u8; 16],
        /// Its label.
        label: String,
        /// Whether it may leave the token under a trusted key.
        recoverable: bool,
    },
    /// A new seed, made by the worker and answered encrypted.
    NewSeed(Sealing),
    /// A secret that is encrypted under one key, encrypted anew under another.
    Rewrap {
        /// How it is encrypted.
        from: Sealing,
        /// Ciphertext and tag.
        wrapped: Vec<u8>,
        /// How it shall be.
        to: Sealing,
    },
    /// What may be known of a key that is derived from a seed.
    Derive(Derived),
    /// A signature by a key that is derived from a seed.
    SignDerived(Derived, Message),
    /// A public key.
    Find {
        /// The key.
        key: [u8; 16],
    },
    /// A key's end.
    Destroy {
        /// The key.
        key: [u8; 16],
    },
    /// A number that only grows.
    Count {
        /// Its name.
        counter: [u8; 16],
    },
    /// To raise it.
    Raise {
        /// Its name.
        counter: [u8; 16],
        /// How high.
        to: u64,
    },
    /// Is the session alive, is it still this token, is the key last used still there?
    Ping,
}

/// A key that is derived from an encrypted seed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Derived {
    /// How the seed is encrypted.
    pub sealing: Sealing,
    /// The encrypted seed: ciphertext and tag.
    pub wrapped: Vec<u8>,
    /// The key's kind.
    pub algorithm: Algorithm,
    /// The steps to it.
    pub path: Vec<u32>,
}

/// The answer, sent with its question's number.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// `r || s` or `R || S`.
    Signature(Vec<u8>),
    /// A public key: its algorithm and encoding.
    Public(Algorithm, Vec<u8>),
    /// A new seed, or a secret encrypted anew: ciphertext and tag.
    Wrapped(Vec<u8>),
    /// What may be known of a derived key.
    Extended {
        /// As [`Reply::Public`] encodes it.
        public: Vec<u8>,
        /// What the steps below it are hashed with.
        chain_code: [u8; 32],
        /// The public key one step above; zeros at the seed.
        parent: Vec<u8>,
    },
    /// A number that only grows.
    Count(u64),
    /// No such key.
    Nothing,
    /// It is done.
    Done,
    /// It is not.
    Failed(Fault),
}

/// A failure as the worker classes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it asks for.
    pub class: Class,
    /// The function and its return value, or a sentence.
    pub what: String,
}

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The token is short of something now: call again.
    Retry,
    /// The session or a handle is gone: open a session, find the key, try once more.
    NewSession,
    /// The module's state is lost: only a new process brings it back.
    Reinitialise,
    /// The token holds another key than the pinned one: set the key apart.
    Mismatch,
    /// There is no such key.
    Missing,
    /// There is such a key already.
    Exists,
    /// Calling again will not help.
    Refused,
    /// The token did, but not as it promised: the key it made is not guarded.
    Unguarded,
    /// The PIN: never try again without an operator.
    Fatal,
}

/// Appends one frame to `out`.
///
/// # Errors
/// A value that does not fit a frame's length.
pub fn encode(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    *out = postcard::to_extend(value, std::mem::take(out))?;
    let len = u32::try_from(out.len() - start - 4).map_err(|_| postcard::Error::SerializeBufferFull)?;
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}

/// Bytes that have come in and not been taken apart.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// Where to append what is read.
    #[must_use]
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.reserve(16 * 1024);
        &mut self.bytes
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// A frame that is too long, or is not a `T` and nothing else.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, postcard::Error> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = frame_len(*prefix).ok_or(postcard::Error::DeserializeBadEncoding)?;
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        let (value, left) = postcard::take_from_bytes(frame)?;
        if !left.is_empty() {
            return Err(postcard::Error::DeserializeBadEncoding);
        }
        self.taken += 4 + len;
        Ok(Some(value))
    }
}

/// The length a prefix announces, or `None` above [`FRAME_BYTES`].
#[must_use]
pub fn frame_len(prefix: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(prefix)).ok().filter(|len| *len <= FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        for call in 0..3_u64 {
            encode(&(call, Request::Find { key: [7; 16] }), &mut stream).unwrap();
        }
        for cut in 0..stream.len() {
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                inbox.space().extend_from_slice(part);
                while let Some((call, Request::Find { key: [7, ..] })) =
                    inbox.take::<(u64, Request)>().unwrap()
                {
                    seen.push(call);
                }
            }
            assert_eq!(seen, [0, 1, 2], "cut at {cut}");
        }
    }

    /// Would catch a worker that can make its parent panic or take memory without bound.
    #[test]
    fn bytes_of_any_kind_are_taken_apart_or_refused() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut frame = Vec::new();
            for _ in 0..seed % 80 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                frame.push((seed >> 33) as u8);
            }
            seed = seed.rotate_left(7).wrapping_add(1);
            let mut inbox = Inbox::default();
            inbox.space().extend_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
            inbox.space().extend_from_slice(&frame);
            let _ = inbox.take::<(u64, Reply)>();
            let mut inbox = Inbox::default();
            inbox.space().extend_from_slice(&frame);
            let _ = inbox.take::<Started>();
        }
    }

    #[test]
    fn a_frame_that_is_too_long_or_has_a_tail_is_refused() {
        let mut inbox = Inbox::default();
        inbox.space().extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(inbox.take::<Reply>().is_err(), "memory must not follow an announced length");
        let mut stream = Vec::new();
        encode(&(Reply::Done, 1_u8), &mut stream).unwrap();
        let mut inbox = Inbox::default();
        inbox.space().extend_from_slice(&stream);
        assert!(inbox.take::<Reply>().is_err());
    }
}
