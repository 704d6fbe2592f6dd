//! What a request's row keeps beside its leaves: the parts of a receipt that the log only commits to. Format 1. The store
//! may erase them under their own retention; the leaves stay and say nothing of them.

use chancery_audit::{Digest, RequestSignature, Salt, V1};
use chancery_core::{Code, IdempotencyKey, Payload};
use chancery_hsm as hsm;
use chancery_intent::{Artifact, Intent, Signature};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Signed;
use crate::refusal::Refusal;

/// The `record` column of a request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub v: V1,
    /// Also here because the column is emptied when the key is freed, and the request digest covers it.
    pub idempotency_key: IdempotencyKey,
    pub payload: Payload,
    pub intent: Value,
    pub intent_salt: Salt,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_signature: Option<RequestSignature>,
    /// Whether policy denied only what the client had not signed itself.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub lacks_signature: bool,
}

impl Signed {
    /// Signatures in the forms that their payload asks for.
    pub(crate) fn of(signatures: &[hsm::Signature], intent: &Intent) -> Result<Self, Refusal> {
        let made = signatures.iter().map(opened).collect::<Result<Vec<_>, _>>()?;
        let parity = |one: &Signature| one.y_parity.map(u8::from);
        let parts = made.iter().flat_map(|one| one.bytes().into_iter().chain(parity(one)));
        let mut signed = Self {
            v: V1,
            signature: parts.collect::<Vec<u8>>().into(),
            signing_digests: apart(intent),
            signed_transaction: None,
            transaction_hash: None,
            signed_authorization: None,
            signed_psbt: None,
            message_signature: None,
            parties: Vec::new(),
        };
        match intent.finish(&made)? {
            Artifact::Transaction { raw, hash } => {
                signed.signed_transaction = Some(raw.into());
                signed.transaction_hash = Some(hash.as_slice().into());
            }
            Artifact::Authorization { json, .. } => signed.signed_authorization = Some(json),
            Artifact::Signature { .. } => {}
            Artifact::Psbt { psbt, transaction } => {
                signed.signed_psbt = Some(psbt.into());
                let (raw, hash) = transaction.unzip();
                signed.signed_transaction = raw.map(Into::into);
                signed.transaction_hash = hash.map(|hash| hash.as_slice().into());
            }
            Artifact::Solana { signature, transaction } => {
                signed.transaction_hash = transaction.as_ref().map(|_| signature.as_slice().into());
                signed.signed_transaction = transaction.map(Into::into);
            }
            Artifact::Proof { simple } => signed.message_signature = Some(simple),
        }
        Ok(signed)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.signature.as_bytes())
    }

    pub(crate) fn transaction_digest(&self) -> Option<Digest> {
        self.signed_transaction.as_ref().map(|raw| Digest::of(raw.as_bytes()))
    }
}

/// A token's signature in its numbers.
fn opened(signature: &hsm::Signature) -> Result<Signature, Refusal> {
    let defect = |what| Refusal::new(Code::Internal, what);
    let (r, s) = signature.bytes.split_at_checked(32).ok_or_else(|| defect("a signature cut short"))?;
    let number = |bytes: &[u8]| bytes.try_into().map_err(|_| defect("a signature of another length"));
    Ok(Signature { r: number(r)?, s: number(s)?, y_parity: signature.recovery_id.map(|id| id == 1) })
}

/// The digests that the signing digest commits to, where it is not itself what is signed.
fn apart(intent: &Intent) -> Vec<Digest> {
    match intent.signings() {
        [one] if one.digest == *intent.signing_digest() => Vec::new(),
        several => several.iter().map(|signing| Digest::from_bytes(signing.digest)).collect(),
    }
}

pub(crate) fn read<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(what, &error))
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| unreadable(what, &error))
}

fn unreadable(what: &'static str, error: &serde_json::Error) -> Refusal {
    tracing::error!(what, %error, "a stored row does not parse");
    Refusal::new(Code::StoreUnavailable, "a stored record cannot be read")
}

pub(crate) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|_| UNWRITABLE())
}

pub(crate) fn value<T: Serialize>(value: &T) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|_| UNWRITABLE())
}

/// Nothing here fails to serialize; if it ever does, the request is refused.
const UNWRITABLE: fn() -> Refusal = || Refusal::new(Code::Internal, "a record cannot be written");
