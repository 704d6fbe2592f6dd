//! `/v1/policy`: the bundle in force.

use axum::Json;
use axum::extract::State;
use chancery_enclave::Enclave;
use chancery_policy::Source;

use super::peer::{AsOperator, AsReader};
use super::wire::{NewPolicy, Policy, ProblemSchema};
use crate::problem::Problem;

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

/// Compile a bundle, run its tests and put it in force from the next decision on. The change is a log entry.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", request_body = NewPolicy,
    responses(
        (status = 200, description = "In force and on record", body = Policy),
        (status = 403, description = "Needs the role `operator`", body = ProblemSchema),
        (status = 422, description = "`rules` holds every finding, or every failed test", body = ProblemSchema),
    )
)]
pub(crate) async fn apply(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    Json(NewPolicy { files }): Json<NewPolicy>,
) -> Result<Json<Policy>, Problem> {
    let applied = enclave.apply_policy(operator, Source { files }).await?;
    Ok(Json(Policy::from(&applied)))
}
