//! Shares are made new under the same key: everybody deals a polynomial whose secret is zero. Who is left out holds a share that
//! signs with nobody; what was stolen before is worth nothing after, once the old shares are erased.

use std::collections::BTreeMap;

use frost_core::Group;
use frost_core::keys::dkg::round1;
use frost_core::keys::{SigningShare, refresh};
use zeroize::Zeroizing;

use super::dkg::{State, received_each, send_each};
use super::polynomial::{Committed, number, scalar};
use super::{Share, Suite, fault, id, parsed};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
use crate::party::PartyId;
use crate::random::Random;
use crate::session::SessionId;

/// Whether a share is its party's value of the polynomial whose coefficients from the first power on are committed to.
fn lies_on<C: Suite>(share: &SigningShare<C>, me: PartyId, committed: &round1::Package<C>) -> bool {
    let told = committed.commitment().coefficients().iter().map(|coefficient| coefficient.value());
    let committed = Committed::<C>([C::Group::identity()].into_iter().chain(told).collect());
    let value = scalar::<C>(&Zeroizing::new(share.serialize()));
    value.is_some_and(|value| C::Group::generator() * value == committed.at(number::<C>(me.get())))
}

/// One party's side.
pub struct Refresh<C: Suite> {
    me: PartyId,
    share: Share<C>,
    /// How many keep a share.
    parties: u8,
    random: Random,
    state: State<C>,
}

impl<C: Suite> Refresh<C> {
    /// Among as many parties as there are members of the session.
    #[must_use]
    pub fn new(me: PartyId, share: Share<C>, parties: u8, random: Random) -> Self {
        Self { me, share, parties, random, state: State::New }
    }
}

impl<C: Suite> Machine for Refresh<C> {
    type Output = Share<C>;

    const PROTOCOL: &'static str = C::REFRESH;
    const MAKES_KEYS: bool = true;

    fn public(share: &Share<C>) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let own = &self.share.own;
        let (secret, package) = refresh::refresh_dkg_part1(
            *own.identifier(),
            self.parties.into(),
            *own.min_signers(),
            self.random.source(),
        )
        .map_err(|e| fault::<C>(&e))?;
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
                    // The constant term is zero and not sent.
                    let degree = usize::from(*self.share.own.min_signers()) - 1;
                    if package.commitment().coefficients().len() != degree {
                        return Err(Fault::by(Reason::Commitment, [*from]));
                    }
                    commitments.insert(id(*from)?, package);
                }
                let (secret, points) =
                    refresh::refresh_dkg_part2(secret, &commitments).map_err(|e| fault::<C>(&e))?;
                self.state = State::Dealt { secret, commitments };
                send_each(round, &points)
            }
            State::Dealt { secret, commitments } => {
                let points = received_each(round)?;
                // The library names nobody here.
                let lies = |from: &&PartyId| {
                    let id = id::<C>(**from).ok();
                    let of = id.and_then(|id| commitments.get(&id).zip(points.get(&id)));
                    of.is_none_or(|(committed, point)| !lies_on(point.signing_share(), self.me, committed))
                };
                let culprits: Vec<PartyId> = round.keys().filter(lies).copied().collect();
                if !culprits.is_empty() {
                    return Err(Fault::by(Reason::Share, culprits));
                }
                let Share { own, group } = &self.share;
                let (own, group) =
                    refresh::refresh_dkg_shares(&secret, &commitments, &points, group.clone(), own.clone())
                        .map_err(|e| fault::<C>(&e))?;
                Ok(Step::Done(Share { own, group }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}
