//! What a request's row keeps beside its leaves: the parts of a receipt that the log only commits to. Format 1. The store
//! may erase them under their own retention; the leaves stay and say nothing of them.

use chancery_audit::{Digest, Salt, V1};
use chancery_core::{Code, IdempotencyKey, Payload};
use chancery_hsm::Signature;
use chancery_intent::{Artifact, Intent};
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
}

impl Signed {
    /// A signature in the form that its payload asks for.
    pub(crate) fn of(signature: &Signature, intent: &Intent) -> Result<Self, Refusal> {
        let parity = signature
            .recovery_id
            .ok_or_else(|| Refusal::new(Code::Internal, "a signature without parity"))?;
        let (mut r, mut s) = ([0; 32], [0; 32]);
        let (first, second) = signature.bytes.split_at(32);
        r.copy_from_slice(first);
        s.copy_from_slice(second);
        let mut bytes = signature.bytes.to_vec();
        bytes.push(parity);
        let mut signed = Self {
            v: V1,
            signature: bytes.into(),
            signed_transaction: None,
            transaction_hash: None,
            signed_authorization: None,
        };
        match intent.finish(&r, &s, parity == 1).artifact {
            Artifact::Transaction { raw, hash } => {
                signed.signed_transaction = Some(raw.into());
                signed.transaction_hash = Some(hash.as_slice().into());
            }
            Artifact::Authorization { json, .. } => signed.signed_authorization = Some(json),
            Artifact::Signature => {}
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
