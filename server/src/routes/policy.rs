//! `/v1/policy`: the bundle in force, and those that were.

use axum::Json;
use axum::extract::{Path, State};
use chancery_audit::Digest;
use chancery_core::Code;
use chancery_enclave::Enclave;
use chancery_policy::Source;

use super::blocking;
use super::peer::{AsOperator, AsReader};
use super::wire::{KeptPolicy, NewPolicy, Policy, ProblemSchema};
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

/// Look who signed a bundle, compile it, test it and put it in force. The change is a log entry.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", request_body = NewPolicy,
    responses(
        (status = 200, description = "In force and on record", body = Policy),
        (status = 403, description = "Needs the role `operator`", body = ProblemSchema),
        (status = 422, description = "`rules` holds every finding, or every failed test; `bundle-unsigned` without enough signatures", body = ProblemSchema),
    )
)]
pub(crate) async fn apply(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    Json(NewPolicy { files, signatures }): Json<NewPolicy>,
) -> Result<Json<Policy>, Problem> {
    let applied = enclave.apply_policy(operator, Source { files }, signatures).await?;
    Ok(Json(Policy::from(&applied)))
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
