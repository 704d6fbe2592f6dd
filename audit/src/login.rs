//! What happened at officers' logins: the log's security stream. An entry says who and what, never from where, and holds
//! nothing of a password, a code or a token.

use chancery_core::{ClientId, RequestId, Tenant, UnixMillis};
use chancery_identity::login::Sign;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, V1};

/// Something about an officer's login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The format: 1.
    pub v: V1,
    /// Whose officer.
    pub tenant: Tenant,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who, as the certificate names it, whether or not there is such an officer.
    pub officer: ClientId,
    /// SHA-256 of the certificate (DER) that was shown.
    pub certificate: Digest,
    /// What happened.
    pub event: LoginEvent,
    /// Who did it, where that is somebody else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<ClientId>,
    /// The login, or the session that it opened: both have one name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub login: Option<RequestId>,
    /// The authenticator: SHA-256 of its credential's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<Digest>,
    /// What was unusual.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signs: Vec<Sign>,
}

/// What can happen at a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginEvent {
    /// A password was set with the code of an enrolment.
    Enrolled,
    /// A code was wrong, used or out of time.
    EnrolmentRefused,
    /// A login began. One that nothing follows was given up, or its password was wrong and the client saw it.
    Begun,
    /// The password was wrong.
    PasswordRefused,
    /// The assertion or the one-time code was.
    FactorRefused,
    /// Somebody was turned away because of the tries before; once between two tries.
    TurnedAway,
    /// Something was unusual, so both factors were asked for.
    SteppedUp,
    /// The login came to its end, and a session is open.
    Opened,
    /// A session was ended by its officer.
    Closed,
    /// A session was ended by an administrator.
    Revoked,
    /// A session was shown with another certificate, and ended for it.
    Stolen,
}
