//! Receipts: made at release, and again from the store whenever they are asked for. Nothing is handed out that this
//! process has not proved under a signed checkpoint.

use std::sync::Arc;

use chancery_audit::{self as audit, Approved, Proven, Receipt, Review, SignedCheckpoint, V1};
use chancery_core::{Code, RequestId};
use chancery_store::{LeafRow, Reader, RequestRow, RequestState, Store};

use crate::answer::{Answer, Pending, Released, Signed};
use crate::house::House;
use crate::kept::{self, Kept};
use crate::refusal::Refusal;

/// The answer of a release.
pub(crate) fn released(
    decision: audit::Decision,
    decided: Proven,
    approvals: Vec<Approved>,
    kept: Kept,
    outcome: audit::Outcome,
    ended: Proven,
    opened: Signed,
) -> Released {
    Released {
        signed: opened.clone(),
        receipt: assemble(decision, &decided, approvals, kept, Some((outcome, &ended)), Some(opened)),
    }
}

/// What officers said that a decision counts, each proved under the checkpoint.
pub(crate) fn approvals(
    house: &House,
    id: RequestId,
    review: Option<&Review>,
    checkpoint: &SignedCheckpoint,
) -> Result<Vec<Approved>, Refusal> {
    let Some(review) = review else { return Ok(Vec::new()) };
    let rows = house.store.read(|rows| rows.approvals(id))?;
    let approved = |leaf_index: u64| {
        let gone =
            || Refusal::new(Code::StoreUnavailable, format!("approval {leaf_index} is missing")).of(id);
        let row = rows.iter().find(|row| row.leaf == leaf_index).ok_or_else(gone)?;
        let entry = leaf(&house.store, leaf_index)?;
        let audit::Record::Approval(approval) = record(&entry)? else { return Err(not_ours(&entry)) };
        let proven = house.log.prove_body(entry.index, &entry.body, checkpoint)?;
        Ok(Approved {
            approval,
            approval_proof: proven.proof().to_string(),
            assertion: kept::read("assertion", &row.record)?,
        })
    };
    review.approvals.iter().map(|spoken| approved(spoken.leaf)).collect()
}

/// The log's record of what an officer said.
pub(crate) fn approval(rows: &Reader<'_>, index: u64) -> Result<audit::Approval, Refusal> {
    let missing = || Refusal::new(Code::StoreUnavailable, format!("log entry {index} is missing"));
    let leaf = rows.leaf(index)?.ok_or_else(missing)?;
    match record(&leaf)? {
        audit::Record::Approval(approval) => Ok(approval),
        _ => Err(not_ours(&leaf)),
    }
}

fn assemble(
    decision: audit::Decision,
    decided: &Proven,
    approvals: Vec<Approved>,
    kept: Kept,
    outcome: Option<(audit::Outcome, &Proven)>,
    opened: Option<Signed>,
) -> Receipt {
    let (outcome, outcome_proof) = outcome.map(|(record, ended)| (record, ended.proof().to_string())).unzip();
    let (signature, signing_digests, signed_transaction, parties) = opened
        .map_or((None, Vec::new(), None, Vec::new()), |opened| {
            (Some(opened.signature), opened.signing_digests, opened.signed_transaction, opened.parties)
        });
    Receipt {
        v: V1,
        decision,
        decision_proof: decided.proof().to_string(),
        idempotency_key: kept.idempotency_key,
        payload: kept.payload,
        intent: kept.intent,
        intent_salt: kept.intent_salt,
        approvals,
        request_signature: kept.request_signature,
        outcome,
        outcome_proof,
        signature,
        signing_digests,
        signed_transaction,
        parties,
    }
}

/// The receipt of a recorded request, as it stands now.
pub(crate) async fn receipt(house: &Arc<House>, row: &RequestRow) -> Result<Receipt, Refusal> {
    receipt_at(house, row, decided_at(row)?).await
}

fn decided_at(row: &RequestRow) -> Result<u64, Refusal> {
    row.decision_leaf.ok_or_else(|| Refusal::new(Code::Internal, "a request without a decision").of(row.id))
}

/// The same of the decision at this log index.
pub(crate) async fn receipt_at(
    house: &Arc<House>,
    row: &RequestRow,
    decision_leaf: u64,
) -> Result<Receipt, Refusal> {
    let decided = leaf(&house.store, decision_leaf)?;
    let ended = row.outcome_leaf.map(|index| leaf(&house.store, index)).transpose()?;
    let newest = ended.as_ref().map_or(decided.index, |ended| ended.index);
    let checkpoint =
        house.log.checkpoint_covering(newest).await.map_err(|error| Refusal::from(error).of(row.id))?;

    let decided_proof = house.log.prove_body(decided.index, &decided.body, &checkpoint)?;
    let audit::Record::Decision(decision) = record(&decided)? else { return Err(not_ours(&decided)) };
    let outcome = match &ended {
        None => None,
        Some(ended) => match record(ended)? {
            audit::Record::Outcome(outcome) => {
                Some((outcome, house.log.prove_body(ended.index, &ended.body, &checkpoint)?))
            }
            _ => return Err(not_ours(ended)),
        },
    };
    let outcome = outcome.as_ref().map(|(outcome, proven)| (outcome.clone(), proven));
    let kept: Kept = kept::read("record", &row.record)?;
    let approvals = approvals(house, row.id, decision.review.as_ref(), &checkpoint)?;
    Ok(assemble(decision, &decided_proof, approvals, kept, outcome, signed(row)?))
}

/// The first answer of a request, once more.
pub(crate) async fn answer_again(house: &Arc<House>, row: RequestRow) -> Result<Answer, Refusal> {
    match row.state {
        RequestState::Released => {
            let without =
                || Refusal::new(Code::StoreUnavailable, "a release without its signature").of(row.id);
            let signed = signed(&row)?.ok_or_else(without)?;
            Ok(Answer::Released(Box::new(Released { signed, receipt: receipt(house, &row).await? })))
        }
        RequestState::Pending => Ok(Answer::Pending(Pending {
            request_id: row.id,
            missing: latest(&house.store, &row)?.missing,
            expires_ms: row.expires_ms,
            is_permitted: false,
        })),
        RequestState::Denied => {
            let kept: Kept = kept::read("record", &row.record)?;
            Err(Refusal::denied(row.id, decision(&house.store, &row)?.rules, kept.lacks_signature))
        }
        RequestState::Permitted => {
            let detail = "the first request under this key is still being signed; ask again";
            Err(Refusal::new(Code::RequestInProgress, detail).of(row.id).retry_after(1))
        }
        RequestState::Expired => {
            let detail = "the request expired before its obligations were met; use a fresh key to ask again";
            Err(Refusal::new(Code::RequestExpired, detail).of(row.id))
        }
        // A failure frees the key, so no key leads here.
        RequestState::Failed => Err(Refusal::new(Code::Internal, "a failed request kept its key").of(row.id)),
    }
}

/// What was released under a request, if anything was.
pub(crate) fn signed(row: &RequestRow) -> Result<Option<Signed>, Refusal> {
    row.released.as_deref().map(|bytes| kept::read("released", bytes)).transpose()
}

/// How a request ended, if it has.
pub(crate) fn outcome(house: &House, row: &RequestRow) -> Result<Option<audit::Outcome>, Refusal> {
    let Some(index) = row.outcome_leaf else { return Ok(None) };
    let leaf = leaf(&house.store, index)?;
    match record(&leaf)? {
        audit::Record::Outcome(outcome) => Ok(Some(outcome)),
        _ => Err(not_ours(&leaf)),
    }
}

/// The decision record of a request.
pub(crate) fn decision(store: &Store, row: &RequestRow) -> Result<audit::Decision, Refusal> {
    decision_at(store, decided_at(row)?)
}

/// What the log last said about a request: where it waits for a cold wallet's signature alone, that.
pub(crate) fn latest(store: &Store, row: &RequestRow) -> Result<audit::Decision, Refusal> {
    let ready = match row.state {
        RequestState::Pending => store.read(|rows| rows.ready(row.id))?,
        _ => Vec::new(),
    };
    match ready.first() {
        Some((_, leaf)) => decision_at(store, *leaf),
        None => decision(store, row),
    }
}

fn decision_at(store: &Store, index: u64) -> Result<audit::Decision, Refusal> {
    let leaf = leaf(store, index)?;
    match record(&leaf)? {
        audit::Record::Decision(decision) => Ok(decision),
        _ => Err(not_ours(&leaf)),
    }
}

/// The log's record of a bundle that came into force.
pub(crate) fn activation(store: &Store, index: u64) -> Result<audit::Policy, Refusal> {
    let leaf = leaf(store, index)?;
    match record(&leaf)? {
        audit::Record::Policy(policy) => Ok(policy),
        _ => Err(not_ours(&leaf)),
    }
}

fn leaf(store: &Store, index: u64) -> Result<LeafRow, Refusal> {
    let missing = || Refusal::new(Code::StoreUnavailable, format!("log entry {index} is missing"));
    store.read(|rows| rows.leaf(index))?.ok_or_else(missing)
}

fn record(leaf: &LeafRow) -> Result<audit::Record, Refusal> {
    audit::Record::parse(&leaf.body).map_err(|_| not_ours(leaf))
}

fn not_ours(leaf: &LeafRow) -> Refusal {
    Refusal::damaged(leaf.index)
}
