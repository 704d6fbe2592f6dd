//! `/v1/approvals`: what waits for an officer's word, and the word. An officer decodes the payload and computes the challenge
//! for itself from what is told here; nothing that this server says of a request is what gets approved.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use chancery_audit::{Act, Digest};
use chancery_core::{ClientId, Payload, RequestId, UnixMillis, WalletId};
use chancery_enclave::{self as enclave, Enclave, Word};
use chancery_identity::webauthn::{Assertion, Base64Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::payload::PayloadSchema;
use super::peer::AsOfficer;
use super::wire::{Page, ProblemSchema};
use super::{blocking, name, rows};
use crate::problem::Problem;

/// A pending request as an officer looks at it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sheet {
    /// The request.
    #[schema(value_type = String)]
    request_id: RequestId,
    /// `pending`, or where it went meanwhile.
    state: &'static str,
    /// Who asked.
    #[schema(value_type = String)]
    client: ClientId,
    /// The wallet.
    #[schema(value_type = String)]
    wallet: WalletId,
    /// When it was asked.
    #[schema(value_type = i64)]
    time_ms: UnixMillis,
    /// When it ends unanswered.
    #[schema(value_type = Option<i64>)]
    expires_ms: Option<UnixMillis>,
    /// What was sent.
    #[schema(value_type = PayloadSchema)]
    payload: Payload,
    /// The files of the bundle that it would put in force, where it is a change of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<BTreeMap<String, String>>,
    /// What it would do: the `intent` of the challenge.
    #[schema(value_type = Object)]
    intent: Value,
    /// What it still needs, after all that was said so far.
    #[schema(value_type = Vec<Object>)]
    missing: Vec<Value>,
    /// The bundle in force: the `bundle` of the challenge.
    #[schema(value_type = String)]
    bundle: Digest,
    /// The approver groups that the officer can speak for.
    groups: Vec<String>,
    /// The relying party of the officer's credentials.
    relying_party: Option<String>,
    /// The ids of the officer's credentials: base64url.
    #[schema(value_type = Vec<String>)]
    credentials: Vec<Base64Url>,
}

impl From<enclave::Sheet> for Sheet {
    fn from(sheet: enclave::Sheet) -> Self {
        let enclave::Sheet {
            row,
            payload,
            brought,
            intent,
            missing,
            bundle,
            groups,
            relying_party,
            credentials,
        } = sheet;
        Self {
            request_id: row.id,
            state: row.state.as_str(),
            client: row.client,
            wallet: row.wallet,
            time_ms: row.decided_ms,
            expires_ms: row.expires_ms,
            payload,
            files: brought.map(|source| source.files),
            intent,
            missing,
            bundle,
            groups,
            relying_party,
            credentials: credentials.into_iter().map(Base64Url).collect(),
        }
    }
}

/// One page of what waits, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sheets {
    /// What the officer can speak about.
    approvals: Vec<Sheet>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An officer's word.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWord {
    /// `approve` or `veto`.
    #[schema(value_type = String)]
    act: Act,
    /// The approver group that is spoken for.
    group: String,
    /// The bundle it is said under.
    #[schema(value_type = String)]
    bundle: Digest,
    /// A WebAuthn assertion over the challenge of docs/approvals.md: `credential`, `client_data`, `authenticator_data` and
    /// `signature`, each base64url.
    #[schema(value_type = Object)]
    assertion: Assertion,
}

/// Where a request stands after a word.
#[derive(Serialize, ToSchema)]
pub(crate) struct Spoke {
    /// The request.
    #[schema(value_type = String)]
    request_id: RequestId,
    /// `pending`, `permitted` where it waits for other parties alone, `released` or `denied`.
    state: &'static str,
    /// What it still needs.
    #[schema(value_type = Vec<Object>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Value>,
    /// What denied it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
}

/// List the pending requests that the officer can speak about, the newest first.
#[utoipa::path(
    get, path = "/v1/approvals", tag = "approvals", params(Page),
    responses(
        (status = 200, description = "One page; a page may be empty and still have a `next`", body = Sheets),
        (status = 403, description = "No officer of the bundle in force", body = ProblemSchema),
    )
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    AsOfficer(officer): AsOfficer,
    Query(Page { after, limit }): Query<Page>,
) -> Result<Json<Sheets>, Problem> {
    let (after, limit) = (after.map(|text| name("after", &text)).transpose()?, rows(limit)?);
    let there = enclave.clone();
    let (page, next) = blocking(move || there.approvals(&officer, after, limit)).await?;
    let mut approvals = Vec::with_capacity(page.len());
    for sheet in page {
        approvals.push(enclave.up_to_date(sheet).await?.into());
    }
    Ok(Json(Sheets { approvals, next: next.map(|id| id.to_string()) }))
}

/// Show one request as the officer looks at it.
#[utoipa::path(
    get, path = "/v1/approvals/{id}", tag = "approvals", params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "All that a challenge is made of", body = Sheet),
        (status = 404, description = "No such request", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    AsOfficer(officer): AsOfficer,
    Path(id): Path<String>,
) -> Result<Json<Sheet>, Problem> {
    let id = name("id", &id)?;
    let there = enclave.clone();
    let sheet = blocking(move || there.approval(&officer, id)).await?;
    Ok(Json(enclave.up_to_date(sheet).await?.into()))
}

/// Approve or veto. After the last approval the request is signed before this answers.
#[utoipa::path(
    post, path = "/v1/approvals/{id}", tag = "approvals", request_body = NewWord,
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "Recorded; where the request stands now", body = Spoke),
        (status = 403, description = "The assertion does not hold, or is not this officer's to make", body = ProblemSchema),
        (status = 409, description = "Said before, or the request or the policy is not what it was", body = ProblemSchema),
        (status = 410, description = "The request expired", body = ProblemSchema),
    )
)]
pub(crate) async fn speak(
    State(enclave): State<Enclave>,
    AsOfficer(officer): AsOfficer,
    Path(id): Path<String>,
    Json(word): Json<NewWord>,
) -> Result<Json<Spoke>, Problem> {
    let NewWord { act, group, bundle, assertion } = word;
    let word = Word { act, group, bundle, assertion };
    let enclave::Spoke { request_id, state, missing, rules } =
        enclave.speak(officer, name("id", &id)?, word).await?;
    Ok(Json(Spoke { request_id, state: state.as_str(), missing, rules }))
}
