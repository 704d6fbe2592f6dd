//! Who may come in: certificates that the appliance itself issues and takes back. Where the policy in force governs changes,
//! an operator only asks; each is a log entry of its own, written with the release of the request.

mod issue;
mod office;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery_core::{Change, Code, IdempotencyKey, Payload, RequestId, Serial, Subject, Tenant, limit};
use chancery_identity::{Application, Operator};
use tokio::sync::watch;

pub use chancery_store::CertificateRow as Certificate;
pub use office::Issued;

pub(crate) use issue::{Issuing, TakingBack};
pub(crate) use office::{Offices, renew_for_ever};

use crate::answer::{Answer, Pending};
use crate::house::House;
use crate::kept::{self, Kept};
use crate::manage::{ask, governed};
use crate::refusal::Refusal;
use crate::start::Enclave;

/// What came of asking for a certificate, or for the end of some.
#[derive(Debug)]
pub enum Certified {
    /// It is done: these are the certificates, as they are now.
    Done(Vec<Certificate>),
    /// It is asked for, and waits for those who must agree.
    Pending(Pending),
}

impl Enclave {
    /// Issues a certificate for `days`, beside those of the same name that hold; where the policy in force governs changes,
    /// asks for it under `key`.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for the days, [`Code::Forbidden`] for another tenant's name, [`Code::AlreadyExists`] for a key that
    /// has one and for too many of one name, what denies the change, and what the HSM or store answer.
    pub async fn add_client(
        &self,
        operator: Operator,
        key: Option<IdempotencyKey>,
        application: Application,
        days: u32,
    ) -> Result<Certified, Refusal> {
        if !(1..=limit::CERTIFICATE_DAYS).contains(&days) {
            let detail = format!("`days` must be 1 to {}", limit::CERTIFICATE_DAYS);
            return Err(Refusal::new(Code::BadRequest, detail));
        }
        let house = Arc::clone(self.house());
        self.run(async move {
            let tenant = operator.tenant();
            let public_key = hex::encode(application.public_key());
            if let Some(change) = before(&house, &operator, key.as_ref())? {
                let same = matches!(&change, Change::Client { client, public_key: of, days: for_days, .. }
                    if client == application.client() && *of == public_key && *for_days == days);
                return asked_again(&house, &operator, key, change, same).await;
            }
            let beside = issue::admissible(&house, tenant, &application)?;
            if !governed(&house, tenant) {
                return issue_now(&house, &operator, &application, days, &beside).await;
            }
            let change = Change::Client { client: application.client().clone(), public_key, days, beside };
            asked(&house, &operator, key, change).await
        })
        .await
    }

    /// Takes certificates back, for ever; where the policy in force governs changes, asks for it under `key`. Connections that
    /// show one are cut.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for none or too many, [`Code::NotFound`], [`Code::AlreadyExists`] for one that was taken back, what
    /// denies the change, and what the HSM or store answer.
    pub async fn revoke_clients(
        &self,
        operator: Operator,
        key: Option<IdempotencyKey>,
        serials: BTreeSet<Serial>,
        reason: String,
    ) -> Result<Certified, Refusal> {
        if !(1..=limit::REVOCATIONS).contains(&serials.len()) {
            let detail = format!("`serials` must be 1 to {}", limit::REVOCATIONS);
            return Err(Refusal::new(Code::BadRequest, detail));
        }
        let is_a_line = !reason.is_empty() && !reason.chars().any(char::is_control);
        if !is_a_line || reason.len() > limit::CHANGE_LINE_BYTES {
            let detail = format!("`reason` must be one line of at most {} bytes", limit::CHANGE_LINE_BYTES);
            return Err(Refusal::new(Code::BadRequest, detail));
        }
        let house = Arc::clone(self.house());
        self.run(async move {
            let tenant = operator.tenant();
            if let Some(change) = before(&house, &operator, key.as_ref())? {
                let same = matches!(&change, Change::Revocation { certificates, reason: because }
                    if certificates.keys().eq(&serials) && *because == reason);
                return asked_again(&house, &operator, key, change, same).await;
            }
            let rows = issue::revocable(&house, tenant, &serials)?;
            let certificates: BTreeMap<_, _> = rows.into_iter().map(|row| (row.serial, row.client)).collect();
            if !governed(&house, tenant) {
                return take_back_now(&house, &operator, &certificates).await;
            }
            asked(&house, &operator, key, Change::Revocation { certificates, reason }).await
        })
        .await
    }

    /// One page of the tenant's certificates by whom they name, those after `after`.
    ///
    /// # Errors
    /// [`Code::NotFound`] for an `after` that is none of them.
    pub fn certificates(
        &self,
        tenant: &Tenant,
        after: Option<Serial>,
        limit: usize,
    ) -> Result<Vec<Certificate>, Refusal> {
        let after = after.map(|serial| self.certificate(tenant, serial)).transpose()?;
        Ok(self.house().store.read(|rows| rows.certificates(tenant, after.as_ref(), limit))?)
    }

    /// One certificate of the tenant.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn certificate(&self, tenant: &Tenant, serial: Serial) -> Result<Certificate, Refusal> {
        let row = self.house().store.read(|rows| rows.certificate(tenant, &serial))?;
        row.ok_or_else(|| Refusal::new(Code::NotFound, format!("no certificate `{serial}`")))
    }

    /// The certificate that a request led to.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn certificate_of(&self, tenant: &Tenant, request: RequestId) -> Result<Certificate, Refusal> {
        let row = self.house().store.read(|rows| rows.certificate_of(request))?;
        row.filter(|row| row.tenant == *tenant)
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("request `{request}` led to no certificate")))
    }

    /// The authorities whose clients the door admits, with their lists, and each change of them.
    #[must_use]
    pub fn issued(&self) -> watch::Receiver<Arc<Vec<Issued>>> {
        self.house().offices.told()
    }
}

/// What was asked for under this key before. Asked once more, a certificate that was issued is no key that has one.
fn before(
    house: &House,
    operator: &Operator,
    key: Option<&IdempotencyKey>,
) -> Result<Option<Change>, Refusal> {
    let Some(key) = key else { return Ok(None) };
    let row = house.store.read(|rows| rows.request_by_key(operator.tenant(), operator.id(), key))?;
    let Some(row) = row else { return Ok(None) };
    match kept::read::<Kept>("record", &row.record)?.payload {
        Payload::ApplianceChange { change } => Ok(Some(change)),
        _ => Err(conflict()),
    }
}

async fn asked_again(
    house: &Arc<House>,
    operator: &Operator,
    key: Option<IdempotencyKey>,
    change: Change,
    is_the_same: bool,
) -> Result<Certified, Refusal> {
    if is_the_same { asked(house, operator, key, change).await } else { Err(conflict()) }
}

fn conflict() -> Refusal {
    Refusal::new(Code::IdempotencyConflict, Code::IdempotencyConflict.title())
}

async fn asked(
    house: &Arc<House>,
    operator: &Operator,
    key: Option<IdempotencyKey>,
    change: Change,
) -> Result<Certified, Refusal> {
    let serials: Vec<_> = match &change {
        Change::Revocation { certificates, .. } => certificates.keys().copied().collect(),
        _ => Vec::new(),
    };
    let released = match ask(house, operator, key, change).await? {
        Answer::Pending(pending) => return Ok(Certified::Pending(pending)),
        Answer::Released(released) => released,
    };
    let request = released.receipt.decision.request_id;
    let rows = house.store.read(|rows| {
        let issued = rows.certificate_of(request)?;
        let revoked = serials.iter().map(|serial| rows.certificate(operator.tenant(), serial));
        issued.map(Ok).into_iter().chain(revoked.filter_map(Result::transpose)).collect()
    })?;
    Ok(Certified::Done(rows))
}

async fn issue_now(
    house: &House,
    operator: &Operator,
    application: &Application,
    days: u32,
    beside: &[Serial],
) -> Result<Certified, Refusal> {
    house.disk.admit()?;
    let (request, by) = (RequestId::fresh(), operator.into());
    let begun = Issuing::begin(house, request, &by, operator.tenant(), application, days, beside);
    let mut issuing = begun.await?;
    let written = house.store.write(move |tx| {
        issuing.write(tx)?;
        Ok::<_, Refusal>(issuing)
    });
    Ok(Certified::Done(vec![written.await?.into_inner().take_effect()]))
}

async fn take_back_now(
    house: &House,
    operator: &Operator,
    certificates: &BTreeMap<Serial, Subject>,
) -> Result<Certified, Refusal> {
    let (request, by) = (RequestId::fresh(), operator.into());
    let begun = TakingBack::begin(house, request, &by, operator.tenant(), certificates);
    let mut taking_back = begun.await?;
    let written = house.store.write(move |tx| {
        taking_back.write(tx)?;
        Ok::<_, Refusal>(taking_back)
    });
    Ok(Certified::Done(written.await?.into_inner().take_effect(house)))
}
