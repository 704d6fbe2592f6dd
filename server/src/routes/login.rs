//! `/v1/login`: how an officer or an auditor enrols and logs in. The messages are those of OPAQUE (RFC 9807) and WebAuthn in
//! JSON and base64url, so that a browser speaks them too. Who logs in is who the certificate names; whoever is not known gets
//! the same answers.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use chancery_core::{RequestId, UnixMillis};
use chancery_enclave::{self as enclave, Enclave};
use chancery_identity::login::Sign;
use chancery_identity::officer::OfficerRole;
use chancery_identity::webauthn::{Assertion, Base64Url};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::name;
use super::peer::Anyone;
use super::wire::ProblemSchema;
use crate::door::Source;
use crate::problem::Problem;

/// The first message of an enrolment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEnrolment {
    /// The one-time code, whose hash is in the bundle in force.
    #[schema(value_type = String)]
    code: Zeroizing<String>,
    /// OPAQUE's registration request: base64url.
    #[schema(value_type = String)]
    request: Base64Url,
}

/// The answer to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnrolmentAnswer {
    /// OPAQUE's registration response: base64url.
    #[schema(value_type = String)]
    response: Base64Url,
}

/// The second message of an enrolment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecord {
    /// The same code.
    #[schema(value_type = String)]
    code: Zeroizing<String>,
    /// OPAQUE's registration record: base64url.
    #[schema(value_type = String)]
    record: Base64Url,
}

/// The first message of a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLogin {
    /// OPAQUE's KE1: base64url.
    #[schema(value_type = String)]
    ke1: Base64Url,
}

/// The answer to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoginAnswer {
    /// The login's name, and that of the session it may open.
    #[schema(value_type = String)]
    login: RequestId,
    /// OPAQUE's KE2: base64url.
    #[schema(value_type = String)]
    ke2: Base64Url,
}

/// The second message of a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// OPAQUE's KE3: base64url.
    #[schema(value_type = String)]
    ke3: Base64Url,
}

/// The answer to it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Factors {
    /// The relying party of the officer's credentials.
    relying_party: Option<String>,
    /// The ids of the officer's credentials: base64url.
    #[schema(value_type = Vec<String>)]
    credentials: Vec<Base64Url>,
    /// Until a one-time code was used, the secret of the codes, veiled with the key of this login: base64url.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    totp: Option<Base64Url>,
}

/// The third message of a login: an assertion, a one-time code, or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFactor {
    /// A WebAuthn assertion over the challenge of docs/officers.md.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    assertion: Option<Assertion>,
    /// Six digits.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    totp: Option<Zeroizing<String>>,
}

/// Where the login stands.
#[derive(Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Entered {
    /// A session is open. Its token is not told: the client makes it for itself.
    Open {
        /// The session.
        #[schema(value_type = String)]
        session: RequestId,
        /// When it ends.
        #[schema(value_type = i64)]
        expires_ms: UnixMillis,
        /// What the officer may do.
        #[schema(value_type = Vec<String>)]
        roles: Vec<OfficerRole>,
    },
    /// Something is unusual: the other factor is asked for too, by the same message.
    More {
        /// `assertion` or `totp`.
        needs: &'static str,
        /// `new-device`, `new-network`, `unusual-time`.
        #[schema(value_type = Vec<String>)]
        because: Vec<Sign>,
    },
}

impl From<enclave::Entered> for Entered {
    fn from(entered: enclave::Entered) -> Self {
        match entered {
            enclave::Entered::Session { id, expires_ms, roles } => {
                Self::Open { session: id, expires_ms, roles }
            }
            enclave::Entered::More { signs, assertion } => {
                Self::More { needs: if assertion { "assertion" } else { "totp" }, because: signs }
            }
        }
    }
}

/// Begin to set a password.
#[utoipa::path(
    post, path = "/v1/login/enrolment", tag = "login", request_body = NewEnrolment,
    responses(
        (status = 200, description = "OPAQUE's answer", body = EnrolmentAnswer),
        (status = 403, description = "The code is wrong, used or out of time", body = ProblemSchema),
        (status = 429, description = "Too many tries", body = ProblemSchema),
    )
)]
pub(crate) async fn enrolment(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Json(NewEnrolment { code, request }): Json<NewEnrolment>,
) -> Result<Json<EnrolmentAnswer>, Problem> {
    let response = Base64Url(enclave.enrolment(&peer, &code, &request.0).await?);
    Ok(Json(EnrolmentAnswer { response }))
}

/// Set the password. The code is used up, and the officer's sessions end.
#[utoipa::path(
    post, path = "/v1/login/enrolment/record", tag = "login", request_body = NewRecord,
    responses(
        (status = 204, description = "Enrolled"),
        (status = 403, description = "The code is wrong, used or out of time", body = ProblemSchema),
        (status = 429, description = "Too many tries", body = ProblemSchema),
    )
)]
pub(crate) async fn enrol(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Json(NewRecord { code, record }): Json<NewRecord>,
) -> Result<StatusCode, Problem> {
    enclave.enrol(&peer, &code, &record.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin to log in. Counts as a try, until the login comes to its end.
#[utoipa::path(
    post, path = "/v1/login", tag = "login", request_body = NewLogin,
    responses(
        (status = 200, description = "OPAQUE's answer, also to whom nobody knows", body = LoginAnswer),
        (status = 429, description = "Too many tries; see `Retry-After`", body = ProblemSchema),
    )
)]
pub(crate) async fn begin(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Json(NewLogin { ke1 }): Json<NewLogin>,
) -> Result<Json<LoginAnswer>, Problem> {
    let (login, ke2) = enclave.begin_login(&peer, &ke1.0).await?;
    Ok(Json(LoginAnswer { login, ke2: Base64Url(ke2) }))
}

/// Prove the password.
#[utoipa::path(
    post, path = "/v1/login/{id}/password", tag = "login", request_body = NewPassword,
    params(("id" = String, Path, description = "The login")),
    responses(
        (status = 200, description = "What the second factor is made of", body = Factors),
        (status = 401, description = "The login failed and is over", body = ProblemSchema),
    )
)]
pub(crate) async fn password(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
    Json(NewPassword { ke3 }): Json<NewPassword>,
) -> Result<Json<Factors>, Problem> {
    let enclave::Factors { relying_party, credentials, totp } =
        enclave.prove_password(&peer, name("id", &id)?, &ke3.0).await?;
    let totp = totp.map(|veiled| Base64Url(veiled.as_bytes().to_vec()));
    Ok(Json(Factors { relying_party, credentials, totp }))
}

/// Prove a second factor, and open a session where it is enough.
#[utoipa::path(
    post, path = "/v1/login/{id}/factor", tag = "login", request_body = NewFactor,
    params(("id" = String, Path, description = "The login")),
    responses(
        (status = 200, description = "A session is open, or more is asked for", body = Entered),
        (status = 401, description = "The login failed and is over", body = ProblemSchema),
    )
)]
pub(crate) async fn factor(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Extension(Source(from)): Extension<Source>,
    Path(id): Path<String>,
    Json(NewFactor { assertion, totp }): Json<NewFactor>,
) -> Result<Json<Entered>, Problem> {
    let code = totp.as_ref().map(|code| code.as_str());
    Ok(Json(enclave.prove_factor(&peer, name("id", &id)?, from, assertion, code).await?.into()))
}
