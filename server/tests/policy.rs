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
use appliance::{Appliance, EXCHANGE, bundle, chancery, run, treasury};
use serde_json::Value;

const STRANGER: Address = address!("90F79bf6EB2c4f870365E785982E1f101E93b906");
const GWEI: u64 = 1_000_000_000;

fn transfer(nonce: u64, gwei: u64, to: Address) -> Vec<u8> {
    let value = U256::from(gwei) * U256::from(GWEI);
    TxEip1559 { to: TxKind::Call(to), ..appliance::transfer(nonce, value) }.encoded_for_signing()
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
    let refused = operator.apply(&with_goals()).await;
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
    let refused = operator.apply(&loose).await;
    assert_eq!((refused.status, refused.code()), (422, "bundle-invalid"), "{refused:?}");
    let told = refused.body["rules"].to_string();
    assert!(told.contains("large-transfers-need-two") && told.contains("[[case]]"), "{told}");
    let applied = operator.apply(&with_goals()).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    // Started again, it is still in force: the proof was made when it came.
    appliance.stop();
    appliance.start();
    let shown = appliance.peer("auditor", "ann").get("/v1/policy").await;
    assert_eq!(shown.body["bundle"], applied.body["bundle"]);
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
    write(&draft, &treasury());
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
    write(&draft, &tighter);
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

/// Writes a bundle's files into a folder.
fn write(folder: &Path, bundle: &Value) {
    for (path, text) in bundle["files"].as_object().unwrap() {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().unwrap()).unwrap();
    }
}

/// Would catch a bundle in force on one officer's word, on a stranger's, or on a signature for another appliance; and one
/// that stays in force after the configuration stopped believing those who signed it.
#[tokio::test]
async fn only_what_enough_officers_signed_comes_and_stays_in_force() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    let Some(program) = chancery() else { return };
    let offline = |arguments: &[&str]| {
        let output = Command::new(&program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = appliance.folder.path().to_owned();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let [ann, bob, eve] = ["ann", "bob", "eve"]
        .map(|name| offline(&["policy", "keygen", name, "--out", &file(name)]).trim().to_owned());
    let draft = appliance.at("draft");
    let sign = |name: &str, origin: &str| {
        offline(&["policy", "sign", draft.to_str().unwrap(), "--key", &file(name), "--origin", origin])
    };
    let here = "test.example/chancery";
    let with = |bundle: &Value, notes: &[String]| {
        let mut body = bundle.clone();
        body["signatures"] = notes.into();
        body
    };
    write(&draft, &treasury());
    let notes: Vec<String> = ["ann", "bob", "eve"].iter().map(|name| sign(name, here)).collect();
    let elsewhere = sign("bob", "trial.example/chancery");

    let keys = format!("[policy]\nkeys = [{ann:?}, {bob:?}]\nsignatures = 2\n[hsm]");
    appliance.reconfigure("[hsm]", &keys);
    appliance.start();
    let operator = appliance.peer("operator", "op");
    let forged = notes[1].replace("bob", "ann");
    for (why, few) in [
        ("nobody", vec![]),
        ("one officer", vec![notes[0].clone()]),
        ("one officer twice", vec![notes[0].clone(), notes[0].clone()]),
        ("a stranger", vec![notes[0].clone(), notes[2].clone()]),
        ("another appliance", vec![notes[0].clone(), elsewhere]),
        ("another name", vec![notes[0].clone(), forged]),
        ("no note", vec!["x".to_owned()]),
    ] {
        let refused = operator.put("/v1/policy", &with(&treasury(), &few)).await;
        assert_eq!((refused.status, refused.code()), (422, "bundle-unsigned"), "{why}: {refused:?}");
    }
    let mut other = treasury();
    other["files"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("tests/"));
    let refused = operator.put("/v1/policy", &with(&other, &notes)).await;
    assert_eq!(refused.code(), "bundle-unsigned", "another bundle under these signatures: {refused:?}");
    assert_eq!(operator.get("/v1/policy").await.code(), "no-policy");

    appliance.furnish("treasury", &with(&treasury(), &notes)).await;
    let shown = operator.get("/v1/policy").await.body;
    let signers = |body: &Value| -> Vec<String> {
        body["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(signers(&shown), [ann.clone(), bob.clone()], "{shown}");
    let hash = shown["bundle"].as_str().unwrap().to_owned();
    assert_eq!(signers(&operator.get(&format!("/v1/policy/{hash}")).await.body), [ann.clone(), bob.clone()]);
    let backend = appliance.peer("client", "backend");
    for nonce in 0..2 {
        let answer =
            backend.sign("treasury", &transfer(nonce, 4 * GWEI, EXCHANGE), &format!("k{nonce}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // An auditor asks who signed what decided.
    let auditor = appliance.client_directory("auditor", "ann");
    let again = |second: &str| {
        let more = ["--policy-key", &ann, "--policy-key", second, "--signatures", "2"];
        run(&auditor, &[&["audit", "re-evaluate", "--all"][..], &more].concat())
    };
    let (code, told, talk) = again(&bob);
    assert_eq!((code, &told["bundles"][&hash]), (0, &serde_json::json!([ann, bob])), "{told}\n{talk}");
    assert_eq!(again(&eve).0, 1, "a bundle that eve did not sign passed for hers");
    // So does the whole log: with the keys that the appliance names, and with others.
    let trust = appliance.at("trust.json");
    std::fs::write(&trust, appliance.trust().await.to_json()).unwrap();
    let verify = |more: &[&str]| {
        run(&auditor, &[&["audit", "verify", "--trust", trust.to_str().unwrap()][..], more].concat())
    };
    let report = loop {
        let (code, report, talk) = verify(&[]);
        assert_eq!(code, 0, "{report}\n{talk}");
        // The files are published once a second.
        if report["policies"] == 1 {
            break report;
        }
    };
    assert_eq!(report["policy_signatures"], 2, "{report}");
    let (code, report, talk) = verify(&["--policy-key", &ann, "--policy-key", &eve, "--signatures", "2"]);
    assert_eq!((code, &report["reason"]), (1, &"policy-unsigned".into()), "{talk}");
    let (code, told, talk) = run(&auditor, &["policy", "show", &hash]);
    assert_eq!((code, signers(&told)), (0, vec![ann.clone(), bob.clone()]), "{talk}");

    // Started again it holds; without Bob it does not, and nothing is decided until Ann and Eve sign.
    appliance.stop();
    appliance.start();
    let backend = appliance.peer("client", "backend");
    let answer = backend.sign("treasury", &transfer(2, 2 * GWEI, EXCHANGE), "k2").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    appliance.stop();
    appliance.reconfigure(&bob, &eve);
    appliance.start();
    let backend = appliance.peer("client", "backend");
    let refused = backend.sign("treasury", &transfer(3, 1, EXCHANGE), "k3").await;
    assert_eq!((refused.status, refused.code()), (503, "no-policy"), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("1 of 2 signatures"), "{refused:?}");
    // The next bundle's limits are other limits; they look back over what the refused one permitted.
    let mut next = treasury();
    next["files"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("tests/"));
    let manifest = next["files"]["bundle.toml"].as_str().unwrap();
    next["files"]["bundle.toml"] = manifest.replacen("window = \"24h\"", "window = \"12h\"", 1).into();
    std::fs::remove_dir_all(&draft).unwrap();
    write(&draft, &next);
    let operator = appliance.peer("operator", "op");
    let applied = operator.put("/v1/policy", &with(&next, &[sign("eve", here), sign("ann", here)])).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let waits = backend.sign("treasury", &transfer(3, 1, EXCHANGE), "k3").await;
    assert_eq!(waits.status, 202, "the day's 10 ETH could be spent again: {waits:?}");
}
