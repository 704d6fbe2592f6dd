//! `chancery policy`: the example bundle through the commands an officer uses, and bundles with faults in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests may panic"
)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use server::{Server, json as answer};
use support::{
    ELEVEN_ETHER, EXCHANGE, FIVE_USDX, ONE_ETHER, Ran, TO_A_STRANGER, chancery, chancery_reading, text,
};

const TREASURY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/examples/treasury");
const VAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/examples/vault");

/// A copy of the example with one file changed.
fn changed(folder: &Path, file: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let bundle = folder.join("bundle");
    for path in ["", "policies", "tests", "goals", "abi"] {
        let Ok(entries) = std::fs::read_dir(Path::new(TREASURY).join(path)) else { continue };
        std::fs::create_dir_all(bundle.join(path)).unwrap();
        for entry in entries.map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), bundle.join(path).join(entry.file_name())).unwrap();
        }
    }
    let path = bundle.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let new = change(text.clone());
    assert_ne!(new, text, "the change changed nothing");
    std::fs::write(path, new).unwrap();
    bundle
}

fn simulate(more: &[&str]) -> Ran {
    let mut arguments =
        vec!["policy", "simulate", TREASURY, "--client-name", "backend", "--chain-id", "31337", "--json"];
    arguments.extend(more);
    chancery(&arguments)
}

#[test]
fn the_example_compiles_and_passes_its_tests() {
    let checked = chancery(&["policy", "check", TREASURY, "--json"]).ends(0).json();
    let tested = chancery(&["policy", "test", TREASURY, "--json"]).ends(0).json();
    assert_eq!(checked["bundle"], tested["bundle"]);
    assert!(tested["passed"].as_u64().unwrap() > 10, "{}", tested["passed"]);
    let plain = chancery(&["policy", "check", TREASURY]).ends(0);
    assert_eq!(plain.stdout.trim_end(), checked["bundle"].as_str().unwrap());
    let schema = chancery(&["policy", "schema", TREASURY]).ends(0).stdout;
    assert!(schema.contains("daily"), "the schema lacks the bundle's limits");
}

#[test]
fn findings_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = changed(folder.path(), "policies/ether.cedar", |text| {
        text.replacen("context.asset in", "context.aset in", 1)
    });
    let ran = chancery(&["policy", "check", text(&bundle)]).ends(1);
    let path = bundle.join("policies/ether.cedar");
    let finding = ran.stdout.lines().next().unwrap();
    let place = finding.strip_prefix(text(&path)).unwrap_or_else(|| panic!("{finding}"));
    let (line, rest) = place[1..].split_once(':').unwrap();
    assert!(line.parse::<u32>().unwrap() > 1, "{finding}");
    assert!(rest.split_once(':').unwrap().0.parse::<u32>().is_ok(), "{finding}");
    let json = chancery(&["policy", "check", text(&bundle), "--json"]).ends(1);
    assert_eq!(json.json()["ok"], false);
    assert_eq!(json.error()["code"], "check-failed");
    chancery(&["policy", "check", "/nonexistent"]).ends(7);
}

#[test]
fn a_failing_test_fails_and_its_bundle_is_not_even_sent() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = changed(folder.path(), "policies/ether.cedar", |text| {
        text.replacen("<= 10000000000", "<= 10000000001", 1)
    });
    let ran = chancery(&["policy", "test", text(&bundle)]).ends(1);
    assert!(ran.stdout.contains("tests/ether.toml:"), "{}", ran.stdout);
    let server = Server::scripted(vec![]);
    server.run(&["policy", "apply", text(&bundle)]).ends(1);
    assert!(server.asked().is_empty(), "a bundle whose tests fail was sent");
}

#[test]
fn what_is_applied_is_what_is_here() {
    let hash = chancery(&["policy", "check", TREASURY]).ends(0).stdout.trim_end().to_owned();
    let server = Server::scripted(vec![
        answer(200, &json!({ "bundle": hash, "name": "treasury" })),
        answer(200, &json!({ "bundle": "0".repeat(64) })),
        answer(
            200,
            &json!({ "bundle": hash, "name": "treasury", "applied_ms": 0, "files": { "bundle.toml": "" } }),
        ),
    ]);
    let ran = server.run(&["policy", "apply", TREASURY]).ends(0);
    assert_eq!(ran.stdout.trim_end(), hash);
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "PUT /v1/policy HTTP/1.1");
    let manifest = std::fs::read_to_string(Path::new(TREASURY).join("bundle.toml")).unwrap();
    assert_eq!(asked.json()["files"]["bundle.toml"], manifest);
    // A server that says it applied another one.
    server.run(&["policy", "apply", TREASURY]).ends(6);
    let shown = server.run(&["policy", "show"]).ends(0).stdout;
    assert!(shown.contains(&hash) && shown.contains("1970-01-01"), "{shown}");
}

#[test]
fn simulation_decides_as_the_appliance_would() {
    let with = |transaction: &str, more: &[&str]| {
        let mut arguments = vec!["--wallet", "treasury", "--account", EXCHANGE, "--transaction", transaction];
        arguments.extend(more);
        simulate(&arguments)
    };
    let allowed = with(ONE_ETHER, &[]).ends(0).json();
    assert_eq!(allowed["decision"]["rules"], json!(["eth-to-payees"]));
    assert_eq!(allowed["intent"]["effects"][0]["destination"], EXCHANGE);
    with(FIVE_USDX, &[]).ends(0);
    let pending = with(ELEVEN_ETHER, &[]).ends(3).json();
    assert_eq!(pending["decision"]["missing"][0]["rule"], "large-eth-with-approvals");
    assert_eq!(with(TO_A_STRANGER, &[]).ends(4).json()["decision"]["outcome"], "denied");
    // What was spent before counts.
    with(ONE_ETHER, &["--spent", "daily=9000000000"]).ends(0);
    with(ONE_ETHER, &["--spent", "daily=9000000001"]).ends(3);
    with(FIVE_USDX, &["--spent", "daily=4999999999"]).ends(4);
    with(ONE_ETHER, &["--spent", "weekly=1"]).ends(2);
    // The payload is for a chain the wallet may not sign for, or is no payload.
    with("0x02c0", &[]).ends(1);
    // Another client, another wallet.
    let arguments = [
        "policy",
        "simulate",
        TREASURY,
        "--client-name",
        "mallory",
        "--chain-id",
        "31337",
        "--wallet",
        "treasury",
    ];
    let mut mallory = arguments.to_vec();
    mallory.extend(["--transaction", ONE_ETHER]);
    assert!(chancery(&mallory).ends(4).stdout.contains("default-deny"));
    simulate(&["--wallet", "other", "--transaction", ONE_ETHER]).ends(4);
}

#[test]
fn a_request_can_come_from_a_file() {
    let request =
        json!({ "wallet": "treasury", "payload": { "type": "ethereum.transaction", "data": ONE_ETHER } });
    let arguments =
        ["policy", "simulate", TREASURY, "--client-name", "backend", "--chain-id", "31337", "--request", "-"];
    let ran = chancery_reading(&request.to_string(), &arguments).ends(0);
    assert!(ran.stdout.contains("allowed by eth-to-payees"), "{}", ran.stdout);
    // The tree: each effect, each rule, each part of its condition and what it came to.
    for line in [
        "effect 0: transfer is allowed",
        " *permit eth-to-payees (policies/ether.cedar:1): applies",
        "      true  context.spent.daily <= 10000000000",
        "      false context.approvals.treasury >= 2 (obligation)",
        "      false context.spent.hourly_requests > 1000",
    ] {
        assert!(ran.stdout.contains(line), "no `{line}` in\n{}", ran.stdout);
    }
    chancery_reading("{}", &arguments).ends(7);
}

/// Would catch a command that takes "on its way" for "in force", or a lost change for either.
#[test]
fn a_change_on_its_way_is_waited_for() {
    let hash = chancery(&["policy", "check", TREASURY]).ends(0).stdout.trim_end().to_owned();
    let at = |step: &str, done: u64| {
        answer(
            202,
            &json!({ "request_id": "019a", "bundle": hash, "started_ms": 0, "step": step, "done": done, "of": 3 }),
        )
    };
    let in_force = |bundle: &str| answer(200, &json!({ "bundle": bundle, "name": "treasury" }));
    let gone = || answer(404, &json!({ "code": "not-found", "status": 404 }));
    let server =
        Server::scripted(vec![at("proving", 1), at("proving", 1), at("looking-back", 64), in_force(&hash)]);
    let ran = server.run(&["policy", "apply", TREASURY]).ends(0);
    assert_eq!(ran.stdout.trim_end(), hash);
    let told = "the appliance has proved 1 of 3 goals\nits limits have counted 64 earlier requests\nbundle";
    assert!(ran.stderr.starts_with(told), "{}", ran.stderr);
    let lines: Vec<_> = server.asked().into_iter().map(|asked| asked.line).collect();
    let look = "GET /v1/policy/changes/019a HTTP/1.1";
    assert_eq!(lines, ["PUT /v1/policy HTTP/1.1", look, look, look]);

    // An example that the appliance found is shown so that it can be pasted.
    let broken = "goal `g`: BROKEN\n[[case]]\nname = \"shown\"";
    let refused = json!({ "code": "bundle-invalid", "status": 422, "detail": "1 goals", "rules": [broken] });
    let server = Server::scripted(vec![at("proving", 0), answer(422, &refused)]);
    let told = server.run(&["policy", "apply", TREASURY]).ends(5).stderr;
    assert!(told.contains("\n    [[case]]\n    name = \"shown\"\n") && told.contains("prove DIR"), "{told}");
    // Started anew: what is in force tells how it ended.
    for (after, code) in [
        (in_force(&hash), 0),
        (in_force(&"0".repeat(64)), 1),
        (answer(503, &json!({ "code": "no-policy", "status": 503 })), 1),
    ] {
        let ran = Server::scripted(vec![at("proving", 0), gone(), after])
            .run(&["policy", "apply", TREASURY])
            .ends(code);
        assert_eq!(ran.stdout.is_empty(), code != 0, "{ran:?}");
        assert_eq!(ran.stderr.contains("started anew"), code != 0, "{ran:?}");
    }
    let busy = json!({ "code": "change-in-progress", "status": 409, "detail": "another" });
    let server = Server::scripted(vec![answer(409, &busy)]);
    assert!(
        server.run(&["policy", "apply", TREASURY]).ends(5).stderr.contains("once the other change has ended")
    );
}

/// Would catch a tree of another request than the test's own, and one that forgets what the case supposes.
#[test]
fn a_test_case_of_the_bundle_is_simulated_by_its_name() {
    let case = |name: &str| chancery(&["policy", "simulate", TREASURY, "--case", name]);
    let fifty = case("fifty ETH with two approvals").ends(0).stdout;
    assert!(fifty.contains("true  context.approvals.treasury >= 2 (obligation)"), "{fifty}");
    assert!(case("fifty ETH with one approval still waits").ends(3).stdout.contains("waits for"));
    let over = case("one gwei over the day's ten ETH").ends(3).stdout;
    assert!(over.contains("limit daily: adds 1, total 10000000001"), "{over}");
    let real = chancery(&[
        "policy",
        "simulate",
        TREASURY,
        "--case",
        "an EIP-1559 transaction as it arrives",
        "--json",
    ]);
    assert_eq!(real.ends(0).json()["intent"]["nonce"], 0);
    let unknown = case("fifty").ends(2).stderr;
    assert!(unknown.contains("`fifty ETH with two approvals`"), "{unknown}");
    chancery(&["policy", "simulate", TREASURY, "--case", "x", "--wallet", "treasury"]).ends(2);
    // The same of a payload, with what people did.
    let with = |more: &[&str]| {
        let mut arguments =
            vec!["--wallet", "treasury", "--account", EXCHANGE, "--transaction", ELEVEN_ETHER];
        arguments.extend(more);
        simulate(&arguments)
    };
    with(&["--approvals", "treasury=1"]).ends(3);
    with(&["--approvals", "treasury=2"]).ends(0);
    with(&["--approvals", "treasury=2", "--veto", "risk"]).ends(4);
    with(&["--approvals", "board=2"]).ends(2);
    with(&["--factor", "face"]).ends(2);
}

/// BIP-322's wallet and message; the key is the one of the BIP.
#[test]
fn payloads_of_bitcoin_are_simulated() {
    let key = "02c7f12003196442943d8588e01aee840423cc54fc1521526a3b85c2b0cbd58872";
    let with = |more: &[&str]| {
        let mut arguments =
            vec!["policy", "simulate", VAULT, "--client-name", "backend", "--wallet", "vault", "--json"];
        arguments.extend(["--bitcoin-message", "Hello World"]);
        arguments.extend(more);
        chancery(&arguments)
    };
    let allowed = with(&["--bitcoin", "mainnet", "--public-key", key]).ends(0).json();
    assert_eq!(allowed["intent"]["account"], "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l");
    assert_eq!(allowed["decision"]["rules"], json!(["messages"]));
    // `pkh` has no witness, so it signs no messages.
    let refused = with(&["--bitcoin", "mainnet", "--public-key", key, "--descriptor", "pkh(@0)"]).ends(1);
    assert!(refused.stderr.contains("refused before policy"), "{}", refused.stderr);
    let forgot = with(&["--chain-id", "1"]).ends(1);
    assert!(forgot.stderr.contains("--bitcoin"), "{}", forgot.stderr);
    with(&["--bitcoin", "mainnet"]).ends(2);
    with(&["--bitcoin", "mainnet", "--public-key", "02"]).ends(2);
    with(&["--bitcoin", "mainnet", "--public-key", key, "--descriptor", "wpkh(@1)"]).ends(2);
    with(&["--bitcoin", "mainnet", "--public-key", key, "--chain-id", "1"]).ends(2);
    let case = chancery(&["policy", "simulate", VAULT, "--case", "half a bitcoin to the exchange"]).ends(0);
    assert!(case.stdout.contains("true  context.fee <= 50000"), "{}", case.stdout);
}

#[test]
fn typed_data_that_json_would_round_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("typed.json");
    std::fs::write(&path, r#"{"message":{"value":100000000000000000000}}"#).unwrap();
    let ran = simulate(&["--wallet", "treasury", "--typed-data", text(&path)]).ends(7);
    assert!(ran.stderr.contains("write it as text"), "{}", ran.stderr);
}

/// The program waits for its input, so its reader is gone before it writes.
#[test]
fn a_reader_that_goes_away_is_no_error_and_no_success_either() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    for (transaction, code) in [(ONE_ETHER, 0), (TO_A_STRANGER, 4)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(["policy", "simulate", TREASURY, "--client-name", "backend", "--wallet", "treasury"])
            .args(["--chain-id", "31337", "--transaction", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(transaction.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn differences_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let none = chancery(&["policy", "diff", TREASURY, TREASURY]).ends(0);
    assert!(none.stdout.is_empty(), "{}", none.stdout);
    let draft = changed(folder.path(), "policies/ether.cedar", |text| {
        text.replacen("@quorum(\"treasury, 2\")", "@quorum(\"treasury, 1\")", 1)
    });
    let manifest = draft.join("bundle.toml");
    let written = std::fs::read_to_string(&manifest).unwrap();
    let written = written
        .replacen("window = \"24h\"", "window = \"12h\"", 1)
        .replacen(
            "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
            1,
        )
        .replacen("[\"treasury\", \"risk\"]", "[\"treasury\", \"risk\", \"board\"]", 1);
    std::fs::write(&manifest, written).unwrap();
    let plain = chancery(&["policy", "diff", TREASURY, text(&draft)]).ends(1).stdout;
    assert!(plain.contains("    - @quorum(\"treasury, 2\")\n    + @quorum(\"treasury, 1\")\n"), "{plain}");
    let json = chancery(&["policy", "diff", TREASURY, text(&draft), "--json"]).ends(1).json();
    let changes: Vec<_> = json["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {}", change["part"].as_str().unwrap(), change["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        changes,
        [
            "rule large-eth-with-approvals",
            "limit daily",
            "approver board",
            "address eip155:1:0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "address eip155:1:0x90F79bf6EB2c4f870365E785982E1f101E93b906",
            "address eip155:31337:0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
            "address eip155:31337:0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        ]
    );
    // Against the bundle in force.
    let hash = chancery(&["policy", "check", TREASURY]).ends(0).stdout.trim_end().to_owned();
    let mut files = serde_json::Map::new();
    for path in ["bundle.toml", "policies/ether.cedar", "policies/limits.cedar", "policies/tokens.cedar"] {
        if let Ok(text) = std::fs::read_to_string(Path::new(TREASURY).join(path)) {
            files.insert(path.to_owned(), text.into());
        }
    }
    let server = Server::scripted(vec![answer(200, &json!({ "bundle": hash, "files": files }))]);
    // A server whose files are not those of the hash it names is not believed.
    server.run(&["policy", "diff", text(&draft)]).ends(6);
}

#[test]
fn nothing_is_proved_without_a_solver() {
    let ran = chancery(&["policy", "prove", TREASURY, "--solver", "/nonexistent", "--json"]).ends(7);
    assert_eq!(ran.error()["code"], "program-failed");
    chancery(&["policy", "prove", TREASURY, "--solver", "/bin/false", "--limit", "1s"]).ends(1);
}

#[test]
fn the_examples_goals_are_proved_and_a_broken_one_is_shown() {
    let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !has("CVC5") && !std::env::split_paths(&path).any(|dir| dir.join("cvc5").is_file()) {
        println!("skipped: no solver; `cargo xtask setup` brings one");
        return;
    }
    let proved =
        chancery(&["policy", "prove", TREASURY, "--rules", "--against", TREASURY, "--json"]).ends(0).json();
    let proofs = proved["proofs"].as_array().unwrap();
    assert!(proofs.iter().filter(|proof| proof["about"] == "goal").count() >= 3, "{proved}");
    assert!(
        proofs.iter().any(|proof| proof["about"] == "against" && proof["verdict"] == "proved"),
        "{proved}"
    );
    let folder = tempfile::tempdir().unwrap();
    let loose = changed(folder.path(), "policies/ether.cedar", |text| {
        text.replacen("context.spent.daily <= 10000000000", "context.spent.daily <= 10000000001", 1)
    });
    let ran = chancery(&["policy", "prove", text(&loose), "--against", TREASURY]).ends(1);
    assert!(ran.stdout.contains("goal `large-transfers-need-two`: BROKEN"), "{}", ran.stdout);
    assert!(ran.stdout.contains("ALLOWS MORE"), "{}", ran.stdout);
    // The case it prints, pasted, fails until the bundle is mended.
    let case = ran.stdout.split("[[case]]").nth(1).unwrap();
    let case = format!("[[case]]{}", case.split("\nagainst the old").next().unwrap());
    let case: String = case
        .lines()
        .take_while(|line| line.starts_with('[') || line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(loose.join("tests/example.toml"), case).unwrap();
    let failed = chancery(&["policy", "test", text(&loose)]).ends(1).stdout;
    assert!(failed.contains("tests/example.toml:1"), "{failed}");
}

/// Would catch a private key that others can read, one written over, and a signature under a bundle that fails its tests.
#[test]
fn a_bundle_is_signed_offline_with_a_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ann.key");
    let made = chancery(&["policy", "keygen", "ann", "--out", text(&key)]).ends(0);
    let public = made.stdout.trim_end().to_owned();
    assert!(public.starts_with("ann+"), "{public}");
    let secret = std::fs::read_to_string(&key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(secret.starts_with("PRIVATE+KEY+ann+"));
    assert!(!made.stdout.contains("PRIVATE") && !made.stderr.contains("PRIVATE"));
    chancery(&["policy", "keygen", "ann", "--out", text(&key)]).ends(7);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), secret, "a key was written over");
    chancery(&["policy", "keygen", "an n", "--out", text(&folder.path().join("x"))]).ends(2);
    assert!(!folder.path().join("x").exists());

    let sign = |bundle: &str, more: &[&str]| {
        let mut arguments = vec!["policy", "sign", bundle, "--key", text(&key), "--origin", "a.example/log"];
        arguments.extend(more);
        chancery(&arguments)
    };
    let hash = chancery(&["policy", "check", TREASURY]).ends(0).stdout;
    let note = sign(TREASURY, &[]).ends(0).stdout;
    let expected = format!("chancery policy v1\na.example/log\ndefault\n{hash}\n\u{2014} ann ");
    assert!(note.starts_with(&expected), "{note}");
    let out = folder.path().join("ann.note");
    sign(TREASURY, &["--out", text(&out)]).ends(0);
    // Ed25519 signs the same text the same way.
    assert_eq!(std::fs::read_to_string(&out).unwrap(), note);
    sign(TREASURY, &["--out", text(&out)]).ends(7);

    let broken =
        changed(folder.path(), "policies/ether.cedar", |text| text.replace("<= 10000000000", "<= 1"));
    let refused = sign(text(&broken), &[]).ends(1);
    assert_eq!(refused.stdout, "", "a bundle that fails its tests was signed");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = sign(TREASURY, &[]);
    assert!(open.stderr.contains("others"), "{}", open.stderr);
    assert_eq!(open.stdout, "");
}
