//! Requests that clients sign themselves (RFC 9421), at the real door. The signature base is written here by hand, as
//! another implementer would from `docs/api.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_consensus::SignableTransaction;
use alloy_primitives::U256;
use appliance::{Answer, Appliance, Peer, bundle, finish, transfer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_core::limit;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A rule that a failing request passes: taproot messages are decided, and refused at the signer.
const MESSAGES: &str = r#"@id("messages") permit (principal, action == Action::"message", resource);"#;

/// The example bundle without its goals, which need a solver.
fn guarded() -> Value {
    let mut bundle = bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples/guarded"));
    let files = bundle["files"].as_object_mut().unwrap();
    files.retain(|path, _| !path.starts_with("goals/"));
    files.insert("policies/messages.cedar".into(), MESSAGES.into());
    bundle
}

/// One HTTP request with everything that is signed of it, before it is sent.
#[derive(Clone, Debug)]
struct Request {
    method: reqwest::Method,
    path: String,
    authority: String,
    key: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

const COVERED: [&str; 5] = ["@method", "@authority", "@path", "content-digest", "idempotency-key"];

/// Signs with a peer's key, over these components, made at this time.
fn signed_over(peer: &Peer, body: &[u8], key: &str, covered: &[&str], created_s: u64) -> Request {
    let certificate = CertificateDer::from_pem_slice(peer.certificate.as_bytes()).unwrap();
    let pem = PrivateKeyDer::from_pem_slice(peer.key.as_bytes()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pem.secret_der()).unwrap();
    let authority = peer.base.trim_start_matches("https://").to_owned();
    let (digest, keyid) = (digest(body), hex::encode(Sha256::digest(&certificate)));
    let nonce = chancery_core::RequestId::fresh();
    let listed: Vec<_> = covered.iter().map(|name| format!("\"{name}\"")).collect();
    let parameters = format!(
        "({});created={created_s};keyid=\"{keyid}\";alg=\"ecdsa-p256-sha256\";nonce=\"{nonce}\";tag=\"chancery\"",
        listed.join(" ")
    );
    let mut base = String::new();
    for name in covered {
        let value = match *name {
            "@method" => "POST",
            "@authority" => &authority,
            "@path" => "/v1/sign",
            "content-digest" => &digest,
            _ => key,
        };
        base += &format!("\"{name}\": {value}\n");
    }
    base += &format!("\"@signature-params\": {parameters}");
    let signature = pair.sign(&SystemRandom::new(), base.as_bytes()).unwrap();
    Request {
        method: reqwest::Method::POST,
        path: "/v1/sign".into(),
        authority,
        key: key.to_owned(),
        body: body.to_vec(),
        headers: vec![
            ("content-digest", digest),
            ("signature-input", format!("me={parameters}")),
            ("signature", format!("me=:{}:", STANDARD.encode(signature))),
        ],
    }
}

fn signed(peer: &Peer, body: &[u8], key: &str) -> Request {
    signed_over(peer, body, key, &COVERED, now_s())
}

impl Request {
    fn with(&self, header: &str, change: impl FnOnce(&str) -> String) -> Self {
        let mut other = self.clone();
        let (_, value) = other.headers.iter_mut().find(|(name, _)| *name == header).unwrap();
        *value = change(value);
        other
    }

    fn without(&self, header: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(name, _)| *name != header);
        other
    }

    async fn send(&self, peer: &Peer) -> Answer {
        let mut request = peer
            .client
            .request(self.method.clone(), format!("{}{}", peer.base, self.path))
            .header("content-type", "application/json")
            .header("idempotency-key", &self.key)
            .body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        finish(request).await
    }
}

/// 0.5 ETH to the exchange, under this nonce of the account.
fn half_an_ether(wallet: &str, nonce: u64) -> Vec<u8> {
    let transaction = transfer(nonce, U256::from(5) * U256::from(10).pow(U256::from(17)));
    let data = format!("0x{}", hex::encode(transaction.encoded_for_signing()));
    // Spaces and order are the client's: what is signed is the body as it is sent.
    format!(r#"{{ "payload": {{"type":"ethereum.transaction","data":"{data}"}},  "wallet":"{wallet}" }}"#)
        .into_bytes()
}

async fn furnished() -> Option<Appliance> {
    let mut appliance = Appliance::prepare()?;
    appliance.start();
    appliance.furnish("reserve", &guarded()).await;
    appliance.furnish("petty", &guarded()).await;
    Some(appliance)
}

fn refused(answer: &Answer) -> bool {
    (answer.status, answer.code()) == (401, "request-signature-invalid")
}

/// Would catch a receipt that does not show who asked, or a policy that cannot tell.
#[tokio::test]
async fn a_signed_request_is_told_apart_by_policy_and_shown_by_its_receipt() {
    let Some(appliance) = furnished().await else { return };
    let (backend, trust) = (appliance.peer("client", "backend"), appliance.trust().await);

    let request = signed(&backend, &half_an_ether("reserve", 0), "order-1");
    let answer = request.send(&backend).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let verified = answer.verified(&trust);
    let shown = verified.testimony().expect("the client's own word");
    assert_eq!(shown.client.as_str(), "backend");
    let own = verified.receipt().request_signature.clone().unwrap();
    assert_eq!(own.body.as_bytes(), request.body);
    assert_eq!(own.authority, request.authority);

    // The same over HTTP/1.1, where `Host` says whom it is for.
    let older = appliance.peer_over_http1(backend.certificate.clone(), backend.key.clone());
    let answer = signed(&older, &half_an_ether("reserve", 9), "order-9").send(&older).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.verified(&trust).testimony().is_some());

    // Nothing of it can be taken off or put on a receipt.
    let receipt = serde_json::to_value(verified.receipt()).unwrap();
    let holds = |receipt: &Value| chancery_audit::verify(receipt.to_string().as_bytes(), &trust).is_ok();
    assert!(holds(&receipt));
    let mut stripped = receipt.clone();
    stripped.as_object_mut().unwrap().remove("request_signature");
    assert!(!holds(&stripped), "a receipt without the signature that is on record");
    for (field, value) in [
        ("body", json!(own.body.replace("reserve", "petty"))),
        ("authority", json!("other.example")),
        ("signature", json!("00".repeat(64))),
        ("parameters", json!(own.parameters.replace("created=1", "created=2"))),
        (
            "certificate",
            json!(hex::encode(
                CertificateDer::from_pem_slice(appliance.peer("client", "backend").certificate.as_bytes())
                    .unwrap()
            )),
        ),
    ] {
        let mut changed = receipt.clone();
        changed["request_signature"][field] = value;
        assert!(!holds(&changed), "{field}");
    }

    // Without it the guarded wallet's rule denies, and says what would help; on record, and the same when asked again.
    for _ in 0..2 {
        let mut bare = signed(&backend, &half_an_ether("reserve", 1), "order-2");
        bare.headers.clear();
        let denied = bare.send(&backend).await;
        assert_eq!((denied.status, denied.code()), (403, "request-signature-required"), "{denied:?}");
        assert_eq!(denied.body["rules"], json!(["signed-by-the-client"]));
        let id = denied.body["request_id"].as_str().unwrap();
        let receipt = backend.get(&format!("/v1/requests/{id}/receipt")).await;
        assert!(receipt.verified(&trust).testimony().is_none());
    }
    // A denial that a signature would not have spared says nothing of one.
    let dear = String::from_utf8(half_an_ether("reserve", 2)).unwrap().replace("70997970", "70997971");
    let mut bare = signed(&backend, dear.as_bytes(), "order-3");
    bare.headers.clear();
    assert_eq!(bare.send(&backend).await.code(), "policy-denied");
    // Another wallet asks for none.
    let mut bare = signed(&backend, &half_an_ether("petty", 0), "order-4");
    bare.headers.clear();
    let answer = bare.send(&backend).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.verified(&trust).testimony().is_none());

    // A preview supposes what it is told.
    let ask: Value = serde_json::from_slice(&half_an_ether("reserve", 5)).unwrap();
    for (signed, outcome) in [(true, "allowed"), (false, "denied")] {
        let mut ask = ask.clone();
        ask["request_signed"] = json!(signed);
        let preview = backend.post("/v1/preview", &ask, None).await;
        assert_eq!(preview.body["decision"]["outcome"], outcome, "{preview:?}");
    }
}

/// Would catch a forwarder that changes what it forwards. All refusals look the same, and none leaves anything behind.
#[tokio::test]
async fn a_signature_is_good_for_one_request_of_one_client_and_nothing_else() {
    let Some(appliance) = furnished().await else { return };
    let (backend, other) = (appliance.peer("client", "backend"), appliance.peer("client", "other"));
    // A second certificate of the same name has another key.
    let renewed = appliance.peer("client", "backend");
    let (body, swapped) = (half_an_ether("reserve", 0), half_an_ether("petty", 0));
    let good = signed(&backend, &body, "order-1");
    let now = now_s();
    let away_s = limit::SIGNATURE_MS.unsigned_abs() / 1_000 + 60;
    let covering = |covered: &[&str]| signed_over(&backend, &body, "order-1", covered, now);
    let signature_of = |request: &Request| request.headers[2].1.clone();
    let cases: Vec<(&str, Request)> = vec![
        ("another body", Request { body: swapped.clone(), ..good.clone() }),
        (
            "another body and its digest",
            Request { body: swapped.clone(), ..good.with("content-digest", |_| digest(&swapped)) },
        ),
        ("another key", Request { key: "order-2".into(), ..good.clone() }),
        ("another path", Request { path: "/v1/preview".into(), ..good.clone() }),
        ("a query", Request { path: "/v1/sign?x".into(), ..good.clone() }),
        ("another method", Request { method: reqwest::Method::PUT, ..good.clone() }),
        ("stale", signed_over(&backend, &body, "order-1", &COVERED, now - away_s)),
        ("dated ahead", signed_over(&backend, &body, "order-1", &COVERED, now + away_s)),
        ("without the body", covering(&["@method", "@authority", "@path", "idempotency-key"])),
        ("without the key", covering(&["@method", "@authority", "@path", "content-digest"])),
        ("over nothing", covering(&[])),
        ("two signatures", good.with("signature", |text| format!("{text}, you={}", &text[3..]))),
        (
            "two signatures and inputs",
            good.with("signature", |text| format!("{text}, you={}", &text[3..]))
                .with("signature-input", |text| format!("{text}, you={}", &text[3..])),
        ),
        ("another's signature", good.with("signature", |_| signature_of(&signed(&other, &body, "order-1")))),
        ("another key of the client's name", signed(&renewed, &body, "order-1")),
        ("another client's request", signed(&other, &body, "order-1")),
        ("no signature", good.without("signature")),
        ("no input", good.without("signature-input")),
        ("no digest", good.without("content-digest")),
        ("nonsense", good.with("signature-input", |_| "((((".into())),
        (
            "another algorithm",
            good.with("signature-input", |text| text.replace("ecdsa-p256-sha256", "ed25519")),
        ),
    ];
    let mut told = Vec::new();
    for (why, request) in &cases {
        let answer = request.send(&backend).await;
        assert!(refused(&answer), "{why}: {answer:?}");
        let mut body = answer.body.clone();
        body.as_object_mut().unwrap().remove("request_id");
        told.push(body);
    }
    assert!(
        told.windows(2).all(|pair| pair[0] == pair[1]),
        "refusals that tell more than that they are: {told:?}"
    );
    // Sent by another client, with its own connection.
    assert!(refused(&good.send(&other).await));
    // Nobody but clients signs requests.
    let operator = appliance.peer("operator", "op");
    assert!(refused(&signed(&operator, &body, "order-1").send(&operator).await));
    assert_eq!(backend.get("/v1/requests").await.body["requests"], json!([]), "nothing was recorded");
    assert_eq!(good.send(&backend).await.status, 200);
}

/// Would catch a request that another appliance, which knows the client too, takes for its own.
#[tokio::test]
async fn a_request_for_another_server_is_refused() {
    let Some(appliance) = furnished().await else { return };
    let backend = appliance.peer("client", "backend");
    let elsewhere = appliance.peer_calling("other.example", backend.certificate.clone(), backend.key.clone());
    let request = signed(&elsewhere, &half_an_ether("reserve", 0), "order-1");
    // As it was captured, and under the name of the server it is sent to, for which it was not signed.
    for peer in [&elsewhere, &backend] {
        assert!(refused(&request.send(peer).await));
    }
    let mut bare = request;
    bare.headers.clear();
    assert_eq!(
        bare.send(&elsewhere).await.code(),
        "request-signature-required",
        "it is the signature that is for another"
    );
}

/// Decisions on record, as the auditor sees them.
async fn decisions(appliance: &Appliance) -> usize {
    let answer = appliance.peer("auditor", "ann").get("/v1/audit/decisions").await;
    answer.body["decisions"].as_array().unwrap().len()
}

/// Would catch a captured request that has an effect again: in the window, after a restart, and after the first one failed
/// and freed its key.
#[tokio::test]
async fn a_captured_request_has_no_second_effect() {
    let Some(mut appliance) = furnished().await else { return };
    let operator = appliance.peer("operator", "op");
    let root = json!({"id": "root", "chain": "bitcoin", "network": "regtest", "descriptor": "tr(@0)"});
    assert_eq!(operator.post("/v1/wallets", &root, None).await.status, 201);
    let backend = appliance.peer("client", "backend");

    // One that was released: the first answer again, and nothing new.
    let released = signed(&backend, &half_an_ether("reserve", 0), "order-1");
    let first = released.send(&backend).await;
    assert_eq!(first.status, 200, "{first:?}");
    // One that failed after it was decided, which frees its key.
    let message = br#"{"wallet":"root","payload":{"type":"bitcoin.message","data":"0x68"}}"#;
    let failed = signed(&backend, message, "order-2");
    assert_eq!(failed.send(&backend).await.code(), "schnorr-unavailable");
    assert_eq!(decisions(&appliance).await, 2);
    let (certificate, key) = (backend.certificate.clone(), backend.key.clone());
    for restarted in [false, true] {
        if restarted {
            appliance.kill();
            appliance.reconfigure(
                "\"127.0.0.1:0\", ops",
                &format!("\"{}\", ops", released.authority.replace("localhost", "127.0.0.1")),
            );
            appliance.start();
        }
        let backend = appliance.peer_with(certificate.clone(), key.clone());
        let again = released.send(&backend).await;
        assert_eq!(again.body["request_id"], first.body["request_id"], "{again:?}");
        assert_eq!(again.body["signed_transaction"], first.body["signed_transaction"]);
        let again = failed.send(&backend).await;
        assert!(refused(&again), "restarted {restarted}: {again:?}");
        assert_eq!(decisions(&appliance).await, 2, "restarted {restarted}");
    }
    // The client itself tries again, under the same key and a signature of now: another decision.
    let backend = appliance.peer_with(certificate, key);
    assert_eq!(signed(&backend, message, "order-2").send(&backend).await.code(), "schnorr-unavailable");
    assert_eq!(decisions(&appliance).await, 3);
}
