//! Threshold BLS on BLS12-381, for what a quorum of nodes says together: a checkpoint of the log, an epoch of a key. Not for coins.
//!
//! Keys are points of 48 bytes in G1 and are made, refreshed, repaired and dealt on by FROST's machines, whose dealing is the same
//! in any group; signatures are points of 96 bytes in G2, and one party's part needs no other's: one round, no nonces, and the
//! signature is the same whoever signs. What is signed says what it is, so that no statement is ever another.

mod sign;
mod suite;

pub use sign::{Sign, Statement, verify};
pub use suite::Bls12381;

/// A party's share of a key.
pub type Share = crate::frost::Share<Bls12381>;
/// A key is made.
pub type Dkg = crate::frost::Dkg<Bls12381>;
/// Shares are made new.
pub type Refresh = crate::frost::Refresh<Bls12381>;
/// A lost share is given back.
pub type Repair = crate::frost::Repair<Bls12381>;
/// Shares go to other parties.
pub type Reshare = crate::frost::Reshare<Bls12381>;
