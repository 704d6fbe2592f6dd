//! What officers' authenticators make, as it comes over the wire.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use chancery_audit::Digest;
use chancery_identity::webauthn::{Assertion, Base64Url, CredentialKey, RelyingParty, verify};

use crate::Seen;

const CHALLENGE: [u8; 32] = [7; 32];

struct World {
    key: CredentialKey,
    party: RelyingParty,
    assertion: Assertion,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let client_data = br#"{"type":"webauthn.get","challenge":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc","origin":"https://c.example"}"#;
    let authenticator_data = [Digest::of(b"c.example").as_bytes(), &[5, 0, 0, 0, 1][..]].concat();
    let signed = [&authenticator_data, &Digest::of(client_data).as_bytes()[..]].concat();
    World {
        key: CredentialKey::Es256(pair.public_key().as_ref().try_into().unwrap()),
        party: RelyingParty { id: "c.example".to_owned(), origins: vec!["https://c.example".to_owned()] },
        assertion: Assertion {
            credential: Base64Url(vec![1; 16]),
            client_data: Base64Url(client_data.to_vec()),
            authenticator_data: Base64Url(authenticator_data),
            signature: Base64Url(pair.sign(&random, &signed).unwrap().as_ref().to_vec()),
        },
    }
});

/// An assertion in JSON. One that holds says what the authenticator signed, and nothing else.
pub(super) fn assertion(input: &[u8]) -> Seen {
    let World { key, party, assertion: made } = &*WORLD;
    let read: Assertion = match serde_json::from_slice(input) {
        Ok(read) => read,
        Err(_) => return Seen::refused(&"not an assertion"),
    };
    match verify(&read, key, party, &CHALLENGE) {
        Err(error) => Seen::refused(&error),
        Ok(_) => {
            assert_eq!(read.client_data, made.client_data);
            assert_eq!(read.authenticator_data, made.authenticator_data);
            Seen::accepted(&"assertion")
        }
    }
}

pub(super) fn assertions() -> Vec<Vec<u8>> {
    vec![serde_json::to_vec(&WORLD.assertion).unwrap()]
}
