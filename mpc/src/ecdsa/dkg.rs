//! A key is made. Three rounds: points of everybody's polynomial; what they are points of, and commitments; openings, proofs and
//! the transfers' set-up.

use std::collections::BTreeMap;

use dkls23::protocols::Parameters;
use dkls23::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment, TransmitInitMulPhase3to4,
    TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23::protocols::dkg_session::DkgSession;

use super::seats::Seats;
use super::story::{Points, Stories};
use super::{Curve, Share};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::{PartyId, Scheme};
use crate::session::SessionId;

/// One party's side. Its randomness is the library's: the operating system's.
pub struct Dkg {
    me: PartyId,
    scheme: Scheme,
    seats: Seats,
    state: State,
}

enum State {
    New,
    Dealt {
        session: DkgSession<Curve>,
        stories: Stories,
    },
    Committed {
        session: DkgSession<Curve>,
        stories: Stories,
        own: Committed,
    },
    Opened {
        session: DkgSession<Curve>,
        stories: Stories,
        committed: BTreeMap<PartyId, Commitments>,
        own: BroadcastDerivationPhase3to4,
    },
    Over,
}

type Committed = (ProofCommitment<Curve>, BroadcastDerivationPhase2to4);
/// What one party committed to, towards all and towards this one.
type Commitments = (Committed, Option<TransmitInitZeroSharePhase2to4>);

impl Dkg {
    /// Of party `me`.
    #[must_use]
    pub fn new(me: PartyId, scheme: Scheme) -> Self {
        Self { me, scheme, seats: Seats::of(scheme), state: State::New }
    }
}

impl Machine for Dkg {
    type Output = Share;

    const PROTOCOL: &'static str = "dkls23-secp256k1/dkg/2";
    const MAKES_KEYS: bool = true;

    fn public(share: &Share) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, id: &SessionId) -> Result<Sent, Fault> {
        let threshold = self.scheme.threshold();
        let parameters = Parameters::new(threshold, self.scheme.parties()).map_err(|_| out_of_order())?;
        let session = DkgSession::new(parameters, self.seats.index(self.me)?, id.as_bytes().to_vec());
        let values = zeroize::Zeroizing::new(session.phase1());
        let (stories, sent) = Stories::deal(self.me, *id, self.seats.clone(), threshold, &values)?;
        self.state = State::Dealt { session, stories };
        Ok(sent)
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Share>, Fault> {
        let seats = &self.seats;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dealt { mut session, mut stories } => {
                let values = stories.dealt(round)?;
                let (proof, seeds, chain) = session.phase2(&values).map_err(|abort| seats.fault(&abort))?;
                let own = (proof, chain);
                let to_all = write(&(stories.shows(), &own))?;
                let to_each = seats.addressed(seeds.into_iter().map(|seed| (seed.parties.receiver, seed)))?;
                self.state = State::Committed { session, stories, own };
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Committed { mut session, mut stories, own } => {
                let mut committed = BTreeMap::from([(self.me, (own, None))]);
                for (from, received) in round {
                    let (points, towards_all): (Option<Points>, Committed) = read(*from, &received.to_all)?;
                    let towards_me: TransmitInitZeroSharePhase2to4 = read(*from, &received.to_me)?;
                    if seats.party(towards_all.0.index) != Some(*from)
                        || seats.party(towards_me.parties.sender) != Some(*from)
                    {
                        return Err(Fault::by(Reason::Malformed, [*from]));
                    }
                    stories.shown(*from, points.unwrap_or_default())?;
                    committed.insert(*from, (towards_all, Some(towards_me)));
                }
                let (seeds, transfers, own) = session.phase3().map_err(|abort| seats.fault(&abort))?;
                let to_all = write(&own)?;
                let both = seeds.into_iter().map(|seed| {
                    let to = seed.parties.receiver;
                    let transfer = transfers.iter().find(|transfer| transfer.parties.receiver == to);
                    (to, (seed, transfer.cloned()))
                });
                let to_each = seats.addressed(both)?;
                self.state = State::Opened { session, stories, committed, own };
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Opened { session, stories, committed, own } => {
                let mut opened = BTreeMap::from([(seats.index(self.me)?, own)]);
                let (mut seeds, mut transfers) = (Vec::new(), Vec::new());
                for (from, received) in round {
                    let (seed, transfer) = opening(seats, *from, &received.to_me)?;
                    opened.insert(seats.index(*from)?, read(*from, &received.to_all)?);
                    seeds.push(seed);
                    transfers.push(transfer);
                }
                let points = committed.iter().map(|(party, ((proof, _), _))| (*party, proof.proof.point));
                stories.stand(&points.collect())?;
                let proofs: Vec<_> = committed.values().map(|((proof, _), _)| proof.clone()).collect();
                let promised: Vec<_> = committed.values().filter_map(|(_, seed)| seed.clone()).collect();
                let chains = committed
                    .iter()
                    .map(|(from, ((_, chain), _))| Ok((seats.index(*from)?, chain.clone())))
                    .collect::<Result<_, Fault>>()?;
                let (party, group) = session
                    .phase4(&proofs, &promised, &seeds, &transfers, &chains, &opened, |_| String::new())
                    .map_err(|abort| seats.fault(&abort))?;
                Ok(Step::Done(Share { party, group, seats: seats.clone() }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}

type Opening = (TransmitInitZeroSharePhase3to4, TransmitInitMulPhase3to4<Curve>);

/// What opens a seed, and sets the transfers up, from the party that it says it is from.
pub(super) fn opening(seats: &Seats, from: PartyId, bytes: &[u8]) -> Result<Opening, Fault> {
    let (seed, transfer): (TransmitInitZeroSharePhase3to4, Option<TransmitInitMulPhase3to4<Curve>>) =
        read(from, bytes)?;
    let malformed = || Fault::by(Reason::Malformed, [from]);
    let transfer = transfer.ok_or_else(malformed)?;
    let is_theirs =
        [seed.parties.sender, transfer.parties.sender].into_iter().all(|one| seats.party(one) == Some(from));
    if is_theirs { Ok((seed, transfer)) } else { Err(malformed()) }
}
