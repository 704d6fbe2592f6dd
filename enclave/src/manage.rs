//! What operators do: put policy in force. It is a log entry of its own, durable before it counts.

use std::sync::Arc;

use chancery_audit::{self as audit, Digest, Endorsement, V1};
use chancery_core::{Code, RequestId, Tenant};
use chancery_identity::Operator;
use chancery_policy::{Source, Tested};
use chancery_prove::{Proof, Proved};
use chancery_store::Tx;
use tokio::sync::watch;

use crate::backfill::Backfill;
use crate::change::{PolicyChange, Standing};
use crate::house::{Books, House};
use crate::policy::InForce;
use crate::refusal::Refusal;
use crate::start::Enclave;

impl Enclave {
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
