//! A key's secret is dealt on: each dealer commits to a polynomial whose constant term is its share by its weight, and gives each
//! new holder its value. What a dealer commits to is bound to what all know of its share, so a lie has a name.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::{Element, Field, Group, Scalar};
use zeroize::Zeroizing;

use super::polynomial::{Committed, Polynomial, number, scalar, weight};
use super::{FieldOf, Suite};
use crate::fault::{Fault, Reason};
use crate::machine::{Received, Sent, out_of_order, read, write};
use crate::party::PartyId;
use crate::random::Random;

/// One party's part.
pub(crate) struct Deal<C: Suite> {
    pub me: PartyId,
    /// Where each dealer holds its share, and what all know of it.
    pub dealers: BTreeMap<PartyId, (u8, Element<C>)>,
    /// Where each holds a share then.
    pub to: BTreeMap<PartyId, u8>,
    pub threshold: u8,
    /// What this party dealt.
    own: Option<(Committed<C>, Polynomial<C>)>,
}

/// What was dealt.
pub(crate) struct Dealt<C: Suite> {
    committed: Vec<Committed<C>>,
    /// The sum for this party, where it holds a share then.
    pub value: Option<Scalar<C>>,
}

impl<C: Suite> Deal<C> {
    pub fn new(
        me: PartyId,
        dealers: BTreeMap<PartyId, (u8, Element<C>)>,
        to: BTreeMap<PartyId, u8>,
        threshold: u8,
    ) -> Self {
        Self { me, dealers, to, threshold, own: None }
    }

    fn weight(&self, dealer: u8) -> Result<Scalar<C>, Fault> {
        let at: BTreeSet<u8> = self.dealers.values().map(|(at, _)| *at).collect();
        weight::<C>(dealer, &at, 0)
    }

    /// What one who deals sends.
    pub fn begin(&mut self, secret: &[u8], random: &mut Random) -> Result<Sent, Fault> {
        let (at, _) = *self.dealers.get(&self.me).ok_or_else(out_of_order)?;
        let secret = scalar::<C>(secret).ok_or_else(out_of_order)?;
        let mut coefficients = vec![secret * self.weight(at)?];
        for _ in 1..self.threshold {
            coefficients.push(FieldOf::<C>::random(&mut random.source()));
        }
        let polynomial = Polynomial::<C>(coefficients);
        let committed = polynomial.committed();
        let mut to_each = BTreeMap::new();
        for (party, at) in self.to.iter().filter(|(party, _)| **party != self.me) {
            let value = FieldOf::<C>::serialize(&polynomial.at(number::<C>(*at)));
            to_each.insert(*party, Zeroizing::new(value.as_ref().to_vec()));
        }
        let to_all = write(&committed.write()?)?;
        self.own = Some((committed, polynomial));
        Ok(Sent { to_all, to_each })
    }

    /// What the others sent.
    pub fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Dealt<C>, Fault> {
        let joins = self.to.get(&self.me).map(|at| number::<C>(*at));
        let (mut all, mut value) = (Vec::new(), joins.map(|_| FieldOf::<C>::zero()));
        if let Some((committed, polynomial)) = self.own.take() {
            value = value.zip(joins).map(|(sum, x)| sum + polynomial.at(x));
            all.push(committed);
        }
        for (from, received) in round {
            let Some((at, share)) = self.dealers.get(from) else { continue };
            let by = |reason| Fault::by(reason, [*from]);
            let points: Vec<Vec<u8>> = read(*from, &received.to_all)?;
            let committed = Committed::<C>::read(&points).ok_or_else(|| by(Reason::Malformed))?;
            let constant = committed.0.first() == Some(&(*share * self.weight(*at)?));
            if !constant || committed.0.len() != usize::from(self.threshold) {
                return Err(by(Reason::Commitment));
            }
            if let Some((sum, x)) = value.as_mut().zip(joins) {
                let part = scalar::<C>(&received.to_me).ok_or_else(|| by(Reason::Malformed))?;
                if C::Group::generator() * part != committed.at(x) {
                    return Err(by(Reason::Share));
                }
                *sum = *sum + part;
            }
            all.push(committed);
        }
        if all.len() == self.dealers.len() {
            Ok(Dealt { committed: all, value })
        } else {
            Err(out_of_order())
        }
    }
}

impl<C: Suite> Dealt<C> {
    /// What all know of the share that is held there.
    pub fn at(&self, at: u8) -> Element<C> {
        let x = number::<C>(at);
        self.committed.iter().fold(C::Group::identity(), |sum, one| sum + one.at(x))
    }
}
