//! `chancery receipt verify` and `chancery audit verify`: what holds is said to hold, and every change is found, with
//! no network and on the real binary.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

#[path = "support/log.rs"]
mod log;
mod support;

use std::path::Path;

use chancery_intent::Standard;
use chancery_intent::contracts::{Entry, Registry};
use log::{Log, transaction};
use serde_json::{Value, json};
use support::{EXCHANGE, FIVE_USDX, ONE_ETHER, USDX, chancery, text};

fn token() -> Registry {
    Registry::build([Entry {
        chain_id: 31_337,
        address: USDX.parse().unwrap(),
        standard: Some(Standard::Erc20),
        abi: None,
    }])
    .unwrap()
}

fn verify(folder: &Path, receipt: &str) -> support::Ran {
    let (receipt, trust) = (folder.join(receipt), folder.join("trust.json"));
    chancery(&["receipt", "verify", text(&receipt), "--trust", text(&trust), "--json"])
}

fn reason(ran: &support::Ran) -> String {
    ran.json()["receipts"][0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_receipt_verifies_offline_and_says_what_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    Log::of(&transaction(ONE_ETHER), &Registry::default(), None).write(folder.path());
    let result = verify(folder.path(), "receipt.json").ends(0).json();
    let receipt = &result["receipts"][0];
    assert_eq!(receipt["ok"], true);
    assert_eq!(receipt["outcome"], "released");
    assert_eq!(receipt["assumed"], json!([]), "a plain transfer rests on nobody's word");
    let checked = receipt["checked"].to_string();
    for sentence in ["low-S", "exactly the stated intent", "the signing digest is the payload's"] {
        assert!(checked.contains(sentence), "`{sentence}` is not among {checked}");
    }
    let shown = chancery(&[
        "receipt",
        "verify",
        text(&folder.path().join("receipt.json")),
        "--trust",
        text(&folder.path().join("trust.json")),
    ])
    .ends(0);
    assert!(shown.stdout.contains("receipt.json: ok"), "{}", shown.stdout);
}

#[test]
fn what_the_bundle_said_about_a_contract_is_named_as_an_assumption() {
    let folder = tempfile::tempdir().unwrap();
    Log::of(&transaction(FIVE_USDX), &token(), None).write(folder.path());
    let result = verify(folder.path(), "receipt.json").ends(0).json();
    let assumed = result["receipts"][0]["assumed"].as_array().unwrap();
    assert_eq!(assumed.len(), 1, "{assumed:?}");
    assert!(assumed[0].as_str().unwrap().contains("`erc20`"), "{assumed:?}");
}

/// The log's own key signs a lie about what the payload does: every proof holds, only decoding again finds it.
#[test]
fn an_intent_that_the_payload_does_not_have_is_found_although_every_proof_holds() {
    let payload = transaction(FIVE_USDX);
    let truth = serde_json::to_value(log::intent(&payload, &token()).description()).unwrap();
    assert_eq!(truth["effects"][0]["destination"], EXCHANGE);
    let change = |pointer: &str, value: Value| {
        let mut lie = truth.clone();
        *lie.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {truth:#}")) = value;
        lie
    };
    for lie in [
        change("/effects/0/amount", json!("1")),
        change("/effects/0/destination", json!(USDX)),
        change("/effects/0/asset", json!("eip155:31337/slip44:60")),
        change("/effects/0/asset", json!(format!("eip155:31337/erc20:{EXCHANGE}"))),
        change("/account", json!(EXCHANGE)),
        change("/nonce", json!(2)),
        change("/chain", json!("eip155:1")),
        change("/effects", json!([])),
    ] {
        let folder = tempfile::tempdir().unwrap();
        Log::of(&payload, &token(), Some(lie.clone())).write(folder.path());
        let ran = verify(folder.path(), "receipt.json").ends(1);
        assert!(!reason(&ran).is_empty(), "{lie:#}");
    }
}

#[test]
fn a_receipt_that_was_touched_fails_and_the_others_are_verified_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    Log::of(&transaction(ONE_ETHER), &Registry::default(), None).write(folder.path());
    let good: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("receipt.json")).unwrap()).unwrap();
    let mut touched = good.clone();
    touched["decision"]["rules"] = json!(["another-rule"]);
    std::fs::write(folder.path().join("touched.json"), touched.to_string()).unwrap();
    std::fs::write(folder.path().join("garbage.json"), "{").unwrap();

    let paths = ["touched.json", "receipt.json", "garbage.json"].map(|name| folder.path().join(name));
    let trust = folder.path().join("trust.json");
    let [touched, receipt, garbage] = paths.each_ref().map(|path| text(path));
    let ran = chancery(&["receipt", "verify", touched, receipt, garbage, "--trust", text(&trust), "--json"])
        .ends(1);
    let result = ran.json();
    assert_eq!(result["ok"], false);
    let each: Vec<bool> = result["receipts"].as_array().unwrap().iter().map(|r| r["ok"] == true).collect();
    assert_eq!(each, [false, true, false]);
    assert_eq!(ran.error()["code"], "check-failed");

    // A file that is not there keeps nothing from being verified, and is no failed check.
    let none = folder.path().join("none.json");
    let ran =
        chancery(&["receipt", "verify", text(&none), receipt, "--trust", text(&trust), "--json"]).ends(7);
    assert_eq!(ran.json()["receipts"][1]["ok"], true);
    chancery(&["receipt", "verify", text(&none), touched, "--trust", text(&trust)]).ends(1);
}

#[test]
fn another_log_is_not_believed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let payload = transaction(ONE_ETHER);
    Log::of(&payload, &Registry::default(), None).write(folder.path());
    Log::of(&payload, &Registry::default(), None).write(other.path());
    std::fs::copy(other.path().join("trust.json"), folder.path().join("trust.json")).unwrap();
    verify(folder.path(), "receipt.json").ends(1);
    // A trust file that is none, or is not there, is not the receipt's fault.
    std::fs::write(folder.path().join("trust.json"), "{}").unwrap();
    verify(folder.path(), "receipt.json").ends(7);
    std::fs::remove_file(folder.path().join("trust.json")).unwrap();
    verify(folder.path(), "receipt.json").ends(7);
}

#[test]
fn a_log_verifies_and_every_flipped_bit_of_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::of(&transaction(ONE_ETHER), &Registry::default(), None);
    log.write(folder.path());
    let (dir, trust) = (folder.path().join("log"), folder.path().join("trust.json"));
    let run = || chancery(&["audit", "verify", "--dir", text(&dir), "--trust", text(&trust), "--json"]);
    let report = run().ends(0).json();
    assert_eq!((&report["size"], &report["decisions"], &report["open"]), (&json!(2), &json!(1), &json!(0)));

    for (path, bytes) in log.files() {
        for at in [0, bytes.len() / 2, bytes.len() - 2] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(dir.join(path), &flipped).unwrap();
            assert_eq!(run().ends(1).json()["ok"], false, "byte {at} of {path}");
        }
        std::fs::remove_file(dir.join(path)).unwrap();
        run().ends(1);
        std::fs::write(dir.join(path), &bytes).unwrap();
    }
    run().ends(0);
    chancery(&["audit", "verify", "--dir", "/nonexistent", "--trust", text(&trust)]).ends(7);
}

#[test]
fn an_older_checkpoint_shows_whether_the_log_only_grew() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::of(&transaction(ONE_ETHER), &Registry::default(), None);
    log.write(folder.path());
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("older"), log.checkpoint(1)).unwrap();
    let run = || {
        let (dir, trust, older) = (path("log"), path("trust.json"), path("older"));
        chancery(&[
            "audit",
            "verify",
            "--dir",
            text(&dir),
            "--trust",
            text(&trust),
            "--since",
            text(&older),
            "--json",
        ])
    };
    assert_eq!(run().ends(0).json()["since"], 1);

    // The log is cut back to its first entry, rightly signed: the older checkpoint is of two.
    std::fs::write(path("older"), log.checkpoint(2)).unwrap();
    std::fs::write(path("log/checkpoint"), log.checkpoint(1)).unwrap();
    let ran = run().ends(1);
    assert_eq!(ran.json()["reason"], "log-rolled-back", "{ran:?}");

    std::fs::write(path("older"), "no checkpoint").unwrap();
    run().ends(7);
}
