//! `/v1/policy`: the bundle in force, those that were, and one on its way.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use chancery_audit::Digest;
use chancery_core::{Code, RequestId, UnixMillis, limit};
use chancery_enclave::{Enclave, PolicyChange, Standing};
use chancery_policy::Source;
use serde::Serialize;
use utoipa::ToSchema;

use super::peer::{AsOperator, AsReader};
use super::wire::{KeptPolicy, NewPolicy, Policy, ProblemSchema};
use super::{asked, blocking};
use crate::problem::Problem;

/// A policy bundle on its way into force.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangingPolicy {
    /// The change's name, and that of its entry in the log once there is one.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// SHA-256 of the bundle's canonical JSON.
    #[schema(value_type = String)]
    pub bundle: Digest,
    /// Since when.
    #[schema(value_type = i64)]
    pub started_ms: UnixMillis,
    /// `compiling`, `proving` its goals, or `looking-back`: its limits count what is still in their windows.
    pub step: &'static str,
    /// Goals proved, or requests counted, so far.
    pub done: u64,
    /// Of how many, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// The bundle in force.
#[utoipa::path(
    get, path = "/v1/policy", tag = "policy",
    responses(
        (status = 200, description = "The bundle in force", body = Policy),
        (status = 403, description = "Needs the role `auditor` or `operator`", body = ProblemSchema),
        (status = 503, description = "No bundle is in force yet", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
) -> Result<Json<Policy>, Problem> {
    Ok(Json(Policy::from(&*enclave.policy(&tenant)?)))
}

/// Look who signed a bundle, compile it, test it, prove its goals and put it in force. The change is a log entry. What takes
/// longer than 10 s is answered 202 and goes on; `Location` names where it stands and how it ends.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", request_body = NewPolicy,
    responses(
        (status = 200, description = "In force and on record", body = Policy),
        (status = 202, description = "On its way, or a `Pending` request where the policy in force governs changes; see `Location`", body = ChangingPolicy),
        (status = 403, description = "Needs the role `operator`", body = ProblemSchema),
        (status = 409, description = "Another change is in progress", body = ProblemSchema),
        (status = 422, description = "`rules` holds every finding, or every failed test; `bundle-unsigned` without enough signatures", body = ProblemSchema),
    )
)]
pub(crate) async fn apply(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    Json(NewPolicy { files, signatures }): Json<NewPolicy>,
) -> Result<Response, Problem> {
    let change = enclave.change_policy(operator, Source { files }, &signatures)?;
    match tokio::time::timeout(Duration::from_millis(limit::CHANGE_MS), change.clone().end()).await {
        Ok(standing) => answer(&change, standing),
        Err(_) => answer(&change, change.standing()),
    }
}

/// How a change of the policy stands, or the answer that its `PUT` would have had: until the next change, in this process.
#[utoipa::path(
    get, path = "/v1/policy/changes/{id}", tag = "policy",
    params(("id" = String, Path, description = "The `request_id` of the change")),
    responses(
        (status = 200, description = "In force and on record", body = Policy),
        (status = 202, description = "On its way, or a `Pending` request", body = ChangingPolicy),
        (status = 403, description = "Needs the role `auditor` or `operator`", body = ProblemSchema),
        (status = 404, description = "Superseded, or the appliance was started anew: `/v1/policy` says what is in force", body = ProblemSchema),
        (status = 422, description = "As of `PUT /v1/policy`", body = ProblemSchema),
    )
)]
pub(crate) async fn change(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let change = enclave.policy_change(&tenant, super::name("id", &id)?)?;
    answer(&change, change.standing())
}

fn answer(change: &PolicyChange, standing: Standing) -> Result<Response, Problem> {
    let (step, done, of) = match standing {
        Standing::Asked(pending) => return Ok(asked(pending)),
        Standing::InForce(policy) => return Ok(Json(Policy::from(&policy)).into_response()),
        Standing::Refused(refusal) => return Err(refusal.into()),
        Standing::Compiling => ("compiling", 0, None),
        Standing::Proving { done, of } => ("proving", done as u64, Some(of as u64)),
        Standing::LookingBack { requests } => ("looking-back", requests, None),
    };
    let body = ChangingPolicy {
        request_id: change.id(),
        bundle: change.bundle(),
        started_ms: change.started_ms(),
        step,
        done,
        of,
    };
    let location = [(LOCATION, format!("/v1/policy/changes/{}", change.id()))];
    Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
}

/// A bundle that is or was in force, by its hash: they are kept for ever.
#[utoipa::path(
    get, path = "/v1/policy/{hash}", tag = "policy", params(("hash" = String, Path, description = "SHA-256, hexadecimal")),
    responses(
        (status = 200, description = "The bundle", body = KeptPolicy),
        (status = 403, description = "Needs the role `auditor` or `operator`", body = ProblemSchema),
        (status = 404, description = "No such bundle was ever in force", body = ProblemSchema),
    )
)]
pub(crate) async fn kept(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Path(hash): Path<String>,
) -> Result<Json<KeptPolicy>, Problem> {
    let hash: Digest = hash
        .parse()
        .map_err(|_| Problem::new(Code::BadRequest).detail("`hash` is 64 lower-case hexadecimal digits"))?;
    let kept = blocking(move || enclave.kept_policy(&tenant, hash)).await?;
    Ok(Json(KeptPolicy {
        bundle: hash,
        applied_ms: kept.activation.time_ms,
        leaf: kept.leaf,
        signatures: kept.activation.signatures.iter().map(Into::into).collect(),
        files: kept.source.files,
    }))
}
