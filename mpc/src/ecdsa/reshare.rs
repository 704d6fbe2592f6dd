//! The key stays and its parties change. A threshold of those who hold it deal it on, as FROST's do; the new shares are then those of
//! a key that has no transfers yet, and a complete refresh among the new holders sets them up and makes the shares new once more.
//! Four rounds. Old shares sign with no new one.

use std::collections::{BTreeMap, BTreeSet};

use dkls23::protocols::derivation::DerivData;
use dkls23::protocols::{Parameters, PartyIndex};
use dkls23::secp256k1::{Party, PublicKeyPackage};
use dkls23::utilities::zero_shares::ZeroShare;
use k256::AffinePoint;
use k256::elliptic_curve::ff::PrimeField;
use k256::elliptic_curve::group::GroupEncoding;
use zeroize::Zeroizing;

use super::refresh::{Refresh, Shown};
use super::seats::Seats;
use super::{Known, Share, known};
use crate::fault::{Fault, Reason};
use crate::frost::Taproot;
use crate::frost::deal::{Deal, Dealt};
use crate::frost::polynomial::element;
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::{PartyId, Scheme};
use crate::random::Random;
use crate::session::SessionId;

/// Starts what the new holders' shares are told from others' by.
const DOMAIN: &[u8] = b"chancery mpc dkls23 reshare v1\n";

/// What a resharing comes to.
pub struct Reshared {
    /// What everybody knows of the key from now on.
    pub group: Vec<u8>,
    /// The share of one who keeps or joins.
    pub share: Option<Share>,
}

/// One party's side: of one who deals, one who is dealt to, or both. The members of the session are all of them.
pub struct Reshare {
    before: Known,
    own: Option<Share>,
    to: Seats,
    threshold: u8,
    random: Random,
    /// secp256k1 is one curve: FROST's dealing on it is this one too.
    deal: Deal<Taproot>,
    session: Option<SessionId>,
    state: State,
}

enum State {
    Dealing,
    Refreshing(Box<Refresh>),
    /// A party that leaves looks on.
    Points(PublicKeyPackage),
    Shown(PublicKeyPackage),
    Opened(PublicKeyPackage),
    Over,
}

impl Reshare {
    /// From `dealers`, as many as the threshold or more, to `to`, any `threshold` of whom sign then. `before` is what everybody
    /// knows of the key; `own` the share of one who deals. The session's randomness is `random`, but for the refresh's.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where these are no such parties, or `own` is of another key.
    pub fn new(
        me: PartyId,
        before: &[u8],
        own: Option<Share>,
        dealers: BTreeSet<PartyId>,
        to: BTreeSet<PartyId>,
        threshold: u8,
        random: Random,
    ) -> Result<Self, Fault> {
        let misuse = || Fault::nobodys(Reason::Misuse);
        let old = known(before)?;
        let (group, _, seats) = &old;
        let parties = u8::try_from(to.len()).unwrap_or(u8::MAX);
        let deals = dealers.contains(&me);
        let fits = match &own {
            Some(own) => deals && own.group() == before && own.owner()? == me,
            None => !deals,
        };
        let enough = dealers.len() >= group.threshold().into() && dealers.is_subset(&seats.0);
        if Scheme::new(threshold, parties).is_err() || !enough || !fits || !(deals || to.contains(&me)) {
            return Err(misuse());
        }
        let mut shares = BTreeMap::new();
        for dealer in dealers {
            let index = seats.index(dealer)?;
            let share = group.verifying_share(index).ok_or_else(misuse)?.to_bytes();
            shares.insert(dealer, (index.as_u8(), element::<Taproot>(&share).ok_or_else(misuse)?));
        }
        let to = Seats(to);
        let deal = Deal::new(me, shares, to.all().collect(), threshold);
        Ok(Self { before: old, own, to, threshold, random, deal, session: None, state: State::Dealing })
    }

    fn parameters(&self) -> Result<Parameters, Fault> {
        let parties = u8::try_from(self.to.0.len()).map_err(|_| out_of_order())?;
        Parameters::new(self.threshold, parties).map_err(|_| out_of_order())
    }

    /// What all know of the new shares.
    fn group(&self, dealt: &Dealt<Taproot>) -> Result<PublicKeyPackage, Fault> {
        let outcome = || Fault::nobodys(Reason::Outcome);
        let mut shares = BTreeMap::new();
        for (_, seat) in self.to.all() {
            let bytes = <frost_secp256k1_tr::Secp256K1Group as frost_core::Group>::serialize(&dealt.at(seat));
            let bytes = bytes.map_err(|_| outcome())?;
            let point: Option<AffinePoint> = AffinePoint::from_bytes(&bytes.into()).into();
            shares.insert(PartyIndex::new(seat).map_err(|_| outcome())?, point.ok_or_else(outcome)?);
        }
        Ok(PublicKeyPackage::new(*self.before.0.verifying_key(), shares, self.parameters()?))
    }

    /// A new holder's share, that cannot sign: nothing is set up for its transfers.
    fn hollow(&self, group: PublicKeyPackage, value: &[u8], session: &SessionId) -> Result<Share, Fault> {
        let bytes: [u8; 32] = value.try_into().map_err(|_| out_of_order())?;
        let point: Option<k256::Scalar> = k256::Scalar::from_repr(bytes.into()).into();
        let poly_point = point.ok_or_else(out_of_order)?;
        let (pk, chain_code) = (*group.verifying_key(), self.before.1);
        let (depth, child_number, parent_fingerprint) = (0, 0, [0; 4]);
        let party = Party {
            parameters: self.parameters()?,
            party_index: self.to.index(self.deal.me)?,
            session_id: [DOMAIN, session.as_bytes()].concat(),
            poly_point,
            pk,
            zero_share: ZeroShare::initialize(Vec::new()),
            mul_senders: BTreeMap::new(),
            mul_receivers: BTreeMap::new(),
            derivation_data: DerivData {
                depth,
                child_number,
                parent_fingerprint,
                poly_point,
                pk,
                chain_code,
            },
            address: String::new(),
        };
        Ok(Share { party, group, seats: self.to.clone() })
    }

    fn theirs(&self, round: &BTreeMap<PartyId, Received>) -> BTreeMap<PartyId, Received> {
        let new = round.iter().filter(|(from, _)| self.to.0.contains(from));
        let copy = |one: &Received| Received { to_all: one.to_all.clone(), to_me: one.to_me.clone() };
        new.map(|(from, received)| (*from, copy(received))).collect()
    }
}

impl Machine for Reshare {
    type Output = Reshared;

    const PROTOCOL: &'static str = "dkls23-secp256k1/reshare/1";
    const MAKES_KEYS: bool = true;

    fn public(reshared: &Reshared) -> Vec<u8> {
        reshared.group.clone()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        self.session = Some(*session);
        let Some(own) = &self.own else { return Ok(Sent::default()) };
        let secret = Zeroizing::new(<[u8; 32]>::from(own.party.poly_point.to_bytes()));
        self.deal.begin(&*secret, &mut self.random)
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Reshared>, Fault> {
        let session = self.session.ok_or_else(out_of_order)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Dealing => {
                let dealt = self.deal.receive(round)?;
                let group = self.group(&dealt)?;
                let Some(value) = dealt.value else {
                    self.state = State::Points(group);
                    return Ok(Step::Send(Sent::default()));
                };
                let value = Zeroizing::new(<[u8; 32]>::from(value.to_bytes()));
                let mut refresh = Refresh::new(self.hollow(group, &*value, &session)?);
                let sent = refresh.begin(&session)?;
                self.state = State::Refreshing(Box::new(refresh));
                Ok(Step::Send(sent))
            }
            State::Refreshing(mut refresh) => match refresh.receive(&self.theirs(round))? {
                Step::Done(share) => Ok(Step::Done(Reshared { group: share.group(), share: Some(share) })),
                Step::Send(sent) => {
                    self.state = State::Refreshing(refresh);
                    Ok(Step::Send(sent))
                }
            },
            State::Points(group) => {
                self.state = State::Shown(group);
                Ok(Step::Send(Sent::default()))
            }
            State::Shown(group) => {
                let mut proofs = Vec::new();
                for (from, received) in &self.theirs(round) {
                    let (_, proof): Shown = read(*from, &received.to_all)?;
                    proofs.push(proof);
                }
                let group = group.refresh(session.as_bytes(), &proofs);
                self.state = State::Opened(group.map_err(|_| Fault::nobodys(Reason::Share))?);
                Ok(Step::Send(Sent::default()))
            }
            State::Opened(group) => {
                let group = write(&(&group, self.before.1, &self.to))?;
                Ok(Step::Done(Reshared { group, share: None }))
            }
            State::Over => Err(out_of_order()),
        }
    }
}
