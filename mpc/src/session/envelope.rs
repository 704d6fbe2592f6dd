//! A message of a session: signed by the sender's node for one session, step and receiver.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SessionId;
use crate::party::PartyId;

/// LIMIT: what a message says, in bytes; a longer one is not looked at. The largest are those that make an ECDSA key.
pub const ENVELOPE_BYTES: usize = 512 * 1024;

/// Starts what is signed, so that it is no other text that a node signs.
const DOMAIN: &[u8] = b"chancery mpc message v1\n";

/// SHA-256.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The key that a party's node signs messages with: Ed25519.
pub trait Identity: Send + Sync {
    /// A signature.
    fn sign(&self, text: &[u8]) -> [u8; 64];

    /// The key that verifies it.
    fn public_key(&self) -> [u8; 32];
}

/// A message of a session. Its session is not in it: the receiver knows which one it is for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The step of the session, from 1.
    pub step: u8,
    /// Who speaks.
    pub from: PartyId,
    /// To whom.
    pub to: PartyId,
    /// What the sender told everybody in this step.
    pub to_all: Vec<u8>,
    /// What is for the receiver alone.
    pub to_me: Zeroizing<Vec<u8>>,
    /// The sender's, over the head.
    #[serde(with = "signature")]
    pub signature: [u8; 64],
}

/// What the sender's signature covers. The hashes stand for the parts, so that a message can be shown to have been sent without
/// showing the part that is secret.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub session: &'a SessionId,
    pub step: u8,
    pub from: PartyId,
    pub to: PartyId,
    pub to_all: Hash,
    pub to_each: Hash,
}

impl Head<'_> {
    fn text(&self) -> Vec<u8> {
        let mut text = DOMAIN.to_vec();
        text.extend(self.session.as_bytes());
        text.extend([self.step, self.from.get(), self.to.get()]);
        text.extend(self.to_all);
        text.extend(self.to_each);
        text
    }

    pub(super) fn sign(&self, identity: &dyn Identity) -> [u8; 64] {
        identity.sign(&self.text())
    }

    pub(super) fn is_signed(&self, key: &[u8; 32], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, key).verify(&self.text(), signature).is_ok()
    }
}

impl Envelope {
    pub(super) fn is_signed(&self, session: &SessionId, key: &[u8; 32]) -> bool {
        let Self { step, from, to, to_all, to_me, signature } = self;
        let (to_all, to_each) = (hash(to_all), hash(to_me));
        Head { session, step: *step, from: *from, to: *to, to_all, to_each }.is_signed(key, signature)
    }

    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.to_all == other.to_all && self.to_me == other.to_me
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {} from {} to {}: {} bytes",
            self.step,
            self.from,
            self.to,
            self.to_all.len() + self.to_me.len()
        )
    }
}

/// 64 bytes in serde, which knows arrays up to 32.
pub(super) mod signature {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        let (halves, _) = bytes.as_chunks::<32>();
        halves.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
        let halves: Vec<[u8; 32]> = Vec::deserialize(deserializer)?;
        halves.as_flattened().try_into().map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}
