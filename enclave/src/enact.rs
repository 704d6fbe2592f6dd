//! How a change takes effect: made ready beside the walk, written in the one transaction that puts its end on record, and
//! then seen by everybody. Each change has a log entry of its own there, under the name of the request that asked for it.
//! If this is wrong, something is changed that nobody agreed to, or what was agreed to is not what changes.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, Endorsement, V1};
use chancery_core::{Change, Code, KeyId, Payload, RequestId, Tenant, UnixMillis, WalletId};
use chancery_hsm::{Algorithm, Hsm, KeyRef};
use chancery_policy::{Source, Tested};
use chancery_store::{Store, Tx, WalletRow};
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::asker::Asker;
use crate::backfill::Backfill;
use crate::house::{Books, House};
use crate::kept;
use crate::policy::InForce;
use crate::refusal::Refusal;
use crate::wallet::{Design, Wallet};

/// A change that is ready to take effect.
pub(crate) enum Enactment {
    Policy(Box<Activation>),
    Wallet(Box<Making>),
}

impl Enactment {
    /// Makes ready what a permitted payload changes; `None` where it changes nothing here.
    ///
    /// # Errors
    /// [`Code::ApprovalStale`] where another bundle came into force since it was decided, and whatever would have refused the
    /// change itself.
    pub async fn begin(
        house: &House,
        decision: &audit::Decision,
        payload: &Payload,
    ) -> Result<Option<Self>, Refusal> {
        let Payload::ApplianceChange { change } = payload else { return Ok(None) };
        let (id, tenant) = (decision.request_id, decision.tenant.clone());
        let by = Asker { id: decision.client.clone(), certificate: decision.certificate };
        Ok(Some(match change {
            Change::Policy { bundle, previous, signatures, .. } => {
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
                Self::Policy(Box::new(Activation::begin(&house.books, tested, brought).await?))
            }
            Change::Wallet { wallet, design } => {
                let design: Design = kept::parse("design", Value::from_iter(design.clone()))?;
                Self::Wallet(Box::new(Making::begin(house, id, &by, tenant, wallet.clone(), design).await?))
            }
        }))
    }

    /// One transaction; it runs on the store's writer. The log index of the change once it is written.
    pub fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<Option<u64>, Refusal> {
        match self {
            Self::Policy(activation) => activation.step(books, tx),
            Self::Wallet(making) => making.write(tx).map(Some),
        }
    }

    /// Everybody sees it from here on.
    pub fn take_effect(self, house: &House, leaf: u64) {
        match self {
            Self::Policy(activation) => drop(activation.take_effect(&house.books, leaf)),
            Self::Wallet(making) => drop(making.take_effect(house, leaf)),
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

/// A bundle on its way into force: no other comes into force meanwhile.
pub(crate) struct Activation {
    record: audit::Policy,
    canonical: Vec<u8>,
    backfill: Option<Backfill>,
    in_force: InForce,
    _one_at_a_time: OwnedMutexGuard<()>,
}

impl Activation {
    pub async fn begin(books: &Books, tested: Tested, brought: Brought) -> Result<Self, Refusal> {
        let Brought { id, tenant, by, canonical, signatures } = brought;
        let one_at_a_time = Arc::clone(&books.policies.changing).lock_owned().await;
        let now = books.clock.now()?;
        let before = books.policies.activated(&tenant);
        let backfill =
            Backfill::before(tested.bundle(), before.as_deref().map(InForce::bundle), &tenant, now);
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
        };
        Ok(Self { record, canonical, backfill, in_force, _one_at_a_time: one_at_a_time })
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

/// Whether a wallet can be made so.
///
/// # Errors
/// [`Code::BadRequest`], [`Code::AlreadyExists`].
pub(crate) fn check_wallet(
    house: &House,
    tenant: &Tenant,
    id: &WalletId,
    design: &Design,
) -> Result<(), Refusal> {
    design.check()?;
    if house.store.read(|rows| rows.wallet(tenant, id))?.is_some() {
        return Err(taken(id));
    }
    Ok(())
}

fn taken(id: &WalletId) -> Refusal {
    Refusal::new(Code::AlreadyExists, format!("a wallet `{id}` exists already"))
}

/// A wallet whose key is made, and which no row names yet.
pub(crate) struct Making {
    wallet: Wallet,
    record: audit::Record,
    row: Vec<u8>,
    created_ms: UnixMillis,
    unnamed: Unnamed,
}

/// A key that no wallet names: dropped so, it leaves the token again.
struct Unnamed(Option<(Hsm, KeyId)>);

impl Drop for Unnamed {
    fn drop(&mut self) {
        let Some((hsm, key)) = self.0.take() else { return };
        tokio::spawn(async move {
            if let Err(error) = hsm.destroy(key).await {
                tracing::warn!(%key, %error, "a key that no wallet names stays in the token");
            }
        });
    }
}

impl Making {
    /// Makes the key.
    pub async fn begin(
        house: &House,
        request: RequestId,
        by: &Asker,
        tenant: Tenant,
        id: WalletId,
        design: Design,
    ) -> Result<Self, Refusal> {
        check_wallet(house, &tenant, &id, &design)?;
        // ORDER: the key first. A crash before the row is durable leaves a key that no wallet names and nothing can use.
        let key = KeyId::fresh();
        let public =
            house.hsm.generate(key, &format!("chancery/{tenant}/{id}"), Algorithm::Secp256k1).await?;
        let unnamed = Unnamed(Some((house.hsm.clone(), key)));
        let now = house.clock.now()?;
        let wallet = Wallet::around(KeyRef { id: key, public }, tenant.clone(), id.clone(), design, now)?;
        let record = audit::Record::Wallet(audit::Wallet {
            v: V1,
            tenant,
            request_id: request,
            time_ms: now,
            client: by.id.clone(),
            certificate: by.certificate,
            wallet: id,
            algorithm: audit::Algorithm::Secp256k1,
            public_key: wallet.public_key().into(),
            chains: wallet.chains(),
            descriptor: wallet.descriptor(),
        });
        Ok(Self { row: wallet.record()?, wallet, record, created_ms: now, unnamed })
    }

    /// Its transaction; it runs on the store's writer. The log index of its making.
    pub fn write(&self, tx: &mut Tx<'_>) -> Result<u64, Refusal> {
        let Wallet { tenant, id, .. } = &self.wallet;
        let leaf = audit::append(tx, &self.record)?.index();
        let row = WalletRow {
            tenant: tenant.clone(),
            id: id.clone(),
            created_ms: self.created_ms,
            leaf,
            record: self.row.clone(),
        };
        tx.insert_wallet(&row).map_err(|error| {
            let refusal = Refusal::from(error);
            if refusal.code == Code::AlreadyExists { taken(id) } else { refusal }
        })?;
        Ok(leaf)
    }

    /// It can be asked for signatures from here on.
    pub fn take_effect(mut self, house: &House, leaf: u64) -> Arc<Wallet> {
        self.unnamed.0 = None;
        house.wallets.add(self.wallet.recorded_at(leaf))
    }
}
