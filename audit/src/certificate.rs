//! Who may come in, as the log says it: the authority of a tenant's clients, each certificate that it issued, and each that
//! it took back. Why one was taken back is in the request's intent, to which the decision commits.

use chancery_core::{ClientId, RequestId, Serial, Subject, Tenant, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, HexBytes, V1};

/// The authority of a tenant's clients was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuthority {
    /// The format: 1.
    pub v: V1,
    /// Whose clients it names.
    pub tenant: Tenant,
    /// The request for its first certificate.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who asked for that.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// The authority's own certificate (DER).
    pub authority: HexBytes,
}

/// A certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAdded {
    /// The format: 1.
    pub v: V1,
    /// Whose client.
    pub tenant: Tenant,
    /// The request for it.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who asked for it.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// The certificate.
    pub added: Added,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// Its number.
    pub serial: Serial,
    /// Whom it names.
    pub subject: Subject,
    /// SHA-256 of its DER, as other entries name it.
    pub certificate: Digest,
    /// SHA-256 of its key's SubjectPublicKeyInfo (DER).
    pub public_key: Digest,
    /// When it ends, in milliseconds since 1970.
    pub until_ms: UnixMillis,
}

/// Certificates were taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRevoked {
    /// The format: 1.
    pub v: V1,
    /// Whose clients.
    pub tenant: Tenant,
    /// The request for it.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who asked for it.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// Which.
    pub revoked: Vec<Revoked>,
}

/// A certificate that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Whom it names.
    pub subject: Subject,
    /// SHA-256 of its DER.
    pub certificate: Digest,
}
