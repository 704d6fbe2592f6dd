//! The appliance from outside: the real `chanceryd`, a real token, real transactions over mutual TLS, receipts verified with
//! nothing but the log's key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;

use alloy_consensus::transaction::RlpEcdsaEncodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, TxKind, U256, address};
use appliance::{Answer, Appliance, EXCHANGE, transfer, treasury};
use serde_json::{Value, json};

const USDX: Address = address!("5FbDB2315678afecb367f032d93F642f64180aa3");

fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(10).pow(U256::from(18))
}

fn usdx(nonce: u64, millionths: u64) -> TxEip1559 {
    let mut input = vec![0xa9, 0x05, 0x9c, 0xbb];
    input.extend(EXCHANGE.into_word());
    input.extend(U256::from(millionths).to_be_bytes::<32>());
    TxEip1559 {
        to: TxKind::Call(USDX),
        gas_limit: 100_000,
        input: input.into(),
        ..transfer(nonce, U256::ZERO)
    }
}

fn unsigned(transaction: &TxEip1559) -> Vec<u8> {
    transaction.encoded_for_signing()
}

/// The released transaction is the one that was asked for, and has the hash it is said to have.
fn check_transaction(answer: &Answer, asked: &TxEip1559) {
    let raw =
        hex::decode(answer.body["signed_transaction"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    let envelope = TxEnvelope::decode_2718(&mut raw.as_slice()).unwrap();
    assert_eq!(format!("{:#x}", envelope.tx_hash()), answer.body["transaction_hash"]);
    let TxEnvelope::Eip1559(signed) = envelope else { panic!("another type of transaction") };
    assert_eq!(signed.tx(), asked);
}

#[tokio::test]
async fn a_transfer_is_signed_with_a_receipt_that_verifies_offline() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let account = appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");

    let answer = backend.sign("treasury", &unsigned(&transfer(0, ether(1))), "order-1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    check_transaction(&answer, &transfer(0, ether(1)));
    let trust = appliance.trust().await;
    assert_eq!(trust.ml_dsa_keys().len(), 1, "every checkpoint has two signatures, and both are asked for");
    let verified = answer.verified(&trust);
    let signer = chancery_intent::address_of(verified.receipt().decision.public_key.as_bytes()).unwrap();
    assert_eq!(
        signer.to_string(),
        account,
        "the signature verified under the key of the wallet's own account"
    );
    assert_eq!(verified.receipt().decision.rules, ["eth-to-payees"]);

    // The receipt can be had again, also after a restart, and by an auditor.
    let path = format!("/v1/requests/{}/receipt", answer.body["request_id"].as_str().unwrap());
    appliance.stop();
    appliance.start();
    for (role, name) in [("client", "backend"), ("auditor", "ann")] {
        let again = appliance.peer(role, name).get(&path).await;
        assert_eq!(again.status, 200, "{again:?}");
        again.verified(&trust);
    }
    // And a retry under the same key is the first answer, not a second signature.
    let retry = appliance
        .peer("client", "backend")
        .sign("treasury", &unsigned(&transfer(0, ether(1))), "order-1")
        .await;
    assert_eq!(retry.status, 200, "{retry:?}");
    assert_eq!(retry.body["signed_transaction"], answer.body["signed_transaction"]);
    assert_eq!(retry.body["request_id"], answer.body["request_id"]);
}

#[tokio::test]
async fn policy_denies_by_name_holds_pending_and_counts_limits() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");
    let trust = appliance.trust().await;
    let receipt = async |answer: &Answer| {
        let id = answer.body["request_id"].as_str().unwrap().to_owned();
        let receipt = backend.get(&format!("/v1/requests/{id}/receipt")).await;
        receipt.verified(&trust)
    };

    let denied = backend.sign("treasury", &unsigned(&usdx(0, 5_000_000_001)), "too-much").await;
    assert_eq!((denied.status, denied.code()), (403, "policy-denied"), "{denied:?}");
    assert_eq!(denied.body["rules"], json!(["usdx-daily-limit"]));
    assert!(receipt(&denied).await.receipt().signature.is_none());

    let pending = backend.sign("treasury", &unsigned(&transfer(0, ether(11))), "large").await;
    assert_eq!(pending.status, 202, "{pending:?}");
    assert_eq!(pending.body["missing"][0]["needs"][0]["group"], "treasury");
    receipt(&pending).await;

    // The pending request holds its 11 ETH of the daily limit: not even 1 wei more goes without approvals.
    let after = backend.sign("treasury", &unsigned(&transfer(1, U256::from(1))), "after").await;
    assert_eq!(after.status, 202, "a pending request keeps its reservation: {after:?}");

    // A preview decides the same and leaves nothing behind.
    let payload =
        json!({"type": "ethereum.transaction", "data": format!("0x{}", hex::encode(unsigned(&usdx(9, 1))))});
    let preview = backend.post("/v1/preview", &json!({"wallet": "treasury", "payload": payload}), None).await;
    assert_eq!(preview.body["decision"]["outcome"], "allowed", "{preview:?}");
    let listed = backend.get("/v1/requests").await;
    assert_eq!(listed.body["requests"].as_array().unwrap().len(), 3, "{listed:?}");
    let waiting = backend.get("/v1/requests?state=pending&limit=1").await;
    assert_eq!(waiting.body["requests"][0]["request_id"], after.body["request_id"], "newest first");
    assert!(waiting.body["next"].is_string());
}

#[tokio::test]
async fn one_key_is_one_request() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");

    // Twenty at once under one key: one signature, and everyone who got one got that one.
    let bytes = unsigned(&transfer(0, ether(1)));
    let tries = (0..20).map(|_| backend.sign("treasury", &bytes, "one"));
    let answers = futures_join(tries).await;
    let mut signatures: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body["signed_transaction"].to_string())
        .collect();
    signatures.dedup();
    assert_eq!(signatures.len(), 1, "{answers:?}");
    for other in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((other.status, other.code()), (409, "request-in-progress"), "{other:?}");
        assert!(other.retry_after.is_none() || other.retry_after == Some(1));
    }
    let conflict = backend.sign("treasury", &unsigned(&transfer(1, ether(1))), "one").await;
    assert_eq!((conflict.status, conflict.code()), (409, "idempotency-conflict"));

    // Another client's same key is another key, but another client is not in the bundle.
    let other = appliance.peer("client", "other").sign("treasury", &bytes, "one").await;
    assert_eq!((other.status, other.code()), (403, "policy-denied"), "{other:?}");
    assert_eq!(other.body["rules"], json!(["default-deny"]));

    let without = backend
        .post(
            "/v1/sign",
            &json!({"wallet": "treasury", "payload": {"type": "ethereum.message", "data": "0x00"}}),
            None,
        )
        .await;
    assert_eq!((without.status, without.code()), (400, "idempotency-key-missing"));
}

#[tokio::test]
async fn each_bad_payload_has_its_code_and_leaves_nothing_signed() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");
    let good = unsigned(&transfer(0, ether(1)));
    let mut trailing = good.clone();
    trailing.push(0);
    let other_chain = unsigned(&TxEip1559 { chain_id: 5, ..transfer(0, ether(1)) });
    let unbound =
        TxLegacy { chain_id: None, gas_limit: 21_000, to: TxKind::Call(EXCHANGE), ..TxLegacy::default() };
    let mut signed = Vec::new();
    let signature = alloy_primitives::Signature::new(U256::from(1), U256::from(1), false);
    transfer(0, ether(1)).eip2718_encode(&signature, &mut signed);
    // The nonce 0 as a byte of its own instead of the empty string.
    let mut padded = good.clone();
    assert_eq!(padded[5], 0x80, "0x02, list, 0x82 0x7a 0x69, nonce");
    padded[5] = 0;
    let cases: [(&str, Vec<u8>); 9] = [
        ("payload-empty", Vec::new()),
        ("payload-too-large", vec![2; chancery_core::limit::PAYLOAD_BYTES + 1]),
        ("transaction-type-unknown", [&[0x7e], &good[1..]].concat()),
        ("payload-malformed", good[..good.len() / 2].to_vec()),
        ("payload-trailing-bytes", trailing),
        ("payload-not-canonical", padded),
        ("already-signed", signed),
        ("chain-id-missing", unbound.encoded_for_signing()),
        ("chain-id-mismatch", other_chain),
    ];
    for (index, (code, bytes)) in cases.into_iter().enumerate() {
        let answer = backend.sign("treasury", &bytes, &format!("bad-{index}")).await;
        assert_eq!((answer.status, answer.code()), (422, code), "{answer:?}");
        assert!(answer.body.get("signature").is_none());
    }
    // What is not even a request.
    let client = &backend.client;
    let raw = |body: &'static str| {
        client
            .post(format!("{}/v1/sign", backend.base))
            .header("idempotency-key", "k")
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    for body in ["", "{", "[]", r#"{"wallet":"treasury"}"#, r#"{"wallet":"../x","payload":{"type":"raw"}}"#] {
        let answer = raw(body).await.unwrap();
        assert_eq!(answer.status().as_u16() / 100, 4, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let unknown = backend.sign("nobody", &good, "k2").await;
    assert_eq!((unknown.status, unknown.code()), (404, "not-found"));

    // The server stands, and nothing was recorded.
    assert_eq!(backend.get("/v1/requests").await.body["requests"], json!([]));
    assert_eq!(backend.sign("treasury", &good, "good").await.status, 200);
}

#[tokio::test]
async fn roles_keep_to_their_own() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (client, auditor, operator) = (
        appliance.peer("client", "backend"),
        appliance.peer("auditor", "ann"),
        appliance.peer("operator", "op"),
    );
    let wallet = json!({"id": "w", "chain": "ethereum", "chain_ids": [1]});
    let ask = json!({"wallet": "w", "payload": {"type": "ethereum.message", "data": "0x00"}});
    for (peer, path, body) in [
        (&client, "/v1/wallets", &wallet),
        (&auditor, "/v1/wallets", &wallet),
        (&auditor, "/v1/sign", &ask),
        (&operator, "/v1/sign", &ask),
    ] {
        let answer = peer.post(path, body, Some("k")).await;
        assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{path}: {answer:?}");
    }
    for peer in [&client, &auditor] {
        assert_eq!(peer.put("/v1/policy", &treasury()).await.status, 403);
    }
    for path in ["/v1/audit/decisions", "/v1/log/tile/entries/000", "/v1/policy"] {
        assert_eq!(client.get(path).await.status, 403, "{path}");
    }
    // No policy yet: nothing is decided.
    assert_eq!(operator.post("/v1/wallets", &wallet, None).await.status, 201);
    let early = client.post("/v1/sign", &ask, Some("k")).await;
    assert_eq!((early.status, early.code()), (503, "no-policy"), "{early:?}");
    assert_eq!(operator.post("/v1/wallets", &wallet, None).await.code(), "already-exists");

    // A bundle whose own test fails is not applied, and says which.
    let mut broken = treasury();
    let tests = broken["files"]["tests/ether.toml"].as_str().unwrap().replacen(
        "expect = \"allow\"",
        "expect = \"deny\"",
        1,
    );
    broken["files"]["tests/ether.toml"] = Value::String(tests);
    let refused = operator.put("/v1/policy", &broken).await;
    assert_eq!((refused.status, refused.code()), (422, "bundle-invalid"), "{refused:?}");
    assert!(refused.body["rules"].as_array().is_some_and(|lines| !lines.is_empty()), "{refused:?}");
}

/// Runs requests at once.
async fn futures_join<F: Future<Output = Answer>>(all: impl Iterator<Item = F>) -> Vec<Answer> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut answers: Vec<Option<Answer>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut open = false;
        for (future, answer) in pending.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *answer = Some(done),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// Would catch a limit that starts from zero when its definition changes, also for a request still pending.
#[tokio::test]
async fn a_new_limit_counts_what_went_before_it() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let (backend, operator) = (appliance.peer("client", "backend"), appliance.peer("operator", "op"));
    // More than one transaction of the backfill, a denied one that counts nothing, and 5 ETH and 70 wei in all.
    for n in 0..70_u64 {
        let answer = backend.sign("treasury", &unsigned(&transfer(n, U256::from(1))), &n.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(backend.sign("treasury", &unsigned(&usdx(70, 5_000_000_001)), "denied").await.status, 403);
    assert_eq!(backend.sign("treasury", &unsigned(&transfer(71, ether(5))), "five").await.status, 200);

    let apply = async |daily: &str, hourly: &str| {
        let mut bundle = treasury();
        let manifest = bundle["files"]["bundle.toml"].as_str().unwrap();
        assert!(manifest.contains("\"24h\"") && manifest.contains("\"1h\""));
        let manifest = manifest.replace("\"24h\"", daily).replace("\"1h\"", hourly);
        bundle["files"]["bundle.toml"] = manifest.into();
        assert_eq!(operator.put("/v1/policy", &bundle).await.status, 200);
    };
    let outcome = async |wei: U256| {
        let data = format!("0x{}", hex::encode(unsigned(&transfer(99, wei))));
        let request =
            json!({"wallet": "treasury", "payload": {"type": "ethereum.transaction", "data": data}});
        let preview = backend.post("/v1/preview", &request, None).await;
        preview.body["decision"]["outcome"].as_str().unwrap().to_owned()
    };
    // Each wei counts as one gwei: 5 ETH less 70 gwei are left of the 10 ETH, before and after.
    let left = ether(5) - U256::from(70_000_000_000_u64);
    for (daily, hourly) in [("\"24h\"", "\"1h\""), ("\"24h\"", "\"2h\""), ("\"48h\"", "\"2h\"")] {
        apply(daily, hourly).await;
        assert_eq!(outcome(left).await, "allowed", "{daily}, {hourly}: counted twice");
        assert_eq!(outcome(left + U256::from(1)).await, "pending", "{daily}, {hourly}: not counted");
    }
    assert_eq!(backend.sign("treasury", &unsigned(&transfer(72, ether(6))), "waits").await.status, 202);
    apply("\"72h\"", "\"2h\"").await;
    assert_eq!(outcome(U256::from(1)).await, "pending", "what waits holds its amount of the new limit too");
}

/// Would catch a disk that is filled to the brim, or reserve that keeps answered requests from being read.
#[tokio::test]
async fn below_the_reserve_nothing_new_is_decided() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let sign = async |appliance: &Appliance, key: &str| {
        let payload = unsigned(&transfer(0, ether(1)));
        appliance.peer("client", "backend").sign("treasury", &payload, key).await
    };
    let first = sign(&appliance, "first").await;
    assert_eq!(first.status, 200, "{first:?}");
    appliance.stop();
    // More than any disk has.
    appliance.reconfigure(r#"directory = "store" }"#, r#"directory = "store", reserve_mib = 4294967295 }"#);
    appliance.start();
    let refused = sign(&appliance, "second").await;
    assert_eq!((refused.status, refused.code()), (503, "disk-full"), "{refused:?}");
    assert_eq!(refused.retry_after, Some(30));
    let operator = appliance.peer("operator", "op");
    let wallet =
        operator.post("/v1/wallets", &json!({"id": "w", "chain": "ethereum", "chain_ids": [1]}), None).await;
    assert_eq!(wallet.code(), "disk-full", "{wallet:?}");
    assert_eq!(operator.put("/v1/policy", &treasury()).await.code(), "disk-full");
    assert_eq!(
        sign(&appliance, "first").await.body["request_id"],
        first.body["request_id"],
        "a retry needs no room"
    );
    let ready = reqwest::get(format!("http://{}/health/ready", appliance.running().ops)).await.unwrap();
    assert_eq!(ready.status(), 503, "health is red");
    assert!(ready.text().await.unwrap().contains(r#"{"component":"disk","ok":false"#));
}

/// Would catch a daemon or a worker without walls: whoever took it over would read and run whatever its user may.
#[tokio::test]
async fn walls_stand_around_the_daemon_and_its_worker() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    let daemon = appliance.start().child.id();
    let launcher = children(daemon);
    let [(launcher, arguments)] = &launcher[..] else { panic!("one child: {launcher:?}") };
    assert!(arguments.ends_with("launcher"), "{arguments}");
    let worker = children(*launcher);
    let [(worker, arguments)] = &worker[..] else { panic!("one worker: {worker:?}") };
    assert!(arguments.ends_with("hsm-worker"), "{arguments}");
    for (pid, filters) in [(daemon, "2"), (*worker, "2"), (*launcher, "0")] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert_eq!(
            (field(&status, "NoNewPrivs"), field(&status, "Seccomp")),
            ("1", filters),
            "{pid}: {status}"
        );
    }
    // A certificate that leads out of its folder is not followed; one in its place is.
    let (inside, outside) = (appliance.at("pki/server.pem"), appliance.at("elsewhere/server.pem"));
    std::fs::create_dir(outside.parent().unwrap()).unwrap();
    std::fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let hangup = std::process::Command::new("kill").args(["-HUP", &daemon.to_string()]).status().unwrap();
    assert!(hangup.success());
    let refused = async || {
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let said = appliance.said().unwrap();
            if said.contains("Permission denied") {
                return true;
            }
            if said.contains("has no Landlock") {
                println!("skipped: this kernel has no Landlock");
                return true;
            }
        }
        false
    };
    assert!(refused().await, "{:?}", appliance.said());
    // Nobody outlives the daemon.
    appliance.kill();
    let gone = async || {
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if [launcher, worker].iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
                return true;
            }
        }
        false
    };
    assert!(gone().await, "launcher {launcher} or worker {worker} is left behind");
}

/// The processes that a process started: their ids and arguments.
fn children(parent: u32) -> Vec<(u32, String)> {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field(&status, "PPid") == parent.to_string()
    };
    let arguments = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, text.trim_end_matches('\0').replace('\0', " "))
    };
    all.filter(of).map(arguments).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Would catch limits that are kept by a clock which runs backwards: whoever turned it back would spend a day's limit again.
#[tokio::test]
async fn a_clock_that_went_back_decides_nothing() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    if !appliance.take_clock() {
        return;
    }
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let client = appliance.peer("client", "backend");
    let ask = async |n: u64| {
        let payload = unsigned(&transfer(n, U256::from(1)));
        client.sign("treasury", &payload, &n.to_string()).await
    };
    assert_eq!(ask(0).await.status, 200);
    appliance.turn_clock("-1d");
    let refused = ask(1).await;
    assert_eq!((refused.status, refused.code()), (503, "clock-behind"), "{refused:?}");
    appliance.turn_clock("+0");
    assert_eq!(ask(1).await.status, 200, "it has caught up, and the key is still free");
    appliance.turn_clock("-1d");
    appliance.kill();
    let said = appliance.start_in_vain();
    assert!(said.contains("clock"), "{said}");
}

/// Would catch one wallet that takes the whole HSM, or a limit on one wallet that keeps another waiting.
#[tokio::test]
async fn a_wallet_gives_no_more_than_its_rate() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.reconfigure(
        "wallet = { per_second = 100000, burst = 100000 }",
        "wallet = { per_second = 1, burst = 3 }",
    );
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    appliance.furnish("other", &treasury()).await;
    let ask = async |client: &str, wallet: &str, n: u64| {
        let payload = unsigned(&transfer(n, U256::from(1)));
        appliance.peer("client", client).sign(wallet, &payload, &n.to_string()).await
    };
    for n in 0..3 {
        assert_eq!(ask("backend", "treasury", n).await.status, 200);
    }
    let refused = ask("backend", "treasury", 3).await;
    assert_eq!((refused.status, refused.code()), (429, "rate-limited"), "{refused:?}");
    assert!(refused.retry_after.is_some());
    assert_eq!(ask("another", "treasury", 0).await.code(), "rate-limited", "all its clients together");
    assert_eq!(ask("backend", "other", 4).await.code(), "policy-denied", "another wallet has its own");
    assert_eq!(ask("backend", "absent", 5).await.code(), "not-found");
}

/// Would catch an alert on a series that is not there: it would never fire. `cargo xtask test --only alerts` shows that they
/// fire where it is.
#[tokio::test]
async fn every_series_of_the_alerts_exists() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let payload = unsigned(&transfer(0, U256::from(1)));
    assert_eq!(appliance.peer("client", "backend").sign("treasury", &payload, "order-0").await.status, 200);
    let page = reqwest::get(format!("http://{}/metrics", appliance.running().ops)).await.unwrap();
    let page = page.text().await.unwrap();
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/alerts.yml");
    let alerts = std::fs::read_to_string(alerts).unwrap();
    let named = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: std::collections::BTreeSet<_> = named.filter(|word| word.starts_with("chancery_")).collect();
    assert!(named.len() > 10, "{named:?}");
    for metric in named {
        let sample = |line: &str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(page.lines().any(sample), "no series `{metric}`:\n{page}");
    }
    let labelled = r#"chancery_requests_total{route="/v1/sign",code="ok",status="200"} 1"#;
    assert!(page.lines().any(|line| line == labelled), "{page}");
}

/// Would catch an appliance that makes itself another key, under which no receipt of before verifies, or goes on without.
#[tokio::test]
async fn a_wrapped_seed_that_does_not_open_keeps_the_appliance_from_starting() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let before = appliance.trust().await;
    appliance.stop();
    let path = appliance.at("store/store.sqlite");
    let good = std::fs::read(&path).unwrap();
    let name = b"\"wrapped\":{\"nonce\":[";
    let at = good.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let mut changed = good.clone();
    changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
    std::fs::write(&path, &changed).unwrap();
    let said = appliance.start_in_vain();
    assert!(said.contains("the log's ML-DSA key cannot be used"), "{said}");
    std::fs::write(&path, &good).unwrap();
    appliance.start();
    assert_eq!(appliance.trust().await, before);
}
