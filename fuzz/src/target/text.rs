//! What comes as JSON or TOML: requests, policy bundles, configuration, values that are hashed.

use std::path::Path;

use base64::Engine as _;
use chancery_audit::canonical as canonical_bytes;
use chancery_core::config::Config;
use chancery_core::{IdempotencyKey, Payload, Tenant, WalletId};
use chancery_policy::{Bundle, Source};
use serde_json::Value;

use crate::Seen;

/// The body of `POST /v1/sign` field by field, and the names in it as they stand in headers and URLs.
pub(super) fn request(input: &[u8]) -> Seen {
    if let Ok(text) = std::str::from_utf8(input) {
        for printed in [
            text.parse::<WalletId>().map(|id| id.to_string()),
            text.parse::<Tenant>().map(|id| id.to_string()),
            text.parse::<IdempotencyKey>().map(|id| id.to_string()),
        ]
        .into_iter()
        .flatten()
        {
            assert_eq!(printed, text, "a name has one spelling");
        }
    }
    let body: Value = match serde_json::from_slice(input) {
        Ok(body) => body,
        Err(error) => return Seen::refused(&error),
    };
    let read = serde_json::from_value::<WalletId>(body["wallet"].clone())
        .and_then(|_| serde_json::from_value::<Payload>(body["payload"].clone()));
    match read {
        Err(error) => Seen::refused(&error),
        Ok(payload) => {
            let written = serde_json::to_value(&payload).unwrap();
            assert_eq!(serde_json::from_value::<Payload>(written.clone()).unwrap(), payload);
            // Hexadecimal may come in capitals; base64 has one spelling.
            match (&payload, &body["payload"]["data"]) {
                (Payload::BitcoinPsbt { data }, Value::String(text)) => {
                    assert_eq!(&base64::engine::general_purpose::STANDARD.encode(data), text);
                }
                (_, Value::String(text)) => {
                    assert_eq!(written["data"].as_str().unwrap(), text.to_lowercase())
                }
                _ => {}
            }
            Seen::accepted(&payload.kind())
        }
    }
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    [
        r#"{"wallet":"treasury","payload":{"type":"ethereum.transaction","data":"0x02c0"}}"#,
        r#"{"wallet":"w","payload":{"type":"ethereum.authorization","data":"0x05C0"}}"#,
        r#"{"wallet":"w","payload":{"type":"ethereum.message","data":"0x"}}"#,
        r#"{"wallet":"w","payload":{"type":"ethereum.typed_data","document":{"types":{},"domain":{"a":[1,null]}}}}"#,
        r#"{"wallet":"w","payload":{"type":"bitcoin.psbt","data":"cHNidP8="}}"#,
        r#"{"wallet":"w","payload":{"type":"bitcoin.message","data":"0x00"}}"#,
        "order-2026-0007",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// The body of `PUT /v1/policy`.
pub(super) fn bundle(input: &[u8]) -> Seen {
    let source: Source = match serde_json::from_slice(input) {
        Ok(source) => source,
        Err(error) => return Seen::refused(&error),
    };
    let again: Source = serde_json::from_slice(&source.canonical()).unwrap();
    assert_eq!(again, source);
    assert_eq!(again.hash(), source.hash());
    match Bundle::compile(&source) {
        Ok(bundle) => {
            assert_eq!(bundle.hash(), source.hash());
            Seen::accepted(&bundle.rules().len())
        }
        Err(error) => {
            let codes: Vec<_> = error.findings.iter().map(|finding| finding.code).collect();
            assert!(!codes.is_empty(), "refused without a word");
            Seen::refused(&format!("{:?}", codes.first()))
        }
    }
}

pub(super) fn bundles() -> Vec<Vec<u8>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples");
    ["treasury", "vault"]
        .map(|name| Source::from_directory(&examples.join(name)).expect("the example is there").canonical())
        .into()
}

pub(super) fn config(input: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(input) else { return Seen::refused(&"not text") };
    match Config::parse(text, Path::new("/base")) {
        Err(error) => Seen::refused(&error.to_string().lines().last().unwrap_or_default()),
        Ok(config) => {
            assert_eq!(config.version, 1);
            assert!(config.tls.key.is_absolute() && config.store.directory.is_absolute());
            assert!(config.log.cosignatures <= config.log.witness.len());
            Seen::accepted(&(config.mode.is_production(), config.tls.crl.len()))
        }
    }
}

pub(super) fn configs() -> Vec<Vec<u8>> {
    let text = r#"version = 1
mode = "development"
listen = { api = "127.0.0.1:8443", ops = "127.0.0.1:9443" }
tls = { certificate = "pki/server.pem", key = "pki/server-key.pem", client_ca = "pki/ca.pem", crl = ["pki/ca.crl"] }
store = { directory = "store", reserve_mib = 64 }
[log]
origin = "localhost/chancery"
directory = "log"
cosignatures = 1
[[log.witness]]
url = "http://127.0.0.1:1"
key = "k"
[policy]
proof_ms = 10
[rate]
client = { per_second = 5, burst = 9 }
[hsm]
module = "/usr/lib/softhsm/libsofthsm2.so"
token = "chancery"
pin = { file = "hsm/pin" }
sessions = 4
environment = { A = "b" }
"#;
    vec![
        text.into(),
        text.replace("development", "production").replace("{ file = \"hsm/pin\" }", "{ fd = 3 }").into(),
    ]
}

/// RFC 8785: one text for one value.
pub(super) fn canonical(input: &[u8]) -> Seen {
    let value: Value = match serde_json::from_slice(input) {
        Ok(value) => value,
        Err(error) => return Seen::refused(&error),
    };
    let text = match canonical_bytes(&value) {
        Ok(text) => text,
        Err(error) => return Seen::refused(&error),
    };
    let back: Value = serde_json::from_slice(&text).expect("canonical JSON is JSON");
    assert_eq!(canonical_bytes(&back).unwrap(), text, "the canonical form of the canonical form is itself");
    assert!(same(&value, &back), "{value} is not {back}");
    Seen::accepted(&std::mem::discriminant(&value))
}

/// Equal as RFC 8785 sees it: `1.0` is `1`, `-0.0` is `0`.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

pub(super) fn values() -> Vec<Vec<u8>> {
    [
        r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,-0.0,1e-27],"string":"\u20ac$\u000F\nA'\"\\","l":[null,true,false]}"#,
        r#"{"a":9007199254740991,"b":[-9007199254740991,0.1],"\ud83d\ude00":{},"\u00e9":[]}"#,
        r#"[0.5,1e15,123456789012345.67,5e-324]"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
