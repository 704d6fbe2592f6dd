//! The key stays and its parties change: a threshold of those who hold it deal what they hold, by their weight, to others and in
//! another threshold. Nobody learns more than its new share; old shares sign with no new one, and are erased when all have confirmed.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_core::{Field, Group};
use zeroize::Zeroizing;

use super::deal::{Deal, Dealt};
use super::polynomial::element;
use super::{FieldOf, Share, Suite, id};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order};
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
    before: PublicKeyPackage<C>,
    own: Option<Share<C>>,
    random: Random,
    deal: Deal<C>,
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
            let share = |dealer: PartyId| Some((dealer, (dealer.get(), public::<C>(&before, dealer)?)));
            let shares = dealers.into_iter().map(share).collect::<Option<_>>().ok_or_else(misuse)?;
            let to = to.into_iter().map(|party| (party, party.get())).collect();
            Ok(Self { before, own, random, deal: Deal::new(me, shares, to, threshold) })
        } else {
            Err(misuse())
        }
    }

    fn group(&self, dealt: &Dealt<C>) -> Result<PublicKeyPackage<C>, Fault> {
        let outcome = |_| Fault::nobodys(Reason::Outcome);
        let mut shares = BTreeMap::new();
        for (party, at) in &self.deal.to {
            let bytes = C::Group::serialize(&dealt.at(*at)).map_err(outcome)?;
            let share = VerifyingShare::<C>::deserialize(bytes.as_ref());
            shares.insert(id(*party)?, share.map_err(|_| Fault::nobodys(Reason::Outcome))?);
        }
        Ok(PublicKeyPackage::new(shares, *self.before.verifying_key(), Some(self.deal.threshold.into())))
    }
}

/// What all know of a party's share.
pub(super) fn public<C: Suite>(
    group: &PublicKeyPackage<C>,
    party: PartyId,
) -> Option<frost_core::Element<C>> {
    let share = group.verifying_shares().get(&id(party).ok()?)?;
    element::<C>(&share.serialize().ok()?)
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
        self.deal.begin(&secret, &mut self.random)
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Reshared<C>>, Fault> {
        let dealt = self.deal.receive(round)?;
        let group = self.group(&dealt)?;
        let bytes = group.serialize().map_err(|_| out_of_order())?;
        let Some(value) = dealt.value else { return Ok(Step::Done(Reshared { group: bytes, share: None })) };
        let secret = Zeroizing::new(FieldOf::<C>::serialize(&value).as_ref().to_vec());
        let secret = SigningShare::<C>::deserialize(&secret).map_err(|_| out_of_order())?;
        let (key, threshold) = (*group.verifying_key(), self.deal.threshold.into());
        let own = KeyPackage::new(id(self.deal.me)?, secret, VerifyingShare::from(secret), key, threshold);
        Ok(Step::Done(Reshared { group: bytes, share: Some(Share { own, group }) }))
    }
}
