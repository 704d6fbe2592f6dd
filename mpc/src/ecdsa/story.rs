//! Whose point is wrong. Each party's polynomial, by its value at every seat times the generator: committed to before anybody shows
//! one, shown to all alike, and only then is anything made of the values. Who dealt a value that is not the one it shows, or goes
//! on with another sum than it was dealt, has a name.

use std::collections::BTreeMap;

use k256::elliptic_curve::group::GroupEncoding;
use k256::{AffinePoint, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::seats::Seats;
use crate::fault::{Fault, Reason};
use crate::machine::{Received, Sent, out_of_order, read, write};
use crate::party::PartyId;
use crate::session::SessionId;

/// What a party shows of its polynomial: its value at each seat, times the generator.
pub(super) type Points = Vec<AffinePoint>;

/// Starts what is committed to.
const DOMAIN: &[u8] = b"chancery mpc dkls23 points v1\n";

/// All parties' polynomials, as far as this one knows them.
pub(super) struct Stories {
    me: PartyId,
    session: SessionId,
    seats: Seats,
    threshold: u8,
    /// Each party's value at this one's seat.
    values: BTreeMap<PartyId, Zeroizing<Scalar>>,
    committed: BTreeMap<PartyId, [u8; 32]>,
    shown: BTreeMap<PartyId, Points>,
}

impl Stories {
    /// Deals a polynomial, whose values at all seats these are.
    pub fn deal(
        me: PartyId,
        session: SessionId,
        seats: Seats,
        threshold: u8,
        values: &[Scalar],
    ) -> Result<(Self, Sent), Fault> {
        let points: Points =
            values.iter().map(|value| (ProjectivePoint::GENERATOR * value).to_affine()).collect();
        let mut stories = Self {
            me,
            session,
            seats,
            threshold,
            values: BTreeMap::new(),
            committed: BTreeMap::new(),
            shown: BTreeMap::new(),
        };
        let mut to_each = BTreeMap::new();
        for ((to, _), value) in stories.seats.all().zip(values) {
            if to == me {
                stories.values.insert(me, Zeroizing::new(*value));
            } else {
                to_each.insert(to, Zeroizing::new(write(value)?));
            }
        }
        let to_all = stories.commitment(me, &points).to_vec();
        stories.shown.insert(me, points);
        Ok((stories, Sent { to_all, to_each }))
    }

    fn commitment(&self, party: PartyId, points: &Points) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        hash.update(self.session.as_bytes());
        hash.update([party.get()]);
        points.iter().for_each(|point| hash.update(point.to_bytes()));
        hash.finalize().into()
    }

    /// What the others dealt. Answers all values for this party, in the order of the seats.
    pub fn dealt(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Zeroizing<Vec<Scalar>>, Fault> {
        for (from, received) in self.theirs(round) {
            let committed = received.to_all.as_slice().try_into();
            self.committed.insert(*from, committed.map_err(|_| Fault::by(Reason::Malformed, [*from]))?);
            self.values.insert(*from, Zeroizing::new(read(*from, &received.to_me)?));
        }
        if self.values.keys().eq(&self.seats.0) {
            Ok(Zeroizing::new(self.values.values().map(|value| **value).collect()))
        } else {
            Err(out_of_order())
        }
    }

    /// Those of a round who hold shares.
    fn theirs<'a>(&self, round: &'a BTreeMap<PartyId, Received>) -> Vec<(&'a PartyId, &'a Received)> {
        round.iter().filter(|(from, _)| self.seats.0.contains(from)).collect()
    }

    /// What this party shows.
    pub fn shows(&self) -> Option<&Points> {
        self.shown.get(&self.me)
    }

    /// What another shows: what it committed to, of one polynomial of the right degree, and this party's value on it. A party
    /// that finds it otherwise must stop: it would be named for what it was dealt.
    pub fn shown(&mut self, from: PartyId, points: Points) -> Result<(), Fault> {
        let by = |reason| Fault::by(reason, [from]);
        let committed = self.committed.get(&from) == Some(&self.commitment(from, &points));
        let t = usize::from(self.threshold);
        let on_it =
            |at: usize, point: &AffinePoint| self.interpolated(&points, at + 1) == Some((*point).into());
        if !committed
            || points.len() != self.seats.0.len()
            || !points.iter().enumerate().skip(t).all(|(at, point)| on_it(at, point))
        {
            return Err(by(Reason::Commitment));
        }
        let value = self.values.get(&from).ok_or_else(out_of_order)?;
        let seat = usize::from(self.seats.index(self.me)?.as_u8());
        let mine = points.get(seat - 1);
        if mine != Some(&(ProjectivePoint::GENERATOR * **value).to_affine()) {
            return Err(by(Reason::Share));
        }
        self.shown.insert(from, points);
        Ok(())
    }

    /// Whether everybody's polynomial is zero at zero; else who dealt another.
    pub fn are_of_zero(&self) -> Result<(), Fault> {
        let zero = Some(ProjectivePoint::IDENTITY);
        let others = self.shown.iter().filter(|(_, points)| self.interpolated(points, 0) != zero);
        let culprits: Vec<PartyId> = others.map(|(party, _)| *party).collect();
        if culprits.is_empty() { Ok(()) } else { Err(Fault::by(Reason::Commitment, culprits)) }
    }

    /// The polynomial's value there, of its first values.
    fn interpolated(&self, points: &Points, at: usize) -> Option<ProjectivePoint> {
        let scalar = |number: usize| Scalar::from(number as u64);
        let t = usize::from(self.threshold);
        let mut sum = ProjectivePoint::IDENTITY;
        for (seat, point) in (1..=t).zip(points) {
            let mut weight = Scalar::ONE;
            for other in (1..=t).filter(|other| *other != seat) {
                let below: Option<Scalar> = (scalar(other) - scalar(seat)).invert().into();
                weight *= (scalar(other) - scalar(at)) * below?;
            }
            sum += ProjectivePoint::from(*point) * weight;
        }
        Some(sum)
    }

    /// Whether each goes on with the sum of what it was dealt. Asked when each has had the time to stop.
    pub fn stand(&self, points: &BTreeMap<PartyId, AffinePoint>) -> Result<(), Fault> {
        let mut culprits = Vec::new();
        for (party, seat) in self.seats.all() {
            let values = self.shown.values().filter_map(|points| points.get(usize::from(seat) - 1));
            let sum = values.fold(ProjectivePoint::IDENTITY, |sum, point| sum + point);
            if points.get(&party) != Some(&sum.to_affine()) {
                culprits.push(party);
            }
        }
        if culprits.is_empty() { Ok(()) } else { Err(Fault::by(Reason::Share, culprits)) }
    }
}
