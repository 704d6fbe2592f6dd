//! `/v1/requests`: where requests stand, and their receipts. A client sees its own; everybody else sees all of
//! their tenant's. `/v1/audit/decisions`: the same as the log holds them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chancery_core::{Code, RequestId, Tenant, UnixMillis};
use chancery_enclave::{Enclave, Listed, RequestFilter, RequestState};
use chancery_identity::Peer;

use super::peer::{Anyone, AsReader};
use super::wire::{Decided, Decisions, Listing, ProblemSchema, Request, Requests, Signed};
use super::{blocking, name, rows};
use crate::problem::Problem;

/// List requests, newest first.
#[utoipa::path(
    get, path = "/v1/requests", tag = "requests", params(Listing),
    responses((status = 200, description = "One page", body = Requests))
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Query(listing): Query<Listing>,
) -> Result<Json<Requests>, Problem> {
    let mut filter = filter(peer.tenant().clone(), listing)?;
    if let Peer::Client(client) = &*peer {
        match &filter.client {
            Some(other) if other != client.id() => return Err(forbidden()),
            _ => filter.client = Some(client.id().clone()),
        }
    }
    let (page, next) = page(enclave, filter).await?;
    Ok(Json(Requests { requests: page.into_iter().map(Request::from).collect(), next }))
}

/// Show one request; a released one with its signature.
#[utoipa::path(
    get, path = "/v1/requests/{id}", tag = "requests", params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "Where it stands; with `signature` and its kin once released", body = Request),
        (status = 404, description = "No such request", body = ProblemSchema),
        (status = 503, description = "Released, and the log cannot prove it yet", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let listed = enclave.listed_now(visible(enclave.clone(), &peer, &id).await?).await?;
    let signed = enclave.signed(&listed).await?;
    let request = Request::from(listed);
    Ok(match signed {
        None => Json(request).into_response(),
        Some(signed) => Json(WithSignature { request, signed: signed.into() }).into_response(),
    })
}

#[derive(serde::Serialize)]
struct WithSignature {
    #[serde(flatten)]
    request: Request,
    #[serde(flatten)]
    signed: Signed,
}

/// The receipt of a request as it stands now.
#[utoipa::path(
    get, path = "/v1/requests/{id}/receipt", tag = "requests",
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "Verifies offline with `chancery receipt verify`", body = Object),
        (status = 404, description = "No such request", body = ProblemSchema),
    )
)]
pub(crate) async fn receipt(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let listed = visible(enclave.clone(), &peer, &id).await?;
    Ok(Json(enclave.receipt(peer.tenant(), listed.row.id).await?).into_response())
}

/// List decisions as the log holds them, newest first.
#[utoipa::path(
    get, path = "/v1/audit/decisions", tag = "audit", params(Listing),
    responses(
        (status = 200, description = "One page", body = Decisions),
        (status = 403, description = "Needs the role `auditor` or `operator`", body = ProblemSchema),
    )
)]
pub(crate) async fn decisions(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Query(listing): Query<Listing>,
) -> Result<Json<Decisions>, Problem> {
    let (page, next) = page(enclave, filter(tenant, listing)?).await?;
    Ok(Json(Decisions { decisions: page.into_iter().map(decided).collect::<Result<_, _>>()?, next }))
}

/// Show one decision as the log holds it.
#[utoipa::path(
    get, path = "/v1/audit/decisions/{id}", tag = "audit", params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "The decision and how it ended", body = Decided),
        (status = 404, description = "No such request", body = ProblemSchema),
    )
)]
pub(crate) async fn decision(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Path(id): Path<String>,
) -> Result<Json<Decided>, Problem> {
    let id: RequestId = name("id", &id)?;
    decided(blocking(move || enclave.request(&tenant, id)).await?).map(Json)
}

fn decided(listed: Listed) -> Result<Decided, Problem> {
    let Listed { row, decision, end, intent, .. } = listed;
    let leaf = row.decision_leaf.ok_or_else(|| Problem::new(Code::Internal))?;
    Ok(Decided { row: chancery_audit::Row { leaf, decision, end_leaf: row.outcome_leaf, end }, intent })
}

async fn page(enclave: Enclave, filter: RequestFilter) -> Result<(Vec<Listed>, Option<String>), Problem> {
    let limit = filter.limit;
    let page = blocking(move || enclave.requests(&filter)).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|listed| listed.row.id.to_string());
    Ok((page, next))
}

pub(super) async fn visible(enclave: Enclave, peer: &Peer, id: &str) -> Result<Listed, Problem> {
    let id: RequestId = name("id", id)?;
    let tenant = peer.tenant().clone();
    let listed = blocking(move || enclave.request(&tenant, id)).await?;
    match peer {
        Peer::Client(client) if *client.id() != listed.row.client => {
            Err(Problem::new(Code::NotFound).detail(format!("no request `{id}`")))
        }
        Peer::Client(_) | Peer::Auditor(_) | Peer::Operator(_) | Peer::Officer(_) => Ok(listed),
    }
}

fn forbidden() -> Problem {
    Problem::new(Code::Forbidden).detail("a client lists its own requests only")
}

fn filter(tenant: Tenant, listing: Listing) -> Result<RequestFilter, Problem> {
    let Listing { wallet, client, state, from, to, after, limit } = listing;
    let state = state.map(|text| {
        RequestState::parse(&text).ok_or_else(|| {
            let states = RequestState::ALL.map(RequestState::as_str).join("`, `");
            Problem::new(Code::BadRequest).detail(format!("`state` must be one of `{states}`"))
        })
    });
    Ok(RequestFilter {
        tenant,
        wallet: wallet.map(|text| name("wallet", &text)).transpose()?,
        client: client.map(|text| name("client", &text)).transpose()?,
        state: state.transpose()?,
        from: from.map(UnixMillis),
        to: to.map(UnixMillis),
        after: after.map(|text| name("after", &text)).transpose()?,
        limit: rows(limit)?,
    })
}
