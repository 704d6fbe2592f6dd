//! The commands that talk to the server: what they send, what they make of the answers, and how often they try.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

#[path = "support/log.rs"]
mod log;
#[path = "support/server.rs"]
mod server;
mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_identity::{Message, testimony};
use chancery_intent::contracts::Registry;
use log::{Log, transaction};
use serde_json::{Value, json};
use server::{Reply, Server, json as answer};
use support::{ONE_ETHER, TO_A_STRANGER, chancery, mode, text};
use x509_parser::prelude::*;

const ID: &str = "019a0000-0000-7000-8000-000000000000";

fn released(payload: &str) -> (Log, Value) {
    let payload = transaction(payload);
    let intent = log::intent(&payload, &Registry::default());
    let log = Log::of(&payload, &Registry::default(), None);
    let document = json!({
        "request_id": ID,
        "state": "released",
        "wallet": "treasury",
        "signing_digest": hex::encode(intent.signing_digest()),
        "intent": intent.description(),
        "signature": { "bytes": log.receipt.signature },
        "signed_transaction": format!("0x{}", log.receipt.signed_transaction.as_ref().unwrap()),
        "receipt": log.receipt,
    });
    (log, document)
}

fn problem(status: u16, code: &str, more: Value) -> Reply {
    let mut body = json!({ "type": format!("urn:chancery:error:{code}"), "status": status, "code": code, "detail": "told" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Reply::Answer(
        status,
        &[("retry-after", "0"), ("content-type", "application/problem+json")],
        body.to_string().into(),
    )
}

fn sign(server: &Server, more: &[&str]) -> support::Ran {
    let mut arguments = vec!["sign", "--wallet", "treasury", "--transaction", ONE_ETHER];
    arguments.extend(more);
    server.run(&arguments)
}

#[test]
fn a_wallet_is_asked_for_with_the_operators_certificate() {
    let wallet = json!({ "id": "treasury", "address": "0xAb", "chain_ids": [1, 10], "public_key": "02", "algorithm": "secp256k1" });
    let server = Server::scripted(vec![answer(201, &wallet)]);
    let ran = server
        .run(&["wallet", "create", "treasury", "--chain-id", "1", "--chain-id", "10", "--json"])
        .ends(0);
    assert_eq!(ran.json(), wallet);
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v1/wallets HTTP/1.1");
    assert_eq!(
        asked[0].json(),
        json!({ "id": "treasury", "chain": "ethereum", "chain_ids": [1, 10], "key": { "from": "hsm" } })
    );
    let (_, certificate) = X509Certificate::from_der(&asked[0].certificate).unwrap();
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names, &[GeneralName::URI("chancery://default/operator/operator")]);
}

#[test]
fn a_released_signature_is_printed_and_its_receipt_verifies() {
    let (log, document) = released(ONE_ETHER);
    let server = Server::scripted(vec![answer(200, &document), answer(200, &document)]);
    let receipt = server.path("receipt.json");
    let ran = sign(&server, &["--receipt", text(&receipt)]).ends(0);
    let raw = log.receipt.signed_transaction.as_ref().unwrap();
    assert_eq!(ran.stdout, format!("0x{raw}\n"), "standard output is what a node takes, and nothing else");
    assert!(!ran.stderr.contains("WARNING"), "{}", ran.stderr);
    log.write(&server.path(""));
    std::fs::write(server.path("trust.json"), log.trust().to_json()).unwrap();
    chancery(&["receipt", "verify", text(&receipt), "--trust", text(&server.path("trust.json"))]).ends(0);

    // The key that was made is told before anything can go wrong, and is the one that was sent.
    let key = ran.stderr.lines().next().unwrap().strip_prefix("idempotency key: ").unwrap().to_owned();
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v1/sign HTTP/1.1");
    assert_eq!(asked[0].header("idempotency-key"), key);
    let payload = json!({ "type": "ethereum.transaction", "data": ONE_ETHER });
    assert_eq!(asked[0].json(), json!({ "wallet": "treasury", "payload": payload }));

    let ran = sign(&server, &["--idempotency-key", "order-42", "--json"]).ends(0);
    assert_eq!(ran.json()["idempotency_key"], "order-42");
    assert_eq!(server.asked()[1].header("idempotency-key"), "order-42");
}

/// Would catch a client whose requests no appliance takes, that signs once for several tries, or signs what it does not send.
#[test]
fn requests_are_signed_afresh_unless_told_otherwise() {
    let (_, document) = released(ONE_ETHER);
    let server = Server::scripted(vec![
        problem(503, "hsm-unavailable", json!({})),
        answer(200, &document),
        answer(200, &document),
    ]);
    let state = server.path("state");
    chancery(&["client", "issue", "backend", "--role", "client", "--dir", text(&state)]).ends(0);
    let backend = server.path("state/clients/backend");
    let sign = ["--client", text(&backend), "sign", "--wallet", "treasury", "--transaction", ONE_ETHER];
    chancery(&sign).ends(0);
    chancery(&[&sign[..], &["--unsigned"]].concat()).ends(0);
    let asked = server.asked();
    let mut inputs = Vec::new();
    for request in &asked[..2] {
        let message = Message {
            method: "POST",
            authority: request.header("host"),
            path: "/v1/sign",
            idempotency_key: request.header("idempotency-key"),
            body: request.body.as_bytes(),
        };
        let (_, parameters) = request.header("signature-input").split_once('=').unwrap();
        let signature = request.header("signature").split(':').nth(1).unwrap();
        let signature = STANDARD.decode(signature).unwrap();
        let shown = testimony(&request.certificate, &message, parameters, &signature).unwrap();
        assert_eq!(shown.client.as_str(), "backend");
        assert!(request.header("content-digest").starts_with("sha-256=:"));
        inputs.push(parameters.to_owned());
    }
    assert_ne!(inputs[0], inputs[1], "a nonce is good for one decision");
    for name in ["signature", "signature-input", "content-digest"] {
        assert_eq!(asked[2].header(name), "", "{name}");
    }
}

#[test]
fn a_signature_over_something_else_is_not_passed_over_in_silence() {
    let (_, document) = released(TO_A_STRANGER);
    let server = Server::scripted(vec![answer(200, &document)]);
    let ran = sign(&server, &[]);
    assert!(ran.stderr.contains("WARNING: do not rely on this signature"), "{}", ran.stderr);
}

#[test]
fn the_same_key_is_tried_again_and_never_a_second_one() {
    let (_, document) = released(ONE_ETHER);
    let server = Server::scripted(vec![
        problem(429, "rate-limited", json!({})),
        problem(503, "hsm-unavailable", json!({})),
        problem(409, "request-in-progress", json!({})),
        Reply::Broken,
        answer(200, &document),
    ]);
    sign(&server, &[]).ends(0);
    let keys: Vec<String> =
        server.asked().iter().map(|asked| asked.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()), "a retry under another key: {keys:?}");
}

#[test]
fn what_is_not_safe_to_send_twice_is_sent_once() {
    let server = Server::scripted(vec![problem(429, "overloaded", json!({}))]);
    server.run(&["wallet", "create", "w", "--chain-id", "1"]).ends(6);
    assert_eq!(server.asked().len(), 1);
    let server = Server::scripted(vec![Reply::Broken]);
    server.run(&["wallet", "create", "w", "--chain-id", "1"]).ends(6);
    assert_eq!(server.asked().len(), 1);
    // Nothing is gained by asking for a policy that is not there.
    let server = Server::scripted(vec![problem(503, "no-policy", json!({}))]);
    let ran = sign(&server, &[]).ends(6);
    assert!(ran.stderr.contains("chancery policy apply"), "the next step is not told: {}", ran.stderr);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_denial_names_its_rules() {
    let denied = || problem(403, "policy-denied", json!({ "rules": ["usdx-daily-limit"], "request_id": ID }));
    let server = Server::scripted(vec![denied(), denied()]);
    let ran = sign(&server, &[]).ends(4);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains("rules: usdx-daily-limit") && ran.stderr.contains(ID), "{}", ran.stderr);
    let error = sign(&server, &["--json"]).ends(4).error();
    assert_eq!(error["code"], "policy-denied");
    assert_eq!(error["rules"], json!(["usdx-daily-limit"]));
    assert_eq!((&error["status"], &error["exit"]), (&json!(403), &json!(4)));
}

#[test]
fn a_pending_request_prints_nothing_that_could_be_broadcast() {
    let pending = json!({ "request_id": ID, "state": "pending", "missing": [{ "rule": "large-eth", "effect": 0, "needs": [{ "need": "quorum", "group": "treasury", "needed": 2, "have": 0 }] }], "expires_ms": 1_793_491_200_000_i64 });
    let server = Server::scripted(vec![answer(202, &pending), answer(202, &pending)]);
    let ran = sign(&server, &[]).ends(3);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(
        ran.stderr.contains("missing: 0 of 2 approvals by `treasury` (rule large-eth, effect 0)"),
        "{}",
        ran.stderr
    );
    assert_eq!(sign(&server, &["--json"]).ends(3).json()["state"], "pending");
}

#[test]
fn waiting_follows_the_request_to_its_end() {
    let pending = json!({ "request_id": ID, "state": "pending", "missing": [] });
    let (_, document) = released(ONE_ETHER);
    let server = Server::scripted(vec![answer(202, &pending), answer(202, &pending), answer(200, &document)]);
    sign(&server, &["--wait"]).ends(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    for again in &asked[1..] {
        assert_eq!((&again.line, &again.body), (&asked[0].line, &asked[0].body));
        assert_eq!(
            again.header("idempotency-key"),
            asked[0].header("idempotency-key"),
            "waiting asked for a second one"
        );
    }
    for (status, code, exit) in [(409, "request-expired", 5), (403, "policy-denied", 4)] {
        let server = Server::scripted(vec![answer(202, &pending), problem(status, code, json!({}))]);
        assert!(sign(&server, &["--wait"]).ends(exit).stdout.is_empty(), "{code}");
    }
    // The time is up, and it is still pending.
    let server = Server::scripted(vec![answer(202, &pending), Reply::Silence]);
    sign(&server, &["--wait", "--timeout", "20s"]).ends(3);
}

#[test]
fn refusals_and_silence_have_their_exit_codes() {
    for (reply, code) in [
        (problem(422, "payload-malformed", json!({})), 5),
        (problem(409, "idempotency-conflict", json!({})), 5),
        (problem(401, "unauthenticated", json!({})), 5),
        (problem(500, "internal", json!({})), 6),
        (Reply::Answer(302, &[("location", "https://127.0.0.1:1/")], vec![]), 5),
        (Reply::Answer(200, &[], b"<html>".to_vec()), 6),
        (answer(200, &json!({ "state": 7 })), 6),
    ] {
        let server = Server::scripted(vec![reply]);
        sign(&server, &[]).ends(code);
    }
    let server = Server::scripted(vec![Reply::Silence]);
    let error = sign(&server, &["--timeout", "2s", "--json"]).ends(6).error();
    assert_eq!(error["code"], "timeout");
    // What was said before the silence says more.
    let server = Server::scripted(vec![problem(503, "not-cosigned", json!({})), Reply::Silence]);
    let error = sign(&server, &["--timeout", "3s", "--json"]).ends(6).error();
    assert_eq!(error["code"], "not-cosigned");
}

/// Would catch a listener that ends with its first stream, hears an event twice, or goes on where it is not let in.
#[test]
fn who_follows_goes_on_where_the_last_stream_ended() {
    let stream = |id: u64| {
        let event = json!({ "type": "request.released", "data": { "index": id } });
        let text = format!(": here\n\nid: {id}\nevent: request.released\ndata: {event}\n\n");
        Reply::Answer(200, &[("content-type", "text/event-stream")], text.into_bytes())
    };
    let server = Server::scripted(vec![stream(5), stream(9), problem(403, "forbidden", json!({}))]);
    let ran = server.run(&["events", "--follow", "--after", "4", "--json"]).ends(5);
    let heard: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["index"].clone())
        .collect();
    assert_eq!(heard, [json!(5), json!(9)]);
    let from: Vec<String> =
        server.asked().iter().map(|asked| asked.header("last-event-id").to_owned()).collect();
    assert_eq!(from, ["", "5", "9"]);
}

#[test]
fn hostile_text_does_not_reach_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}\u{9b}2J";
    let server = Server::scripted(vec![
        problem(403, "policy-denied", json!({ "detail": hostile, "rules": [hostile] })),
        problem(403, "policy-denied", json!({ "detail": hostile, "rules": [hostile] })),
        answer(200, &json!({ "wallets": [{ "id": hostile, "address": hostile, "chain_ids": [hostile] }] })),
        answer(200, &json!({ "wallets": [{ "id": hostile }] })),
    ]);
    let acts = |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    for ran in [sign(&server, &[]), sign(&server, &["--json"]), server.run(&["wallet", "list"])] {
        assert!(!acts(&ran.stdout) && !acts(&ran.stderr), "{ran:?}");
    }
    let ran = server.run(&["wallet", "list", "--json"]).ends(0);
    assert!(!acts(&ran.stdout), "{ran:?}");
    assert_eq!(ran.json()["wallets"][0]["id"], hostile, "JSON must still carry the exact text");
}

#[test]
fn a_server_of_another_authority_is_not_spoken_to() {
    let (server, other) = (Server::scripted(vec![]), Server::scripted(vec![]));
    let (ours, theirs) =
        (server.path("state/clients/operator/ca.pem"), other.path("state/clients/operator/ca.pem"));
    std::fs::copy(theirs, ours).unwrap();
    sign(&server, &[]).ends(6);
    assert!(server.asked().is_empty(), "a request was sent to a server that is not ours");
}

#[test]
fn no_server_is_exit_6_at_once_and_a_broken_client_directory_exit_7() {
    let server = Server::scripted(vec![]);
    let ran = server.run(&["--url", "https://localhost:1", "wallet", "list"]).ends(6);
    assert!(ran.stderr.contains("chanceryd"), "{}", ran.stderr);
    server.run(&["--url", "http://localhost:1", "wallet", "list"]).ends(2);
    chancery(&["--client", "/nonexistent", "wallet", "list"]).ends(7);
    let file = server.path("state/clients/operator/client.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("v = 1", "v = 2")).unwrap();
    server.run(&["wallet", "list"]).ends(7);
}

#[test]
fn a_key_that_others_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::scripted(vec![answer(200, &json!({ "wallets": [] }))]);
    let key = server.path("state/clients/operator/key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = server.run(&["wallet", "list"]).ends(0);
    assert!(ran.stderr.contains("warning: others"), "{}", ran.stderr);
}

#[test]
fn listings_are_read_to_their_last_page_and_no_further_than_asked() {
    let page = |ids: &[&str], next: Option<&str>| {
        let rows: Vec<Value> = ids.iter().map(|id| json!({ "request_id": id, "state": "pending" })).collect();
        answer(200, &json!({ "requests": rows, "next": next }))
    };
    let server = Server::scripted(vec![page(&["a", "b"], Some("b")), page(&["c"], None)]);
    let ran = server.run(&["request", "list", "--state", "pending", "--json"]).ends(0);
    assert_eq!(ran.json()["requests"].as_array().unwrap().len(), 3);
    let lines: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines[0], "GET /v1/requests?state=pending&limit=50 HTTP/1.1");
    assert_eq!(lines[1], "GET /v1/requests?state=pending&after=b&limit=48 HTTP/1.1");

    let server = Server::scripted(vec![page(&["a", "b", "c"], Some("c"))]);
    let ran = server.run(&["request", "list", "--limit", "2", "--json"]).ends(0);
    assert_eq!(ran.json()["requests"].as_array().unwrap().len(), 2, "more rows than asked for");
    // A server that turns in circles does not keep the program for ever.
    let server = Server::answering(Box::new(move |_| answer(200, &json!({ "requests": [{}], "next": "a" }))));
    server.run(&["request", "list"]).ends(6);
}

#[test]
fn an_export_is_what_was_recorded() {
    let log = Log::of(&transaction(ONE_ETHER), &Registry::default(), None);
    let row = json!({ "leaf": 0, "decision": log.decision, "end_leaf": 1, "end": log.outcome });
    let page = move |next: Option<&str>| answer(200, &json!({ "decisions": [row], "next": next }));
    let server = Server::scripted(vec![page(Some("0")), page(None), page(None)]);
    let out = server.path("october.csv");
    let filters = [
        "--wallet",
        "treasury",
        "--client-id",
        "backend",
        "--outcome",
        "released",
        "--from",
        "1000",
        "--to",
        "2000",
    ];
    let mut arguments = vec!["audit", "export", "--format", "csv", "--out", text(&out)];
    arguments.extend(filters);
    server.run(&arguments).ends(0);
    let lines: Vec<String> = std::fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "one header and a line for each decision: {lines:#?}");
    assert!(lines[0].starts_with("leaf,time,"), "{lines:?}");
    assert!(lines[1].contains("released") && lines[1] == lines[2]);
    let line = &server.asked()[0].line;
    let query = "?wallet=treasury&client=backend&outcome=released&from=1000&to=2000&limit=500";
    assert_eq!(line, &format!("GET /v1/audit/decisions{query} HTTP/1.1"));

    let ran = server.run(&["audit", "export", "--format", "jsonl"]).ends(0);
    let row: Value = serde_json::from_str(ran.stdout.trim_end()).unwrap();
    assert_eq!(row["decision"], serde_json::to_value(&log.decision).unwrap());
}

#[test]
fn a_log_is_copied_through_the_api_and_verified_here() {
    let log = Log::of(&transaction(ONE_ETHER), &Registry::default(), None);
    let files = log.files();
    let trust = log.trust().to_json();
    let told = trust.clone();
    let server = Server::answering(Box::new(move |asked| {
        let path = asked.line.split(' ').nth(1).unwrap();
        if path == "/v1/trust" {
            return Reply::Answer(200, &[], told.clone().into_bytes());
        }
        match files.iter().find(|(name, _)| path == format!("/v1/log/{name}")) {
            Some((_, bytes)) => Reply::Answer(200, &[], bytes.clone()),
            None => problem(404, "not-found", json!({})),
        }
    }));
    let file = server.path("trust.json");
    server.run(&["trust", "fetch", "--out", text(&file)]).ends(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), trust);
    assert_eq!(mode(&file), 0o644);
    server.run(&["trust", "fetch", "--out", text(&file)]).ends(7);

    let report = server.run(&["audit", "verify", "--trust", text(&file), "--json"]).ends(0).json();
    assert_eq!(report["size"], 2);
    let checkpoint = server.run(&["audit", "checkpoint"]).ends(0).stdout;
    assert_eq!(checkpoint, log.checkpoint(2));
    let kept = server.path("checkpoint");
    std::fs::write(&kept, checkpoint).unwrap();
    server.run(&["audit", "verify", "--trust", text(&file), "--since", text(&kept)]).ends(0);

    // A log of another key.
    let other = Log::of(&transaction(ONE_ETHER), &Registry::default(), None);
    let strange = server.path("strange.json");
    std::fs::write(&strange, other.trust().to_json()).unwrap();
    server.run(&["audit", "verify", "--trust", text(&strange)]).ends(1);
}
