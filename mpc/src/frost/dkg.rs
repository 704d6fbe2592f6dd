//! A key is made: everybody commits to a polynomial and proves that he knows it, and sends each other party its point on it.

use std::collections::BTreeMap;

use frost_core::keys::dkg::{self, round1, round2};
use zeroize::Zeroizing;

use super::{Id, Share, Suite, fault, id, parsed};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
use crate::party::{PartyId, Scheme};
use crate::random::Random;
use crate::session::SessionId;

/// One party's side.
pub struct Dkg<C: Suite> {
    me: PartyId,
    scheme: Scheme,
    random: Random,
    state: State<C>,
}

/// How far a deal is.
pub(super) enum State<C: Suite> {
    New,
    Committed(round1::SecretPackage<C>),
    Dealt { secret: round2::SecretPackage<C>, commitments: BTreeMap<Id<C>, round1::Package<C>> },
    Over,
}

impl<C: Suite> Dkg<C> {
    /// Of party `me`.
    #[must_use]
    pub fn new(me: PartyId, scheme: Scheme, random: Random) -> Self {
        Self { me, scheme, random, state: State::New }
    }
}

impl<C: Suite> Machine for Dkg<C> {
    type Output = Share<C>;

    const PROTOCOL: &'static str = C::DKG;
    const MAKES_KEYS: bool = true;

    fn public(share: &Share<C>) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let (parties, threshold) = (self.scheme.parties().into(), self.scheme.threshold().into());
        let (secret, package) =
            dkg::part1(id(self.me)?, parties, threshold, self.random.source()).map_err(|e| fault::<C>(&e))?;
        self.state = State::Committed(secret);
        Ok(Sent { to_all: package.serialize().map_err(|e| fault::<C>(&e))?, to_each: BTreeMap::new() })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Share<C>>, Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Committed(secret) => {
                let mut commitments = BTreeMap::new();
                for (from, received) in round {
                    let package: round1::Package<C> =
                        parsed(*from, round1::Package::deserialize(&received.to_all))?;
                    // A commitment of another length is a polynomial of another degree: another threshold.
                    if package.commitment().coefficients().len() != usize::from(self.scheme.threshold()) {
                        return Err(Fault::by(Reason::Commitment, [*from]));
                    }
                    commitments.insert(id(*from)?, package);
                }
                let (secret, points) = dkg::part2(secret, &commitments).map_err(|e| fault::<C>(&e))?;
                self.state = State::Dealt { secret, commitments };
                send_each(round, &points)
            }
            State::Dealt { secret, commitments } => {
                let points = received_each(round)?;
                let (own, group) = dkg::part3(&secret, &commitments, &points).map_err(|e| fault::<C>(&e))?;
                Ok(Step::Done(Share { own, group }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}

/// A point for each of those who were heard.
pub(super) fn send_each<C: Suite, T>(
    round: &BTreeMap<PartyId, Received>,
    points: &BTreeMap<Id<C>, round2::Package<C>>,
) -> Result<Step<T>, Fault> {
    let mut to_each = BTreeMap::new();
    for to in round.keys() {
        let point = points.get(&id(*to)?).ok_or_else(out_of_order)?;
        to_each.insert(*to, Zeroizing::new(point.serialize().map_err(|e| fault::<C>(&e))?));
    }
    Ok(Step::Send(Sent { to_all: Vec::new(), to_each }))
}

/// The point that each sent.
pub(super) fn received_each<C: Suite>(
    round: &BTreeMap<PartyId, Received>,
) -> Result<BTreeMap<Id<C>, round2::Package<C>>, Fault> {
    let point = |(from, received): (&PartyId, &Received)| {
        Ok((id(*from)?, parsed(*from, round2::Package::deserialize(&received.to_me))?))
    };
    round.iter().map(point).collect()
}
