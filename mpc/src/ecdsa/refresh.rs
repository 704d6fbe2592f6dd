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

use super::dkg::{addressed, deal, dealt, opening};
use super::{Curve, Share, fault, party};
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
    Dealt { own: Zeroizing<Scalar> },
    Committed(Box<Committed>),
    Opened(Box<Opened>),
    Over,
}

struct Committed {
    correction: Zeroizing<Scalar>,
    own: ProofCommitment<Curve>,
    seeds: BTreeMap<PartyIndex, KeepInitZeroSharePhase2to3>,
}

struct Opened {
    correction: Zeroizing<Scalar>,
    proofs: Vec<ProofCommitment<Curve>>,
    promised: Vec<TransmitInitZeroSharePhase2to4>,
    seeds: BTreeMap<PartyIndex, KeepInitZeroSharePhase3to4>,
    transfers: BTreeMap<PartyIndex, KeepInitMulPhase3to4<Curve>>,
}

impl Refresh {
    /// Of this share, whole or just repaired.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, session: Vec::new(), state: State::New }
    }

    fn me(&self) -> Result<PartyId, Fault> {
        party(self.share.party.party_index).ok_or_else(out_of_order)
    }
}

impl Machine for Refresh {
    type Output = Share;

    const PROTOCOL: &'static str = "dkls23-secp256k1/refresh/1";
    const MAKES_KEYS: bool = true;

    fn public(share: &Share) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        self.session = session.as_bytes().to_vec();
        let points = Zeroizing::new(self.share.party.refresh_complete_phase1());
        let (own, to_each) = deal(self.me()?, self.share.scheme()?, &points)?;
        self.state = State::Dealt { own };
        Ok(Sent { to_all: Vec::new(), to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Share>, Fault> {
        let own_party = &self.share.party;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dealt { own } => {
                let points = dealt(self.me()?, *own, round)?;
                let (correction, own, seeds, promises) =
                    own_party.refresh_complete_phase2(&self.session, &points);
                let to_all = write(&own)?;
                let to_each = addressed(promises.into_iter().map(|one| (one.parties.receiver, one)))?;
                let correction = Zeroizing::new(correction);
                self.state = State::Committed(Box::new(Committed { correction, own, seeds }));
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Committed(state) => {
                let Committed { correction, own, seeds } = *state;
                let mut proofs = BTreeMap::from([(self.me()?, own)]);
                let mut promised = Vec::new();
                for (from, received) in round {
                    let proof: ProofCommitment<Curve> = read(*from, &received.to_all)?;
                    let promise: TransmitInitZeroSharePhase2to4 = read(*from, &received.to_me)?;
                    if party(proof.index) != Some(*from) || party(promise.parties.sender) != Some(*from) {
                        return Err(Fault::by(Reason::Malformed, [*from]));
                    }
                    proofs.insert(*from, proof);
                    promised.push(promise);
                }
                let (seeds, opened, transfers, set_up) =
                    own_party.refresh_complete_phase3(&self.session, &seeds);
                let both = opened.into_iter().map(|seed| {
                    let to = seed.parties.receiver;
                    (to, (seed, set_up.iter().find(|transfer| transfer.parties.receiver == to).cloned()))
                });
                let to_each = addressed(both)?;
                let proofs = proofs.into_values().collect();
                self.state =
                    State::Opened(Box::new(Opened { correction, proofs, promised, seeds, transfers }));
                Ok(Step::Send(Sent { to_all: Vec::new(), to_each }))
            }
            State::Opened(state) => {
                let Opened { correction, proofs, promised, seeds, transfers } = *state;
                let (mut opened, mut set_up) = (Vec::new(), Vec::new());
                for (from, received) in round {
                    let (seed, transfer) = opening(*from, &received.to_me)?;
                    opened.push(seed);
                    set_up.push(transfer);
                }
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
                    .map_err(|abort| fault(&abort))?;
                let group = self
                    .share
                    .group
                    .refresh(&self.session, &proofs)
                    .map_err(|_| Fault::nobodys(Reason::Share))?;
                Ok(Step::Done(Share { party, group }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}
