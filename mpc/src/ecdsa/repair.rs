//! A lost share is given back to its party by a threshold of helpers, each of whom sends one masked term. The share that comes out
//! cannot sign: it lacks the transfers' set-up, which a [`Refresh`](super::Refresh) of all parties makes.

use std::collections::{BTreeMap, BTreeSet};

use dkls23::protocols::PartyIndex;
use dkls23::protocols::repair::{RepairError, RepairTerm, repair_assemble};
use zeroize::Zeroizing;

use super::{Curve, Known, Share, known};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::PartyId;
use crate::session::SessionId;

/// One side of a repair.
pub struct Repair {
    helpers: BTreeSet<PartyId>,
    lost: PartyId,
    role: Option<Role>,
}

enum Role {
    Helper(Box<Share>),
    Lost(Known),
}

impl Repair {
    /// A helper's side.
    #[must_use]
    pub fn help(share: Share, helpers: BTreeSet<PartyId>, lost: PartyId) -> Self {
        Self { helpers, lost, role: Some(Role::Helper(Box::new(share))) }
    }

    /// The side of who lost its share, and knows what [`Share::group`] gave from the key's certificate.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where `group` is none.
    pub fn lost(me: PartyId, group: &[u8], helpers: BTreeSet<PartyId>) -> Result<Self, Fault> {
        Ok(Self { helpers, lost: me, role: Some(Role::Lost(known(group)?)) })
    }
}

impl Machine for Repair {
    /// The repaired share; nothing for a helper.
    type Output = Option<Share>;

    const PROTOCOL: &'static str = "dkls23-secp256k1/repair/1";
    const MAKES_KEYS: bool = false;

    fn public(_: &Self::Output) -> Vec<u8> {
        Vec::new()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        let Some(Role::Helper(share)) = &self.role else { return Ok(Sent::default()) };
        let helpers =
            self.helpers.iter().map(|one| share.seats.index(*one)).collect::<Result<Vec<PartyIndex>, _>>()?;
        let term = share
            .party
            .repair_term(&helpers, share.seats.index(self.lost)?, session.as_bytes())
            .map_err(|_| Fault::nobodys(Reason::Misuse))?;
        let to_each = BTreeMap::from([(self.lost, Zeroizing::new(write(&term)?))]);
        Ok(Sent { to_all: Vec::new(), to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Self::Output>, Fault> {
        let (group, _, seats) = match self.role.take().ok_or_else(out_of_order)? {
            Role::Helper(_) => return Ok(Step::Done(None)),
            Role::Lost(known) => known,
        };
        let mut terms: Vec<RepairTerm<Curve>> = Vec::new();
        for (from, received) in round.iter().filter(|(from, _)| self.helpers.contains(from)) {
            let term: RepairTerm<Curve> = read(*from, &received.to_me)?;
            if seats.party(term.helper) != Some(*from) {
                return Err(Fault::by(Reason::Malformed, [*from]));
            }
            terms.push(term);
        }
        let repaired = repair_assemble(&group, seats.index(self.lost)?, &terms, |_| String::new());
        let party = repaired.map_err(|error| match error {
            RepairError::ShareMismatch | RepairError::InconsistentTerms => Fault::nobodys(Reason::Share),
            _ => Fault::nobodys(Reason::Misuse),
        })?;
        Ok(Step::Done(Some(Share { party, group, seats })))
    }
}
