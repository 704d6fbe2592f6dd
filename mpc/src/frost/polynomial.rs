//! Polynomials over a suite's scalars, and what is committed of them.

use std::collections::BTreeSet;

use frost_core::{Element, Field, Group, Scalar};

use super::{FieldOf, Suite};
use crate::fault::Fault;
use crate::machine::out_of_order;

/// A small number as a scalar.
pub(super) fn number<C: Suite>(number: u8) -> Scalar<C> {
    let one = FieldOf::<C>::one();
    (0..number).fold(FieldOf::<C>::zero(), |sum, _| sum + one)
}

/// What the value at `of` counts for at `x`, among those at these places.
pub(super) fn weight<C: Suite>(of: u8, among: &BTreeSet<u8>, x: u8) -> Result<Scalar<C>, Fault> {
    let (at, x) = (number::<C>(of), number::<C>(x));
    let mut weight = FieldOf::<C>::one();
    for other in among.iter().filter(|other| **other != of) {
        let other = number::<C>(*other);
        let below = FieldOf::<C>::invert(&(other - at)).map_err(|_| out_of_order())?;
        weight = weight * (other - x) * below;
    }
    Ok(weight)
}

/// A scalar's bytes, read back.
pub(crate) fn scalar<C: Suite>(bytes: &[u8]) -> Option<Scalar<C>> {
    FieldOf::<C>::deserialize(&bytes.try_into().ok()?).ok()
}

/// A polynomial, from the constant term up.
pub(crate) struct Polynomial<C: Suite>(pub Vec<Scalar<C>>);

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
pub(crate) struct Committed<C: Suite>(pub Vec<Element<C>>);

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
pub(crate) fn element<C: Suite>(bytes: &[u8]) -> Option<Element<C>> {
    C::Group::deserialize(&bytes.try_into().ok()?).ok()
}
