//! Every refusal in one form: RFC 9457 `application/problem+json` with a stable code and the request id.
//!
//! `settle` passes over each answer on its way out, so that what the framework refuses by itself (404, 405, 413, 415,
//! bad JSON) looks the same. If this is wrong, an internal detail reaches a stranger.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chancery_core::{Code, RequestId};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::rate::RetryAfter;

/// The header that carries the request id of each answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// LIMIT: how much of a framework's own message is passed on, in bytes.
const DETAIL_BYTES: usize = 512;

/// One refusal. `type`, `title` and `status` follow from the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Told>);

/// What a problem says, kept apart so that a `Result` of it stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    code: Code,
    detail: Option<String>,
    request_id: Option<RequestId>,
    retry_after_s: Option<u64>,
    members: Map<String, Value>,
}

impl Problem {
    /// A refusal with this code.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self(Box::new(Told {
            code,
            detail: None,
            request_id: None,
            retry_after_s: None,
            members: Map::new(),
        }))
    }

    /// A defect of ours. The chain of causes goes to the log with the request id; the wire says `internal` alone.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        Self::new(Code::Internal).detail(chancery_core::causes(error))
    }

    /// What is particular to this occurrence. Never sent with status 500.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names a recorded request instead of this exchange.
    #[must_use]
    pub fn request(mut self, id: RequestId) -> Self {
        self.0.request_id = Some(id);
        self
    }

    /// When to try again, in seconds. Without it, 429 says 1 and 503 says 5.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// An extension member such as `rules` or `missing`. A member of RFC 9457 itself cannot be replaced.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn wait_s(&self) -> Option<u64> {
        match self.0.code.status() {
            429 => Some(self.0.retry_after_s.unwrap_or(1)),
            503 => Some(self.0.retry_after_s.unwrap_or(5)),
            _ => None,
        }
    }

    /// The document. `exchange` names the request when the problem names none itself.
    fn document(&self, exchange: Option<RequestId>) -> Value {
        let told = self.0.code.status() != 500;
        let mut document = if told { self.0.members.clone() } else { Map::new() };
        let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
        set("type", json!(format!("urn:chancery:error:{}", self.0.code)));
        set("title", json!(self.0.code.title()));
        set("status", json!(self.0.code.status()));
        set("code", json!(self.0.code.as_str()));
        if let Some(detail) = self.0.detail.as_ref().filter(|_| told) {
            set("detail", json!(detail));
        }
        if let Some(id) = self.0.request_id.or(exchange) {
            set("request_id", json!(id));
        }
        if let Some(seconds) = self.wait_s() {
            set("retry_after_s", json!(seconds));
        }
        Value::Object(document)
    }

    fn respond(self, exchange: Option<RequestId>) -> Response {
        let mut response = Response::new(Body::from(self.document(exchange).to_string()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.wait_s() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == Code::SessionRequired {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<RetryAfter> for Problem {
    fn from(RetryAfter(seconds): RetryAfter) -> Self {
        Self::new(Code::RateLimited).retry_after_s(seconds)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.respond(None)
    }
}

/// Gives an answer its last form: the request id, no caching unless a handler allowed it, and every error a problem.
pub async fn settle(response: Response, id: RequestId) -> Response {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let mut settled = if let Some(problem) = response.extensions().get::<Problem>().cloned() {
        if problem.0.code == Code::Internal {
            tracing::error!(request_id = %id, cause = problem.0.detail.as_deref().unwrap_or("unknown"), "internal error");
        }
        keep(&response, problem.respond(Some(id)))
    } else if failed && response.headers().get(CONTENT_TYPE) != Some(&PROBLEM_JSON) {
        translate(response).await.into_response_for(id)
    } else {
        response
    };
    if let Ok(text) = HeaderValue::try_from(id.to_string()) {
        settled.headers_mut().insert(REQUEST_ID, text);
    }
    settled.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    settled
}

/// What outlives the old answer: its extensions (the matched route) and `Allow`.
fn keep(old: &Response, mut new: Response) -> Response {
    for (name, value) in old.headers().iter().filter(|(name, _)| *name == ALLOW) {
        new.headers_mut().append(name, value.clone());
    }
    let mut extensions = old.extensions().clone();
    extensions.extend(new.extensions().clone());
    *new.extensions_mut() = extensions;
    new
}

struct Translated {
    shell: Response,
    problem: Problem,
}

impl Translated {
    fn into_response_for(self, id: RequestId) -> Response {
        keep(&self.shell, self.problem.respond(Some(id)))
    }
}

/// The framework's own refusal, as one of ours.
async fn translate(response: Response) -> Translated {
    let (parts, body) = response.into_parts();
    let code = match parts.status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        408 => Code::RequestTimeout,
        413 => Code::BodyTooLarge,
        415 => Code::UnsupportedMediaType,
        429 => Code::Overloaded,
        431 => Code::HeadersTooLarge,
        status if status < 500 => Code::BadRequest,
        _ => Code::Internal,
    };
    let mut problem = Problem::new(code);
    if matches!(code, Code::BadRequest | Code::UnsupportedMediaType) {
        let text = axum::body::to_bytes(body, DETAIL_BYTES).await.unwrap_or_default();
        if let Some(text) = std::str::from_utf8(&text).ok().filter(|text| !text.is_empty()) {
            problem = problem.detail(text);
        }
    }
    Translated { shell: Response::from_parts(parts, Body::empty()), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(response: Response) -> (u16, http::HeaderMap, Value) {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_form_of_rfc_9457() {
        let id = RequestId::fresh();
        let problem = Problem::new(Code::PolicyDenied)
            .detail("rule `daily` denies this")
            .member("rules", json!(["daily"]))
            .member("status", json!(200));
        let (status, headers, body) = read(settle(problem.into_response(), id).await).await;
        assert_eq!(status, 403);
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[REQUEST_ID], id.to_string());
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(
            body,
            json!({
                "type": "urn:chancery:error:policy-denied", "title": "Denied by policy", "status": 403,
                "code": "policy-denied", "detail": "rule `daily` denies this", "request_id": id, "rules": ["daily"],
            }),
            "a member must not replace `status`"
        );
    }

    #[tokio::test]
    async fn an_internal_error_says_nothing_of_its_cause() {
        let problem =
            Problem::internal(&std::io::Error::other("disk /dev/sda")).member("path", json!("/dev/sda"));
        let (status, _, body) = read(settle(problem.into_response(), RequestId::fresh()).await).await;
        assert_eq!(status, 500);
        assert!(!body.to_string().contains("sda"), "{body}");
        let plain = (StatusCode::BAD_GATEWAY, "panicked at /dev/sda").into_response();
        let (status, _, body) = read(settle(plain, RequestId::fresh()).await).await;
        assert_eq!((status, body["code"].as_str()), (500, Some("internal")));
        assert!(!body.to_string().contains("sda"), "{body}");
    }

    #[tokio::test]
    async fn overload_says_when_to_come_back() {
        for (problem, wait) in [
            (Problem::from(RetryAfter(7)), "7"),
            (Problem::new(Code::Overloaded), "1"),
            (Problem::new(Code::HsmUnavailable), "5"),
        ] {
            let (_, headers, body) = read(problem.into_response()).await;
            assert_eq!(headers[RETRY_AFTER], wait);
            assert_eq!(body["retry_after_s"].to_string(), wait);
        }
    }

    #[tokio::test]
    async fn the_frameworks_refusals_become_problems() {
        for (status, code) in [
            (404, "not-found"),
            (405, "method-not-allowed"),
            (413, "body-too-large"),
            (415, "unsupported-media-type"),
        ] {
            let plain = (StatusCode::from_u16(status).unwrap(), [(ALLOW, "GET")], "text").into_response();
            let (settled, headers, body) = read(settle(plain, RequestId::fresh()).await).await;
            assert_eq!((settled, body["code"].as_str()), (status, Some(code)));
            assert_eq!(headers[ALLOW], "GET");
        }
        let plain = (StatusCode::UNPROCESSABLE_ENTITY, "missing field `wallet`").into_response();
        let (status, _, body) = read(settle(plain, RequestId::fresh()).await).await;
        assert_eq!((status, body["detail"].as_str()), (400, Some("missing field `wallet`")));
    }

    #[test]
    fn whoever_lacks_a_session_is_told_what_to_show() {
        let told = |code| Problem::new(code).into_response().headers().get(WWW_AUTHENTICATE).cloned();
        assert_eq!(told(Code::SessionRequired), Some(HeaderValue::from_static("Bearer")));
        assert_eq!(told(Code::Forbidden), None);
    }
}
