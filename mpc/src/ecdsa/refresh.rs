//! Shares are made new under the same key, and the transfers' set-up with them: after a repair, a suspicion, or time. All parties
//! take part. Old and new shares do not sign together.

use std::collections::BTreeMap;

use dkls23::protocols::PartyIndex;
use dkls23::protocols::dkg::{
    KeepInitMulPhase3to4, KeepInitZeroSharePhase2to3, KeepInitZeroSharePhase3to4, ProofCommitment,
    TransmitInitZeroSharePhase2to4,
};
use k256::Scalar;
use zeroize::Zeroizing;

use super::dkg::opening;
use super::story::{Points, Stories};
use super::{Curve, Share};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::PartyId;
use crate::session::SessionId;

/// One party's side.
pub struct Refresh {
    share: Share,
    session: Vec<u8>,
    state: State,
}

enum State {
    New,
    Dealt(Box<Stories>),
    Committed(Box<Committed>),
    Opened(Box<Opened>),
    Over,
}

struct Committed {
    stories: Stories,
    correction: Zeroizing<Scalar>,
    own: ProofCommitment<Curve>,
    seeds: BTreeMap<PartyIndex, KeepInitZeroSharePhase2to3>,
}

struct Opened {
    stories: Stories,
    correction: Zeroizing<Scalar>,
    proofs: BTreeMap<PartyId, ProofCommitment<Curve>>,
    promised: Vec<TransmitInitZeroSharePhase2to4>,
    seeds: BTreeMap<PartyIndex, KeepInitZeroSharePhase3to4>,
    transfers: BTreeMap<PartyIndex, KeepInitMulPhase3to4<Curve>>,
}

/// What a party shows all in the second round.
pub(super) type Shown = (Option<Points>, ProofCommitment<Curve>);

impl Refresh {
    /// Of this share, whole or just repaired.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, session: Vec::new(), state: State::New }
    }
}

impl Machine for Refresh {
    type Output = Share;

    const PROTOCOL: &'static str = "dkls23-secp256k1/refresh/2";
    const MAKES_KEYS: bool = true;

    fn public(share: &Share) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        self.session = session.as_bytes().to_vec();
        let (owner, seats) = (self.share.owner()?, self.share.seats.clone());
        let values = Zeroizing::new(self.share.party.refresh_complete_phase1());
        let threshold = self.share.scheme()?.threshold();
        let (stories, sent) = Stories::deal(owner, *session, seats, threshold, &values)?;
        self.state = State::Dealt(Box::new(stories));
        Ok(sent)
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Share>, Fault> {
        let (own_party, seats) = (&self.share.party, &self.share.seats);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dealt(mut stories) => {
                let values = stories.dealt(round)?;
                let (correction, own, seeds, promises) =
                    own_party.refresh_complete_phase2(&self.session, &values);
                let to_all = write(&(stories.shows(), &own))?;
                let to_each = seats.addressed(promises.into_iter().map(|one| (one.parties.receiver, one)))?;
                let (stories, correction) = (*stories, Zeroizing::new(correction));
                self.state = State::Committed(Box::new(Committed { stories, correction, own, seeds }));
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Committed(state) => {
                let Committed { mut stories, correction, own, seeds } = *state;
                let mut proofs = BTreeMap::from([(self.share.owner()?, own)]);
                let mut promised = Vec::new();
                for (from, received) in round {
                    let (points, proof): Shown = read(*from, &received.to_all)?;
                    let promise: TransmitInitZeroSharePhase2to4 = read(*from, &received.to_me)?;
                    if seats.party(proof.index) != Some(*from)
                        || seats.party(promise.parties.sender) != Some(*from)
                    {
                        return Err(Fault::by(Reason::Malformed, [*from]));
                    }
                    stories.shown(*from, points.unwrap_or_default())?;
                    proofs.insert(*from, proof);
                    promised.push(promise);
                }
                stories.are_of_zero()?;
                let (seeds, opened, transfers, set_up) =
                    own_party.refresh_complete_phase3(&self.session, &seeds);
                let both = opened.into_iter().map(|seed| {
                    let to = seed.parties.receiver;
                    (to, (seed, set_up.iter().find(|transfer| transfer.parties.receiver == to).cloned()))
                });
                let to_each = seats.addressed(both)?;
                self.state = State::Opened(Box::new(Opened {
                    stories,
                    correction,
                    proofs,
                    promised,
                    seeds,
                    transfers,
                }));
                Ok(Step::Send(Sent { to_all: Vec::new(), to_each }))
            }
            State::Opened(state) => {
                let Opened { stories, correction, proofs, promised, seeds, transfers } = *state;
                let (mut opened, mut set_up) = (Vec::new(), Vec::new());
                for (from, received) in round {
                    let (seed, transfer) = opening(seats, *from, &received.to_me)?;
                    opened.push(seed);
                    set_up.push(transfer);
                }
                stories.stand(&proofs.iter().map(|(party, proof)| (*party, proof.proof.point)).collect())?;
                let proofs: Vec<_> = proofs.into_values().collect();
                let party = own_party
                    .refresh_complete_phase4(
                        &self.session,
                        &correction,
                        &proofs,
                        &seeds,
                        &promised,
                        &opened,
                        &transfers,
                        &set_up,
                    )
                    .map_err(|abort| seats.fault(&abort))?;
                let group = self
                    .share
                    .group
                    .refresh(&self.session, &proofs)
                    .map_err(|_| Fault::nobodys(Reason::Share))?;
                Ok(Step::Done(Share { party, group, seats: seats.clone() }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}
