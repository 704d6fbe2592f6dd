//! A signature is made in two rounds: nonces are committed to, and each signer gives its part, with the hash of the commitments
//! that it was made for. Every signer puts the parts together and names whose is wrong; a part for other commitments is judged by
//! nobody, since who told two stories is another.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::round1::{self, SigningCommitments, SigningNonces};
use frost_core::round2::{self, SignatureShare};
use frost_core::{CheaterDetection, SigningPackage, aggregate_custom};
use sha2::{Digest, Sha256};

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
    Signed { package: SigningPackage<C>, of: [u8; 32], own: SignatureShare<C> },
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
        let fits = signers.len() >= usize::from(*share.own.min_signers())
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
                let of: [u8; 32] = Sha256::digest(package.serialize().map_err(|e| fault::<C>(&e))?).into();
                let sent = Sent { to_all: [&of[..], &own.serialize()].concat(), to_each: BTreeMap::new() };
                self.state = State::Signed { package, of, own };
                Ok(Step::Send(sent))
            }
            State::Signed { package, of, own } => {
                let mut shares = BTreeMap::from([(me, own)]);
                for (from, received) in round {
                    let Some((made_for, part)) = received.to_all.split_at_checked(of.len()) else {
                        return Err(Fault::by(Reason::Malformed, [*from]));
                    };
                    if made_for != of {
                        return Err(Fault::nobodys(Reason::Disagreement));
                    }
                    let one = parsed(*from, SignatureShare::<C>::deserialize(part))?;
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
