//! `/v1/requests/{id}/cold`: what goes to the machine of a cold wallet, and what comes back. Only who asked for the signature and
//! operators carry it; the signature proves itself, so it does not matter which of them.

use axum::Json;
use axum::extract::{Path, State};
use chancery_audit::{ColdRequest, ColdSigned};
use chancery_core::{Code, RequestId};
use chancery_enclave::Enclave;
use chancery_identity::Peer;

use super::peer::Anyone;
use super::requests::visible;
use super::wire::{ProblemSchema, Released};
use crate::problem::Problem;

/// What a cold wallet is asked to sign, with the log's proof that nothing else is missing.
#[utoipa::path(
    get, path = "/v1/requests/{id}/cold", tag = "requests", params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "For `chancery cold sign`: the receipt of the decision, and what is to be signed", body = Object),
        (status = 403, description = "Needs the client that asked, or the role `operator`", body = ProblemSchema),
        (status = 404, description = "No such request", body = ProblemSchema),
        (status = 409, description = "Others have to agree first, the wallet is not cold, or nothing is pending", body = ProblemSchema),
        (status = 410, description = "The request expired", body = ProblemSchema),
    )
)]
pub(crate) async fn export(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
) -> Result<Json<ColdRequest>, Problem> {
    let id = carried(&enclave, &peer, &id).await?;
    Ok(Json(enclave.cold_request(peer.tenant(), id).await?))
}

/// Bring what a cold wallet signed: it is verified, decided again and released.
#[utoipa::path(
    post, path = "/v1/requests/{id}/cold", tag = "requests", request_body = Object,
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "Released, with its receipt", body = Released),
        (status = 403, description = "Needs the client that asked, or the role `operator`; denied by policy", body = ProblemSchema),
        (status = 404, description = "No such request", body = ProblemSchema),
        (status = 409, description = "Not ready, not pending, or signed under another bundle", body = ProblemSchema),
        (status = 410, description = "The request expired", body = ProblemSchema),
        (status = 422, description = "Not the wallet's signature over just this request", body = ProblemSchema),
    )
)]
pub(crate) async fn submit(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
    Json(signed): Json<ColdSigned>,
) -> Result<Json<Released>, Problem> {
    let id = carried(&enclave, &peer, &id).await?;
    let released = enclave.cold_signed(peer.tenant(), id, signed).await?;
    Ok(Json((*released).into()))
}

/// The request, for who may carry it.
async fn carried(enclave: &Enclave, peer: &Peer, id: &str) -> Result<RequestId, Problem> {
    match peer {
        Peer::Client(_) | Peer::Operator(_) => Ok(visible(enclave.clone(), peer, id).await?.row.id),
        Peer::Auditor(_) | Peer::Officer(_) => {
            let detail = "the client that asked carries it, or an operator";
            Err(Problem::new(Code::Forbidden).detail(detail))
        }
    }
}
