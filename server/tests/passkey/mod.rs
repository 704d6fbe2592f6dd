//! An authenticator for tests: ES256 assertions as WebAuthn Level 3 section 6.3.3 makes them, and ones that it never would.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Clone)]
pub struct Passkey {
    pair: Arc<EcdsaKeyPair>,
    rp_id: String,
    origin: String,
    flags: u8,
}

impl Passkey {
    pub fn fresh(rp_id: &str, origin: &str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref()).unwrap();
        Self { pair: Arc::new(pair), rp_id: rp_id.to_owned(), origin: origin.to_owned(), flags: 0x05 }
    }

    /// The same key for another party or page.
    pub fn at(&self, rp_id: &str, origin: &str) -> Self {
        Self { rp_id: rp_id.to_owned(), origin: origin.to_owned(), ..self.clone() }
    }

    /// The same key with other flags: 1 is present, 4 is verified.
    pub fn with_flags(&self, flags: u8) -> Self {
        Self { flags, ..self.clone() }
    }

    fn credential(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.pair.public_key().as_ref())[..16])
    }

    /// Its entry in `bundle.toml`.
    pub fn entry(&self) -> String {
        let key = hex::encode(self.pair.public_key().as_ref());
        let id = self.credential();
        format!("[[officer.credential]]\nid = \"{id}\"\nkey = \"es256:{key}\"\nheld = \"software\"\n")
    }

    pub fn assert(&self, challenge: &[u8; 32]) -> Value {
        let client_data = json!({
            "type": "webauthn.get", "challenge": URL_SAFE_NO_PAD.encode(challenge), "origin": self.origin,
        })
        .to_string();
        let mut authenticator = Sha256::digest(&self.rp_id).to_vec();
        authenticator.extend([self.flags, 0, 0, 0, 7]);
        let signed = [&authenticator[..], &Sha256::digest(&client_data)].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "credential": self.credential(),
            "client_data": URL_SAFE_NO_PAD.encode(client_data),
            "authenticator_data": URL_SAFE_NO_PAD.encode(authenticator),
            "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
        })
    }
}
