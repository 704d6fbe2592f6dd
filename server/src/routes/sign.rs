//! `POST /v1/sign` and `POST /v1/preview`: the two ways to the walk. A handler parses and hands over; what a request may do
//! is never decided here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chancery_core::{Code, IdempotencyKey, SignRequest};
use chancery_enclave::{Answer, Enclave};

use super::peer::AsClient;
use super::wire::{Ask, Pending, Preview, ProblemSchema, Released};
use crate::problem::Problem;
use crate::rate::{Limiter, RetryAfter};

/// Ask for a signature.
#[utoipa::path(
    post, path = "/v1/sign", tag = "signing", request_body = Ask,
    params(("Idempotency-Key" = String, Header,
        description = "The client's name for this intended effect; a retry carries the same key")),
    responses(
        (status = 200, description = "Signed; the receipt verifies offline", body = Released),
        (status = 202, description = "Recorded, and waiting for obligations", body = Pending),
        (status = 403, description = "Denied by policy; `rules` names what decided", body = ProblemSchema),
        (status = 409, description = "The key names another request, or the first is in progress", body = ProblemSchema),
        (status = 422, description = "Not one canonical payload that this wallet may sign", body = ProblemSchema),
        (status = 429, description = "Too many requests; see Retry-After", body = ProblemSchema),
        (status = 501, description = "A Schnorr signature is needed, which no token makes", body = ProblemSchema),
        (status = 503, description = "HSM, store or policy unavailable; see Retry-After", body = ProblemSchema),
    )
)]
pub(crate) async fn sign(
    State(enclave): State<Enclave>,
    State(wallets): State<Arc<Limiter>>,
    AsClient(client): AsClient,
    headers: HeaderMap,
    Json(ask): Json<Ask>,
) -> Result<Response, Problem> {
    let Ask { wallet, payload } = ask;
    let idempotency_key = idempotency_key(&headers)?;
    let known = enclave.wallet(client.tenant(), &wallet)?;
    wallets.check(format!("{}/{}", known.tenant, known.id)).map_err(|RetryAfter(seconds)| {
        let detail = "more sign requests than this wallet may get from all its clients together; `rate.wallet` sets how many";
        Problem::new(Code::RateLimited).detail(detail).retry_after_s(seconds)
    })?;
    let request = SignRequest { tenant: client.tenant().clone(), wallet, idempotency_key, payload };
    Ok(match enclave.sign(client, request).await? {
        Answer::Released(released) => Json(Released::from(*released)).into_response(),
        Answer::Pending(pending) => (StatusCode::ACCEPTED, Json(Pending::from(pending))).into_response(),
    })
}

/// Say what a payload would do and what policy would decide now. Nothing is recorded, reserved or signed.
#[utoipa::path(
    post, path = "/v1/preview", tag = "signing", request_body = Ask,
    responses(
        (status = 200, description = "The intent, and the decision it would get now", body = Preview),
        (status = 422, description = "Not one canonical payload that this wallet may sign", body = ProblemSchema),
    )
)]
pub(crate) async fn preview(
    State(enclave): State<Enclave>,
    AsClient(client): AsClient,
    Json(Ask { wallet, payload }): Json<Ask>,
) -> Result<Json<Preview>, Problem> {
    let preview = super::blocking(move || enclave.preview(&client, &wallet, &payload)).await?;
    let value = |error: serde_json::Error| Problem::internal(&error);
    Ok(Json(Preview {
        intent: serde_json::to_value(&preview.intent).map_err(value)?,
        signing_digest: hex::encode(preview.signing_digest),
        decision: serde_json::to_value(&preview.explanation.evaluation).map_err(value)?,
        explanation: serde_json::to_value(&preview.explanation.effects).map_err(value)?,
    }))
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let missing = |detail: &str| Problem::new(Code::IdempotencyKeyMissing).detail(detail);
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| missing("`Idempotency-Key` must be 1 to 128 visible ASCII characters")),
        (None, _) => {
            Err(missing("send an `Idempotency-Key` that stays the same when this request is retried"))
        }
        (Some(_), Some(_)) => Err(missing("send one `Idempotency-Key` header, not several")),
    }
}
