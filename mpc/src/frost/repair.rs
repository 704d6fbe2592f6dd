//! A lost share is given back to its party by as many helpers as the threshold: each splits what it can add among the helpers, and
//! each helper passes on the sum of what it was given. None of them learns the share, nor the lost one's party any of theirs. Each
//! tells all what its parts commit to, which add up to what is known of its share: so a lie has a name.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::PublicKeyPackage;
use frost_core::keys::repairable::{self, Delta, Sigma};
use frost_core::{Element, Group};
use zeroize::Zeroizing;

use super::polynomial::{Committed, scalar, weight};
use super::reshare::public;
use super::{Share, Suite, fault, id, parsed};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::PartyId;
use crate::random::Random;
use crate::session::SessionId;

/// One side of a repair.
pub struct Repair<C: Suite> {
    helpers: BTreeSet<PartyId>,
    lost: PartyId,
    random: Random,
    role: Role<C>,
    /// What each other helper's parts commit to, in the order of the helpers.
    committed: BTreeMap<PartyId, Committed<C>>,
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
        Self { helpers, lost, random, role, committed: BTreeMap::new(), state: State::New }
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
        let (role, committed) = (Role::Lost { group }, BTreeMap::new());
        Ok(Self { helpers, lost: me, random, role, committed, state: State::New })
    }

    fn group(&self) -> &PublicKeyPackage<C> {
        match &self.role {
            Role::Helper { share, .. } => &share.group,
            Role::Lost { group } => group,
        }
    }

    /// What the helpers' parts commit to: all of one helper add up to its share by its weight.
    fn hear(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<(), Fault> {
        let at: BTreeSet<u8> = self.helpers.iter().map(|helper| helper.get()).collect();
        for (from, received) in round.iter().filter(|(from, _)| self.helpers.contains(from)) {
            let points: Vec<Vec<u8>> = read(*from, &received.to_all)?;
            let committed = Committed::<C>::read(&points).ok_or(Fault::by(Reason::Malformed, [*from]))?;
            let sum = committed.0.iter().fold(C::Group::identity(), |sum, point| sum + *point);
            let share = public(self.group(), *from).ok_or_else(out_of_order)?;
            if sum != share * weight::<C>(from.get(), &at, self.lost.get())?
                || committed.0.len() != self.helpers.len()
            {
                return Err(Fault::by(Reason::Commitment, [*from]));
            }
            self.committed.insert(*from, committed);
        }
        Ok(())
    }

    /// Whether these are the bytes of what that point commits to; else their sender is named.
    fn check(from: PartyId, bytes: &[u8], committed: Option<Element<C>>) -> Result<(), Fault> {
        let value = scalar::<C>(bytes).ok_or(Fault::by(Reason::Malformed, [from]))?;
        if committed == Some(C::Group::generator() * value) {
            Ok(())
        } else {
            Err(Fault::by(Reason::Share, [from]))
        }
    }
}

impl<C: Suite> Machine for Repair<C> {
    /// The repaired share; nothing for a helper.
    type Output = Option<Share<C>>;

    const PROTOCOL: &'static str = C::REPAIR;
    const MAKES_KEYS: bool = false;
    const ECHOES: bool = true;

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
        let mut to_each = BTreeMap::new();
        let mut committed = Vec::new();
        for helper in &self.helpers {
            let part = parts.get(&id(*helper)?).ok_or_else(out_of_order)?;
            let part = Zeroizing::new(part.serialize());
            committed.push(C::Group::generator() * scalar::<C>(&part).ok_or_else(out_of_order)?);
            if helper != me {
                to_each.insert(*helper, part);
            }
        }
        self.state = State::Split(parts.remove(&id(*me)?));
        Ok(Sent { to_all: write(&Committed::<C>(committed).write()?)?, to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Self::Output>, Fault> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if matches!(state, State::Split(_)) {
            self.hear(round)?;
        }
        let from_helpers = || round.iter().filter(|(from, _)| self.helpers.contains(from));
        let place = |party: &PartyId| self.helpers.iter().position(|helper| helper == party);
        match (state, &self.role) {
            (State::Split(Some(own)), Role::Helper { me, .. }) => {
                let mut parts = vec![own];
                let mine = place(me).ok_or_else(out_of_order)?;
                for (from, received) in from_helpers() {
                    let committed = self.committed.get(from).and_then(|points| points.0.get(mine)).copied();
                    Self::check(*from, &received.to_me, committed)?;
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
                    let theirs = place(from).ok_or_else(out_of_order)?;
                    let points = self.committed.values().filter_map(|points| points.0.get(theirs));
                    let committed = points.fold(C::Group::identity(), |sum, point| sum + *point);
                    Self::check(*from, &received.to_me, Some(committed))?;
                    sums.push(parsed(*from, Sigma::<C>::deserialize(&received.to_me))?);
                }
                let me = id(self.lost)?;
                let own = repairable::repair_share_part3(&sums, me, group).map_err(|e| fault::<C>(&e))?;
                if group.verifying_shares().get(&me) != Some(own.verifying_share()) {
                    return Err(Fault::nobodys(Reason::Share));
                }
                Ok(Step::Done(Some(Share { own, group: group.clone() })))
            }
            _ => Err(out_of_order()),
        }
    }
}
