//! The JSON that crosses the wire. These types are what is written and what the OpenAPI document is made from, so the two
//! cannot differ. Times are milliseconds since 1970; amounts are decimal text.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_audit::{self as audit, HexBytes, Receipt};
use chancery_core::{ClientId, Payload, RequestId, UnixMillis, WalletId};
use chancery_enclave as enclave;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// What shall be signed, and by which wallet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// The wallet whose key shall sign.
    #[schema(value_type = String, example = "treasury")]
    pub wallet: WalletId,
    /// What shall be signed.
    #[schema(value_type = super::payload::PayloadSchema)]
    pub payload: Payload,
}

/// A released signature and its receipt.
#[derive(Serialize, ToSchema)]
pub(crate) struct Released {
    /// The request.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// Always `released`.
    pub state: &'static str,
    /// The wallet that signed.
    #[schema(value_type = String)]
    pub wallet: WalletId,
    /// The digest that was signed, or what commits to the digests of `signatures`: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub signing_digest: audit::Digest,
    /// What the payload does.
    #[schema(value_type = Object)]
    pub intent: Value,
    /// What was signed, in the forms it is used in.
    #[serde(flatten)]
    pub signed: Signed,
    /// What was asked, what it does, what decided, and the proof that it is on record. Verifies offline.
    #[schema(value_type = Object)]
    pub receipt: Receipt,
}

/// A signature in the forms it is used in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Signed {
    /// The signature, of an Ethereum or a Solana payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Every signature of a Bitcoin payload, in the order of the inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<DigestSignature>,
    /// The PSBT with our signatures in it: base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_psbt: Option<String>,
    /// A BIP-322 signature, format `simple`: base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_signature: Option<String>,
    /// The transaction with its signature, ready for the network: `0x` and hexadecimal; of Solana base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_transaction: Option<String>,
    /// The transaction's hash on its chain: `0x` and hexadecimal; of Solana the first signature, in base58.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
    /// The JSON-RPC form of a signed EIP-7702 authorization.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_authorization: Option<Value>,
}

/// An ECDSA signature over secp256k1, low-S, or one of Ed25519.
#[derive(Serialize, ToSchema)]
pub(crate) struct Signature {
    /// 32 bytes: `0x` and hexadecimal.
    pub r: String,
    /// 32 bytes, of ECDSA in the lower half of the order.
    pub s: String,
    /// Of ECDSA: the parity of the nonce point, 0 or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y_parity: Option<u8>,
    /// `r || s || v` with `v` 27 or 28, as `personal_sign` and `eth_signTypedData` answer; of Ed25519 `R || S`.
    pub bytes: String,
}

/// One of several signatures over secp256k1: ECDSA, low-S, or BIP-340.
#[derive(Serialize, ToSchema)]
pub(crate) struct DigestSignature {
    /// What it is over: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: audit::Digest,
    /// 32 bytes: `0x` and hexadecimal.
    pub r: String,
    /// 32 bytes, in the lower half of the order.
    pub s: String,
    /// The parity of the nonce point: 0 or 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y_parity: Option<u8>,
}

fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

impl Signature {
    fn of(bytes: &[u8]) -> Self {
        // 64 bytes, and the parity of ECDSA; the enclave makes no others.
        let (r, rest) = bytes.split_at_checked(32).unwrap_or_default();
        let (s, parity) = rest.split_at_checked(32).unwrap_or_default();
        let y_parity = parity.first().copied();
        let v = y_parity.map(|parity| parity.saturating_add(27));
        let bytes: Vec<u8> = r.iter().chain(s).copied().chain(v).collect();
        Self { r: prefixed(r), s: prefixed(s), y_parity, bytes: prefixed(&bytes) }
    }
}

impl From<enclave::Signed> for Signed {
    fn from(signed: enclave::Signed) -> Self {
        let bytes = signed.signature.as_bytes();
        // One of 64 bytes is of Ed25519, with which Solana's transactions alone are signed.
        let solana = signed.signing_digests.is_empty() && bytes.len() == 64;
        let transaction = |raw: &HexBytes| match solana {
            true => STANDARD.encode(raw.as_bytes()),
            false => prefixed(raw.as_bytes()),
        };
        let hash = |hash: &HexBytes| match solana {
            true => enclave::signature_text(hash.as_bytes()),
            false => prefixed(hash.as_bytes()),
        };
        let size = bytes.len().checked_div(signed.signing_digests.len()).unwrap_or_default().max(1);
        let signatures = signed.signing_digests.iter().zip(bytes.chunks(size)).map(|(digest, bytes)| {
            let Signature { r, s, y_parity, .. } = Signature::of(bytes);
            DigestSignature { digest: *digest, r, s, y_parity }
        });
        Self {
            signature: signed.signing_digests.is_empty().then(|| Signature::of(bytes)),
            signatures: signatures.collect(),
            signed_psbt: signed.signed_psbt.as_ref().map(|psbt| STANDARD.encode(psbt.as_bytes())),
            message_signature: signed.message_signature,
            signed_transaction: signed.signed_transaction.as_ref().map(transaction),
            transaction_hash: signed.transaction_hash.as_ref().map(hash),
            signed_authorization: signed.signed_authorization,
        }
    }
}

impl From<enclave::Released> for Released {
    fn from(released: enclave::Released) -> Self {
        let enclave::Released { signed, receipt } = released;
        Self {
            request_id: receipt.decision.request_id,
            state: enclave::RequestState::Released.as_str(),
            wallet: receipt.decision.wallet.clone(),
            signing_digest: receipt.decision.signing_digest,
            intent: receipt.intent.clone(),
            signed: signed.into(),
            receipt,
        }
    }
}

/// A request that waits for its obligations. It keeps its place in the limits until it ends.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pending {
    /// The request.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// `pending`, or `permitted` where it waits for other parties alone.
    pub state: &'static str,
    /// What it still needs: for each rule that would permit it, the rule, the effect and the needs.
    #[schema(value_type = Vec<Object>)]
    pub missing: Vec<Value>,
    /// When it ends unanswered.
    #[schema(value_type = Option<i64>)]
    pub expires_ms: Option<UnixMillis>,
}

impl From<enclave::Pending> for Pending {
    fn from(pending: enclave::Pending) -> Self {
        let state = pending.state().as_str();
        let enclave::Pending { request_id, missing, expires_ms, .. } = pending;
        Self { request_id, state, missing, expires_ms }
    }
}

/// What a payload would do and what policy would decide now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    /// The decoded intent.
    #[schema(value_type = Object)]
    pub intent: Value,
    /// The digest that would be signed: 64 hexadecimal digits.
    pub signing_digest: String,
    /// What would be decided: `outcome`, `rules`, `missing`, `errors`, `reservations`.
    #[schema(value_type = Object)]
    pub decision: Value,
    /// Why: for each effect what the policies could see and what each of them said.
    #[schema(value_type = Object)]
    pub explanation: Value,
}

/// A recorded request and where it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Request {
    /// The request.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// `permitted`, `released`, `denied`, `pending`, `expired` or `failed`.
    pub state: &'static str,
    /// Who asked.
    #[schema(value_type = String)]
    pub client: ClientId,
    /// The wallet.
    #[schema(value_type = String)]
    pub wallet: WalletId,
    /// When it was decided.
    #[schema(value_type = i64)]
    pub time_ms: UnixMillis,
    /// When a pending request ends unanswered.
    #[schema(value_type = Option<i64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<UnixMillis>,
    /// The digest that was, or would have been, signed.
    #[schema(value_type = String)]
    pub signing_digest: audit::Digest,
    /// What the payload does.
    #[schema(value_type = Object)]
    pub intent: Value,
    /// The rules that decided.
    pub rules: Vec<String>,
    /// What a pending request still needs.
    #[schema(value_type = Vec<Object>)]
    pub missing: Vec<Value>,
    /// The policy bundle that was in force.
    #[schema(value_type = String)]
    pub bundle: audit::Digest,
    /// The log index of the decision.
    pub decision_leaf: Option<u64>,
    /// The log index of the outcome, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome_leaf: Option<u64>,
}

impl From<enclave::Listed> for Request {
    fn from(listed: enclave::Listed) -> Self {
        let enclave::Listed { row, decision, intent, .. } = listed;
        Self {
            request_id: row.id,
            state: row.state.as_str(),
            client: row.client,
            wallet: row.wallet,
            time_ms: row.decided_ms,
            expires_ms: row.expires_ms,
            signing_digest: decision.signing_digest,
            intent,
            rules: decision.rules,
            missing: decision.missing,
            bundle: decision.bundle,
            decision_leaf: row.decision_leaf,
            outcome_leaf: row.outcome_leaf,
        }
    }
}

/// One page of requests, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Requests {
    /// The requests.
    pub requests: Vec<Request>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A decision as the log holds it, and how it ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Decided {
    /// The decision's and outcome's records and log indexes.
    #[schema(value_type = Object)]
    #[serde(flatten)]
    pub row: audit::Row,
    /// What the payload does.
    #[schema(value_type = Object)]
    pub intent: Value,
}

/// One page of decisions, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Decisions {
    /// The decisions.
    pub decisions: Vec<Decided>,
    /// Pass it as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which requests. All given conditions must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Only for this wallet.
    pub wallet: Option<String>,
    /// Only from this client.
    pub client: Option<String>,
    /// Only in this state: `permitted`, `released`, `denied`, `pending`, `expired` or `failed`.
    #[serde(alias = "outcome")]
    pub state: Option<String>,
    /// Decided at this time or later, in milliseconds since 1970.
    pub from: Option<i64>,
    /// Decided before this time.
    pub to: Option<i64>,
    /// The page after this request.
    pub after: Option<String>,
    /// Rows of the page, 1 to 500.
    pub limit: Option<usize>,
}

/// A page of a listing by name.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The page after this name.
    pub after: Option<String>,
    /// Rows of the page, 1 to 500.
    pub limit: Option<usize>,
}

/// A policy bundle to put in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicy {
    /// Its files by path: `bundle.toml`, `policies/*.cedar`, `tests/*.toml`, `goals/*.toml`, `abi/*.json`.
    pub files: BTreeMap<String, String>,
    /// Signed notes (c2sp.org/signed-note) over the bundle's hash, as `chancery policy sign` makes them.
    #[serde(default)]
    pub signatures: Vec<String>,
}

/// A signature of a policy bundle.
#[derive(Serialize, ToSchema)]
pub(crate) struct BundleSignature {
    /// The verifier key, `name+hash+base64`.
    pub key: String,
    /// Ed25519 over `chancery policy v1`, the log's origin, the tenant and the hash, a line each; hexadecimal.
    #[schema(value_type = String)]
    pub signature: audit::HexBytes,
}

impl From<&audit::Endorsement> for BundleSignature {
    fn from(one: &audit::Endorsement) -> Self {
        Self { key: one.key.clone(), signature: one.signature.clone() }
    }
}

/// The policy in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Policy {
    /// SHA-256 of the bundle's canonical JSON.
    #[schema(value_type = String)]
    pub bundle: audit::Digest,
    /// The bundle's own name.
    pub name: String,
    /// When it came into force.
    #[schema(value_type = i64)]
    pub applied_ms: UnixMillis,
    /// The log index of that.
    pub leaf: u64,
    /// Who signed it.
    pub signatures: Vec<BundleSignature>,
    /// Its files by path.
    pub files: BTreeMap<String, String>,
}

impl From<&enclave::InForce> for Policy {
    fn from(policy: &enclave::InForce) -> Self {
        Self {
            bundle: policy.digest(),
            name: policy.bundle().name().to_owned(),
            applied_ms: policy.applied_ms(),
            leaf: policy.leaf(),
            signatures: policy.signatures().iter().map(Into::into).collect(),
            files: policy.bundle().source().files.clone(),
        }
    }
}

/// A policy bundle that is or was in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeptPolicy {
    /// SHA-256 of the bundle's canonical JSON.
    #[schema(value_type = String)]
    pub bundle: audit::Digest,
    /// When it last came into force.
    #[schema(value_type = i64)]
    pub applied_ms: UnixMillis,
    /// The log index of that.
    pub leaf: u64,
    /// Who signed it.
    pub signatures: Vec<BundleSignature>,
    /// Its files by path.
    pub files: BTreeMap<String, String>,
}

/// A refusal (RFC 9457). Members beside these depend on the code.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes `crate::problem::Problem` to the OpenAPI document")]
pub(crate) struct ProblemSchema {
    /// `urn:chancery:error:` and the code.
    pub r#type: String,
    /// The same few words each time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What happened and what to do about it.
    pub detail: Option<String>,
    /// The recorded request, or else this exchange.
    pub request_id: Option<String>,
    /// The policy rules that decided, or the findings in a bundle.
    pub rules: Option<Vec<String>>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u64>,
}
