//! One party's side of a protocol, without I/O.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::fault::{Fault, Reason};
use crate::party::PartyId;
use crate::session::SessionId;

/// What a party sends in one round. Either part may be empty; who is not named in `to_each` is sent nothing of his own.
#[derive(Default)]
pub struct Sent {
    /// The same for everybody.
    pub to_all: Vec<u8>,
    /// For one party alone: it may hold a share.
    pub to_each: BTreeMap<PartyId, Zeroizing<Vec<u8>>>,
}

/// What another party sent in one round.
#[derive(Default)]
pub struct Received {
    /// What it sent everybody.
    pub to_all: Vec<u8>,
    /// What it sent this party alone.
    pub to_me: Zeroizing<Vec<u8>>,
}

/// What follows a round.
pub enum Step<T> {
    /// Another round.
    Send(Sent),
    /// The outcome.
    Done(T),
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("to_all", &self.to_all.len()).finish_non_exhaustive()
    }
}

/// One party's side of a protocol. A machine is used once; after an error it is dropped.
pub trait Machine {
    /// What it comes to.
    type Output;

    /// The protocol's name and version, which the session's id binds.
    const PROTOCOL: &'static str;

    /// Whether all must be shown to have received the same before a round counts, and must agree to the outcome before it is
    /// used: so for keys, whose parties would otherwise hold shares of different ones.
    const MAKES_KEYS: bool;

    /// Whether the messages of each round carry what their sender received in the one before, so that who told two stories is
    /// convicted by both, and no round is spent on it.
    const ECHOES: bool = false;

    /// What all parties know of the outcome, for them to agree on.
    fn public(output: &Self::Output) -> Vec<u8>;

    /// The first round of this session.
    ///
    /// # Errors
    /// [`Fault`]; nobody has spoken yet, so nobody is named.
    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault>;

    /// One round: what each other party sent in it.
    ///
    /// # Errors
    /// [`Fault`]; the session is over.
    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Self::Output>, Fault>;
}

/// A message's bytes.
pub(crate) fn write(message: &impl Serialize) -> Result<Vec<u8>, Fault> {
    postcard::to_stdvec(message).map_err(|_| Fault::nobodys(Reason::Misuse))
}

/// A message, whole and nothing after it; else its sender is named.
pub(crate) fn read<T: DeserializeOwned>(from: PartyId, bytes: &[u8]) -> Result<T, Fault> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Fault::by(Reason::Malformed, [from])),
    }
}

/// A step that does not come now.
pub(crate) fn out_of_order() -> Fault {
    Fault::nobodys(Reason::Misuse)
}
