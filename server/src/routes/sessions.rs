//! `/v1/sessions`, and the guard before every route that asks for one: where the configuration says so, an officer's or
//! auditor's certificate is worth nothing without a session. A token that is shown must hold, also where none is asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use chancery_core::config::Sessioned;
use chancery_core::{ClientId, RequestId, UnixMillis};
use chancery_enclave::{Enclave, OpenSession};
use chancery_identity::Peer;
use chancery_identity::login::Token;
use serde::Serialize;
use utoipa::ToSchema;

use super::peer::{AsInSession, session_required};
use super::wire::ProblemSchema;
use super::{blocking, name};
use crate::problem::Problem;

/// What the guard knows.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) enclave: Enclave,
    pub(crate) required: Arc<[Sessioned]>,
}

/// Lets through who needs no session, and who is in one.
pub(crate) async fn guard(
    State(Guard { enclave, required }): State<Guard>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let sessioned = match peer.as_deref() {
        Some(Peer::Officer(_)) => Sessioned::Officer,
        Some(Peer::Auditor(_)) => Sessioned::Auditor,
        Some(Peer::Client(_) | Peer::Operator(_)) | None => return Ok(next.run(request).await),
    };
    let shown = request.headers().get(AUTHORIZATION);
    match (peer, shown) {
        (Some(peer), Some(shown)) => {
            let text = shown.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let token = text.and_then(Token::parse).ok_or_else(session_required)?;
            let in_session = enclave.session(&peer, token).await?;
            request.extensions_mut().insert(in_session);
        }
        _ if required.contains(&sessioned) => return Err(session_required()),
        _ => {}
    }
    Ok(next.run(request).await)
}

/// An open session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its name.
    #[schema(value_type = String)]
    session: RequestId,
    /// Whose it is.
    #[schema(value_type = String)]
    officer: ClientId,
    /// When it was opened.
    #[schema(value_type = i64)]
    opened_ms: UnixMillis,
    /// When it ends.
    #[schema(value_type = i64)]
    expires_ms: UnixMillis,
    /// The certificate it is bound to: SHA-256.
    certificate: String,
    /// What logged in beside the password: `assertion`, or `totp` alone.
    factor: &'static str,
    /// Whether it is the one that asks.
    own: bool,
}

/// The sessions that are open.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// By officer and age.
    sessions: Vec<Session>,
}

/// List the open sessions: one's own, and for an administrator everybody's.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "login",
    responses(
        (status = 200, description = "The sessions, at most 500", body = Sessions),
        (status = 401, description = "Not in session", body = ProblemSchema),
    )
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    AsInSession(by): AsInSession,
) -> Result<Json<Sessions>, Problem> {
    let own = by.id();
    let open = blocking(move || enclave.sessions(&by)).await?;
    let sessions = open.into_iter().map(|OpenSession { id, officer, session }| Session {
        session: id,
        officer,
        opened_ms: session.opened_ms,
        expires_ms: session.expires_ms,
        certificate: hex::encode(&session.certificate.0),
        factor: if session.credential.is_some() { "assertion" } else { "totp" },
        own: id == own,
    });
    Ok(Json(Sessions { sessions: sessions.collect() }))
}

/// End a session: one's own, or for an administrator anybody's.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "login", params(("id" = String, Path, description = "The session")),
    responses(
        (status = 204, description = "It is over"),
        (status = 401, description = "Not in session", body = ProblemSchema),
        (status = 404, description = "No such session that is one's to end", body = ProblemSchema),
    )
)]
pub(crate) async fn end(
    State(enclave): State<Enclave>,
    AsInSession(by): AsInSession,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    enclave.end_session(by, name("id", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
