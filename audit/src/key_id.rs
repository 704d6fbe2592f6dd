//! The ids of the appliance's own keys on a token. They follow from what each is for, so that a daemon that has only its
//! configuration finds the keys that a ceremony made.

use chancery_core::KeyId;

use crate::digest::Digest;

/// The Ed25519 key that signs the log's checkpoints.
#[must_use]
pub fn log_key_id(origin: &str) -> KeyId {
    key_id("chancery log key v1", origin)
}

/// The AES key that encrypts the seed of the log's ML-DSA key.
#[must_use]
pub fn kek_id(origin: &str) -> KeyId {
    key_id("chancery log kek v1", origin)
}

/// The key of a purpose, such as `chancery log key v1`, for whatever it is `of`.
#[must_use]
pub fn key_id(purpose: &str, of: &str) -> KeyId {
    let digest = Digest::of(format!("{purpose}\n{of}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(digest.as_bytes().split_at(16).0);
    KeyId::from_bytes(id)
}
