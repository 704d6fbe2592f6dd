//! The worked example of `docs/api.md`: a request, the bytes that its client signs, and what is sent. The key is RFC 9421's
//! own `test-key-ed25519` (appendix B.1.4), whose signatures are the same each time; the certificate is beside this file.
//! `cargo test -p chancery-identity --test worked_example` holds the page against it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example, and a test's")]

use std::fmt::Write as _;

use aws_lc_rs::signature::Ed25519KeyPair;
use chancery_identity::{Algorithm, Draft, Fingerprint, Message};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const CERTIFICATE: &[u8] = include_bytes!("client.pem");
const KEY: &[u8] = include_bytes!("client-key.pem");

/// 2026-06-01T00:00:00Z.
const CREATED_S: i64 = 1_780_272_000;
const NONCE: &str = "sJr1uJCkPpxwNG7pPkqnyw";

#[allow(dead_code, reason = "the test calls `text`")]
fn main() {
    print!("{}", text());
}

/// What the page shows.
pub fn text() -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(key.secret_der()).unwrap();
    let body = r#"{"wallet":"treasury","payload":{"type":"ethereum.message","data":"0x68656c6c6f"}}"#;
    let message = Message {
        method: "POST",
        authority: "chancery.example:8443",
        path: "/v1/sign",
        idempotency_key: "order-42",
        body: body.as_bytes(),
    };
    let certificate = Fingerprint::of(&certificate);
    let draft = Draft::new(&message, &certificate, Algorithm::Ed25519, CREATED_S, NONCE).unwrap();
    let signature = key.sign(draft.base().as_bytes());

    let mut text =
        format!("# what is signed, without a line feed at its end\n{}\n\n# what is sent\n", draft.base());
    let _ = writeln!(text, "{} {} HTTP/1.1\nhost: {}", message.method, message.path, message.authority);
    let _ = writeln!(text, "content-type: application/json\nidempotency-key: {}", message.idempotency_key);
    for (name, value) in draft.fields(signature.as_ref()) {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = writeln!(text, "content-length: {}\n\n{body}", body.len());
    text
}
