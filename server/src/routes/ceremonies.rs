//! `/v1/ceremonies`: a key ceremony's transcript goes on record by its hash.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chancery_audit::Digest;
use chancery_enclave::Enclave;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::peer::AsOperator;
use super::wire::ProblemSchema;
use crate::problem::Problem;

/// A key ceremony that was held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CeremonyHeld {
    /// What for: letters and `-`, at most 32.
    #[schema(example = "initialise")]
    pub kind: String,
    /// SHA-256 of its script.
    #[schema(value_type = String)]
    pub script: Digest,
    /// SHA-256 of its transcript's last entry.
    #[schema(value_type = String)]
    pub transcript: Digest,
}

/// Where it is on record.
#[derive(Serialize, ToSchema)]
pub(crate) struct CeremonyOnRecord {
    /// The log index.
    pub leaf: u64,
}

/// Put a key ceremony on record. The appliance does not see the ceremony; it says when the hash was known to it.
#[utoipa::path(
    post, path = "/v1/ceremonies", tag = "log", request_body = CeremonyHeld,
    responses(
        (status = 201, description = "On record", body = CeremonyOnRecord),
        (status = 400, description = "Not the name of a kind of ceremony", body = ProblemSchema),
        (status = 403, description = "Needs the role `operator`", body = ProblemSchema),
    )
)]
pub(crate) async fn record(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    Json(held): Json<CeremonyHeld>,
) -> Result<(StatusCode, Json<CeremonyOnRecord>), Problem> {
    let leaf = enclave.record_ceremony(operator, held.kind, held.script, held.transcript).await?;
    Ok((StatusCode::CREATED, Json(CeremonyOnRecord { leaf })))
}
