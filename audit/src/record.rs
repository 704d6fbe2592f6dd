//! What a log entry says, format 1: canonical JSON of one of eleven kinds. No personal data and no secrets: a decision
//! commits to its intent by a salted hash. Reading is strict: bytes that would be written otherwise are refused.

use chancery_core::{ClientId, RequestId, Tenant, Tier, UnixMillis, WalletId, limit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AuditError;
use crate::approval::{Approval, Review};
use crate::canonical::{encode, numbers_are_exact};
use crate::certificate::{ClientAdded, ClientAuthority, ClientRevoked};
use crate::digest::{Digest, HexBytes, V1};
use crate::endorsement::Endorsement;
use crate::login::Login;
use crate::merkle::{Hash, leaf_hash};
use crate::parties::KeyShare;
use crate::rotation::Rotation;

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// What was decided about one sign request.
    Decision(Decision),
    /// An officer approved or vetoed a pending request.
    Approval(Approval),
    /// How a decided request ended.
    Outcome(Outcome),
    /// A wallet was made.
    Wallet(Wallet),
    /// A policy bundle came into force.
    Policy(Policy),
    /// Something about an officer's login.
    Login(Login),
    /// A key ceremony's transcript was put on record.
    Ceremony(Ceremony),
    /// The authority of a tenant's clients was made.
    Authority(ClientAuthority),
    /// A certificate was issued.
    Client(ClientAdded),
    /// Certificates were taken back.
    Revocation(ClientRevoked),
    /// The log's keys are rotated.
    Rotation(Box<Rotation>),
}

/// For whom an entry is in the first place. All are in one log, so that none can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// What was asked, decided and released.
    Business,
    /// What the rules and wallets are.
    Audit,
    /// Who came, or tried to.
    Security,
}

/// What was decided about one sign request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The format: 1.
    pub v: V1,
    /// Whose wallet.
    pub tenant: Tenant,
    /// The request, as the appliance names it.
    pub request_id: RequestId,
    /// When it was decided, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who asked.
    pub client: ClientId,
    /// SHA-256 of the client's certificate (DER).
    pub certificate: Digest,
    /// Which wallet.
    pub wallet: WalletId,
    /// Where the wallet's key lives.
    #[serde(skip_serializing_if = "Tier::is_hsm", default)]
    pub tier: Tier,
    /// What signs: the wallet's kind of key, and how.
    pub algorithm: Algorithm,
    /// The wallet's public key; for `secp256k1` and `bip340` the 33 bytes of compressed SEC1, for `ed25519` the 32 of RFC 8032.
    pub public_key: HexBytes,
    /// The key of each signature, where they are derived from the wallet's account: that of `public_key` is the account.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signers: Vec<HexBytes>,
    /// The payload's wire name, such as `ethereum.transaction`.
    pub payload: String,
    /// What was asked: see [`request_digest`](crate::request_digest).
    pub request_digest: Digest,
    /// What was, or would have been, signed: the digest itself, or what commits to several
    /// ([`signing_commitment`](crate::signing_commitment)).
    pub signing_digest: Digest,
    /// Commits to the decoded intent: see [`intent_commitment`](crate::intent_commitment).
    pub intent_commitment: Digest,
    /// What was decided.
    pub outcome: Verdict,
    /// The rules that determined it, in the policy's own order.
    pub rules: Vec<String>,
    /// What a pending request still lacks, as policy says it.
    pub missing: Vec<Value>,
    /// The policy bundle that was in force.
    pub bundle: Digest,
    /// Until when the signature of a cold wallet is waited for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_ms: Option<UnixMillis>,
    /// For a request that had been pending: what led to this decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review: Option<Review>,
    /// The digest of the client's own signature over its request, where it made one: see
    /// [`RequestSignature`](crate::RequestSignature).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_signature: Option<Digest>,
    /// Of a key that several parties hold: this party's share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub share: Option<KeyShare>,
}

impl Decision {
    /// Whether it says what a wallet of its tier is asked: of a cold one an allowed signature was brought, and its review may
    /// leave it waiting for one; of others neither is so.
    pub(crate) fn fits_its_tier(&self) -> Result<(), &'static str> {
        if self.share.is_some() != (self.tier == Tier::Mpc) {
            return Err("a share is named where parties hold the key, and nowhere else");
        }
        let cold = self.tier == Tier::Cold;
        let brought = self.review.as_ref().is_some_and(|review| review.brought_sha256.is_some());
        if brought != (cold && self.outcome == Verdict::Allowed) {
            return Err("a signature is brought for what a cold wallet may sign, and for nothing else");
        }
        if !cold && self.review.is_some() && self.outcome == Verdict::Pending {
            return Err("a review does not leave a request waiting");
        }
        if self.expires_ms.is_some() && !(cold && self.outcome == Verdict::Pending) {
            return Err("the signature of a cold wallet alone is waited for");
        }
        Ok(())
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A signature may be made.
    Allowed,
    /// A rule applies but for its obligations.
    Pending,
    /// No signature.
    Denied,
}

impl Verdict {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Pending => "pending",
            Self::Denied => "denied",
        }
    }
}

/// The kind of a wallet's key. A kind is added with the first chain whose receipts are verified under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// ECDSA on secp256k1 over a 32-byte digest, low-S, released as `r || s || y_parity` (65 bytes, parity 0 or 1).
    Secp256k1,
    /// Schnorr on secp256k1 (BIP-340) over a 32-byte digest, 64 bytes. The key of each signature is in `signers`, as taproot tweaked it
    /// (BIP-341): 32 bytes, x-only.
    Bip340,
    /// Ed25519 (RFC 8032) over the payload's bytes themselves, of which the signing digest is SHA-256; 64 bytes.
    Ed25519,
}

/// How a decided request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The format: 1.
    pub v: V1,
    /// Whose wallet.
    pub tenant: Tenant,
    /// The request.
    pub request_id: RequestId,
    /// When it ended, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// The index of the decision's leaf.
    pub decision_leaf: u64,
    /// How.
    pub outcome: End,
    /// SHA-256 of the released signature's bytes, of several one after the other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature_sha256: Option<Digest>,
    /// SHA-256 of the signed transaction's bytes, where one was released.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction_sha256: Option<Digest>,
    /// The error code of a failure, such as `hsm-unavailable`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// How a decided request can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// An allowed request's signature was released.
    Released,
    /// An allowed request was not signed.
    Failed,
    /// A pending request ran out of time.
    Expired,
}

impl End {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether a request that was so decided can end so.
    #[must_use]
    pub fn may_follow(self, verdict: Verdict) -> bool {
        match self {
            Self::Released | Self::Failed => verdict == Verdict::Allowed,
            Self::Expired => verdict == Verdict::Pending,
        }
    }
}

/// A wallet was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// The format: 1.
    pub v: V1,
    /// Whose wallet.
    pub tenant: Tenant,
    /// The request that made it.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who made it.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// The wallet.
    pub wallet: WalletId,
    /// Where its key lives.
    #[serde(skip_serializing_if = "Tier::is_hsm", default)]
    pub tier: Tier,
    /// Its kind of key.
    pub algorithm: Algorithm,
    /// Its public key.
    pub public_key: HexBytes,
    /// The account that its keys are derived from, as descriptors write it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// The address of the account that it is, where it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u32>,
    /// The chains it may sign for, in CAIP-2 text such as `eip155:1`.
    pub chains: Vec<String>,
    /// The output descriptor with its checksum (BIP-380), for Bitcoin: every script that is the wallet's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub descriptor: Option<String>,
}

/// A policy bundle came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The format: 1.
    pub v: V1,
    /// Whose policy.
    pub tenant: Tenant,
    /// The request that applied it.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who applied it.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// The bundle.
    pub bundle: Digest,
    /// The bundle before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Digest>,
    /// Who signed the bundle, of those whose signatures counted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signatures: Vec<Endorsement>,
    /// Whether its rules say who must agree to changes: then each change of this tenant that follows, the next bundle
    /// included, stands between an allowed decision about it and its release.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub governs_changes: bool,
}

/// A key ceremony's transcript was put on record. The log vouches for the time and for who brought it; what happened is
/// verified with the transcript itself, offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceremony {
    /// The format: 1.
    pub v: V1,
    /// Whose keys.
    pub tenant: Tenant,
    /// The request that brought it.
    pub request_id: RequestId,
    /// When, in milliseconds since 1970.
    pub time_ms: UnixMillis,
    /// Who brought it.
    pub client: ClientId,
    /// SHA-256 of that client's certificate (DER).
    pub certificate: Digest,
    /// What the ceremony was for, such as `restore`.
    pub ceremony: String,
    /// SHA-256 of its script.
    pub script: Digest,
    /// SHA-256 of its transcript's last entry, which by its chain stands for all.
    pub transcript: Digest,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("the record does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A record, but not in the one form it is written in.
    #[error("the record is not in canonical form")]
    NotCanonical,
}

impl Record {
    /// The stream it is of.
    #[must_use]
    pub fn stream(&self) -> Stream {
        match self {
            Self::Decision(_) | Self::Approval(_) | Self::Outcome(_) => Stream::Business,
            Self::Wallet(_) | Self::Policy(_) | Self::Ceremony(_) => Stream::Audit,
            Self::Authority(_) | Self::Client(_) | Self::Revocation(_) | Self::Rotation(_) => Stream::Audit,
            Self::Login(_) => Stream::Security,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        match self {
            Self::Decision(Decision { tenant, .. })
            | Self::Approval(Approval { tenant, .. })
            | Self::Outcome(Outcome { tenant, .. })
            | Self::Wallet(Wallet { tenant, .. })
            | Self::Policy(Policy { tenant, .. })
            | Self::Login(Login { tenant, .. })
            | Self::Ceremony(Ceremony { tenant, .. })
            | Self::Authority(ClientAuthority { tenant, .. })
            | Self::Client(ClientAdded { tenant, .. })
            | Self::Revocation(ClientRevoked { tenant, .. }) => tenant,
            Self::Rotation(rotation) => &rotation.tenant,
        }
    }

    /// When it was recorded.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        match self {
            Self::Decision(Decision { time_ms, .. })
            | Self::Approval(Approval { time_ms, .. })
            | Self::Outcome(Outcome { time_ms, .. })
            | Self::Wallet(Wallet { time_ms, .. })
            | Self::Policy(Policy { time_ms, .. })
            | Self::Login(Login { time_ms, .. })
            | Self::Ceremony(Ceremony { time_ms, .. })
            | Self::Authority(ClientAuthority { time_ms, .. })
            | Self::Client(ClientAdded { time_ms, .. })
            | Self::Revocation(ClientRevoked { time_ms, .. }) => *time_ms,
            Self::Rotation(rotation) => rotation.time_ms,
        }
    }

    /// The leaf's bytes.
    ///
    /// # Errors
    /// [`AuditError::LeafTooLong`] above [`limit::LEAF_BYTES`]; [`AuditError::Number`] for a leaf index or time that
    /// canonical JSON would round.
    pub fn body(&self) -> Result<Vec<u8>, AuditError> {
        const SAFE: std::ops::RangeInclusive<i64> = 0..=(1 << 53) - 1;
        let (time, leaf) = match self {
            Self::Decision(Decision { time_ms, review, expires_ms, .. }) => {
                let review = review.iter().flat_map(|review| {
                    let waited = u64::try_from(review.waited_ms).unwrap_or(u64::MAX);
                    let leaves = review.approvals.iter().map(|spoken| spoken.leaf);
                    leaves.chain([review.decision_leaf, waited])
                });
                let expires = expires_ms.map(|at| u64::try_from(at.0).unwrap_or(u64::MAX));
                (*time_ms, review.chain(expires).max().unwrap_or(0))
            }
            Self::Approval(approval) => (approval.time_ms, approval.decision_leaf),
            Self::Outcome(outcome) => (outcome.time_ms, outcome.decision_leaf),
            Self::Wallet(wallet) => (wallet.time_ms, 0),
            Self::Policy(policy) => (policy.time_ms, 0),
            Self::Login(login) => (login.time_ms, 0),
            Self::Ceremony(ceremony) => (ceremony.time_ms, 0),
            Self::Authority(authority) => (authority.time_ms, 0),
            // It ends after it began, so one time is enough.
            Self::Client(client) => (client.added.until_ms.max(client.time_ms), 0),
            Self::Revocation(revocation) => (revocation.time_ms, 0),
            Self::Rotation(rotation) => {
                (rotation.time_ms, rotation.vouched.as_ref().map_or(0, |vouched| vouched.named))
            }
        };
        if let Self::Decision(decision) = self
            && !decision.missing.iter().all(numbers_are_exact)
        {
            return Err(AuditError::Number);
        }
        if !SAFE.contains(&time.0) || !i64::try_from(leaf).is_ok_and(|leaf| SAFE.contains(&leaf)) {
            return Err(AuditError::Number);
        }
        let body = encode(self)?;
        if body.len() > limit::LEAF_BYTES {
            return Err(AuditError::LeafTooLong { bytes: body.len() });
        }
        Ok(body)
    }

    /// Reads a leaf's bytes.
    ///
    /// # Errors
    /// [`RecordError`], also for bytes that are a record but not as [`Record::body`] would write it.
    pub fn parse(body: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(body)?;
        // One comparison catches spaces, order, escapes, repeated names and rounded numbers alike.
        if record.body().is_ok_and(|canonical| canonical == body) {
            Ok(record)
        } else {
            Err(RecordError::NotCanonical)
        }
    }

    /// The leaf's hash in the tree.
    ///
    /// # Errors
    /// As [`Record::body`].
    pub fn leaf_hash(&self) -> Result<Hash, AuditError> {
        Ok(leaf_hash(&self.body()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy() -> Record {
        Record::Policy(Policy {
            v: V1,
            tenant: Tenant::default(),
            request_id: RequestId::from_bytes([7; 16]),
            time_ms: UnixMillis(1_800_000_000_000),
            client: "officer".parse().unwrap(),
            certificate: Digest::from_bytes([1; 32]),
            bundle: Digest::from_bytes([2; 32]),
            previous: None,
            signatures: Vec::new(),
            governs_changes: false,
        })
    }

    #[test]
    fn a_record_has_one_form() {
        let body = policy().body().unwrap();
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(
            text.starts_with("{\"bundle\":\"0202") && text.ends_with(",\"v\":1}"),
            "names are sorted: {text}"
        );
        assert_eq!(Record::parse(&body).unwrap(), policy());
        for bad in [
            format!("{text} "),
            text.replace("{\"", "{ \""),
            text.replace("\"v\":1", "\"v\":1.0"),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("\"v\":1}", "\"v\":1,\"v\":1}"),
            text.replace("\"v\":1}", "\"v\":1,\"w\":1}"),
            text.replace("\"previous\"", "\"x\"").replace("\"v\":1}", "\"v\":1,\"previous\":null}"),
            text.replace("officer", "\\u006ffficer"),
            text.replace("0202", "0A02"),
            text.replace("\"policy\"", "\"other\""),
        ] {
            assert!(bad == text || Record::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_canonical_json_would_round_is_no_record() {
        let mut decision: Decision = serde_json::from_value(json!({
            "v": 1, "tenant": "default", "request_id": "01890a5d-ac96-774b-bcce-b302099a8057", "time_ms": 5,
            "client": "backend", "certificate": "00".repeat(32), "wallet": "w", "algorithm": "secp256k1",
            "public_key": "02", "payload": "ethereum.message", "request_digest": "00".repeat(32),
            "signing_digest": "00".repeat(32), "intent_commitment": "00".repeat(32), "outcome": "pending",
            "rules": [], "missing": [{"wait_ms": 9_007_199_254_740_991_u64}], "bundle": "00".repeat(32)
        }))
        .unwrap();
        assert!(Record::Decision(decision.clone()).body().is_ok());
        decision.missing = vec![json!([9_007_199_254_740_992_u64])];
        assert!(matches!(Record::Decision(decision.clone()).body(), Err(AuditError::Number)));
        decision.missing.clear();
        for time in [-1, 1 << 53] {
            decision.time_ms = UnixMillis(time);
            assert!(matches!(Record::Decision(decision.clone()).body(), Err(AuditError::Number)), "{time}");
        }
        decision.time_ms = UnixMillis(5);
        decision.rules = vec!["r".repeat(limit::LEAF_BYTES)];
        assert!(matches!(Record::Decision(decision).body(), Err(AuditError::LeafTooLong { .. })));
    }
}
