//! Why a request got no signature, as the wire tells it. Every error of every room ends here, and none of them in
//! "allowed". The detail is for the asker: it never holds a secret, and for faults of this appliance it says what to do,
//! while the cause goes to the log.

use std::fmt;

use chancery_audit::{AuditError, EndorsementError};
use chancery_core::{ClockError, Code, RequestId, causes};
use chancery_hsm::HsmError;
use chancery_identity::IdentityError;
use chancery_intent::IntentError;
use chancery_policy::{PolicyError, TestResult};
use chancery_prove::ProveError;
use chancery_store::StoreError;

/// A refusal: a stable code, words for people, and what helps the asker go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What happened and what to do about it.
    pub detail: String,
    /// The recorded request that this ended, where there is one.
    pub request: Option<RequestId>,
    /// The policy rules that decided, or what is wrong with a bundle.
    pub rules: Vec<String>,
    /// When trying again makes sense, in seconds.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal without further members.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), request: None, rules: Vec::new(), retry_after_s: None }
    }

    /// A denial by policy, naming the rules that decided; and whether the client's own signature would have spared it.
    pub(crate) fn denied(request: RequestId, rules: Vec<String>, lacks_signature: bool) -> Self {
        let mut detail = format!("denied by {}", rules.join(", "));
        let mut code = Code::PolicyDenied;
        if lacks_signature {
            code = Code::RequestSignatureRequired;
            detail += ": sign the request itself (RFC 9421) and send it under a fresh `Idempotency-Key`";
        }
        Self { rules, ..Self::new(code, detail).of(request) }
    }

    /// A request's signature that does not hold. The reason is for the log: on the wire all of them look the same.
    pub(crate) fn request_signature(reason: &'static str) -> Self {
        tracing::info!(reason, "a request's signature was refused");
        Self::new(Code::RequestSignatureInvalid, Code::RequestSignatureInvalid.title())
    }

    /// The same, saying when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same, naming the recorded request.
    #[must_use]
    pub fn of(mut self, request: RequestId) -> Self {
        self.request = Some(request);
        self
    }

    /// A log entry that is not what it should be.
    pub(crate) fn damaged(index: u64) -> Self {
        Self::new(Code::StoreUnavailable, format!("log entry {index} is not the record it should be"))
    }

    /// A fault of this appliance: the cause is logged, the asker is told the code and when to come back.
    pub(crate) fn fault(code: Code, cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(%code, cause = causes(cause), "refused for a fault of this appliance");
        let refusal = Self::new(code, code.title());
        if code.status() == 503 { refusal.retry_after(2) } else { refusal }
    }
}

fn test_line(test: &TestResult) -> String {
    let TestResult { file, line, name, expected, answer, .. } = test;
    format!("{file}:{line}: `{name}` expected {expected}, got {answer}")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<IntentError> for Refusal {
    fn from(error: IntentError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Application { .. } => Self::new(error.code(), error.to_string()),
            error => Self::fault(Code::Internal, &error),
        }
    }
}

impl From<ClockError> for Refusal {
    fn from(error: ClockError) -> Self {
        Self::fault(Code::ClockBehind, &error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error.code() {
            code @ (Code::Overloaded | Code::ShuttingDown) => {
                Self::new(code, error.to_string()).retry_after(1)
            }
            code @ (Code::AlreadyExists | Code::NotFound) => Self::new(code, error.to_string()),
            code => Self::fault(code, &error),
        }
    }
}

impl From<AuditError> for Refusal {
    fn from(error: AuditError) -> Self {
        match error.code() {
            // What the client sent cannot be recorded: its own doing.
            code if code.status() < 500 => Self::new(code, error.to_string()),
            code => Self::fault(code, &error),
        }
    }
}

impl From<EndorsementError> for Refusal {
    fn from(error: EndorsementError) -> Self {
        Self::new(Code::BundleUnsigned, error.to_string())
    }
}

impl From<HsmError> for Refusal {
    fn from(error: HsmError) -> Self {
        let seconds =
            error.retry_after().map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1));
        let refusal = match error.code() {
            code @ Code::Overloaded => Self::new(code, error.to_string()),
            code @ (Code::KeyQuarantined | Code::ShuttingDown | Code::HsmUnavailable) => {
                tracing::warn!(%error, "the HSM did not serve");
                Self::new(code, code.title())
            }
            // A key that the token lost is a fault of this appliance, not a wrong name of the client's.
            _ => Self::fault(Code::HsmUnavailable, &error),
        };
        Self { retry_after_s: seconds, ..refusal }
    }
}

impl From<ProveError> for Refusal {
    fn from(error: ProveError) -> Self {
        match &error {
            ProveError::NoSolver => Self::new(
                Code::BundleInvalid,
                "the bundle has goals and this appliance has no solver to prove them: set `policy.solver`",
            ),
            ProveError::Unproved { failed } => {
                let rules = failed.iter().map(ToString::to_string).collect();
                Self { rules, ..Self::new(Code::BundleInvalid, error.to_string()) }
            }
            ProveError::Unwritable(_) => Self::new(Code::BundleInvalid, error.to_string()),
            ProveError::Solver { .. } | ProveError::Run(_) => Self::fault(Code::Internal, &error),
        }
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        let lines = match &error {
            PolicyError::Invalid(invalid) => invalid.findings.iter().map(ToString::to_string).collect(),
            PolicyError::Untested { failed } => failed.iter().map(test_line).collect(),
            PolicyError::Read { .. } | PolicyError::Refused { .. } => Vec::new(),
        };
        Self { rules: lines, ..Self::new(error.code(), error.to_string()) }
    }
}
