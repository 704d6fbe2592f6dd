//! How a change takes effect: made ready beside the walk, written in the one transaction that puts its end on record, and
//! then seen by everybody. Each change has a log entry of its own there, under the name of the request that asked for it.
//! If this is wrong, something is changed that nobody agreed to, or what was agreed to is not what changes.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, Endorsement, V1};
use chancery_core::{Change, Code, Payload, RequestId, Tenant};
use chancery_identity::Application;
use chancery_policy::{Source, Tested};
use chancery_store::{Store, Tx};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use crate::asker::Asker;
use crate::backfill::Backfill;
use crate::clients::{Issuing, TakingBack};
use crate::create::{self, Making};
use crate::house::{Books, House};
use crate::kept;
use crate::keys::Keys;
use crate::policy::InForce;
use crate::refusal::Refusal;

/// A change that is ready to take effect.
pub(crate) enum Enactment {
    Policy(Box<Activation>),
    Wallet(Box<Making>),
    Client(Box<Issuing>),
    Revocation(Box<TakingBack>),
}

impl Enactment {
    /// Makes ready what a permitted payload changes; `None` where it changes nothing here. `key` is that of the wallet that it
    /// makes, where other parties made it already.
    ///
    /// # Errors
    /// [`Code::ApprovalStale`] where another bundle came into force since it was decided, and whatever would have refused the
    /// change itself.
    pub async fn begin(
        house: &Arc<House>,
        decision: &audit::Decision,
        payload: &Payload,
        key: Option<Keys>,
    ) -> Result<Option<Self>, Refusal> {
        let Payload::ApplianceChange { change } = payload else { return Ok(None) };
        let (id, tenant) = (decision.request_id, decision.tenant.clone());
        let by = Asker { id: decision.client.clone(), certificate: decision.certificate };
        Ok(Some(match change {
            Change::Policy { bundle, previous, signatures, .. } => {
                // ORDER: its turn first, so that what is in force stays so until this change has taken its place.
                let turn = Activation::turn(&house.books).await;
                let in_force = house.policies.in_force(&tenant)?;
                if in_force.digest().to_string() != *previous || in_force.digest() != decision.bundle {
                    let detail =
                        "another bundle came into force since this change was asked for: bring it again";
                    return Err(Refusal::new(Code::ApprovalStale, detail));
                }
                let hash: Digest = bundle.parse().map_err(|_| gone(bundle))?;
                let canonical = house
                    .store
                    .read(|rows| rows.kept_bundle(&tenant, hash.as_bytes()))?
                    .filter(|canonical| Digest::of(canonical) == hash)
                    .ok_or_else(|| gone(bundle))?;
                let signatures = signatures
                    .iter()
                    .map(|(key, made)| kept::parse("signature", json!({ "key": key, "signature": made })))
                    .collect::<Result<Vec<Endorsement>, _>>()?;
                house.policies.confirmed(&tenant, &hash, &signatures)?;
                let source: Source = kept::read("bundle", &canonical)?;
                let compiled = audit::aside(move || Tested::compile(&source)).await;
                let tested =
                    compiled.ok_or_else(|| Refusal::new(Code::Internal, "the policy compiler failed"))??;
                house.policies.fits(tested.bundle())?;
                let brought = Brought { id, tenant, by, canonical, signatures };
                Self::Policy(Box::new(Activation::begin(&house.books, turn, tested, brought)?))
            }
            Change::Wallet { wallet, design } => {
                let (design, source) = create::read(design.clone())?;
                let wallet = wallet.clone();
                let making = match key {
                    Some(key) => Making::around(house, id, &by, (tenant, wallet), design, key).await?,
                    None => Making::begin(house, id, &by, tenant, wallet, design, source).await?,
                };
                Self::Wallet(Box::new(making))
            }
            Change::Client { client, public_key, days, beside } => {
                let unreadable = |_| Refusal::new(Code::StoreUnavailable, "a stored key cannot be read");
                let public_key = hex::decode(public_key).map_err(unreadable)?;
                let application = Application::of(client.clone(), public_key)?;
                let issuing = Issuing::begin(house, id, &by, &tenant, &application, *days, beside);
                Self::Client(Box::new(issuing.await?))
            }
            Change::Revocation { certificates, .. } => {
                let taking_back = TakingBack::begin(house, id, &by, &tenant, certificates);
                Self::Revocation(Box::new(taking_back.await?))
            }
        }))
    }

    /// One transaction; it runs on the store's writer. The log index of the change once it is written.
    pub fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<Option<u64>, Refusal> {
        match self {
            Self::Policy(activation) => activation.step(books, tx),
            Self::Wallet(making) => making.write(tx).map(Some),
            Self::Client(issuing) => issuing.write(tx).map(Some),
            Self::Revocation(taking_back) => taking_back.write(tx).map(Some),
        }
    }

    /// Everybody sees it from here on.
    pub fn take_effect(self, house: &House, leaf: u64) {
        match self {
            Self::Policy(activation) => drop(activation.take_effect(&house.books, leaf)),
            Self::Wallet(making) => drop(making.take_effect(house, leaf)),
            Self::Client(issuing) => drop(issuing.take_effect()),
            Self::Revocation(taking_back) => drop(taking_back.take_effect(house)),
        }
    }
}

fn gone(bundle: &str) -> Refusal {
    Refusal::new(Code::StoreUnavailable, format!("bundle {bundle} is not kept"))
}

/// The files of the bundle that a payload would put in force.
pub(crate) fn brought(store: &Store, tenant: &Tenant, payload: &Payload) -> Result<Option<Source>, Refusal> {
    let Payload::ApplianceChange { change: Change::Policy { bundle, .. } } = payload else { return Ok(None) };
    let hash: Digest = bundle.parse().map_err(|_| gone(bundle))?;
    let canonical = store.read(|rows| rows.kept_bundle(tenant, hash.as_bytes()))?;
    canonical.map(|canonical| kept::read("bundle", &canonical)).transpose()
}

/// A bundle that was brought, and what the log says about it beside itself.
pub(crate) struct Brought {
    pub id: RequestId,
    pub tenant: Tenant,
    pub by: Asker,
    /// The bundle's canonical JSON.
    pub canonical: Vec<u8>,
    pub signatures: Vec<Endorsement>,
}

/// A bundle on its way into force.
pub(crate) struct Activation {
    record: audit::Policy,
    canonical: Vec<u8>,
    backfill: Option<Backfill>,
    in_force: InForce,
    _turn: Turn,
}

/// Held by whoever puts a bundle in force: what is in force stays so meanwhile.
pub(crate) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Activation {
    /// Waits until no other bundle is on its way.
    pub async fn turn(books: &Books) -> Turn {
        Turn { _guard: Arc::clone(&books.policies.changing).lock_owned().await }
    }

    pub fn begin(books: &Books, turn: Turn, tested: Tested, brought: Brought) -> Result<Self, Refusal> {
        let Brought { id, tenant, by, canonical, signatures } = brought;
        let now = books.clock.now()?;
        let before = books.policies.activated(&tenant);
        let backfill =
            Backfill::before(tested.bundle(), before.as_deref().map(InForce::bundle), &tenant, now);
        let governs_changes = tested.bundle().governs_changes();
        let in_force = InForce::new(tested, 0, now, signatures.clone())?;
        let record = audit::Policy {
            v: V1,
            tenant,
            request_id: id,
            time_ms: now,
            client: by.id,
            certificate: by.certificate,
            bundle: in_force.digest(),
            previous: before.map(|policy| policy.digest()),
            signatures,
            governs_changes,
        };
        Ok(Self { record, canonical, backfill, in_force, _turn: turn })
    }

    /// Requests measured so far.
    pub fn measured(&self) -> u64 {
        self.backfill.as_ref().map_or(0, Backfill::measured)
    }

    /// One transaction; it runs on the store's writer. The activation's log index once it is made.
    pub fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<Option<u64>, Refusal> {
        if let Some(backfill) = &mut self.backfill
            && !backfill.step(books, tx)?
        {
            return Ok(None);
        }
        let audit::Policy { tenant, bundle, time_ms, .. } = &self.record;
        let leaf = audit::append(tx, &audit::Record::Policy(self.record.clone()))?.index();
        tx.put_bundle(tenant, bundle.as_bytes(), &self.canonical)?;
        tx.activate_bundle(tenant, bundle.as_bytes(), *time_ms, leaf)?;
        Ok(Some(leaf))
    }

    /// It decides from here on.
    pub fn take_effect(self, books: &Books, leaf: u64) -> InForce {
        let in_force = self.in_force.activated_at(leaf);
        books.policies.set(self.record.tenant, in_force.clone());
        in_force
    }
}
