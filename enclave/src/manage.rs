//! What operators do: put policy in force. It is a log entry of its own, durable before it counts. Where the policy in force
//! governs changes, they only ask: the change walks like a payment, and takes effect with its release.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, V1};
use chancery_core::{Change, Code, IdempotencyKey, RequestId, Tenant};
use chancery_identity::Operator;
use chancery_intent::change::SEAL;
use chancery_policy::{self as policy, Tested};
use chancery_prove::{Proof, Proved};
use chancery_store::Tx;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::change::{PolicyChange, Standing};
use crate::create::create_wallet;
use crate::enact::{Activation, Brought};
use crate::house::{Books, House};
use crate::policy::InForce;
use crate::refusal::Refusal;
use crate::start::Enclave;
use crate::walk;
use crate::wallet::{Design, Source, Wallet};

/// LIMIT: what names a kind of ceremony, in bytes.
const CEREMONY_BYTES: usize = 32;

impl Enclave {
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
        source: policy::Source,
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
            let tenant = operator.tenant().clone();
            let brought = Brought { id, tenant, by: (&operator).into(), canonical, signatures };
            let standing = match apply_policy(&house, &operator, source, brought, &tell).await {
                Ok(standing) => standing,
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

/// Whether changes are asked for.
pub(crate) fn governed(house: &House, tenant: &Tenant) -> bool {
    house.policies.in_force(tenant).is_ok_and(|policy| policy.bundle().governs_changes())
}

/// Walks a change. The first one of a tenant finds no seal yet: the key that says yes to changes is made.
pub(crate) async fn ask(
    house: &Arc<House>,
    operator: &Operator,
    key: Option<IdempotencyKey>,
    change: Change,
) -> Result<Answer, Refusal> {
    let internal = || Refusal::new(Code::Internal, "the seal has no name");
    if seal_of(house, operator.tenant())?.is_none() {
        let id = SEAL.parse().map_err(|_| internal())?;
        match create_wallet(house, operator, id, Design::Seal, Source::Token).await {
            Ok(_) => {}
            // Another first change was faster.
            Err(refusal) if refusal.code == Code::AlreadyExists => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let fresh = || RequestId::fresh().to_string().parse().map_err(|_| internal());
    let key = key.map_or_else(fresh, Ok)?;
    walk::change(house, operator, key, change).await
}

/// The tenant's seal, if it is made.
///
/// # Errors
/// [`Code::AlreadyExists`] where another wallet, of before that name was kept for it, has the seal's name.
fn seal_of(house: &House, tenant: &Tenant) -> Result<Option<Arc<Wallet>>, Refusal> {
    let id = SEAL.parse().map_err(|_| Refusal::new(Code::Internal, "the seal has no name"))?;
    let Ok(wallet) = house.wallets.find(tenant, &id) else { return Ok(None) };
    if wallet.is_seal() {
        return Ok(Some(wallet));
    }
    let detail = format!(
        "changes need the wallet name `{SEAL}`, and a wallet that signs something else has it: this tenant's policy \
         cannot govern changes; leave out its rules about `change`"
    );
    Err(Refusal::new(Code::AlreadyExists, detail))
}

async fn apply_policy(
    house: &Arc<House>,
    operator: &Operator,
    source: policy::Source,
    brought: Brought,
    tell: &watch::Sender<Standing>,
) -> Result<Standing, Refusal> {
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
    if tested.bundle().governs_changes() {
        seal_of(house, operator.tenant())?;
    }
    if governed(house, operator.tenant()) {
        return ask_for_policy(house, operator, &tested, brought).await;
    }
    put_in_force(&house.books, tested, brought, &|requests| {
        tell.send_replace(Standing::LookingBack { requests });
    })
    .await
    .map(Standing::InForce)
}

/// Asks for a bundle that was signed, tested and proved; it is kept, so that officers can look at it.
async fn ask_for_policy(
    house: &Arc<House>,
    operator: &Operator,
    tested: &Tested,
    brought: Brought,
) -> Result<Standing, Refusal> {
    let Brought { tenant, canonical, signatures, .. } = brought;
    let in_force = house.policies.in_force(&tenant)?;
    let bundle = Digest::of(&canonical);
    let changed = tested.bundle().diff(in_force.bundle());
    let signatures = signatures.iter().map(|one| (one.key.clone(), hex::encode(one.signature.as_bytes())));
    let change = Change::Policy {
        bundle: bundle.to_string(),
        previous: in_force.digest().to_string(),
        signatures: signatures.collect(),
        differences: changed.lines(),
        proved: tested.bundle().goals().map(|goal| goal.name.clone()).collect(),
    };
    house.store.write(move |tx| tx.put_bundle(&tenant, bundle.as_bytes(), &canonical)).await?;
    Ok(match ask(house, operator, None, change).await? {
        Answer::Pending(pending) => Standing::Asked(pending),
        Answer::Released(_) => Standing::InForce((*house.policies.in_force(operator.tenant())?).clone()),
    })
}

/// Has a bundle's limits count what is still in their windows, and puts it in force. `told` hears how many requests were
/// counted so far.
pub(crate) async fn put_in_force(
    books: &Arc<Books>,
    tested: Tested,
    brought: Brought,
    told: &(dyn Fn(u64) + Send + Sync),
) -> Result<InForce, Refusal> {
    let turn = Activation::turn(books).await;
    let mut activation = Activation::begin(books, turn, tested, brought)?;
    let leaf = loop {
        let there = Arc::clone(books);
        let step = move |tx: &mut Tx<'_>| Ok::<_, Refusal>((activation.step(&there, tx)?, activation));
        let (leaf, still) = books.store.write(step).await?.into_inner();
        activation = still;
        match leaf {
            Some(leaf) => break leaf,
            None => told(activation.measured()),
        }
    };
    Ok(activation.take_effect(books, leaf))
}
