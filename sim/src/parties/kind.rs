//! The two protocols that are simulated, behind one face, and their judges from outside.

use std::collections::BTreeSet;
use std::fmt::Debug;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use chancery_mpc::{Fault, Machine, PartyId, Random, Scheme, ecdsa, frost};
use secp256k1::{Message, PublicKey, Secp256k1};

/// A protocol.
pub trait Kind: 'static {
    type Share: Clone + Debug;
    type Dkg: Machine<Output = Self::Share>;
    type Reshare: Machine;
    type Sign: Machine;

    fn dkg(me: PartyId, scheme: Scheme, random: Random) -> Self::Dkg;
    fn reshare(
        me: PartyId,
        before: &[u8],
        own: Option<Self::Share>,
        dealers: &BTreeSet<PartyId>,
        to: &BTreeSet<PartyId>,
        threshold: u8,
        random: Random,
    ) -> Result<Self::Reshare, Fault>;
    fn reshared(output: <Self::Reshare as Machine>::Output) -> Option<Self::Share>;
    fn sign(
        share: Self::Share,
        signers: &BTreeSet<PartyId>,
        message: [u8; 32],
        random: Random,
    ) -> Result<Self::Sign, Fault>;
    fn write(share: &Self::Share) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Option<Self::Share>;
    fn key(share: &Self::Share) -> Vec<u8>;
    /// Judged by a library that none of the parties uses.
    fn verifies(key: &[u8], message: &[u8; 32], signature: &[u8]) -> bool;
}

/// FROST Ed25519: cheap.
pub struct Ed25519;

impl Kind for Ed25519 {
    type Share = frost::Share<frost::Ed25519>;
    type Dkg = frost::Dkg<frost::Ed25519>;
    type Reshare = frost::Reshare<frost::Ed25519>;
    type Sign = frost::Sign<frost::Ed25519>;

    fn dkg(me: PartyId, scheme: Scheme, random: Random) -> Self::Dkg {
        frost::Dkg::new(me, scheme, random)
    }

    fn reshare(
        me: PartyId,
        before: &[u8],
        own: Option<Self::Share>,
        dealers: &BTreeSet<PartyId>,
        to: &BTreeSet<PartyId>,
        threshold: u8,
        random: Random,
    ) -> Result<Self::Reshare, Fault> {
        frost::Reshare::new(me, before, own, dealers.clone(), to.clone(), threshold, random)
    }

    fn reshared(output: frost::Reshared<frost::Ed25519>) -> Option<Self::Share> {
        output.share
    }

    fn sign(
        share: Self::Share,
        signers: &BTreeSet<PartyId>,
        message: [u8; 32],
        random: Random,
    ) -> Result<Self::Sign, Fault> {
        frost::Sign::new(share, signers, message.to_vec(), random)
    }

    fn write(share: &Self::Share) -> Vec<u8> {
        share.to_bytes().map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self::Share> {
        frost::Share::from_bytes(bytes).ok()
    }

    fn key(share: &Self::Share) -> Vec<u8> {
        share.public_key()
    }

    fn verifies(key: &[u8], message: &[u8; 32], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
    }
}

/// DKLs23 ECDSA: dear, and its nonces are the library's own.
pub struct Ecdsa;

impl Kind for Ecdsa {
    type Share = ecdsa::Share;
    type Dkg = ecdsa::Dkg;
    type Reshare = ecdsa::Reshare;
    type Sign = ecdsa::Sign;

    fn dkg(me: PartyId, scheme: Scheme, _: Random) -> Self::Dkg {
        ecdsa::Dkg::new(me, scheme)
    }

    fn reshare(
        me: PartyId,
        before: &[u8],
        own: Option<Self::Share>,
        dealers: &BTreeSet<PartyId>,
        to: &BTreeSet<PartyId>,
        threshold: u8,
        random: Random,
    ) -> Result<Self::Reshare, Fault> {
        ecdsa::Reshare::new(me, before, own, dealers.clone(), to.clone(), threshold, random)
    }

    fn reshared(output: ecdsa::Reshared) -> Option<Self::Share> {
        output.share
    }

    fn sign(
        share: Self::Share,
        signers: &BTreeSet<PartyId>,
        message: [u8; 32],
        _: Random,
    ) -> Result<Self::Sign, Fault> {
        ecdsa::Sign::new(share, signers, message)
    }

    fn write(share: &Self::Share) -> Vec<u8> {
        share.to_bytes().map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self::Share> {
        ecdsa::Share::from_bytes(bytes).ok()
    }

    fn key(share: &Self::Share) -> Vec<u8> {
        share.public_key().to_vec()
    }

    fn verifies(key: &[u8], message: &[u8; 32], signature: &[u8]) -> bool {
        let compact = signature.get(..64).and_then(|one| secp256k1::ecdsa::Signature::from_compact(one).ok());
        let (Some(signature), Ok(key)) = (compact, PublicKey::from_slice(key)) else { return false };
        Secp256k1::verification_only().verify_ecdsa(&Message::from_digest(*message), &signature, &key).is_ok()
    }
}
