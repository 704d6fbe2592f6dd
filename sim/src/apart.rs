//! The machine apart: one key, which signs what the appliance asks of its cold wallet once it is proved agreed.

use chancery_audit::{ColdRequest, ColdSigned, Digest, SignedKind, Trust, V1};
use secp256k1::{Message, Secp256k1, SecretKey};

/// Its private key, big-endian; the world of a simulation has no other use for it.
const KEY: [u8; 32] = [7; 32];

fn key() -> Option<SecretKey> {
    SecretKey::from_slice(&KEY).ok()
}

/// Compressed SEC 1, hexadecimal.
#[must_use]
pub fn public_key() -> String {
    key().map(|key| hex::encode(key.public_key(&Secp256k1::new()).serialize())).unwrap_or_default()
}

/// What is brought back; nothing where the appliance did not agree, by the log's keys alone.
#[must_use]
pub fn sign(asked: &ColdRequest, trust: &Trust) -> Option<ColdSigned> {
    let (verified, _) = asked.agreed(trust).ok()?;
    let (decision, key) = (&asked.receipt.decision, key()?);
    let sign = |digest: &Digest| {
        let message = Message::from_digest(*digest.as_bytes());
        Secp256k1::new().sign_ecdsa(&message, &key).serialize_compact().as_slice().into()
    };
    Some(ColdSigned {
        v: V1,
        kind: SignedKind::Is,
        tenant: decision.tenant.clone(),
        request_id: decision.request_id,
        wallet: decision.wallet.clone(),
        decision_leaf: verified.decision_leaf(),
        request_sha256: Digest::of(&asked.bytes().ok()?),
        signatures: asked.signings.iter().map(|signing| sign(&signing.digest)).collect(),
    })
}
