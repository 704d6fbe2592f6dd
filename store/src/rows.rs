//! The rows others write and read. Bytes called opaque are never looked into here; meanings belong to the rooms.

use chancery_core::{ClientId, IdempotencyKey, RequestId, Serial, Subject, Tenant, UnixMillis, WalletId};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// Recorded and reserved; the signature is being made.
    Permitted,
    /// The signature was given out. Final.
    Released,
    /// Refused by policy. Final.
    Denied,
    /// Waits for its obligations until `expires_ms`.
    Pending,
    /// Waited too long. Final.
    Expired,
    /// No signature came to be. Final; its key may be freed.
    Failed,
}

impl RequestState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Permitted, Self::Released, Self::Denied, Self::Pending, Self::Expired, Self::Failed];

    /// The stored and wire form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Pending => "pending",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }

    /// The state written so, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// The appliance's name for it.
    pub id: RequestId,
    /// The tenant of client and wallet.
    pub tenant: Tenant,
    /// Who asked.
    pub client: ClientId,
    /// Whose key shall sign.
    pub wallet: WalletId,
    /// The client's name for it; `None` once freed. Unique for (tenant, client).
    pub idempotency_key: Option<IdempotencyKey>,
    /// What the key is bound to: a retry must have the same.
    pub request_digest: [u8; 32],
    /// Where it stands.
    pub state: RequestState,
    /// When it was decided.
    pub decided_ms: UnixMillis,
    /// Until when it waits; always there when pending.
    pub expires_ms: Option<UnixMillis>,
    /// The digest to sign.
    pub signing_digest: [u8; 32],
    /// Log index of the decision; always there when permitted or released.
    pub decision_leaf: Option<u64>,
    /// Log index of the outcome; always there when released.
    pub outcome_leaf: Option<u64>,
    /// Opaque: intent, salt, decision.
    pub record: Vec<u8>,
    /// Opaque: what was released. There exactly when the state is `Released`.
    pub released: Option<Vec<u8>>,
}

/// Which requests to list: those for which every given field matches, newest first.
#[derive(Clone, Debug)]
pub struct RequestFilter {
    /// Only this tenant's.
    pub tenant: Tenant,
    /// Only for this wallet.
    pub wallet: Option<WalletId>,
    /// Only from this client.
    pub client: Option<ClientId>,
    /// Only in this state.
    pub state: Option<RequestState>,
    /// Decided at this time or later.
    pub from: Option<UnixMillis>,
    /// Decided before this time.
    pub to: Option<UnixMillis>,
    /// The page after this request: the last one of the page before.
    pub after: Option<RequestId>,
    /// Rows of the page, 1 to [`chancery_core::limit::PAGE_ROWS`].
    pub limit: usize,
}

impl RequestFilter {
    /// All requests of a tenant, a full page at a time.
    #[must_use]
    pub fn all(tenant: Tenant) -> Self {
        Self {
            tenant,
            wallet: None,
            client: None,
            state: None,
            from: None,
            to: None,
            after: None,
            limit: chancery_core::limit::PAGE_ROWS,
        }
    }
}

/// What an officer said about a pending request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The request.
    pub request: RequestId,
    /// Log index of it.
    pub leaf: u64,
    /// Who.
    pub officer: ClientId,
    /// `approve` or `veto`.
    pub act: String,
    /// The hash of the bundle it was said under.
    pub bundle: [u8; 32],
    /// Opaque: the assertion.
    pub record: Vec<u8>,
}

/// A session of an officer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its name; made in the order of time.
    pub id: RequestId,
    /// SHA-256 of the token that shows it.
    pub token: [u8; 32],
    /// The tenant.
    pub tenant: Tenant,
    /// Whose it is.
    pub officer: ClientId,
    /// When it may be swept.
    pub expires_ms: UnixMillis,
    /// Opaque: what it is bound to.
    pub record: Vec<u8>,
}

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRow {
    /// Its index, dense from 0.
    pub index: u64,
    /// Its leaf hash, as the writer of the entry gave it.
    pub hash: [u8; 32],
    /// Its bytes.
    pub body: Vec<u8>,
}

/// One wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletRow {
    /// The tenant.
    pub tenant: Tenant,
    /// Its name.
    pub id: WalletId,
    /// When it was made.
    pub created_ms: UnixMillis,
    /// Log index of its making.
    pub leaf: u64,
    /// Opaque: key id, public key, chain.
    pub record: Vec<u8>,
}

/// A policy bundle that was put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRow {
    /// The tenant.
    pub tenant: Tenant,
    /// SHA-256 of the canonical bytes.
    pub hash: [u8; 32],
    /// The canonical bytes, opaque here.
    pub canonical: Vec<u8>,
    /// When it was last put in force.
    pub applied_ms: UnixMillis,
    /// Log index of that.
    pub leaf: u64,
}

/// The authority of one tenant's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRow {
    /// The tenant.
    pub tenant: Tenant,
    /// When it was made.
    pub created_ms: UnixMillis,
    /// Log index of its making.
    pub leaf: u64,
    /// Opaque: key id and certificate.
    pub record: Vec<u8>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    /// The tenant.
    pub tenant: Tenant,
    /// Its number.
    pub serial: Serial,
    /// Whom it names.
    pub client: Subject,
    /// SHA-256 of its key's SubjectPublicKeyInfo; no key has two.
    pub key: [u8; 32],
    /// When it ends.
    pub until_ms: UnixMillis,
    /// The request that led to it.
    pub request: RequestId,
    /// Log index of its issue.
    pub leaf: u64,
    /// The certificate, opaque here.
    pub der: Vec<u8>,
    /// When it was taken back, if it was.
    pub revoked_ms: Option<UnixMillis>,
    /// Log index of that.
    pub revoked_leaf: Option<u64>,
}
