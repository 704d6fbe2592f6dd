//! Keys that exist nowhere: each of `n` parties holds a share, any `t` of them sign, and fewer learn nothing. A protocol is a
//! [`Machine`]: given what the others sent in one round, it answers with what it sends in the next; it reads no clock, socket or file.
//! A [`Session`] is one run of it among named parties: every message is signed and counts once, all are shown to have received the
//! same, and who did not keep to the protocol is named. Time, transport and storage are the caller's. If this room is wrong, a key
//! is put together outside of every policy, or a wallet is lost.

pub mod bls;
pub mod ecdsa;
pub mod epoch;
mod fault;
pub mod frost;
mod machine;
mod party;
mod random;
mod session;

pub use fault::{Fault, Reason};
pub use machine::{Machine, Received, Sent, Step};
pub use party::{PARTIES, PartyId, Scheme, SchemeError};
pub use random::Random;
pub use session::{
    Certificate, ENVELOPE_BYTES, Envelope, Identity, Members, Outcome, Progress, Session, SessionId, Terms,
};
