//! What officers do with pending requests: see what waits for them, and speak. Each word is verified here and counted on the
//! store's writer; the walk then goes on by itself. If this is wrong, a payment leaves without those who must agree.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chancery_audit::Digest;
use chancery_core::{Code, Payload, RequestId, limit};
use chancery_identity::Officer;
use chancery_identity::officer::Registered;
use chancery_policy::Source;
use chancery_store::{RequestFilter, RequestRow, RequestState};
use serde_json::Value;

use crate::answer::Answer;
use crate::enact;
use crate::kept::{self, Kept};
use crate::receipts;
use crate::refusal::Refusal;
use crate::start::{Enclave, Open};
use crate::walk::{self, Done, Waiting, Word, speaker};

/// How often requests whose time has come are decided again.
const PERIOD: Duration = Duration::from_secs(1);

/// After how long a request is tried again that could not be decided when its time had come, in milliseconds.
const PUT_OFF_MS: i64 = 60_000;

/// A pending request as an officer looks at it.
#[derive(Debug)]
pub struct Sheet {
    /// The request.
    pub row: RequestRow,
    /// What was sent; officers decode it for themselves.
    pub payload: Payload,
    /// The files of the bundle that it would put in force, if it would and one request is asked for; officers compile them for
    /// themselves.
    pub brought: Option<Source>,
    /// What it would do, as policy read it.
    pub intent: Value,
    /// What it still needs: as last recorded, or [as it is now](Enclave::up_to_date).
    pub missing: Vec<Value>,
    /// The bundle in force, which the word must be under.
    pub bundle: Digest,
    /// The groups that the officer could speak for.
    pub groups: Vec<String>,
    /// For whom the officer's credentials are, and their ids.
    pub relying_party: Option<String>,
    /// The ids of the officer's credentials.
    pub credentials: Vec<Vec<u8>>,
}

/// Where a request stands after a word.
#[derive(Debug)]
pub struct Spoke {
    /// The request.
    pub request_id: RequestId,
    /// Where it stands.
    pub state: RequestState,
    /// What it still needs, if it waits.
    pub missing: Vec<Value>,
    /// The rules that denied it, if they did.
    pub rules: Vec<String>,
}

impl Enclave {
    /// One page of the pending requests that an officer could speak about, the newest first, and the request to go on
    /// after where there may be more.
    ///
    /// # Errors
    /// [`Code::NoPolicy`], [`Code::ApprovalNotAsked`] for who is no officer of the bundle in force.
    pub fn approvals(
        &self,
        officer: &Officer,
        after: Option<RequestId>,
        limit: usize,
    ) -> Result<(Vec<Sheet>, Option<RequestId>), Refusal> {
        let house = self.house();
        self.registered(officer, |_| ())?;
        let filter = RequestFilter {
            state: Some(RequestState::Pending),
            after,
            limit,
            ..RequestFilter::all(officer.tenant().clone())
        };
        let rows = house.store.read(|rows| rows.requests(&filter))?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id);
        let sheets = rows.into_iter().map(|row| self.sheet(officer, row)).collect::<Result<Vec<_>, _>>()?;
        Ok((sheets.into_iter().filter(|sheet| !sheet.groups.is_empty()).collect(), next))
    }

    /// One request, pending or not, as an officer looks at it.
    ///
    /// # Errors
    /// [`Code::NotFound`], and as [`Self::approvals`].
    pub fn approval(&self, officer: &Officer, id: RequestId) -> Result<Sheet, Refusal> {
        self.registered(officer, |_| ())?;
        let row = self.row(officer.tenant(), id)?;
        let sheet = self.sheet(officer, row)?;
        let brought = enact::brought(&self.house().store, officer.tenant(), &sheet.payload)?;
        Ok(Sheet { brought, ..sheet })
    }

    /// A sheet with what its request needs after all that was said so far. Where the bundle in force reads the request otherwise, or
    /// would not have it wait, that stays as it was recorded.
    ///
    /// # Errors
    /// Whatever keeps clock or store from answering.
    pub async fn up_to_date(&self, sheet: Sheet) -> Result<Sheet, Refusal> {
        let missing = self.missing_now(sheet.row.clone()).await?;
        Ok(Sheet { missing: missing.unwrap_or(sheet.missing), ..sheet })
    }

    /// What a request needs after all that was said so far, if it waits for something.
    pub(crate) async fn missing_now(&self, row: RequestRow) -> Result<Option<Vec<Value>>, Refusal> {
        let house = Arc::clone(self.house());
        self.run(async move {
            match Waiting::of(row, &house.books) {
                Ok(waiting) => waiting.missing(&house.books).await,
                Err(_) => Ok(None),
            }
        })
        .await
    }

    /// Hears an officer's word about a pending request, and walks the request on where it was the last one needed.
    ///
    /// # Errors
    /// Those of [`Waiting::hear`] and [`Waiting::decide`]; whatever keeps a request from being signed that nothing but the
    /// signature was missing of.
    pub async fn speak(&self, officer: Officer, id: RequestId, word: Word) -> Result<Spoke, Refusal> {
        let row = self.row(officer.tenant(), id)?;
        let house = Arc::clone(self.house());
        self.run(async move {
            let waiting = Waiting::of(row, &house.books)?;
            let said = waiting.hear(&officer, word, house.clock.now()?)?;
            spoke(id, walk::resume(&house, waiting, Done::Said(Box::new(said))).await)
        })
        .await
    }

    fn registered<T>(&self, officer: &Officer, read: impl FnOnce(&Registered) -> T) -> Result<T, Refusal> {
        let policy = self.house().policies.in_force(officer.tenant())?;
        let unknown = || {
            let detail = format!("`{}` is no officer of the policy bundle in force", officer.id());
            Refusal::new(Code::ApprovalNotAsked, detail)
        };
        policy.bundle().officers().find(officer.id()).map(read).ok_or_else(unknown)
    }

    fn sheet(&self, officer: &Officer, row: RequestRow) -> Result<Sheet, Refusal> {
        let house = self.house();
        let policy = house.policies.in_force(&row.tenant)?;
        let officers = policy.bundle().officers();
        let now = house.clock.now()?;
        let decision = receipts::latest(&house.store, &row)?;
        let kept: Kept = kept::read("record", &row.record)?;
        let role = speaker(&kept.payload);
        let speaks =
            |group: &&String| officers.standing(officer.id(), (role, group), &row.client, now).is_some();
        Ok(Sheet {
            brought: None,
            payload: kept.payload,
            intent: kept.intent,
            missing: decision.missing,
            bundle: policy.digest(),
            groups: policy.bundle().approvers().iter().filter(speaks).cloned().collect(),
            relying_party: officers.party().map(|party| party.id.clone()),
            credentials: self.registered(officer, |person| {
                person.credentials.iter().map(|credential| credential.id.0.clone()).collect()
            })?,
            row,
        })
    }
}

/// What an officer is told of a walk that went on.
fn spoke(id: RequestId, answer: Result<Answer, Refusal>) -> Result<Spoke, Refusal> {
    let stands = |state, missing, rules| Ok(Spoke { request_id: id, state, missing, rules });
    match answer {
        Ok(Answer::Released(_)) => stands(RequestState::Released, Vec::new(), Vec::new()),
        Ok(Answer::Pending(pending)) => stands(pending.state(), pending.missing, Vec::new()),
        Err(refusal) if refusal.code == Code::PolicyDenied => {
            stands(RequestState::Denied, Vec::new(), refusal.rules)
        }
        Err(refusal) => Err(refusal),
    }
}

/// Walks on, until the house closes, what waited for nothing but time.
pub(crate) async fn resume_every_period(open: Weak<Open>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(open) = open.upgrade() else { return };
        let enclave = Enclave { open };
        if let Err(refusal) = resume_due(&enclave).await {
            tracing::warn!(%refusal, "requests whose time has come were not decided again");
        }
    }
}

async fn resume_due(enclave: &Enclave) -> Result<(), Refusal> {
    let house = enclave.house();
    let now = house.clock.now()?;
    for row in house.store.read(|rows| rows.waited(now, limit::PAGE_ROWS))? {
        let (id, there) = (row.id, Arc::clone(house));
        let walk = async move { walk::resume(&there, Waiting::of(row, &there.books)?, Done::Nothing).await };
        let answer = enclave.run(walk).await;
        tracing::info!(request = %id, refusal = answer.as_ref().err().map(tracing::field::display), "its time had come");
        if answer.is_err() {
            // What could not be decided must not keep others from it; one that has ended is not there to be put off.
            let later = now.plus_ms(PUT_OFF_MS);
            drop(house.store.write(move |tx| tx.wait(id, Some(later))).await);
        }
    }
    Ok(())
}
