//! A signature is made in two rounds: nonces are committed to, and each signer gives its part, with the commitments that it was
//! made for as their makers signed them. Who told two stories is convicted by both; where all were told the same, every signer puts
//! the parts together and names whose is wrong.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::round1::{self, SigningCommitments, SigningNonces};
use frost_core::round2::{self, SignatureShare};
use frost_core::{CheaterDetection, SigningPackage, aggregate_custom};

use super::{Id, Share, Suite, fault, id, parsed};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
use crate::party::PartyId;
use crate::random::Random;
use crate::session::SessionId;

/// One signer's side. Its nonces live here and nowhere else: a session that ended takes them along.
pub struct Sign<C: Suite> {
    share: Share<C>,
    signers: BTreeSet<Id<C>>,
    message: Vec<u8>,
    random: Random,
    state: State<C>,
}

enum State<C: Suite> {
    New,
    Committed { nonces: Box<SigningNonces<C>>, own: SigningCommitments<C> },
    Signed { package: SigningPackage<C>, own: SignatureShare<C> },
    Over,
}

impl<C: Suite> Sign<C> {
    /// Signs `message` with `signers`, who are as many as the threshold or more, and one of whom holds this share.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where they are not.
    pub fn new(
        share: Share<C>,
        signers: &BTreeSet<PartyId>,
        message: Vec<u8>,
        random: Random,
    ) -> Result<Self, Fault> {
        let signers: BTreeSet<Id<C>> = signers.iter().map(|party| id(*party)).collect::<Result<_, _>>()?;
        let known = share.group.verifying_shares();
        let fits = C::SCHNORR
            && signers.len() >= usize::from(*share.own.min_signers())
            && signers.contains(share.own.identifier())
            && signers.iter().all(|signer| known.contains_key(signer));
        if !fits {
            return Err(Fault::nobodys(Reason::Misuse));
        }
        Ok(Self { share, signers, message, random, state: State::New })
    }
}

impl<C: Suite> Machine for Sign<C> {
    /// The signature, 64 bytes.
    type Output = Vec<u8>;

    const PROTOCOL: &'static str = C::SIGN;
    const MAKES_KEYS: bool = false;
    const ECHOES: bool = true;

    fn public(signature: &Vec<u8>) -> Vec<u8> {
        signature.clone()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let (nonces, own) = round1::commit(self.share.own.signing_share(), &mut self.random.source());
        self.state = State::Committed { nonces: Box::new(nonces), own };
        Ok(Sent { to_all: own.serialize().map_err(|e| fault::<C>(&e))?, to_each: BTreeMap::new() })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Vec<u8>>, Fault> {
        let me = *self.share.own.identifier();
        match std::mem::replace(&mut self.state, State::Over) {
            State::Committed { nonces, own } => {
                let mut commitments = BTreeMap::from([(me, own)]);
                for (from, received) in round {
                    let one = parsed(*from, SigningCommitments::<C>::deserialize(&received.to_all))?;
                    commitments.insert(id(*from)?, one);
                }
                if !commitments.keys().eq(&self.signers) {
                    return Err(out_of_order());
                }
                let package = SigningPackage::new(commitments, &self.message);
                let own = round2::sign(&package, &nonces, &self.share.own).map_err(|e| fault::<C>(&e))?;
                let sent = Sent { to_all: own.serialize(), to_each: BTreeMap::new() };
                self.state = State::Signed { package, own };
                Ok(Step::Send(sent))
            }
            State::Signed { package, own } => {
                let mut shares = BTreeMap::from([(me, own)]);
                for (from, received) in round {
                    let one = parsed(*from, SignatureShare::<C>::deserialize(&received.to_all))?;
                    shares.insert(id(*from)?, one);
                }
                let group = &self.share.group;
                let signature = aggregate_custom(&package, &shares, group, CheaterDetection::AllCheaters)
                    .and_then(|signature| signature.serialize())
                    .map_err(|e| fault::<C>(&e))?;
                Ok(Step::Done(signature))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}
