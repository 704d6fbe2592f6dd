//! `POST /v1/sign` and `POST /v1/preview`: the two ways to the walk. A handler parses and hands over; what a request may do
//! is never decided here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chancery_core::{Code, IdempotencyKey, Payload, SignRequest, WalletId};
use chancery_enclave::{Answer, Enclave};
use chancery_identity::Vouched;
use serde::Deserialize;
use utoipa::ToSchema;

use super::peer::AsClient;
use super::wire::{Ask, Pending, Preview, ProblemSchema, Released};
use crate::problem::Problem;
use crate::rate::{Limiter, RetryAfter};

/// Ask for a signature.
#[utoipa::path(
    post, path = "/v1/sign", tag = "signing", request_body = Ask,
    params(("Idempotency-Key" = String, Header,
        description = "The client's name for this intended effect; a retry carries the same key"),
        ("Signature-Input" = Option<String>, Header,
        description = "With `Signature` and `Content-Digest`: the client signs the request itself (RFC 9421)"),
        ("Signature" = Option<String>, Header, description = "One signature with the key of the client's certificate"),
        ("Content-Digest" = Option<String>, Header, description = "SHA-256 of the body (RFC 9530)")),
    responses(
        (status = 200, description = "Signed; the receipt verifies offline", body = Released),
        (status = 202, description = "Recorded, and waiting for obligations", body = Pending),
        (status = 401, description = "The request carries a signature that does not hold", body = ProblemSchema),
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
    vouched: Option<Extension<Vouched>>,
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
    Ok(match enclave.sign(client, request, vouched.map(|Extension(vouched)| vouched)).await? {
        Answer::Released(released) => Json(Released::from(*released)).into_response(),
        Answer::Pending(pending) => (StatusCode::ACCEPTED, Json(Pending::from(pending))).into_response(),
    })
}

/// What would be asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskPreview {
    /// The wallet whose key would sign.
    #[schema(value_type = String, example = "treasury")]
    pub wallet: WalletId,
    /// What would be signed.
    #[schema(value_type = super::payload::PayloadSchema)]
    pub payload: Payload,
    /// Whether to suppose that the client signs the request itself.
    #[serde(default)]
    pub request_signed: bool,
}

/// Say what a payload would do and what policy would decide now. Nothing is recorded, reserved or signed.
#[utoipa::path(
    post, path = "/v1/preview", tag = "signing", request_body = AskPreview,
    responses(
        (status = 200, description = "The intent, and the decision it would get now", body = Preview),
        (status = 422, description = "Not one canonical payload that this wallet may sign", body = ProblemSchema),
    )
)]
pub(crate) async fn preview(
    State(enclave): State<Enclave>,
    AsClient(client): AsClient,
    Json(AskPreview { wallet, payload, request_signed }): Json<AskPreview>,
) -> Result<Json<Preview>, Problem> {
    let preview =
        super::blocking(move || enclave.preview(&client, &wallet, &payload, request_signed)).await?;
    let value = |error: serde_json::Error| Problem::internal(&error);
    Ok(Json(Preview {
        intent: serde_json::to_value(&preview.intent).map_err(value)?,
        signing_digest: hex::encode(preview.signing_digest),
        decision: serde_json::to_value(&preview.explanation.evaluation).map_err(value)?,
        explanation: serde_json::to_value(&preview.explanation.effects).map_err(value)?,
    }))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
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
