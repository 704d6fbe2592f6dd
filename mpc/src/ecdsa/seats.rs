//! The library counts a key's parties from 1 and leaves none out; parties keep their numbers when others come and go. The first of
//! them sits in seat 1.

use std::collections::{BTreeMap, BTreeSet};

use dkls23::protocols::{Abort, AbortKind, AbortReason, PartyIndex};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::fault::{Fault, Reason};
use crate::machine::{out_of_order, write};
use crate::party::{PartyId, Scheme};

/// Who holds shares of a key, in the order of their seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seats(pub BTreeSet<PartyId>);

impl Seats {
    /// Of parties who are numbered from 1.
    pub fn of(scheme: Scheme) -> Self {
        Self(scheme.all().collect())
    }

    /// Each party and its seat.
    pub fn all(&self) -> impl Iterator<Item = (PartyId, u8)> {
        self.0.iter().copied().zip(1..)
    }

    /// A party's seat.
    pub fn index(&self, party: PartyId) -> Result<PartyIndex, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let (_, seat) = self.all().find(|(one, _)| *one == party).ok_or_else(misuse)?;
        PartyIndex::new(seat).map_err(|_| misuse())
    }

    /// Who sits there.
    pub fn party(&self, index: PartyIndex) -> Option<PartyId> {
        self.all().find(|(_, seat)| *seat == index.as_u8()).map(|(party, _)| party)
    }

    /// What is for each party alone.
    pub fn addressed<T: Serialize>(
        &self,
        messages: impl Iterator<Item = (PartyIndex, T)>,
    ) -> Result<BTreeMap<PartyId, Zeroizing<Vec<u8>>>, Fault> {
        let one = |(to, message): (_, T)| {
            Ok((self.party(to).ok_or_else(out_of_order)?, Zeroizing::new(write(&message)?)))
        };
        messages.map(one).collect()
    }

    /// What the library says is wrong, by whom, and whether they may ever come back.
    pub fn fault(&self, abort: &Abort) -> Fault {
        use AbortReason as R;
        let (reason, culprit) = match &abort.reason {
            R::ProofVerificationFailed { counterparty } => (Reason::Proof, Some(*counterparty)),
            R::CommitmentMismatch { counterparty } | R::ZeroShareDecommitFailed { counterparty } => {
                (Reason::Commitment, Some(*counterparty))
            }
            R::ChainCodeCommitmentFailed { party } | R::MissingCommittedPoint { party } => {
                (Reason::Commitment, Some(*party))
            }
            R::OtConsistencyCheckFailed { counterparty }
            | R::MultiplicationVerificationFailed { counterparty, .. }
            | R::GammaUInconsistency { counterparty } => (Reason::Transfer, Some(*counterparty)),
            R::SessionBindingMismatch { counterparty } | R::TrivialInstancePoint { counterparty } => {
                (Reason::Malformed, Some(*counterparty))
            }
            R::PolynomialInconsistency | R::TrivialPublicKey | R::TrivialKeyShare => (Reason::Share, None),
            R::SignatureVerificationFailed | R::ZeroDenominator => (Reason::Outcome, None),
            _ => (Reason::Misuse, None),
        };
        match abort.kind {
            AbortKind::BanCounterparty(banned) => Fault {
                reason: Reason::Transfer,
                culprits: self.party(banned).into_iter().collect(),
                ban: true,
            },
            AbortKind::Recoverable => Fault::by(reason, culprit.and_then(|index| self.party(index))),
        }
    }
}
