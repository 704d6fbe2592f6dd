//! A key is made. Three rounds: points of everybody's polynomial; commitments; openings, proofs and the transfers' set-up.

use std::collections::BTreeMap;

use dkls23::protocols::Parameters;
use dkls23::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment, TransmitInitMulPhase3to4,
    TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23::protocols::dkg_session::DkgSession;
use k256::Scalar;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Curve, Share, fault, index, party};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::{PartyId, Scheme};
use crate::session::SessionId;

/// One party's side. Its randomness is the library's: the operating system's.
pub struct Dkg {
    me: PartyId,
    scheme: Scheme,
    state: State,
}

enum State {
    New,
    Dealt {
        session: DkgSession<Curve>,
        own: Zeroizing<Scalar>,
    },
    Committed {
        session: DkgSession<Curve>,
        own: Committed,
    },
    Opened {
        session: DkgSession<Curve>,
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
        Self { me, scheme, state: State::New }
    }
}

impl Machine for Dkg {
    type Output = Share;

    const PROTOCOL: &'static str = "dkls23-secp256k1/dkg/1";
    const MAKES_KEYS: bool = true;

    fn public(share: &Share) -> Vec<u8> {
        share.group()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        let parameters =
            Parameters::new(self.scheme.threshold(), self.scheme.parties()).map_err(|_| out_of_order())?;
        let session = DkgSession::new(parameters, index(self.me)?, session.as_bytes().to_vec());
        let points = Zeroizing::new(session.phase1());
        let (own, to_each) = deal(self.me, self.scheme, &points)?;
        self.state = State::Dealt { session, own };
        Ok(Sent { to_all: Vec::new(), to_each })
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Share>, Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dealt { mut session, own } => {
                let points = dealt(self.me, *own, round)?;
                let (proof, seeds, chain) = session.phase2(&points).map_err(|abort| fault(&abort))?;
                let own = (proof, chain);
                let to_all = write(&own)?;
                let to_each = addressed(seeds.into_iter().map(|seed| (seed.parties.receiver, seed)))?;
                self.state = State::Committed { session, own };
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Committed { mut session, own } => {
                let mut committed = BTreeMap::from([(self.me, (own, None))]);
                for (from, received) in round {
                    let towards_all: Committed = read(*from, &received.to_all)?;
                    let towards_me: TransmitInitZeroSharePhase2to4 = read(*from, &received.to_me)?;
                    if party(towards_all.0.index) != Some(*from)
                        || party(towards_me.parties.sender) != Some(*from)
                    {
                        return Err(Fault::by(Reason::Malformed, [*from]));
                    }
                    committed.insert(*from, (towards_all, Some(towards_me)));
                }
                let (seeds, transfers, own) = session.phase3().map_err(|abort| fault(&abort))?;
                let to_all = write(&own)?;
                let both = seeds.into_iter().map(|seed| {
                    let to = seed.parties.receiver;
                    let transfer = transfers.iter().find(|transfer| transfer.parties.receiver == to);
                    (to, (seed, transfer.cloned()))
                });
                let to_each = addressed(both)?;
                self.state = State::Opened { session, committed, own };
                Ok(Step::Send(Sent { to_all, to_each }))
            }
            State::Opened { session, committed, own } => {
                let mut opened = BTreeMap::from([(index(self.me)?, own)]);
                let (mut seeds, mut transfers) = (Vec::new(), Vec::new());
                for (from, received) in round {
                    let (seed, transfer) = opening(*from, &received.to_me)?;
                    opened.insert(index(*from)?, read(*from, &received.to_all)?);
                    seeds.push(seed);
                    transfers.push(transfer);
                }
                let proofs: Vec<_> = committed.values().map(|((proof, _), _)| proof.clone()).collect();
                let promised: Vec<_> = committed.values().filter_map(|(_, seed)| seed.clone()).collect();
                let chains = committed
                    .iter()
                    .map(|(from, ((_, chain), _))| Ok((index(*from)?, chain.clone())))
                    .collect::<Result<_, Fault>>()?;
                let (party, group) = session
                    .phase4(&proofs, &promised, &seeds, &transfers, &chains, &opened, |_| String::new())
                    .map_err(|abort| fault(&abort))?;
                Ok(Step::Done(Share { party, group }))
            }
            State::New | State::Over => Err(out_of_order()),
        }
    }
}

type Dealt = (Zeroizing<Scalar>, BTreeMap<PartyId, Zeroizing<Vec<u8>>>);

/// A polynomial's points: this party's own, and each other's.
pub(super) fn deal(me: PartyId, scheme: Scheme, points: &[Scalar]) -> Result<Dealt, Fault> {
    let mut own = None;
    let mut to_each = BTreeMap::new();
    for (to, point) in scheme.all().zip(points) {
        if to == me {
            own = Some(Zeroizing::new(*point));
        } else {
            to_each.insert(to, Zeroizing::new(write(point)?));
        }
    }
    Ok((own.ok_or_else(out_of_order)?, to_each))
}

/// Everybody's points for this party, in the order of the parties.
pub(super) fn dealt(
    me: PartyId,
    own: Scalar,
    round: &BTreeMap<PartyId, Received>,
) -> Result<Zeroizing<Vec<Scalar>>, Fault> {
    let mut points = BTreeMap::from([(me, own)]);
    for (from, received) in round {
        points.insert(*from, read(*from, &received.to_me)?);
    }
    Ok(Zeroizing::new(points.into_values().collect()))
}

/// What is for each party alone.
pub(super) fn addressed<T: Serialize>(
    messages: impl Iterator<Item = (dkls23::protocols::PartyIndex, T)>,
) -> Result<BTreeMap<PartyId, Zeroizing<Vec<u8>>>, Fault> {
    let one =
        |(to, message): (_, T)| Ok((party(to).ok_or_else(out_of_order)?, Zeroizing::new(write(&message)?)));
    messages.map(one).collect()
}

type Opening = (TransmitInitZeroSharePhase3to4, TransmitInitMulPhase3to4<Curve>);

/// What opens a seed, and sets the transfers up, from the party that it says it is from.
pub(super) fn opening(from: PartyId, bytes: &[u8]) -> Result<Opening, Fault> {
    let (seed, transfer): (TransmitInitZeroSharePhase3to4, Option<TransmitInitMulPhase3to4<Curve>>) =
        read(from, bytes)?;
    let malformed = || Fault::by(Reason::Malformed, [from]);
    let transfer = transfer.ok_or_else(malformed)?;
    let is_theirs =
        [seed.parties.sender, transfer.parties.sender].into_iter().all(|one| party(one) == Some(from));
    if is_theirs { Ok((seed, transfer)) } else { Err(malformed()) }
}
