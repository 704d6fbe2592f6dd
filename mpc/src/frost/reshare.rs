//! The key stays and its parties change: a threshold of those who hold it deal what they hold, by their weight, to others and in
//! another threshold. Nobody learns more than its new share; old shares sign with no new one, and are erased when all have confirmed.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::{Field, Group, Scalar};
use zeroize::Zeroizing;

use super::polynomial::{Committed, Polynomial, element, number, scalar, weight};
use super::{Share, Suite, id};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::{PartyId, Scheme};
use crate::random::Random;
use crate::session::SessionId;

/// What a resharing comes to.
pub struct Reshared<C: Suite> {
    /// What everybody knows of the key from now on.
    pub group: Vec<u8>,
    /// The share of one who keeps or joins.
    pub share: Option<Share<C>>,
}

/// One party's side: of one who deals, one who is dealt to, or both. The members of the session are all of them.
pub struct Reshare<C: Suite> {
    me: PartyId,
    before: PublicKeyPackage<C>,
    own: Option<Share<C>>,
    dealers: BTreeSet<PartyId>,
    to: BTreeSet<PartyId>,
    threshold: u8,
    random: Random,
    /// What this party dealt, and its own value of it.
    dealt: Option<(Committed<C>, Scalar<C>)>,
}

impl<C: Suite> Reshare<C> {
    /// From `dealers`, as many as the threshold or more, to `to`, any `threshold` of whom sign then. `before` is what everybody
    /// knows of the key; `own` the share of one who deals.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where these are no such parties, or `own` is of another key.
    pub fn new(
        me: PartyId,
        before: &[u8],
        own: Option<Share<C>>,
        dealers: BTreeSet<PartyId>,
        to: BTreeSet<PartyId>,
        threshold: u8,
        random: Random,
    ) -> Result<Self, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let before = PublicKeyPackage::<C>::deserialize(before).map_err(|_| misuse())?;
        let parties = u8::try_from(to.len()).unwrap_or(u8::MAX);
        let enough = before.min_signers().is_some_and(|needed| dealers.len() >= needed.into());
        let known = |party: &PartyId| {
            id::<C>(*party).is_ok_and(|party| before.verifying_shares().contains_key(&party))
        };
        let deals = dealers.contains(&me);
        let fits = match &own {
            Some(own) => deals && own.group == before && id(me).as_ref() == Ok(own.own.identifier()),
            None => !deals,
        };
        let asked = deals || to.contains(&me);
        if Scheme::new(threshold, parties).is_ok() && enough && dealers.iter().all(known) && fits && asked {
            Ok(Self { me, before, own, dealers, to, threshold, random, dealt: None })
        } else {
            Err(misuse())
        }
    }

    /// What a dealer's value must commit to, by the key as it was.
    fn expected(&self, dealer: PartyId) -> Result<frost_core::Element<C>, Fault> {
        let share = self.before.verifying_shares().get(&id(dealer)?).ok_or_else(out_of_order)?;
        let share = share.serialize().ok().and_then(|bytes| element::<C>(&bytes)).ok_or_else(out_of_order)?;
        Ok(share * weight::<C>(dealer, &self.dealers)?)
    }

    fn group(&self, dealt: &[Committed<C>]) -> Result<PublicKeyPackage<C>, Fault> {
        let mut shares = BTreeMap::new();
        for party in &self.to {
            let x = number::<C>(*party);
            let point = dealt.iter().fold(C::Group::identity(), |sum, one| sum + one.at(x));
            let bytes = C::Group::serialize(&point).map_err(|_| Fault::nobodys(Reason::Outcome))?;
            let share = VerifyingShare::<C>::deserialize(bytes.as_ref());
            shares.insert(id(*party)?, share.map_err(|_| Fault::nobodys(Reason::Outcome))?);
        }
        Ok(PublicKeyPackage::new(shares, *self.before.verifying_key(), Some(self.threshold.into())))
    }
}

impl<C: Suite> Machine for Reshare<C> {
    type Output = Reshared<C>;

    const PROTOCOL: &'static str = C::RESHARE;
    const MAKES_KEYS: bool = true;

    fn public(reshared: &Reshared<C>) -> Vec<u8> {
        reshared.group.clone()
    }

    fn begin(&mut self, _: &SessionId) -> Result<Sent, Fault> {
        let Some(own) = &self.own else { return Ok(Sent::default()) };
        let secret = Zeroizing::new(own.own.signing_share().serialize());
        let secret = scalar::<C>(&secret).ok_or_else(out_of_order)?;
        let mut coefficients = vec![secret * weight::<C>(self.me, &self.dealers)?];
        for _ in 1..self.threshold {
            coefficients.push(<<C::Group as Group>::Field as Field>::random(&mut self.random.source()));
        }
        let polynomial = Polynomial::<C>(coefficients);
        let committed = polynomial.committed();
        let mut to_each = BTreeMap::new();
        for party in self.to.iter().filter(|party| **party != self.me) {
            let value = polynomial.at(number::<C>(*party));
            let bytes = <<C::Group as Group>::Field as Field>::serialize(&value).as_ref().to_vec();
            to_each.insert(*party, Zeroizing::new(bytes));
        }
        let to_all = write(&committed.write()?)?;
        self.dealt = Some((committed, polynomial.at(number::<C>(self.me))));
        Ok(Sent { to_all, to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Reshared<C>>, Fault> {
        let (mut dealt, mut sum) = (Vec::new(), <<C::Group as Group>::Field as Field>::zero());
        let joins = self.to.contains(&self.me);
        if let Some((committed, value)) = self.dealt.take() {
            dealt.push(committed);
            sum = sum + value;
        }
        for (from, received) in round.iter().filter(|(from, _)| self.dealers.contains(from)) {
            let by = |reason| Fault::by(reason, [*from]);
            let points: Vec<Vec<u8>> = read(*from, &received.to_all)?;
            let committed = Committed::<C>::read(&points).ok_or_else(|| by(Reason::Malformed))?;
            let constant = committed.0.first() == Some(&self.expected(*from)?);
            if !constant || committed.0.len() != usize::from(self.threshold) {
                return Err(by(Reason::Commitment));
            }
            if joins {
                let value = scalar::<C>(&received.to_me).ok_or_else(|| by(Reason::Malformed))?;
                if C::Group::generator() * value != committed.at(number::<C>(self.me)) {
                    return Err(by(Reason::Share));
                }
                sum = sum + value;
            }
            dealt.push(committed);
        }
        if dealt.len() != self.dealers.len() {
            return Err(out_of_order());
        }
        let group = self.group(&dealt)?;
        let bytes = group.serialize().map_err(|_| out_of_order())?;
        let share = if joins {
            let secret = <<C::Group as Group>::Field as Field>::serialize(&sum);
            let secret = SigningShare::<C>::deserialize(secret.as_ref()).map_err(|_| out_of_order())?;
            let key = *group.verifying_key();
            let own = KeyPackage::new(
                id(self.me)?,
                secret,
                VerifyingShare::from(secret),
                key,
                self.threshold.into(),
            );
            Some(Share { own, group })
        } else {
            None
        };
        Ok(Step::Done(Reshared { group: bytes, share }))
    }
}
