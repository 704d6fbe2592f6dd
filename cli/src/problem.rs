//! Problem documents (RFC 9457): what the server refused, how the program then ends, and what to do next.

use std::time::Duration;

use chancery_core::Code;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value};

use crate::Exit;

/// Between two tries when the server names no time.
pub const PAUSE: Duration = Duration::from_secs(1);

/// A problem document (RFC 9457), or what stands for one when the answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code of `type`, such as `policy-denied`; `http-<status>` where the answer has none.
    pub code: String,
    /// For people.
    pub detail: String,
    /// The server's name for the request.
    pub request_id: Option<String>,
    /// Every other member: `rules`, `missing`, ...
    pub rest: Map<String, Value>,
    /// When to come back, if the server said so.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// Reads an answer of 400 or more.
    #[must_use]
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut rest = match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let mut take = |name: &str| match rest.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let title = take("title");
        let code = take("code").or_else(|| {
            take("type").and_then(|uri| uri.strip_prefix("urn:chancery:error:").map(str::to_owned))
        });
        let detail = take("detail").or(title).unwrap_or_else(|| format!("the server answered {status}"));
        let request_id = take("request_id");
        for known in ["type", "status", "instance"] {
            rest.remove(known);
        }
        // Only the form in seconds: the server has no calendar to send.
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            status: status.as_u16(),
            code: code.unwrap_or_else(|| format!("http-{}", status.as_u16())),
            detail,
            request_id,
            rest,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// Whether it is about this.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.is(Code::PolicyDenied) || self.is(Code::RequestSignatureRequired) {
            Exit::Denied
        } else if self.status == 429 || self.status >= 500 || self.is(Code::RequestInProgress) {
            Exit::Unavailable
        } else {
            Exit::Refused
        }
    }

    /// What to do next, where this program knows it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.code.as_str() {
            "unauthenticated" => {
                Some("`chancery client show` prints what the certificate says and how long it lasts")
            }
            "session-required" => Some("`chancery officer login` opens one; they are short"),
            "login-failed" => Some(
                "the login is over: another password, passkey or code, or somebody else logged in; begin again",
            ),
            "login-locked" => Some("each try that comes to no end doubles the wait; a login takes it back"),
            "enrolment-refused" => {
                Some("a code is good once and for a time: ask those who sign the bundle for another")
            }
            "forbidden" => {
                Some("`chancery client show` prints the role; `--client` names another certificate")
            }
            "request-signature-invalid" => Some(
                "is this machine's clock right? `--unsigned` sends the request without the client's own signature",
            ),
            "request-signature-required" => Some("sign it: leave out `--unsigned`, and use a fresh key"),
            "idempotency-conflict" => {
                Some("use a fresh key for another payload; the same key only to try again")
            }
            "request-in-progress" => Some("ask again with the same `--idempotency-key`"),
            "no-policy" => Some("an operator loads one with `chancery policy apply DIR`"),
            "change-in-progress" => Some(
                "apply it again once the other change has ended; `chancery policy show` says what is in force",
            ),
            "bundle-invalid" => {
                Some("`chancery policy check DIR`, `test DIR` and `prove DIR` show every finding here")
            }
            _ => None,
        }
    }

    /// How long to wait before the same call makes sense again; `None` where it does not.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        match self.status {
            429 => Some(self.retry_after.unwrap_or(PAUSE)),
            // The server tells every 503 when to come back, but these two wait for a person.
            503 if self.is(Code::NoPolicy) || self.is(Code::KeyQuarantined) => None,
            503 => self.retry_after,
            _ if self.is(Code::RequestInProgress) => Some(self.retry_after.unwrap_or(PAUSE)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, retry_after: Option<&str>, body: &str) -> Problem {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        Problem::read(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn problems_map_to_exit_codes() {
        let body =
            |code: &str| format!(r#"{{"type":"urn:chancery:error:{code}","detail":"d","rules":["r"]}}"#);
        for code in Code::ALL {
            let exit = problem(code.status(), None, &body(code.as_str())).exit();
            let expected = match (code, code.status()) {
                (Code::PolicyDenied | Code::RequestSignatureRequired, _) => Exit::Denied,
                (Code::RequestInProgress, _) | (_, 429 | 500..) => Exit::Unavailable,
                _ => Exit::Refused,
            };
            assert_eq!(exit, expected, "{code}");
        }
        assert_eq!(problem(502, None, "<html>").exit(), Exit::Unavailable);
        assert_eq!(problem(418, None, "").code, "http-418");
    }

    #[test]
    fn only_a_server_that_says_when_is_tried_again() {
        assert_eq!(problem(429, None, "").pause(), Some(PAUSE));
        assert_eq!(problem(429, Some("7"), "").pause(), Some(Duration::from_secs(7)));
        assert_eq!(problem(503, Some("2"), "").pause(), Some(Duration::from_secs(2)));
        assert_eq!(problem(503, None, "").pause(), None);
        let no_policy = r#"{"code":"no-policy"}"#;
        assert_eq!(problem(503, Some("5"), no_policy).pause(), None, "waiting loads no policy");
        assert_eq!(problem(500, Some("2"), "").pause(), None);
        assert_eq!(problem(403, Some("2"), "").pause(), None);
    }
}
