//! Polynomials over a suite's scalars, and what is committed of them.

use std::collections::BTreeSet;

use frost_core::{Element, Field, Group, Scalar};

use super::Suite;
use crate::fault::Fault;
use crate::machine::out_of_order;
use crate::party::PartyId;

type FieldOf<C> = <<C as frost_core::Ciphersuite>::Group as Group>::Field;

/// A party's number as a scalar.
pub(super) fn number<C: Suite>(party: PartyId) -> Scalar<C> {
    let one = FieldOf::<C>::one();
    (0..party.get()).fold(FieldOf::<C>::zero(), |sum, _| sum + one)
}

/// What a party's value counts for at zero, among these parties.
pub(super) fn weight<C: Suite>(of: PartyId, among: &BTreeSet<PartyId>) -> Result<Scalar<C>, Fault> {
    let x = number::<C>(of);
    let mut weight = FieldOf::<C>::one();
    for other in among.iter().filter(|other| **other != of) {
        let other = number::<C>(*other);
        weight = weight * other * FieldOf::<C>::invert(&(other - x)).map_err(|_| out_of_order())?;
    }
    Ok(weight)
}

/// A scalar's bytes, read back.
pub(super) fn scalar<C: Suite>(bytes: &[u8]) -> Option<Scalar<C>> {
    FieldOf::<C>::deserialize(&bytes.try_into().ok()?).ok()
}

/// A polynomial, from the constant term up.
pub(super) struct Polynomial<C: Suite>(pub Vec<Scalar<C>>);

impl<C: Suite> Polynomial<C> {
    /// Its value.
    pub fn at(&self, x: Scalar<C>) -> Scalar<C> {
        self.0.iter().rev().fold(FieldOf::<C>::zero(), |sum, coefficient| sum * x + *coefficient)
    }

    /// What is told of it.
    pub fn committed(&self) -> Committed<C> {
        Committed(self.0.iter().map(|coefficient| C::Group::generator() * *coefficient).collect())
    }
}

/// What is told of a polynomial.
pub(super) struct Committed<C: Suite>(pub Vec<Element<C>>);

impl<C: Suite> Committed<C> {
    /// What its value commits to.
    pub fn at(&self, x: Scalar<C>) -> Element<C> {
        self.0.iter().rev().fold(C::Group::identity(), |sum, coefficient| sum * x + *coefficient)
    }

    /// Its bytes.
    pub fn write(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let point = |point| C::Group::serialize(point).map(|bytes| bytes.as_ref().to_vec());
        self.0.iter().map(point).collect::<Result<_, _>>().map_err(|_| out_of_order())
    }

    /// Read back.
    pub fn read(points: &[Vec<u8>]) -> Option<Self> {
        let point = |bytes: &Vec<u8>| element::<C>(bytes);
        points.iter().map(point).collect::<Option<_>>().map(Self)
    }
}

/// A point's bytes, read back.
pub(super) fn element<C: Suite>(bytes: &[u8]) -> Option<Element<C>> {
    C::Group::deserialize(&bytes.try_into().ok()?).ok()
}
