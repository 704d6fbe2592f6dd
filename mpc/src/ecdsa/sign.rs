//! A signature is made in three rounds by exactly the threshold, each of whom comes to it and verifies it.

use std::collections::{BTreeMap, BTreeSet};

use dkls23::protocols::PartyIndex;
use dkls23::protocols::signing::{
    Broadcast3to4, KeepPhase1to2, KeepPhase2to3, SignData, TransmitPhase1to2, TransmitPhase2to3,
    UniqueKeep1to2, UniqueKeep2to3,
};
use serde::de::DeserializeOwned;

use super::{Curve, Share};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::PartyId;
use crate::session::SessionId;

/// A signature: `r || s || y_parity`, low-S.
pub type Signature = [u8; 65];

/// One signer's side.
pub struct Sign {
    share: Share,
    data: SignData,
    state: State,
}

enum State {
    New,
    Asked(UniqueKeep1to2<Curve>, BTreeMap<PartyIndex, KeepPhase1to2<Curve>>),
    Multiplied(UniqueKeep2to3<Curve>, BTreeMap<PartyIndex, KeepPhase2to3<Curve>>),
    Summed { r: String, own: Broadcast3to4<Curve> },
    Over,
}

impl Sign {
    /// Signs the 32 bytes of `digest` with `signers`, one of whom holds this share.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where they are not exactly as many as the threshold.
    pub fn new(share: Share, signers: &BTreeSet<PartyId>, digest: [u8; 32]) -> Result<Self, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let (scheme, me) = (share.scheme()?, share.owner()?);
        if !signers.contains(&me)
            || !signers.is_subset(share.parties())
            || signers.len() != usize::from(scheme.threshold())
        {
            return Err(misuse());
        }
        let others = signers.iter().filter(|signer| **signer != me);
        let counterparties = others.map(|signer| share.seats.index(*signer)).collect::<Result<_, _>>()?;
        let data = SignData { sign_id: Vec::new(), counterparties, message_hash: digest };
        Ok(Self { share, data, state: State::New })
    }

    /// Each one's message, from the party that it says it is from.
    fn theirs<T: DeserializeOwned>(
        &self,
        round: &BTreeMap<PartyId, Received>,
        sender: impl Fn(&T) -> PartyIndex,
    ) -> Result<Vec<T>, Fault> {
        let one = |(from, received): (&PartyId, &Received)| {
            let message: T = read(*from, &received.to_me)?;
            let is_theirs = self.share.seats.party(sender(&message)) == Some(*from);
            if is_theirs { Ok(message) } else { Err(Fault::by(Reason::Malformed, [*from])) }
        };
        round.iter().map(one).collect()
    }
}

impl Machine for Sign {
    type Output = Signature;

    const PROTOCOL: &'static str = "dkls23-secp256k1/sign/1";
    const MAKES_KEYS: bool = false;

    fn public(signature: &Signature) -> Vec<u8> {
        signature.to_vec()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        self.data.sign_id = session.as_bytes().to_vec();
        let (all, each, ask) =
            self.share.party.sign_phase1(&self.data).map_err(|abort| self.share.seats.fault(&abort))?;
        self.state = State::Asked(all, each);
        let to_each =
            self.share.seats.addressed(ask.into_iter().map(|message| (message.parties.receiver, message)))?;
        Ok(Sent { to_all: Vec::new(), to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Signature>, Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asked(all, each) => {
                let asked: Vec<TransmitPhase1to2> =
                    self.theirs(round, |message: &TransmitPhase1to2| message.parties.sender)?;
                let (all, each, products) = self
                    .share
                    .party
                    .sign_phase2(&self.data, all, each, &asked)
                    .map_err(|abort| self.share.seats.fault(&abort))?;
                self.state = State::Multiplied(all, each);
                let to_each = self
                    .share
                    .seats
                    .addressed(products.into_iter().map(|message| (message.parties.receiver, message)))?;
                Ok(Step::Send(Sent { to_all: Vec::new(), to_each }))
            }
            State::Multiplied(all, each) => {
                let products: Vec<TransmitPhase2to3<Curve>> =
                    self.theirs(round, |message: &TransmitPhase2to3<Curve>| message.parties.sender)?;
                let (r, own) = self
                    .share
                    .party
                    .sign_phase3(&self.data, all, each, &products)
                    .map_err(|abort| self.share.seats.fault(&abort))?;
                let to_all = write(&own)?;
                self.state = State::Summed { r, own };
                Ok(Step::Send(Sent { to_all, to_each: BTreeMap::new() }))
            }
            State::Summed { r, own } => {
                let mut parts = vec![own];
                for (from, received) in round {
                    parts.push(read(*from, &received.to_all)?);
                }
                let (s, recovery) = self
                    .share
                    .party
                    .sign_phase4(&self.data, &r, &parts, true)
                    .map_err(|abort| self.share.seats.fault(&abort))?;
                // Bit 1 says that `r` was reduced, which nobody's format can carry.
                signature(&r, &s, recovery).map(Step::Done).ok_or(Fault::nobodys(Reason::Outcome))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}

/// The library gives `r` and `s` in hexadecimal.
fn signature(r: &str, s: &str, y_parity: u8) -> Option<Signature> {
    if y_parity > 1 {
        return None;
    }
    let digits = [r, s].concat();
    let digits = digits.as_bytes();
    let mut bytes = [y_parity; 65];
    if digits.len() != 128 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
