//! The routes of the API. Each handler takes its peer's role as evidence, parses what came, hands it to the enclave and
//! writes out the answer.

mod approvals;
mod ceremonies;
mod clients;
mod cold;
mod events;
mod log;
mod login;
mod mpc;
mod payload;
mod peer;
mod policy;
mod requests;
mod sessions;
mod sign;
mod wallets;
mod wire;
mod wire_wallets;

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::header::LOCATION;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chancery_core::config::{self, Sessioned};
use chancery_core::{Code, IdError, limit};
use chancery_enclave::{self as enclave, Enclave, Refusal};
use tokio::sync::watch;
use utoipa::OpenApi;

use crate::door::BodyLimits;
use crate::problem::Problem;
use crate::rate::Limiter;

/// Rows of a page when the client does not say.
const PAGE_ROWS: usize = 100;

/// The answer to a change that waits for those who must agree.
fn asked(pending: enclave::Pending) -> Response {
    let location = [(LOCATION, format!("/v1/requests/{}", pending.request_id))];
    (StatusCode::ACCEPTED, location, Json(wire::Pending::from(pending))).into_response()
}

/// What the routes share.
#[derive(Clone)]
struct Served {
    enclave: Enclave,
    wallets: Arc<Limiter>,
    streams: events::Streams,
}

impl FromRef<Served> for Enclave {
    fn from_ref(served: &Served) -> Self {
        served.enclave.clone()
    }
}

impl FromRef<Served> for Arc<Limiter> {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.wallets)
    }
}

impl FromRef<Served> for events::Streams {
    fn from_ref(served: &Served) -> Self {
        served.streams.clone()
    }
}

/// Every route. The door bounds bodies before they get here. `wallet` is what may be asked of one wallet, `sessioned` are the
/// certificates that are worth nothing without a session; answers that have no end end when `stopping` is true.
pub fn router(
    enclave: Enclave,
    wallet: config::Rate,
    sessioned: Vec<Sessioned>,
    stopping: watch::Receiver<bool>,
) -> Router {
    // What is needed to log in, and what every stranger may read, asks for no session.
    let open = Router::new()
        .route("/v1/login", post(login::begin))
        .route("/v1/login/enrolment", post(login::enrolment))
        .route("/v1/login/enrolment/record", post(login::enrol))
        .route("/v1/login/{id}/password", post(login::password))
        .route("/v1/login/{id}/factor", post(login::factor))
        .route("/v1/log/checkpoint", get(log::checkpoint))
        .route("/v1/log/timestamps/{name}", get(log::timestamp))
        .route("/v1/trust", get(log::trust));
    let guard = sessions::Guard { enclave: enclave.clone(), required: sessioned.into() };
    let kept = Router::new()
        .route("/v1/sign", post(sign::sign))
        .route("/v1/preview", post(sign::preview))
        .route("/v1/wallets", get(wallets::list).post(wallets::create))
        .route("/v1/wallets/{id}", get(wallets::show))
        .route("/v1/wallets/{id}/addresses", get(wallets::addresses).post(wallets::next_address))
        .route("/v1/mpc", get(mpc::standing))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}", get(requests::show))
        .route("/v1/requests/{id}/receipt", get(requests::receipt))
        .route("/v1/requests/{id}/cold", get(cold::export).post(cold::submit))
        .route("/v1/approvals", get(approvals::list))
        .route("/v1/approvals/{id}", get(approvals::show).post(approvals::speak))
        .route("/v1/policy", get(policy::show).put(policy::apply))
        .route("/v1/policy/changes/{id}", get(policy::change))
        .route("/v1/policy/{hash}", get(policy::kept))
        .route("/v1/audit/decisions", get(requests::decisions))
        .route("/v1/audit/decisions/{id}", get(requests::decision))
        .route("/v1/events", get(events::hear))
        .route("/v1/ceremonies", post(ceremonies::record))
        .route("/v1/clients", get(clients::list).post(clients::add))
        .route("/v1/clients/revocations", post(clients::revoke))
        .route("/v1/clients/{serial}", get(clients::show))
        .route("/v1/log/tile/{*path}", get(log::tile))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", delete(sessions::end))
        .route_layer(middleware::from_fn_with_state(guard, sessions::guard));
    open.merge(kept).layer(DefaultBodyLimit::disable()).with_state(Served {
        enclave,
        wallets: Arc::new(Limiter::new(&wallet)),
        streams: events::Streams::new(stopping),
    })
}

/// Which bodies may be larger than the rest. Text grows by its escapes in JSON.
#[must_use]
pub fn body_limits() -> BodyLimits {
    BodyLimits::new().larger(Method::PUT, "/v1/policy", limit::BUNDLE_BYTES.saturating_mul(2))
}

/// The OpenAPI 3.1 document of [`router`].
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chancery",
        description = "Policy-checked signatures with receipts. Every call is over mutual TLS; the \
        client certificate names tenant, role and client. Errors are RFC 9457 problem documents with stable codes.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        sign::sign,
        sign::preview,
        wallets::list,
        wallets::create,
        wallets::show,
        wallets::addresses,
        wallets::next_address,
        mpc::standing,
        requests::list,
        requests::show,
        requests::receipt,
        cold::export,
        cold::submit,
        approvals::list,
        approvals::show,
        approvals::speak,
        policy::show,
        policy::apply,
        policy::change,
        policy::kept,
        requests::decisions,
        requests::decision,
        events::hear,
        ceremonies::record,
        clients::add,
        clients::revoke,
        clients::list,
        clients::show,
        log::checkpoint,
        log::tile,
        log::timestamp,
        log::trust,
        login::enrolment,
        login::enrol,
        login::begin,
        login::password,
        login::factor,
        sessions::list,
        sessions::end,
    ),
    components(schemas(wire::Signed))
)]
pub struct Document;

/// Runs what reads the store or files off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn name<T: FromStr<Err = IdError>>(parameter: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| Problem::new(Code::BadRequest).detail(format!("`{parameter}`: {error}")))
}

fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    let rows = limit.unwrap_or(PAGE_ROWS);
    if (1..=limit::PAGE_ROWS).contains(&rows) {
        Ok(rows)
    } else {
        Err(Problem::new(Code::BadRequest).detail(format!("`limit` must be 1 to {}", limit::PAGE_ROWS)))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, detail, request, rules, retry_after_s } = refusal;
        let mut problem = Self::new(code).detail(detail);
        if let Some(id) = request {
            problem = problem.request(id);
        }
        if !rules.is_empty() {
            problem = problem.member("rules", rules);
        }
        if let Some(seconds) = retry_after_s {
            problem = problem.retry_after_s(seconds.into());
        }
        problem
    }
}
