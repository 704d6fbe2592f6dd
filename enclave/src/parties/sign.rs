//! A signature by several parties. Who was asked by the client takes its request to as many others as it takes; each walks it for
//! itself, and what comes here has been recorded by this party. Whoever does not answer, or breaks off, is routed around; whoever
//! refuses ends it. Each signer comes to the signature itself and verifies it under the pinned key.
//! If this is wrong, this party signs what it did not decide.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{self as audit, Appended, Digest, PartyDecision, Verdict};
use chancery_core::{Code, RequestId, Taproot, limit};
use chancery_hsm::{Message, Sealed};
use chancery_mpc::frost::{SignAll, Suite};
use chancery_mpc::{Machine, Outcome, PartyId, Random, Terms, ecdsa, frost};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::share::Share;
use super::table::{Broken, Table};
use super::waiting::{Member, Order};
use super::wire::{Ask, Begin, Call, Cancel, Consent, No};
use super::{CONSENT_MS, Parties, Shared, fresh_nonce, joint_nonce, key_name, scheme};
use crate::house::House;
use crate::kept::Kept;
use crate::refusal::Refusal;

/// The last step of a signature, of ECDSA and of FROST: whoever has taken it may have enabled others to finish alone.
const LAST_OF_ECDSA: u8 = 3;
const LAST_OF_FROST: u8 = 2;

/// Where this party sits.
pub(crate) enum Seat {
    /// The client asked here.
    Head,
    /// Another party asked.
    Member(Member),
}

/// What is signed, and by what right: all of it is on record.
#[derive(Clone, Copy)]
pub(crate) struct Matter<'a> {
    pub house: &'a Arc<House>,
    pub id: RequestId,
    pub leaf: &'a Appended,
    pub decision: &'a audit::Decision,
    pub kept: &'a Kept,
    pub shared: &'a Shared,
    /// What is signed, each by itself.
    pub messages: &'a [Message],
}

/// Signs with the others. What every other signer decided comes with it, proved in that one's log.
///
/// # Errors
/// [`Code::PartyRefused`], [`Code::PartiesUnavailable`], [`Code::PartiesFailed`], and what keeps this party itself from signing.
pub(crate) async fn sign(
    matter: Matter<'_>,
    seat: Seat,
) -> Result<(Vec<Sealed>, Vec<PartyDecision>), Refusal> {
    let none = || {
        Refusal::new(
            Code::PartiesUnavailable,
            "this appliance is no party any more: `[mpc]` is not configured",
        )
    };
    let parties = matter.house.parties.as_ref().ok_or_else(none)?;
    if matter.shared.share.party != parties.me.get() {
        let detail =
            format!("the share is party {}'s, and this is party {}", matter.shared.share.party, parties.me);
        return Err(Refusal::new(Code::PartiesUnavailable, detail));
    }
    match seat {
        Seat::Head => matter.head(parties).await,
        Seat::Member(member) => matter.member(parties, member).await,
    }
}

impl Matter<'_> {
    /// The other holders of the key, in the order in which they are asked: those after this one first.
    fn others(&self, parties: &Parties) -> Result<VecDeque<PartyId>, Refusal> {
        let audit::Decision { tenant, wallet, .. } = self.decision;
        let all = scheme(self.shared.share.threshold, self.shared.share.parties)?.all();
        let (mut before, mut after) = (Vec::new(), VecDeque::new());
        for party in all.filter(|party| *party != parties.me && parties.peers.contains_key(party)) {
            if self.house.store.read(|rows| rows.is_banned(tenant, wallet, party.get()))? {
                continue;
            }
            if party < parties.me { before.push(party) } else { after.push_back(party) }
        }
        after.extend(before);
        Ok(after)
    }

    async fn head(self, parties: &Arc<Parties>) -> Result<(Vec<Sealed>, Vec<PartyDecision>), Refusal> {
        let mut agreed = BTreeMap::new();
        let until = Instant::now() + Duration::from_millis(limit::PARTY_SIGN_MS);
        let made = match timeout_at(until, self.lead(parties, &mut agreed)).await {
            Ok(made) => made,
            Err(_) => Err(Refusal::new(Code::PartiesFailed, "the parties took too long").retry_after(2)),
        };
        if made.is_err() {
            for party in agreed.into_keys() {
                self.cancel(parties, party);
            }
        }
        made
    }

    /// Asks, and signs with those who agreed, until it is signed or too few are left.
    async fn lead(
        self,
        parties: &Arc<Parties>,
        agreed: &mut BTreeMap<PartyId, Consent>,
    ) -> Result<(Vec<Sealed>, Vec<PartyDecision>), Refusal> {
        let mut left = self.others(parties)?;
        let needed = usize::from(self.shared.share.threshold).saturating_sub(1);
        let own = self.proved().await?;
        loop {
            while agreed.len() < needed {
                self.gather(parties, &mut left, needed, agreed).await?;
            }
            let mut nonces: BTreeMap<_, _> = agreed.iter().map(|(party, yes)| (*party, yes.nonce)).collect();
            nonces.insert(parties.me, fresh_nonce()?);
            let decisions = agreed.values().map(|yes| yes.decision.clone()).chain([own.clone()]).collect();
            let mut absent = self.begin(parties, &nonces, decisions).await;
            if absent.is_empty() {
                let broken = match self.session(parties, &nonces).await {
                    Ok(sealed) => {
                        let decisions = std::mem::take(agreed).into_values().map(|yes| yes.decision);
                        return Ok((sealed, decisions.collect()));
                    }
                    Err(broken) => broken,
                };
                tracing::warn!(request = %self.id, %broken, "a session of several parties broke off");
                absent = broken.without();
                if absent.is_empty() {
                    return Err(broken.refusal());
                }
            }
            for party in absent {
                agreed.remove(&party);
                self.cancel(parties, party);
            }
        }
    }

    /// Asks as many as are missing, all at once.
    async fn gather(
        self,
        parties: &Arc<Parties>,
        left: &mut VecDeque<PartyId>,
        needed: usize,
        agreed: &mut BTreeMap<PartyId, Consent>,
    ) -> Result<(), Refusal> {
        let missing = needed.saturating_sub(agreed.len());
        if left.len() < missing {
            let detail = format!(
                "{} of {needed} other parties could be had to sign",
                agreed.len().saturating_add(left.len())
            );
            return Err(Refusal::new(Code::PartiesUnavailable, detail).retry_after(2));
        }
        let signed = self.kept.request_signature.clone().ok_or_else(unsigned)?;
        let mut asking = JoinSet::new();
        for party in left.drain(..missing) {
            let there = Arc::clone(parties);
            let (id, idempotency_key) = (self.id, self.kept.idempotency_key.clone());
            let ask = Ask { id, idempotency_key, signed: signed.clone() };
            asking.spawn(async move {
                (party, there.ask::<Consent>(party, Call::Ask, &ask, limit::PARTY_ASK_MS).await)
            });
        }
        let mut refused = None;
        while let Some(answer) = asking.join_next().await {
            let Ok((party, answer)) = answer else { continue };
            match answer {
                Ok(Ok(yes)) => match self.holds(parties, party, &yes.decision) {
                    Ok(()) => drop(agreed.insert(party, yes)),
                    Err(reason) => {
                        tracing::error!(%party, reason, "a party's word does not hold");
                        self.cancel(parties, party);
                    }
                },
                Ok(Err(no)) if is_passing(&no) => {
                    tracing::warn!(%party, code = %no.code(), "a party cannot sign now");
                }
                // Whoever says no has the last word, whatever others would say.
                Ok(Err(no)) => refused = Some(no.of(party)),
                Err(reason) => {
                    tracing::warn!(%party, reason, "a party does not answer");
                    self.cancel(parties, party);
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Whether the party's own log holds that it allowed just this.
    fn holds(&self, parties: &Parties, party: PartyId, decision: &PartyDecision) -> Result<(), String> {
        if decision.party() != Some(party.get()) {
            return Err("it is another party's".to_owned());
        }
        let trust = &parties.peer(party).map_err(|refusal| refusal.to_string())?.trust;
        decision.verify(self.decision, trust).map(drop).map_err(|error| error.to_string())
    }

    /// Has everybody sit down; answers who did not.
    async fn begin(
        self,
        parties: &Arc<Parties>,
        nonces: &BTreeMap<PartyId, Digest>,
        decisions: Vec<PartyDecision>,
    ) -> BTreeSet<PartyId> {
        let told: BTreeMap<u8, Digest> = nonces.iter().map(|(party, nonce)| (party.get(), *nonce)).collect();
        let mut telling = JoinSet::new();
        for party in nonces.keys().copied().filter(|party| *party != parties.me) {
            let (there, begin) = (
                Arc::clone(parties),
                Begin { id: self.id, nonces: told.clone(), decisions: decisions.clone() },
            );
            telling.spawn(async move {
                let told = there.ask::<()>(party, Call::Begin, &begin, limit::PARTY_ROUND_MS).await;
                (party, matches!(told, Ok(Ok(()))))
            });
        }
        let mut absent = BTreeSet::new();
        while let Some(answer) = telling.join_next().await {
            if let Ok((party, false)) = answer {
                absent.insert(party);
            }
        }
        absent
    }

    fn cancel(&self, parties: &Arc<Parties>, party: PartyId) {
        let (there, cancel) = (Arc::clone(parties), Cancel { id: self.id });
        tokio::spawn(async move {
            let told = there.ask::<()>(party, Call::Cancel, &cancel, limit::PARTY_ROUND_MS).await;
            tracing::debug!(%party, told = told.is_ok(), "given up");
        });
    }

    async fn member(
        self,
        parties: &Arc<Parties>,
        member: Member,
    ) -> Result<(Vec<Sealed>, Vec<PartyDecision>), Refusal> {
        let gone = || Refusal::new(Code::PartiesFailed, "the party that asked gave it up");
        let Member { mut expected, consent } = member;
        let nonce = fresh_nonce()?;
        let decision = self.proved().await?;
        consent.send(Consent { nonce, decision }).map_err(|_| gone())?;
        let until = Instant::now() + Duration::from_millis(CONSENT_MS);
        let mut begun = HashSet::new();
        loop {
            let order = timeout_at(until, expected.orders.recv()).await;
            let Ok(Some(Order::Begin(nonces, mut decisions))) = order else { return Err(gone()) };
            self.admissible(parties, expected.from, &nonces, nonce)?;
            decisions.retain(|decision| decision.party() != Some(parties.me.get()));
            self.all_decided(parties, &nonces, &decisions)?;
            if !begun.insert(joint_nonce(&nonces)) {
                return Err(Refusal::new(Code::PartiesFailed, "a session was asked for twice"));
            }
            match self.session(parties, &nonces).await {
                Ok(sealed) => return Ok((sealed, decisions)),
                Err(broken) => {
                    tracing::warn!(request = %self.id, %broken, "a session of several parties broke off");
                }
            }
        }
    }

    /// Whether a session is one that this party agreed to: its own nonce, whoever asked, as many as it takes, nobody banned.
    fn admissible(
        &self,
        parties: &Parties,
        from: PartyId,
        nonces: &BTreeMap<PartyId, Digest>,
        own: Digest,
    ) -> Result<(), Refusal> {
        let others: BTreeSet<_> = self.others(parties)?.into_iter().collect();
        let sound = nonces.get(&parties.me) == Some(&own)
            && nonces.contains_key(&from)
            && nonces.len() == usize::from(self.shared.share.threshold)
            && nonces.keys().all(|party| *party == parties.me || others.contains(party));
        let detail = "the session is none that this party takes part in";
        if sound { Ok(()) } else { Err(Refusal::new(Code::Forbidden, detail)) }
    }

    /// Whether each other signer's log holds that it allowed just this.
    fn all_decided(
        &self,
        parties: &Parties,
        nonces: &BTreeMap<PartyId, Digest>,
        decisions: &[PartyDecision],
    ) -> Result<(), Refusal> {
        let others = nonces.keys().filter(|party| **party != parties.me);
        let held = others.map(|party| {
            let theirs = decisions.iter().find(|decision| decision.party() == Some(party.get()));
            self.holds(parties, *party, theirs.ok_or("it is missing")?)
        });
        let count = nonces.len().saturating_sub(1);
        match held.collect::<Result<Vec<()>, String>>() {
            Ok(_) if decisions.len() == count => Ok(()),
            Ok(_) => Err(Refusal::new(Code::Forbidden, "a decision is there of a party that does not sign")),
            Err(reason) => {
                tracing::error!(request = %self.id, reason, "another signer's word does not hold");
                Err(Refusal::new(Code::Forbidden, "another signer's word does not hold"))
            }
        }
    }

    /// This party's decision, proved in its own log: without it no other party signs.
    async fn proved(&self) -> Result<PartyDecision, Refusal> {
        let checkpoint = self.house.log.checkpoint_covering(self.leaf.index()).await?;
        let proven = self.house.log.prove(self.leaf, &checkpoint)?;
        Ok(PartyDecision { decision: self.decision.clone(), decision_proof: proven.proof().to_string() })
    }

    /// One session to its end.
    async fn session(
        self,
        parties: &Arc<Parties>,
        nonces: &BTreeMap<PartyId, Digest>,
    ) -> Result<Vec<Sealed>, Broken> {
        let (house, shared) = (self.house, self.shared);
        let audit::Decision { tenant, wallet, signing_digest, outcome, .. } = self.decision;
        if *outcome != Verdict::Allowed {
            return Err(Refusal::new(Code::Internal, "nothing was allowed").into());
        }
        let signers: BTreeSet<PartyId> = nonces.keys().copied().collect();
        let share = parties.open_share(&house.store, tenant, wallet, shared)?;
        let members = parties.members(&signers)?;
        let terms = Terms {
            key: &key_name(tenant, wallet),
            epoch: shared.share.epoch,
            scheme: scheme(shared.share.threshold, shared.share.parties)?,
            members: &members,
            about: signing_digest.as_bytes(),
            nonce: joint_nonce(nonces),
        };
        let raw = match (share, self.messages) {
            (Share::Ecdsa(share), [Message::Digest(digest)]) => {
                let machine = ecdsa::Sign::new(*share, &signers, *digest)?;
                let signature = self.play(parties, machine, &terms, LAST_OF_ECDSA).await?;
                let (raw, _parity) = signature.split_at(64);
                vec![raw.to_vec()]
            }
            (Share::Taproot(share), messages) => {
                let each = messages.iter().map(|message| match message {
                    Message::Schnorr(digest, Taproot::Key(root)) => Ok((share.tweaked(*root), &digest[..])),
                    _ => Err(other_kind()),
                });
                let machine = all(each, &signers)?;
                self.play(parties, machine, &terms, LAST_OF_FROST).await?
            }
            (Share::Ed25519(share), messages) => {
                let each = messages.iter().map(|message| match message {
                    Message::Bytes(text) => Ok(((*share).clone(), &text[..])),
                    _ => Err(other_kind()),
                });
                let machine = all(each, &signers)?;
                self.play(parties, machine, &terms, LAST_OF_FROST).await?
            }
            (Share::Ecdsa(_), _) => return Err(other_kind().into()),
        };
        let verified = self.messages.iter().zip(&raw).map(|(message, raw)| {
            Sealed::brought(&shared.public, message, raw).map_err(|wrong| {
                tracing::error!(%wallet, %wrong, "the parties came to a signature that does not hold");
                Refusal::new(Code::PartiesFailed, "the parties came to no signature of the wallet's key")
                    .into()
            })
        });
        verified.collect()
    }

    /// Runs a session, and bans whoever cheated in it where that is what follows.
    async fn play<M: Machine>(
        self,
        parties: &Arc<Parties>,
        machine: M,
        terms: &Terms<'_>,
        last_step: u8,
    ) -> Result<M::Output, Broken> {
        let audit::Decision { tenant, wallet, .. } = self.decision;
        let mut table = Table::open(parties, machine, terms, limit::PARTY_ROUND_MS)?;
        let session = table.id();
        let ended = self.run(&mut table, last_step).await;
        if let Err(Broken::Fault(fault)) = &ended {
            parties.ban(self.house, (tenant, wallet), session, fault).await?;
        }
        ended
    }

    async fn run<M: Machine>(self, table: &mut Table<M>, last_step: u8) -> Result<M::Output, Broken> {
        let (session, id) = (table.id(), self.id);
        let (mut came_to, mut spoken) = (None, false);
        loop {
            if !spoken && table.says() >= Some(last_step) {
                // ORDER: on record before it is said. A crash after this leaves limits spent: others may have the signature.
                self.house.store.write(move |tx| Ok::<_, Refusal>(tx.speak(&session, id)?)).await?;
                spoken = true;
            }
            table.speak();
            if let Some(Outcome::Done(signature)) = came_to {
                return Ok(signature);
            }
            came_to = table.listen().await?;
        }
    }
}

/// A session of several signatures, each with the share that makes it.
fn all<'a, C: Suite>(
    each: impl Iterator<Item = Result<(frost::Share<C>, &'a [u8]), Refusal>>,
    signers: &BTreeSet<PartyId>,
) -> Result<SignAll<C>, Broken> {
    let one = |each: Result<(frost::Share<C>, &[u8]), Refusal>| {
        let (share, message) = each?;
        Ok::<_, Broken>(frost::Sign::new(share, signers, message.to_vec(), Random::os())?)
    };
    Ok(SignAll::new(each.map(one).collect::<Result<_, _>>()?)?)
}

fn other_kind() -> Refusal {
    Refusal::new(Code::SchnorrUnavailable, "the parties' key does not make such a signature")
}

/// Whether a refusal is about this moment alone, and another party may do.
fn is_passing(no: &No) -> bool {
    let status = no.code().status();
    status >= 500 || matches!(status, 404 | 409 | 429)
}

fn unsigned() -> Refusal {
    let detail = "several parties hold this wallet's key, and each wants to see that the client itself asks: sign the request (RFC 9421)";
    Refusal::new(Code::RequestSignatureRequired, detail)
}

/// That a request is signed by its client, without which no other party would take part.
///
/// # Errors
/// [`Code::RequestSignatureRequired`].
pub(crate) fn require_signature(is_signed: bool) -> Result<(), Refusal> {
    if is_signed { Ok(()) } else { Err(unsigned()) }
}
