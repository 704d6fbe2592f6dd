//! A lost share is given back to its party by as many helpers as the threshold: each splits what it can add among the helpers, and
//! each helper passes on the sum of what it was given. None of them learns the share, nor the lost one's party any of theirs.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::PublicKeyPackage;
use frost_core::keys::repairable::{self, Delta, Sigma};
use zeroize::Zeroizing;

use super::{Share, Suite, fault, id, parsed};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
use crate::party::PartyId;
use crate::random::Random;
use crate::session::SessionId;

/// One side of a repair.
pub struct Repair<C: Suite> {
    helpers: BTreeSet<PartyId>,
    lost: PartyId,
    random: Random,
    role: Role<C>,
    state: State<C>,
}

enum Role<C: Suite> {
    Helper { me: PartyId, share: Box<Share<C>> },
    Lost { group: PublicKeyPackage<C> },
}

enum State<C: Suite> {
    New,
    /// Split; a helper's own part.
    Split(Option<Delta<C>>),
    Summed,
    Over,
}

impl<C: Suite> Repair<C> {
    /// A helper's side.
    #[must_use]
    pub fn help(
        me: PartyId,
        share: Share<C>,
        helpers: BTreeSet<PartyId>,
        lost: PartyId,
        random: Random,
    ) -> Self {
        let role = Role::Helper { me, share: Box::new(share) };
        Self { helpers, lost, random, role, state: State::New }
    }

    /// The side of who lost its share, and knows the group's public package from the key's certificate.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where `group` is none.
    pub fn lost(
        me: PartyId,
        group: &[u8],
        helpers: BTreeSet<PartyId>,
        random: Random,
    ) -> Result<Self, Fault> {
        let group = PublicKeyPackage::deserialize(group).map_err(|_| Fault::nobodys(Reason::Misuse))?;
        Ok(Self { helpers, lost: me, random, role: Role::Lost { group }, state: State::New })
    }
}

impl<C: Suite> Machine for Repair<C> {
    /// The repaired share; nothing for a helper.
    type Output = Option<Share<C>>;

    const PROTOCOL: &'static str = C::REPAIR;
    const MAKES_KEYS: bool = false;

    fn public(_: &Self::Output) -> Vec<u8> {
        Vec::new()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let Role::Helper { me, share } = &self.role else {
            self.state = State::Split(None);
            return Ok(Sent::default());
        };
        let helpers = self.helpers.iter().map(|helper| id(*helper)).collect::<Result<Vec<_>, _>>()?;
        let mut parts =
            repairable::repair_share_part1(&helpers, &share.own, &mut self.random.source(), id(self.lost)?)
                .map_err(|e| fault::<C>(&e))?;
        self.state = State::Split(parts.remove(&id(*me)?));
        let mut to_each = BTreeMap::new();
        for helper in self.helpers.iter().filter(|helper| *helper != me) {
            let part = parts.get(&id(*helper)?).ok_or_else(out_of_order)?;
            to_each.insert(*helper, Zeroizing::new(part.serialize()));
        }
        Ok(Sent { to_all: Vec::new(), to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Self::Output>, Fault> {
        let from_helpers = || round.iter().filter(|(from, _)| self.helpers.contains(from));
        match (std::mem::replace(&mut self.state, State::Over), &self.role) {
            (State::Split(Some(own)), Role::Helper { .. }) => {
                let mut parts = vec![own];
                for (from, received) in from_helpers() {
                    parts.push(parsed(*from, Delta::<C>::deserialize(&received.to_me))?);
                }
                let sum = repairable::repair_share_part2(&parts).serialize();
                self.state = State::Summed;
                let to_each = BTreeMap::from([(self.lost, Zeroizing::new(sum))]);
                Ok(Step::Send(Sent { to_all: Vec::new(), to_each }))
            }
            (State::Split(None), Role::Lost { .. }) => {
                self.state = State::Summed;
                Ok(Step::Send(Sent::default()))
            }
            (State::Summed, Role::Helper { .. }) => Ok(Step::Done(None)),
            (State::Summed, Role::Lost { group }) => {
                let mut sums = Vec::new();
                for (from, received) in from_helpers() {
                    sums.push(parsed(*from, Sigma::<C>::deserialize(&received.to_me))?);
                }
                let me = id(self.lost)?;
                let own = repairable::repair_share_part3(&sums, me, group).map_err(|e| fault::<C>(&e))?;
                // A helper that lied is found out here, and cannot be told from the others.
                if group.verifying_shares().get(&me) != Some(own.verifying_share()) {
                    return Err(Fault::nobodys(Reason::Share));
                }
                Ok(Step::Done(Some(Share { own, group: group.clone() })))
            }
            _ => Err(out_of_order()),
        }
    }
}
