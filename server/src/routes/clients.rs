//! `/v1/clients`: certificates that the appliance's own authority issues and takes back.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_core::{Code, RequestId, Serial, UnixMillis};
use chancery_enclave::{self as enclave, Certified, Enclave};
use chancery_identity::Application;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::peer::{AsOperator, AsReader};
use super::sign::idempotency_key;
use super::wire::{Pending, ProblemSchema};
use super::{asked, blocking, name, rows};
use crate::problem::Problem;

/// A certificate that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClient {
    /// A certificate request (PKCS #10) in PEM: one URI, `chancery://<tenant>/<role>/<name>`, and nothing else; signed by the
    /// key that the certificate is for, on P-256 or P-384, or for Ed25519.
    pub csr: String,
    /// How long it holds: 1 to 397.
    pub days: u32,
}

/// Certificates that shall be taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeBack {
    /// Their serial numbers, at most 64.
    #[schema(value_type = Vec<String>)]
    pub serials: BTreeSet<Serial>,
    /// Why, in one line: it is shown to those who must agree.
    pub reason: String,
}

/// A certificate that was issued.
#[derive(Serialize, ToSchema)]
pub(crate) struct Client {
    /// Its serial number.
    #[schema(value_type = String)]
    pub serial: Serial,
    /// Whom it names: `chancery://<tenant>/<role>/<name>`.
    pub client: String,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub public_key_sha256: String,
    /// When it ends.
    #[schema(value_type = i64)]
    pub until_ms: UnixMillis,
    /// When it was taken back, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64)]
    pub revoked_ms: Option<UnixMillis>,
    /// The request that led to it.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// The log index of its issue.
    pub leaf: u64,
    /// The certificate in PEM.
    pub certificate: String,
}

impl From<&enclave::Certificate> for Client {
    fn from(row: &enclave::Certificate) -> Self {
        Self {
            serial: row.serial,
            client: row.client.to_string(),
            public_key_sha256: hex::encode(row.key),
            until_ms: row.until_ms,
            revoked_ms: row.revoked_ms,
            request_id: row.request,
            leaf: row.leaf,
            certificate: pem(&row.der),
        }
    }
}

/// One page of certificates, by whom they name.
#[derive(Serialize, ToSchema)]
pub(crate) struct Clients {
    /// The certificates.
    pub clients: Vec<Client>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Of which request.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Sought {
    /// The certificate that this request led to, alone.
    pub request_id: Option<String>,
    /// Rows of the page.
    pub limit: Option<usize>,
    /// The page after this serial number.
    pub after: Option<String>,
}

/// Issue a certificate, beside those of the same name that hold. Where the policy in force governs changes it is asked for, under
/// the `Idempotency-Key` that is sent, or a fresh one.
#[utoipa::path(
    post, path = "/v1/clients", tag = "clients", request_body = NewClient,
    responses(
        (status = 201, description = "Issued and on record", body = Client),
        (status = 202, description = "Asked for: the policy in force governs changes", body = Pending),
        (status = 400, description = "The request is none that is followed, or is not signed by its key", body = ProblemSchema),
        (status = 403, description = "Needs the role `operator`; another tenant's name; denied by policy", body = ProblemSchema),
        (status = 409, description = "The key has a certificate, or too many of that name hold", body = ProblemSchema),
    )
)]
pub(crate) async fn add(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    headers: HeaderMap,
    Json(NewClient { csr, days }): Json<NewClient>,
) -> Result<Response, Problem> {
    let key = headers.contains_key("idempotency-key").then(|| idempotency_key(&headers)).transpose()?;
    let application = Application::read(&csr).map_err(enclave::Refusal::from)?;
    Ok(match enclave.add_client(operator, key, application, days).await? {
        Certified::Done(rows) => {
            let issued = rows.first().ok_or(Code::Internal)?;
            (StatusCode::CREATED, Json(Client::from(issued))).into_response()
        }
        Certified::Pending(pending) => asked(pending),
    })
}

/// Take certificates back, for ever: connections that show one are cut. Where the policy in force governs changes it is asked for.
#[utoipa::path(
    post, path = "/v1/clients/revocations", tag = "clients", request_body = TakeBack,
    responses(
        (status = 200, description = "Taken back and on record", body = Clients),
        (status = 202, description = "Asked for: the policy in force governs changes", body = Pending),
        (status = 403, description = "Needs the role `operator`; denied by policy", body = ProblemSchema),
        (status = 404, description = "No such certificate was issued here", body = ProblemSchema),
        (status = 409, description = "One was taken back already", body = ProblemSchema),
    )
)]
pub(crate) async fn revoke(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    headers: HeaderMap,
    Json(TakeBack { serials, reason }): Json<TakeBack>,
) -> Result<Response, Problem> {
    let key = headers.contains_key("idempotency-key").then(|| idempotency_key(&headers)).transpose()?;
    Ok(match enclave.revoke_clients(operator, key, serials, reason).await? {
        Certified::Done(rows) => {
            Json(Clients { clients: rows.iter().map(Client::from).collect(), next: None }).into_response()
        }
        Certified::Pending(pending) => asked(pending),
    })
}

/// List the certificates that the appliance itself issued, by whom they name.
#[utoipa::path(
    get, path = "/v1/clients", tag = "clients", params(Sought),
    responses(
        (status = 200, description = "One page", body = Clients),
        (status = 403, description = "Needs the role `auditor`, `operator` or `officer`", body = ProblemSchema),
        (status = 404, description = "The request led to no certificate", body = ProblemSchema),
    )
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Query(Sought { request_id, limit, after }): Query<Sought>,
) -> Result<Json<Clients>, Problem> {
    if let Some(text) = request_id {
        let id = name("request_id", &text)?;
        let found = blocking(move || enclave.certificate_of(&tenant, id)).await?;
        return Ok(Json(Clients { clients: vec![Client::from(&found)], next: None }));
    }
    let limit = rows(limit)?;
    let after: Option<Serial> = after.map(|text| name("after", &text)).transpose()?;
    let found = blocking(move || enclave.certificates(&tenant, after, limit)).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|row| row.serial.to_string());
    Ok(Json(Clients { clients: found.iter().map(Client::from).collect(), next }))
}

/// Show one certificate.
#[utoipa::path(
    get, path = "/v1/clients/{serial}", tag = "clients",
    params(("serial" = String, Path, description = "Its serial number")),
    responses(
        (status = 200, description = "The certificate", body = Client),
        (status = 403, description = "Needs the role `auditor`, `operator` or `officer`", body = ProblemSchema),
        (status = 404, description = "No such certificate was issued here", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
    Path(serial): Path<String>,
) -> Result<Json<Client>, Problem> {
    let serial = name("serial", &serial)?;
    let found = blocking(move || enclave.certificate(&tenant, serial)).await?;
    Ok(Json(Client::from(&found)))
}

/// A certificate as files hold it (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}
