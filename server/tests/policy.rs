//! What comes into force and what can be asked of it later: goals are proved by the appliance itself, bundles are kept, and
//! recorded decisions are asked again by the real command line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;

use std::path::{Path, PathBuf};
use std::process::Command;

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_primitives::{Address, TxKind, U256, address};
use appliance::{Appliance, bundle, treasury};
use serde_json::Value;

const EXCHANGE: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const STRANGER: Address = address!("90F79bf6EB2c4f870365E785982E1f101E93b906");
const GWEI: u64 = 1_000_000_000;

fn transfer(nonce: u64, gwei: u64, to: Address) -> Vec<u8> {
    let transaction = TxEip1559 {
        chain_id: 31337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(gwei) * U256::from(GWEI),
        ..TxEip1559::default()
    };
    transaction.encoded_for_signing()
}

fn with_goals() -> Value {
    bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples/treasury"))
}

/// The solver the tests may use: what `CVC5` names, or the one in PATH.
fn solver() -> Option<PathBuf> {
    let named = std::env::var_os("CVC5").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join("cvc5")).find(|file| file.is_file()));
    if found.is_none() {
        println!("skipped: no solver; `cargo xtask setup` brings one");
    }
    found
}

/// A bundle with goals comes into force only where this appliance proved them: a client's word counts for nothing.
#[tokio::test]
async fn goals_are_proved_by_the_appliance_or_the_bundle_is_refused() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let operator = appliance.peer("operator", "op");
    let refused = operator.put("/v1/policy", &with_goals()).await;
    assert_eq!((refused.status, refused.code()), (422, "bundle-invalid"), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("solver"), "{refused:?}");
    assert_eq!(operator.get("/v1/policy").await.code(), "no-policy", "what was refused is not in force");

    let Some(solver) = solver() else { return };
    appliance.stop();
    let path = appliance.at("chancery.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        config.replace("[hsm]", &format!("[policy]\nsolver = {:?}\n[hsm]", solver.to_str().unwrap())),
    )
    .unwrap();
    appliance.start();
    let operator = appliance.peer("operator", "op");
    let mut loose = with_goals();
    let text = loose["files"]["policies/ether.cedar"].as_str().unwrap();
    let changed = text.replace("@quorum(\"treasury, 2\")", "@quorum(\"treasury, 1\")");
    assert_ne!(text, changed);
    loose["files"]["policies/ether.cedar"] = changed.into();
    loose["files"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("tests/"));
    let refused = operator.put("/v1/policy", &loose).await;
    assert_eq!((refused.status, refused.code()), (422, "bundle-invalid"), "{refused:?}");
    let told = refused.body["rules"].to_string();
    assert!(told.contains("large-transfers-need-two") && told.contains("[[case]]"), "{told}");
    let applied = operator.put("/v1/policy", &with_goals()).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    // Started again, it is still in force: the proof was made when it came.
    appliance.stop();
    appliance.start();
    let shown = appliance.peer("auditor", "ann").get("/v1/policy").await;
    assert_eq!(shown.body["bundle"], applied.body["bundle"]);
}

/// The `chancery` that was built beside `chanceryd`.
fn chancery() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_chanceryd")).with_file_name("chancery");
    if !path.is_file() {
        println!("skipped: no `chancery` beside `chanceryd`; `cargo build -p chancery-cli` makes it");
    }
    path.is_file().then_some(path)
}

fn run(client: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(chancery().unwrap())
        .args(["--json", "--client"])
        .arg(client)
        .args(arguments)
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), document, talk)
}

/// Would catch a replay that forgets what limits had used up, and a re-evaluation under another bundle than that of its time.
#[tokio::test]
async fn recorded_decisions_are_asked_again() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    if chancery().is_none() {
        return;
    }
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let old =
        appliance.peer("auditor", "ann").get("/v1/policy").await.body["bundle"].as_str().unwrap().to_owned();
    let backend = appliance.peer("client", "backend");
    // 4, 4 and 2 ETH fill the day; 1 gwei more must wait; a stranger is denied.
    for (nonce, gwei, to, status) in [
        (0, 4 * GWEI, EXCHANGE, 200),
        (1, 4 * GWEI, EXCHANGE, 200),
        (2, 2 * GWEI, EXCHANGE, 200),
        (3, 1, EXCHANGE, 202),
        (4, 1, STRANGER, 403),
    ] {
        let answer = backend.sign("treasury", &transfer(nonce, gwei, to), &format!("k{nonce}")).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let auditor = appliance.client_directory("auditor", "ann");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", "--all"]);
    assert_eq!((code, &again["decisions"], &again["agree"]), (0, &5.into(), &5.into()), "{again}\n{talk}");

    // The same rules change nothing; half the limit makes the second and third wait, and the fourth still does.
    let draft = appliance.at("draft");
    let write = |bundle: &Value| {
        for (path, text) in bundle["files"].as_object().unwrap() {
            let path = draft.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.as_str().unwrap()).unwrap();
        }
    };
    write(&treasury());
    let folder = draft.to_str().unwrap().to_owned();
    let (code, same, talk) = run(&auditor, &["policy", "replay", &folder, "--from", "-1h"]);
    assert_eq!(
        (code, &same["decisions"], same["changed"].as_array().map(Vec::len)),
        (0, &5.into(), Some(0)),
        "{same}\n{talk}"
    );
    let mut tighter = treasury();
    let text =
        tighter["files"]["policies/ether.cedar"].as_str().unwrap().replace("<= 10000000000", "<= 5000000000");
    tighter["files"]["policies/ether.cedar"] = text.into();
    write(&tighter);
    let (code, changed, talk) = run(&auditor, &["policy", "replay", &folder, "--from", "-1h"]);
    assert_eq!(code, 1, "{changed}\n{talk}");
    let outcomes: Vec<_> = changed["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["then"].as_str().unwrap().to_owned(), one["now"].as_str().unwrap().to_owned()))
        .collect();
    let waits = ("allowed".to_owned(), "pending".to_owned());
    assert_eq!(outcomes, [waits.clone(), waits], "{changed}");

    // A new bundle; what was decided before is asked of the old one, which is kept.
    let mut renamed = treasury();
    renamed["files"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("tests/"));
    let text = renamed["files"]["policies/ether.cedar"].as_str().unwrap();
    renamed["files"]["policies/ether.cedar"] = text.replace("\"eth-to-payees\"", "\"renamed\"").into();
    // Its day is another limit, which counts what went before: 1 gwei more must wait under it too.
    let manifest = renamed["files"]["bundle.toml"].as_str().unwrap();
    renamed["files"]["bundle.toml"] = manifest.replacen("window = \"24h\"", "window = \"12h\"", 1).into();
    let applied = appliance.peer("operator", "op").put("/v1/policy", &renamed).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let answer = backend.sign("treasury", &transfer(5, 1, EXCHANGE), "k5").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", "--all"]);
    assert_eq!((code, &again["agree"]), (0, &6.into()), "{again}\n{talk}");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", "--all", "--outcome", "released"]);
    assert_eq!((code, &again["agree"]), (0, &3.into()), "{again}\n{talk}");
    let peer = appliance.peer("auditor", "ann");
    let kept = peer.get(&format!("/v1/policy/{old}")).await;
    assert_eq!((kept.status, kept.body["files"].clone()), (200, treasury()["files"].clone()));
    assert_eq!(peer.get(&format!("/v1/policy/{}", "0".repeat(64))).await.status, 404);
    assert_eq!(peer.get("/v1/policy/x").await.status, 400);
    assert_eq!(backend.get(&format!("/v1/policy/{old}")).await.status, 403, "a client may not read policy");

    // The whole log from the appliance itself; the second time there is nothing to read but what is new.
    let (trust, state) = (appliance.at("trust.json"), appliance.at("state.json"));
    std::fs::write(&trust, appliance.trust().await.to_json()).unwrap();
    let verify = || {
        let (trust, state) = (trust.to_str().unwrap(), state.to_str().unwrap());
        let (code, report, talk) = run(&auditor, &["audit", "verify", "--trust", trust, "--state", state]);
        assert_eq!(code, 0, "{report}\n{talk}");
        report
    };
    let first = verify();
    assert!(first["decisions"].as_u64() >= Some(3) && first["outcomes"] == 3, "{first}");
    assert_eq!(verify()["resumed_from"], first["size"]);
}
