//! What operators do: make wallets and put policy in force. Each is a log entry of its own, durable before it counts.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, Endorsement, V1};
use chancery_core::{Code, KeyId, RequestId, Tenant, WalletId};
use chancery_hsm::{Algorithm, KeyRef};
use chancery_identity::Operator;
use chancery_policy::{Source, Tested};
use chancery_prove::{Proof, Proved};
use chancery_store::{Tx, WalletRow};
use tokio::sync::watch;

use crate::backfill::Backfill;
use crate::change::{PolicyChange, Standing};
use crate::house::{Books, House};
use crate::policy::InForce;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::wallet::{Design, Wallet};

/// LIMIT: what names a kind of ceremony, in bytes.
const CEREMONY_BYTES: usize = 32;

impl Enclave {
    /// Makes a wallet around a fresh key in the HSM, or around one that a ceremony made for it.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for its chains, its descriptor or a key of another kind, [`Code::AlreadyExists`] for its name or a key
    /// that another wallet has, [`Code::NotFound`] for a key that the HSM has not, and what the HSM or store answer.
    pub async fn create_wallet(
        &self,
        operator: Operator,
        id: WalletId,
        design: Design,
        key: Option<KeyId>,
    ) -> Result<Arc<Wallet>, Refusal> {
        let house = Arc::clone(self.house());
        self.run(async move { create_wallet(&house, &operator, id, design, key).await }).await
    }

    /// Puts a key ceremony's transcript on record by its hash, and answers the log index.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for what cannot name a kind of ceremony, and what the store answers.
    pub async fn record_ceremony(
        &self,
        operator: Operator,
        ceremony: String,
        script: Digest,
        transcript: Digest,
    ) -> Result<u64, Refusal> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !(1..=CEREMONY_BYTES).contains(&ceremony.len()) || !plain(&ceremony) {
            return Err(Refusal::new(Code::BadRequest, "`kind` must be 1 to 32 of a-z and `-`"));
        }
        let house = Arc::clone(self.house());
        self.run(async move {
            house.disk.admit()?;
            let record = audit::Record::Ceremony(audit::Ceremony {
                v: V1,
                tenant: operator.tenant().clone(),
                request_id: RequestId::fresh(),
                time_ms: house.clock.now()?,
                client: operator.id().clone(),
                certificate: Digest::from_bytes(*operator.fingerprint().as_bytes()),
                ceremony,
                script,
                transcript,
            });
            let written = house.store.write(move |tx| Ok::<_, Refusal>(audit::append(tx, &record)?.index()));
            Ok(written.await?.into_inner())
        })
        .await
    }

    /// Looks who signed a bundle, and has it compiled, tested and proved, its limits count what is still in their windows,
    /// and it put in force from the next decision on. `notes` are signed notes over its hash. It goes on to its end whether
    /// or not anybody waits for [`PolicyChange::end`], which refuses with [`Code::BundleInvalid`] and every finding, failed
    /// test or goal that is not proved.
    ///
    /// # Errors
    /// [`Code::BundleUnsigned`]; [`Code::ChangeInProgress`] while another change is under way.
    pub fn change_policy(
        &self,
        operator: Operator,
        source: Source,
        notes: &[String],
    ) -> Result<PolicyChange, Refusal> {
        let house = Arc::clone(self.house());
        house.disk.admit()?;
        let canonical = source.canonical();
        let bundle = Digest::of(&canonical);
        // First: what nobody signed is not worth the compiler's and the solver's time.
        let signatures = house.policies.endorsed(operator.tenant(), &bundle, notes)?;
        let (change, tell) = house.policies.changes.begin(&operator, bundle, house.clock.now()?)?;
        let id = change.id();
        self.beside(async move {
            let brought = Brought { id, operator, canonical, signatures };
            let standing = match apply_policy(&house, source, brought, &tell).await {
                Ok(in_force) => Standing::InForce(in_force),
                Err(refusal) => {
                    tracing::warn!(%bundle, %refusal, "a policy bundle did not come into force");
                    Standing::Refused(refusal)
                }
            };
            tell.send_replace(standing);
        })?;
        Ok(change)
    }

    /// A policy change that this process made or makes, the tenant's last.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn policy_change(&self, tenant: &Tenant, id: RequestId) -> Result<PolicyChange, Refusal> {
        self.house().policies.changes.find(tenant, id).ok_or_else(|| {
            let detail = "there was a later change, or the appliance was started anew since: `/v1/policy` says what is in force";
            Refusal::new(Code::NotFound, detail)
        })
    }
}

async fn create_wallet(
    house: &Arc<House>,
    operator: &Operator,
    id: WalletId,
    design: Design,
    made: Option<KeyId>,
) -> Result<Arc<Wallet>, Refusal> {
    design.check()?;
    house.disk.admit()?;
    let tenant = operator.tenant().clone();
    let taken = || Refusal::new(Code::AlreadyExists, format!("a wallet `{id}` exists already"));
    if house.store.read(|rows| rows.wallet(&tenant, &id))?.is_some() {
        return Err(taken());
    }

    // Held until the wallet is known to all: two wallets on one key would be two policies over it.
    let _one_at_a_time = match made {
        Some(_) => Some(house.wallets.adopting.lock().await),
        None => None,
    };
    // ORDER: the key first. A crash before the row is durable leaves a key that no wallet names and nothing can use.
    let key = match made {
        Some(key) => adopt(house, key).await?,
        None => {
            let key = KeyId::fresh();
            let label = format!("chancery/{tenant}/{id}");
            KeyRef { id: key, public: house.hsm.generate(key, &label, Algorithm::Secp256k1).await? }
        }
    };
    let (now, key_id) = (house.clock.now()?, key.id);
    let wallet = Wallet::around(key, tenant.clone(), id.clone(), design, now)?;
    let record = audit::Record::Wallet(audit::Wallet {
        v: V1,
        tenant: tenant.clone(),
        request_id: RequestId::fresh(),
        time_ms: now,
        client: operator.id().clone(),
        certificate: Digest::from_bytes(*operator.fingerprint().as_bytes()),
        wallet: id.clone(),
        algorithm: audit::Algorithm::Secp256k1,
        public_key: wallet.public_key().into(),
        chains: wallet.chains(),
        descriptor: wallet.descriptor(),
    });
    let (row_id, bytes) = (id.clone(), wallet.record()?);
    let written = house
        .store
        .write(move |tx| {
            let leaf = audit::append(tx, &record)?.index();
            tx.insert_wallet(&WalletRow { tenant, id: row_id, created_ms: now, leaf, record: bytes })?;
            Ok::<_, Refusal>(leaf)
        })
        .await;
    match written {
        Ok(leaf) => Ok(house.wallets.add(wallet.recorded_at(leaf.into_inner()))),
        Err(refusal) => {
            // A key that a ceremony made is not ours to destroy.
            if made.is_none()
                && let Err(error) = house.hsm.destroy(key_id).await
            {
                tracing::warn!(key = %key_id, %error, "a key that no wallet names stays in the token");
            }
            Err(if refusal.code == Code::AlreadyExists { taken() } else { refusal })
        }
    }
}

/// A key that is in the HSM already, once it has proved itself and no wallet has it.
async fn adopt(house: &House, id: KeyId) -> Result<KeyRef, Refusal> {
    if house.wallets.has_key(id) {
        return Err(Refusal::new(Code::AlreadyExists, format!("a wallet has the key `{id}` already")));
    }
    let absent = || Refusal::new(Code::NotFound, format!("the HSM has no key `{id}`"));
    let public = house.hsm.find(id).await?.ok_or_else(absent)?;
    if public.algorithm() != Algorithm::Secp256k1 {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("the key `{id}` is of another kind than wallets have"),
        ));
    }
    let key = KeyRef { id, public };
    house.hsm.sign(&key, key.proof()).await?;
    Ok(key)
}

/// A bundle on its way into force.
struct Change {
    record: audit::Policy,
    canonical: Vec<u8>,
    backfill: Option<Backfill>,
}

impl Change {
    /// One transaction; it runs on the store's writer. The activation's log index once it is made.
    fn step(&mut self, books: &Books, tx: &mut Tx<'_>) -> Result<Option<u64>, Refusal> {
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
}

/// What the log says about a change of the policy, beside the bundle itself.
pub(crate) struct Brought {
    pub id: RequestId,
    pub operator: Operator,
    /// The bundle's canonical JSON.
    pub canonical: Vec<u8>,
    pub signatures: Vec<Endorsement>,
}

async fn apply_policy(
    house: &Arc<House>,
    source: Source,
    brought: Brought,
    tell: &watch::Sender<Standing>,
) -> Result<InForce, Refusal> {
    let (prover, told) = (house.prover.clone(), tell.clone());
    let work = move || {
        let tested = Tested::compile(&source)?;
        let of = tested.bundle().goals().count();
        told.send_replace(Standing::Proving { done: 0, of });
        let proved = |done, of, _: &Proof| drop(told.send_replace(Standing::Proving { done, of }));
        Ok::<_, Refusal>(Proved::of(tested, prover.as_ref(), &proved)?.into_tested())
    };
    // Compiling, testing and proving take as long as the bundle is large: not on the runtime's own threads.
    let tested = audit::aside(work)
        .await
        .ok_or_else(|| Refusal::new(Code::Internal, "the policy compiler failed"))??;
    house.policies.fits(tested.bundle())?;
    put_in_force(&house.books, tested, brought, &|requests| {
        tell.send_replace(Standing::LookingBack { requests });
    })
    .await
}

/// Has a bundle's limits count what is still in their windows, and puts it in force. `told` hears how many requests were
/// counted so far.
pub(crate) async fn put_in_force(
    books: &Arc<Books>,
    tested: Tested,
    brought: Brought,
    told: &(dyn Fn(u64) + Send + Sync),
) -> Result<InForce, Refusal> {
    let Brought { id, operator, canonical, signatures } = brought;
    let tenant = operator.tenant().clone();
    let _one_at_a_time = books.policies.changing.lock().await;
    let now = books.clock.now()?;
    let before = books.policies.activated(&tenant);
    let backfill = Backfill::before(tested.bundle(), before.as_deref().map(InForce::bundle), &tenant, now);
    let in_force = InForce::new(tested, 0, now, signatures.clone())?;
    let record = audit::Policy {
        v: V1,
        tenant: tenant.clone(),
        request_id: id,
        time_ms: now,
        client: operator.id().clone(),
        certificate: Digest::from_bytes(*operator.fingerprint().as_bytes()),
        bundle: in_force.digest(),
        previous: before.map(|policy| policy.digest()),
        signatures,
    };
    let mut change = Change { record, canonical, backfill };
    let leaf = loop {
        let there = Arc::clone(books);
        let step = move |tx: &mut Tx<'_>| Ok::<_, Refusal>((change.step(&there, tx)?, change));
        let (leaf, still) = books.store.write(step).await?.into_inner();
        match leaf {
            Some(leaf) => break leaf,
            None => {
                told(still.backfill.as_ref().map_or(0, Backfill::measured));
                change = still;
            }
        }
    };
    let in_force = in_force.activated_at(leaf);
    books.policies.set(tenant, in_force.clone());
    Ok(in_force)
}
