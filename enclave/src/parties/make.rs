//! A key is made by all parties. One proposes; each of the others looks whether that party may, and whether the wallet can be so;
//! all run the protocol, keep their share, and say so. With everybody's word the wallet is entered in each one's log and registry.
//! ORDER: a share is kept before its party's word is given, and never removed. A crash before all have given theirs leaves shares
//! that no wallet names; one after it leaves a key that every party can still enter: the next proposal of the name finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery_audit::{Digest, KeyShare, V1};
use chancery_core::{Change, ClientId, Code, RequestId, Tenant, WalletId, limit};
use chancery_hsm::PublicKey;
use chancery_mpc::{Certificate, Machine, Outcome, PartyId, Random, Terms, ecdsa, frost};
use chancery_store::{ShareRow, Tx};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};

use super::share::{Kind, Known, Share};
use super::table::{Broken, Table};
use super::waiting::{Expected, Order};
use super::wire::{Begin, Call, Cancel, Finish, Propose, Proposed, Sought};
use super::{Parties, Shared, fresh_nonce, joint_nonce, key_name, scheme};
use crate::asker::Asker;
use crate::create::{self, Making};
use crate::house::House;
use crate::kept;
use crate::keys::Keys;
use crate::manage::governed;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::walk;
use crate::wallet::Design;

/// Makes a key with all other parties, or finds the one that was made under this name and not entered everywhere.
///
/// # Errors
/// [`Code::PartyRefused`], [`Code::PartiesUnavailable`] where not all answer, [`Code::PartiesFailed`].
pub(crate) async fn make_key(
    house: &Arc<House>,
    (tenant, wallet): (&Tenant, &WalletId),
    design: &Design,
    (threshold, all): (u8, u8),
) -> Result<Shared, Refusal> {
    let none =
        || Refusal::new(Code::BadRequest, "this appliance is no party: its configuration has no `[mpc]`");
    let parties = house.parties.as_ref().ok_or_else(none)?;
    let propose = Propose {
        id: RequestId::fresh(),
        tenant: tenant.clone(),
        wallet: wallet.clone(),
        design: design.clone(),
        threshold,
        parties: all,
    };
    propose.check(parties)?;
    let until = Instant::now() + Duration::from_millis(limit::PARTY_KEY_MS);
    let made = match timeout_at(until, propose.lead(house, parties)).await {
        Ok(made) => made,
        Err(_) => {
            Err(Refusal::new(Code::PartiesFailed, "the parties took too long: ask again").retry_after(5))
        }
    };
    if made.is_err() {
        for party in parties.peers.keys().copied() {
            let (there, cancel) = (Arc::clone(parties), Cancel { id: propose.id });
            tokio::spawn(async move {
                drop(there.ask::<()>(party, Call::Cancel, &cancel, limit::PARTY_ROUND_MS).await);
            });
        }
    }
    made
}

impl Propose {
    /// Whether such a key can be made by these parties.
    fn check(&self, parties: &Parties) -> Result<(), Refusal> {
        let bad = |detail: &str| Err(Refusal::new(Code::BadRequest, detail));
        let all = scheme(self.threshold, self.parties)?.all();
        let known =
            parties.peers.keys().copied().chain([parties.me]).collect::<std::collections::BTreeSet<_>>();
        if !all.eq(known.iter().copied()) {
            return bad("a key is of all parties that are configured, and they are numbered from 1");
        }
        Kind::of(&self.design).map(drop)
    }

    fn source(&self) -> create::Source {
        create::Source::Parties { threshold: self.threshold, parties: self.parties }
    }

    /// The change that people agree to where changes are governed.
    fn change(&self) -> Result<Change, Refusal> {
        let design = create::written(&self.design, &self.source())?;
        Ok(Change::Wallet { wallet: self.wallet.clone(), design })
    }

    /// What the session is about: the wallet as each party was told it.
    fn about(&self) -> Result<Digest, Refusal> {
        let Self { tenant, wallet, design, threshold, parties, .. } = self;
        let text = kept::write(&(tenant, wallet, design, threshold, parties))?;
        Ok(Digest::of(&[b"chancery party wallet v1\n", text.as_slice()].concat()))
    }

    async fn lead(&self, house: &Arc<House>, parties: &Arc<Parties>) -> Result<Shared, Refusal> {
        let mut nonces = BTreeMap::from([(parties.me, fresh_nonce()?)]);
        let mut certified = self.certified(house)?;
        for (party, answer) in
            self.of_each::<Proposed>(parties, Call::Propose, self, limit::PARTY_ASK_MS).await?
        {
            match answer {
                Proposed::Ready(nonce) => drop(nonces.insert(party, nonce)),
                Proposed::Certified(certificate) => certified = certified.or(Some(certificate)),
            }
        }
        let certificate = match certified {
            // Everybody's word is there: everybody, this party too, has kept its share.
            Some(certificate) => certificate,
            None => {
                let told = nonces.iter().map(|(party, nonce)| (party.get(), *nonce)).collect();
                let begin = Begin { id: self.id, nonces: told, decisions: Vec::new() };
                self.of_each::<()>(parties, Call::Begin, &begin, limit::PARTY_ROUND_MS).await?;
                self.deal(house, parties, &nonces).await.map_err(Broken::refusal)?
            }
        };
        let shared = accept(house, parties, &certificate).await?;
        let scheme = (shared.key.share.threshold, shared.key.share.parties);
        if scheme != (self.threshold, self.parties)
            || kept::value(&shared.design)? != kept::value(&self.design)?
        {
            let detail = "a key of this name was made before, for another wallet: ask for that one, or take another name";
            return Err(Refusal::new(Code::AlreadyExists, detail));
        }
        let finish = Finish { certificate };
        self.of_each::<()>(parties, Call::Finish, &finish, limit::PARTY_ASK_MS).await?;
        Ok(shared.key)
    }

    /// Asks every other party, all at once; one that does not answer or refuses ends it.
    async fn of_each<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        parties: &Arc<Parties>,
        call: Call,
        body: &impl Serialize,
        within_ms: u64,
    ) -> Result<Vec<(PartyId, T)>, Refusal> {
        let body = kept::value(body)?;
        let mut asking = JoinSet::new();
        for party in parties.peers.keys().copied() {
            let (there, body) = (Arc::clone(parties), body.clone());
            asking.spawn(async move { (party, there.ask::<T>(party, call, &body, within_ms).await) });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asking.join_next().await {
            let Ok((party, answer)) = answer else { continue };
            match answer {
                Ok(Ok(yes)) => answers.push((party, yes)),
                Ok(Err(no)) => return Err(no.of(party)),
                Err(reason) => {
                    tracing::warn!(%party, reason, "a party does not answer");
                    let detail = format!("party {party} does not answer, and a key is made by all");
                    return Err(Refusal::new(Code::PartiesUnavailable, detail).retry_after(2));
                }
            }
        }
        Ok(answers)
    }

    /// The word of all that this party has for a key of this name.
    fn certified(&self, house: &House) -> Result<Option<Certificate>, Refusal> {
        let rows = house.store.read(|rows| rows.shares(&self.tenant, &self.wallet))?;
        let certificate = rows.iter().find_map(|row| row.certificate.as_deref());
        certificate.map(|bytes| kept::read("certificate", bytes)).transpose()
    }

    /// This party's side of the protocol, to everybody's word.
    async fn deal(
        &self,
        house: &Arc<House>,
        parties: &Arc<Parties>,
        nonces: &BTreeMap<PartyId, Digest>,
    ) -> Result<Certificate, Broken> {
        let scheme = scheme(self.threshold, self.parties)?;
        let members = parties.members(&scheme.all().collect())?;
        if !nonces.keys().eq(members.keys()) {
            return Err(Refusal::new(Code::Forbidden, "a key is made by all parties").into());
        }
        let (key, about) = (key_name(&self.tenant, &self.wallet), self.about()?);
        let terms = Terms {
            key: &key,
            epoch: 0,
            scheme,
            members: &members,
            about: about.as_bytes(),
            nonce: joint_nonce(nonces),
        };
        let me = parties.me;
        match Kind::of(&self.design)? {
            Kind::Ecdsa => self.run(house, parties, ecdsa::Dkg::new(me, scheme), &terms).await,
            Kind::Taproot => {
                let machine = frost::Dkg::<frost::Taproot>::new(me, scheme, Random::os());
                self.run(house, parties, machine, &terms).await
            }
            Kind::Ed25519 => {
                let machine = frost::Dkg::<frost::Ed25519>::new(me, scheme, Random::os());
                self.run(house, parties, machine, &terms).await
            }
        }
    }

    async fn run<M: Machine<Output: Into<Share>>>(
        &self,
        house: &Arc<House>,
        parties: &Arc<Parties>,
        machine: M,
        terms: &Terms<'_>,
    ) -> Result<Certificate, Broken> {
        let mut table = Table::open(parties, machine, terms, limit::PARTY_KEY_MS)?;
        let mut came_to: Option<Outcome<M::Output>> = None;
        loop {
            table.speak();
            came_to = match came_to {
                Some(Outcome::Made(share)) => {
                    self.keep(house, parties, table.id(), &share.into()).await?;
                    table.confirm()?
                }
                Some(Outcome::Certified(certificate)) => return Ok(certificate),
                Some(Outcome::Done(_)) | None => table.listen().await?,
            };
        }
    }

    /// Keeps a share, which is not of use yet.
    async fn keep(
        &self,
        house: &House,
        parties: &Parties,
        session: [u8; 32],
        share: &Share,
    ) -> Result<(), Refusal> {
        let unwritable = |_| Refusal::new(Code::Internal, "a share cannot be written");
        let bytes = share.to_bytes().map_err(unwritable)?;
        let sealed = parties.vault.seal(&parties.context(&self.tenant, &self.wallet, 0, &session), &bytes)?;
        let all = scheme(self.threshold, self.parties)?.all().collect();
        let nodes = parties.members(&all)?.into_iter();
        let known = Known {
            v: V1,
            threshold: self.threshold,
            parties: self.parties,
            party: parties.me.get(),
            nodes: nodes.map(|(party, node)| (party.get(), Digest::from_bytes(node))).collect(),
            design: self.design.clone(),
            public_key: hex::encode(share.public_key()),
            group: hex::encode(share.group()),
        };
        let row = ShareRow {
            session,
            tenant: self.tenant.clone(),
            wallet: self.wallet.clone(),
            epoch: 0,
            created_ms: house.clock.now()?,
            record: kept::write(&known)?,
            sealed,
            certificate: None,
        };
        house.store.write(move |tx| Ok::<_, Refusal>(tx.keep_share(&row)?)).await.map(drop)
    }
}

/// A key that all have certified, and the wallet that it is for.
struct Accepted {
    key: Shared,
    row: ShareRow,
    design: Design,
}

/// Puts everybody's word beside this party's share, once it was seen to hold.
async fn accept(house: &House, parties: &Parties, certificate: &Certificate) -> Result<Accepted, Refusal> {
    let session = *certificate.session.as_bytes();
    let none = || Refusal::new(Code::NotFound, "this party has no share of that session");
    let row = house.store.read(|rows| rows.share(&session))?.ok_or_else(none)?;
    let known: Known = kept::read("share", &row.record)?;
    let nodes = known.nodes.iter().map(|(party, node)| Ok((PartyId::try_from(*party)?, *node.as_bytes())));
    let nodes = nodes.collect::<Result<_, chancery_mpc::SchemeError>>();
    let unsound = || Refusal::new(Code::Forbidden, "the certificate is not everybody's word for this share");
    let holds =
        nodes.is_ok_and(|nodes| certificate.holds(&nodes)) && hex::encode(&certificate.public) == known.group;
    if !holds || known.party != parties.me.get() {
        return Err(unsound());
    }
    if row.certificate.is_none() {
        let bytes = kept::write(certificate)?;
        // It comes twice: from this party's own session, and from whoever led it.
        let certify = move |tx: &mut Tx<'_>| match tx.rows().share(&session)? {
            Some(ShareRow { certificate: Some(_), .. }) => Ok(()),
            _ => Ok::<_, Refusal>(tx.certify_share(&session, &bytes)?),
        };
        house.store.write(certify).await?;
        parties.count(house).await?;
    }
    let public = hex::decode(&known.public_key)
        .ok()
        .zip(Kind::of(&known.design).ok())
        .and_then(|(bytes, kind)| PublicKey::parse(kind.algorithm(), &bytes).ok())
        .ok_or_else(unsound)?;
    let share =
        KeyShare { party: known.party, threshold: known.threshold, parties: known.parties, epoch: row.epoch };
    Ok(Accepted { key: Shared { public, share, session }, design: known.design, row })
}

/// Another party proposes a key.
pub(super) async fn proposed(
    enclave: &Enclave,
    parties: &Arc<Parties>,
    from: PartyId,
    propose: Propose,
) -> Result<Proposed, Refusal> {
    let house = enclave.house();
    propose.check(parties)?;
    propose.design.check(&propose.source())?;
    if let Some(certificate) = propose.certified(house)? {
        return Ok(Proposed::Certified(certificate));
    }
    let is_governed = governed(house, &propose.tenant);
    if is_governed && !parties.agreed.has(&propose.tenant, &propose.change()?) {
        return Err(not_agreed());
    }
    if !is_governed && !parties.peer(from)?.may_propose {
        let detail = format!("party {from} may not propose wallets here: `may_propose` says who may");
        return Err(Refusal::new(Code::Forbidden, detail));
    }
    create::name_is_free(house, &propose.tenant, &propose.wallet)?;
    house.disk.admit()?;
    let expected = parties.waiting.expect(from, propose.id)?;
    let nonce = fresh_nonce()?;
    let (enclave, there, house) = (enclave.clone(), Arc::clone(parties), Arc::clone(house));
    tokio::spawn(async move {
        let dealing = async move { take_part(&house, &there, propose, nonce, expected).await };
        if let Err(refusal) = enclave.run(dealing).await {
            tracing::warn!(%from, %refusal, "a key that another party proposed came to nothing");
        }
    });
    Ok(Proposed::Ready(nonce))
}

async fn take_part(
    house: &Arc<House>,
    parties: &Arc<Parties>,
    propose: Propose,
    nonce: Digest,
    mut expected: Expected,
) -> Result<(), Refusal> {
    let until = Instant::now() + Duration::from_millis(limit::PARTY_SIGN_MS);
    let gone = || Refusal::new(Code::PartiesFailed, "the party that proposed it gave it up");
    let Ok(Some(Order::Begin(nonces, _))) = timeout_at(until, expected.orders.recv()).await else {
        return Err(gone());
    };
    if nonces.get(&parties.me) != Some(&nonce) {
        return Err(Refusal::new(Code::Forbidden, "the session is none that this party takes part in"));
    }
    let certificate = propose.deal(house, parties, &nonces).await.map_err(Broken::refusal)?;
    enter(house, parties, expected.from, Finish { certificate }).await
}

/// Everybody's word about a share, where this party has it.
pub(super) fn certificate(house: &House, sought: &Sought) -> Result<Option<Certificate>, Refusal> {
    let row = house.store.read(|rows| rows.share(sought.session.as_bytes()))?;
    let bytes = row.and_then(|row| row.certificate);
    bytes.map(|bytes| kept::read("certificate", &bytes)).transpose()
}

/// With everybody's word for a key the wallet is entered here, unless it is.
pub(super) async fn enter(
    house: &Arc<House>,
    parties: &Arc<Parties>,
    from: PartyId,
    finish: Finish,
) -> Result<(), Refusal> {
    let Accepted { key, row, design } = accept(house, parties, &finish.certificate).await?;
    let ShareRow { tenant, wallet, .. } = row;
    let is_entered = || match house.wallets.find(&tenant, &wallet) {
        Ok(known) => matches!(&known.keys, Keys::Shared(known) if known.session == key.session),
        Err(_) => false,
    };
    let _one_at_a_time = parties.entering.lock().await;
    if is_entered() {
        return Ok(());
    }
    house.disk.admit()?;
    let keys = Keys::Shared(Box::new(key.clone()));
    let change =
        Change::Wallet { wallet: wallet.clone(), design: create::written(&design, &source(key.share))? };
    if let Some(agreed) = parties.agreed.take(&tenant, &change) {
        return walk::conclude_with(house, agreed, keys).await;
    }
    // INVARIANT: where changes are governed, a wallet is entered with the release of what was agreed to, and not otherwise.
    if governed(house, &tenant) {
        return Err(not_agreed());
    }
    // Who asked is the other party's to say: here its node did.
    let nodes = parties.members(&[from].into())?;
    let node = Digest::of(nodes.get(&from).unwrap_or(&[0; 32]));
    let name = format!("party-{from}").parse::<ClientId>();
    let name = name.map_err(|_| Refusal::new(Code::Internal, "a party has no name"))?;
    let by = Asker { id: name, certificate: node };
    match Making::around(house, RequestId::fresh(), &by, (tenant.clone(), wallet.clone()), design, keys).await
    {
        Ok(making) => making.enter(house).await.map(drop),
        // This party led the making: it was faster itself.
        Err(refusal) if refusal.code == Code::AlreadyExists && is_entered() => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn source(share: KeyShare) -> create::Source {
    create::Source::Parties { threshold: share.threshold, parties: share.parties }
}

fn not_agreed() -> Refusal {
    let detail = "the policy in force here governs changes: first an operator here asks for the same wallet, and those who must agree";
    Refusal::new(Code::Forbidden, detail)
}
