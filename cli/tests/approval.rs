//! `chancery approval` against a server that lies: what is approved is what the payload does, not what is said of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

#[path = "support/server.rs"]
mod server;
mod support;

use serde_json::{Value, json};
use server::{Asked, Server, json as answer};
use support::{ELEVEN_ETHER, ONE_ETHER, chancery, text};

const ID: &str = "019a0000-0000-7000-8000-000000000000";
/// The generator of secp256k1.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const TREASURY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/examples/treasury");

/// What a payload would do, and its signing digest, as the real decoder says.
fn understood(data: &str) -> (Value, String) {
    use chancery_intent::{Account, address_of, contracts::Registry, ethereum, understand};
    let payload = serde_json::from_value(json!({ "type": "ethereum.transaction", "data": data })).unwrap();
    let address = address_of(&hex::decode(KEY).unwrap()).unwrap();
    let account = Account::Ethereum(ethereum::Account { address, chain_ids: &[31_337] });
    let intent = understand(&payload, &account, &Registry::default()).unwrap();
    (json!(intent.description()), hex::encode(intent.signing_digest()))
}

/// A server that has `sent`, says that it does what `said` does, and answers with a bundle under `hash`.
fn serving(sent: &'static str, said: &'static str, hash: &str) -> Server {
    let source = chancery_policy::Source::from_directory(TREASURY.as_ref()).unwrap();
    let (intent, digest) = understood(said);
    let sheet = json!({
        "request_id": ID, "state": "pending", "client": "backend", "wallet": "treasury", "time_ms": 0,
        "expires_ms": null, "payload": { "type": "ethereum.transaction", "data": sent }, "intent": intent,
        "missing": [], "bundle": hash, "groups": ["treasury"], "relying_party": "c.example", "credentials": [],
    });
    let policy = json!({ "bundle": hash, "files": source.files });
    Server::answering(Box::new(move |asked: &Asked| match asked.line.split(' ').nth(1).unwrap() {
        path if asked.line.starts_with("POST") => {
            answer(200, &json!({ "request_id": ID, "state": "pending", "path": path }))
        }
        path if path.starts_with("/v1/approvals/") => answer(200, &sheet),
        path if path.starts_with("/v1/requests/") => answer(200, &json!({ "signing_digest": digest })),
        path if path.starts_with("/v1/wallets/") => answer(200, &json!({ "public_key": KEY })),
        _ => answer(200, &policy),
    }))
}

fn approve(server: &Server) -> support::Ran {
    let passkey = server.path("ann.passkey");
    if !passkey.exists() {
        let made = ["officer", "passkey", "ann", "--rp-id", "c.example", "--origin", "https://c.example"];
        chancery(&[&made[..], &["--out", text(&passkey)]].concat()).ends(0);
    }
    server.run(&[
        "approval",
        "approve",
        ID,
        "--group",
        "treasury",
        "--passkey",
        text(&passkey),
        "--yes",
        "--json",
    ])
}

fn hash() -> String {
    chancery_policy::Source::from_directory(TREASURY.as_ref()).unwrap().hash()
}

fn said(server: &Server) -> usize {
    server.asked().iter().filter(|asked| asked.line.starts_with("POST")).count()
}

#[test]
fn an_honest_server_gets_a_word() {
    let server = serving(ONE_ETHER, ONE_ETHER, &hash());
    approve(&server).ends(0);
    assert_eq!(said(&server), 1);
    let shown = server.run(&["approval", "show", ID]).ends(0).stdout;
    assert!(shown.contains("send 1 ETH to exchange (0x70997970C51812dc3A010C7d01b50e0d17dc79C8)"), "{shown}");
}

/// Would catch an officer's program that shows and signs the server's words.
#[test]
fn a_server_that_says_something_else_gets_nothing() {
    let server = serving(ELEVEN_ETHER, ONE_ETHER, &hash());
    let ran = approve(&server).ends(1);
    assert!(ran.stderr.contains("nothing was approved"), "{ran:?}");
    let another_bundle = serving(ONE_ETHER, ONE_ETHER, &"00".repeat(32));
    approve(&another_bundle).ends(6);
    assert_eq!((said(&server), said(&another_bundle)), (0, 0));
}

/// Would catch a key that others can read and is used all the same.
#[test]
fn a_passkey_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let server = serving(ONE_ETHER, ONE_ETHER, &hash());
    approve(&server).ends(0);
    let passkey = server.path("ann.passkey");
    assert_eq!(support::mode(&passkey), 0o600);
    std::fs::set_permissions(&passkey, std::fs::Permissions::from_mode(0o644)).unwrap();
    approve(&server).ends(7);
}

/// Would catch a registration whose key is read otherwise than a browser writes it.
#[test]
fn a_browsers_registration_becomes_an_entry() {
    let spki = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q";
    let registration =
        json!({ "id": "AQID", "type": "public-key", "response": { "publicKey": spki } }).to_string();
    let ran = support::chancery_reading(&registration, &["officer", "credential", "ann", "-"]).ends(0);
    let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    assert!(ran.stdout.contains(&format!("key = \"es256:04{x}")), "{ran:?}");
    assert!(ran.stdout.contains("held = \"device\""));
    support::chancery_reading("{}", &["officer", "credential", "ann", "-"]).ends(7);
}
