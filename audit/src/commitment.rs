//! The digests by which a log entry stands for what it does not say: what a client asked, and what that would do. If these are wrong,
//! two requests share one entry, or an entry tells what it should keep to itself.

use chancery_core::{ClientId, Payload, SignRequest, Tenant, WalletId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AuditError;
use crate::canonical::{canonical, encode};
use crate::digest::{Digest, HexBytes, V1};

/// What a client asked, in one value: `SHA-256(JCS({v: 1, tenant, client, wallet, idempotency_key, payload}))`, the
/// payload in its wire form. An idempotency key stands for exactly one such digest.
///
/// # Errors
/// [`AuditError::Number`] where a typed-data document holds a number beyond ±(2^53 - 1): canonical JSON would round
/// it, and two requests would share a digest. Such numbers are written as text.
pub fn request_digest(client: &ClientId, request: &SignRequest) -> Result<Digest, AuditError> {
    digest_of_request(&Asked {
        v: V1,
        tenant: &request.tenant,
        client,
        wallet: &request.wallet,
        idempotency_key: request.idempotency_key.as_str(),
        payload: &request.payload,
    })
}

#[derive(Serialize)]
pub(crate) struct Asked<'a> {
    pub v: V1,
    pub tenant: &'a Tenant,
    pub client: &'a ClientId,
    pub wallet: &'a WalletId,
    pub idempotency_key: &'a str,
    pub payload: &'a Payload,
}

pub(crate) fn digest_of_request(asked: &Asked<'_>) -> Result<Digest, AuditError> {
    if let Payload::EthereumTypedData { document } = asked.payload {
        canonical(document)?;
    }
    Ok(Digest::of(&encode(asked)?))
}

/// The random bytes that keep an intent from being guessed from its commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HexBytes", into = "HexBytes")]
pub struct Salt([u8; 16]);

impl Salt {
    /// A salt of these bytes, which must be fresh and random for every request.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<HexBytes> for Salt {
    type Error = &'static str;
    fn try_from(bytes: HexBytes) -> Result<Self, &'static str> {
        bytes.as_bytes().try_into().map(Self).map_err(|_| "a salt is 16 bytes")
    }
}

impl From<Salt> for HexBytes {
    fn from(salt: Salt) -> Self {
        salt.0.as_slice().into()
    }
}

/// `SHA-256(salt || JCS(intent))`: what the leaf holds in place of the intent.
///
/// # Errors
/// [`AuditError::Number`] where the intent holds a number that canonical JSON would round.
pub fn intent_commitment(salt: &Salt, intent: &Value) -> Result<Digest, AuditError> {
    let mut bytes = salt.0.to_vec();
    bytes.extend(canonical(intent)?);
    Ok(Digest::of(&bytes))
}
