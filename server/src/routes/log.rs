//! `/v1/log`: the transparency log as C2SP static files, and `/v1/trust`: what a stranger needs to believe them.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use chancery_enclave::Enclave;

use super::blocking;
use super::peer::{Anyone, AsReader};
use super::wire::ProblemSchema;
use crate::problem::Problem;

/// The log's newest signed checkpoint (C2SP tlog-checkpoint).
#[utoipa::path(
    get, path = "/v1/log/checkpoint", tag = "log",
    responses((status = 200, description = "A signed note", content_type = "text/plain", body = String))
)]
pub(crate) async fn checkpoint(
    State(enclave): State<Enclave>,
    Anyone(_): Anyone,
) -> Result<Response, Problem> {
    let note = blocking(move || enclave.log_file("checkpoint")).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], note).into_response())
}

/// A tile of the log (C2SP tlog-tiles): `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`. Entries name clients and wallets, so
/// they are for those who may read decisions.
#[utoipa::path(
    get, path = "/v1/log/tile/{path}", tag = "log", params(("path" = String, Path, description = "The tile's path")),
    responses(
        (status = 200, description = "The tile", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No such tile", body = ProblemSchema),
    )
)]
pub(crate) async fn tile(
    State(enclave): State<Enclave>,
    AsReader(_): AsReader,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let partial = path.contains(".p/");
    let tile = blocking(move || enclave.log_file(&format!("tile/{path}"))).await?;
    let caching = if partial { "no-cache" } else { "max-age=604800, immutable" };
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, caching)], tile).into_response())
}

/// A file of the log's timestamps (RFC 3161): `index`, which lists their numbers, `<n>.checkpoint`, the note that one is of, or
/// `<n>.tsr`, the authority's answer.
#[utoipa::path(
    get, path = "/v1/log/timestamps/{name}", tag = "log",
    params(("name" = String, Path, description = "The file's name")),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/plain"),
            (Vec<u8> = "application/timestamp-reply"),
        )),
        (status = 404, description = "No such file", body = ProblemSchema),
    )
)]
pub(crate) async fn timestamp(
    State(enclave): State<Enclave>,
    Anyone(_): Anyone,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let caching = if name == "index" { "no-store" } else { "max-age=604800, immutable" };
    let token = name.ends_with(".tsr");
    let kind = if token { "application/timestamp-reply" } else { "text/plain; charset=utf-8" };
    let file = blocking(move || enclave.log_file(&format!("timestamps/{name}"))).await?;
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, caching)], file).into_response())
}

/// What a stranger needs to verify receipts: the log's name and keys. Hand it on by a way you trust.
#[utoipa::path(
    get, path = "/v1/trust", tag = "log",
    responses((status = 200, description = "The content of a `trust.json`", body = Object))
)]
pub(crate) async fn trust(State(enclave): State<Enclave>, Anyone(_): Anyone) -> Response {
    ([(CONTENT_TYPE, "application/json")], enclave.trust().to_json()).into_response()
}
