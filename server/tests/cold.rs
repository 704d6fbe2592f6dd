//! Cold wallets from outside, with the real daemon and command line: a key that is made and signs on a machine apart, what is carried
//! there and back, and everything that must not be signed or released. What comes out is judged by the chains' own rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod passkey;
mod vault;

use std::path::Path;
use std::process::Command;
use std::str::FromStr as _;
use std::time::Duration;

use alloy_primitives::U256;
use appliance::{chancery, run};
use bitcoin::secp256k1::ecdsa;
use serde_json::{Value, json};
use vault::{PASSWORD, RULES, Scene, failed, refused, signer_of, transfer};

/// `r || n - s`: the other signature that verifies.
fn mirrored(signature: &str) -> String {
    let signature = ecdsa::Signature::from_compact(&hex::decode(signature).unwrap()).unwrap();
    let bytes = signature.serialize_compact();
    let order = U256::from_str("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let high = order - U256::from_be_slice(&bytes[32..]);
    hex::encode([&bytes[..32], &high.to_be_bytes::<32>()].concat())
}

/// Would catch a release without approvals or without the cold key, a signature over anything else than was agreed, and a file that
/// is believed.
#[tokio::test]
async fn a_payment_is_agreed_carried_signed_apart_and_released() {
    let Some(mut scene) = Scene::open(RULES).await else { return };
    let made = scene.make("vault", &["--ethereum"], &["--chain-id", "31337"]);
    assert_eq!((&made["index"], &made["chain"]), (&json!(0), &json!("ethereum")), "{made}");
    let public: Value = scene.signed("vault/public.json");
    assert_eq!(made["account"], public["account"]);
    // One key is one wallet: two would be two limits.
    let again = json!({ "id": "twin", "chain": "ethereum", "chain_ids": [31337],
        "key": { "from": "cold", "public_key": made["public_key"] } });
    refused(&scene.operator.post("/v1/wallets", &again, None).await, 409, "already-exists");
    // Policy sees the tier: of a key in the token the same is denied.
    let hot = json!({ "id": "hot", "chain": "ethereum", "chain_ids": [31337] });
    assert_eq!(scene.operator.post("/v1/wallets", &hot, None).await.status, 201);
    refused(&scene.client.sign("hot", &transfer(0, 1), "hot").await, 403, "policy-denied");

    // Nothing goes out before those who must agree have.
    let id = scene.ask(0, 50, "payment").await;
    let path = format!("/v1/requests/{id}/cold");
    failed(&scene.export(&id, "early.json", &[]), "cold-not-ready");
    scene.approved(&id).await;
    refused(&scene.say("ann", &id, "approve", "treasury").await, 409, "already-exists");
    let shown = scene.state(&id).await;
    assert_eq!((&shown["state"], &shown["missing"][0]["rule"]), (&json!("pending"), &json!("cold-eth")));
    assert_eq!(shown["missing"][0]["needs"][0]["need"], "signature", "{shown}");
    let again = scene.client.sign("vault", &transfer(0, 50), "payment").await;
    assert_eq!((again.status, &again.body["missing"]), (202, &shown["missing"]), "{again:?}");
    assert!(scene.told(r#""need":"signature""#).await, "who waits hears of it");
    let other = scene.appliance.peer("client", "other");
    refused(&other.get(&path).await, 404, "not-found");
    refused(&scene.appliance.peer("auditor", "aud").get(&path).await, 403, "forbidden");
    let (code, exported, talk) = scene.export(&id, "request.json", &[]);
    assert_eq!(code, 0, "{exported} {talk}");

    // On the machine apart: shown as it is, signed only whole.
    let (code, shown, talk) =
        scene.apart(&["cold", "show", &scene.at("request.json"), "--trust", &scene.at("trust.json")]);
    assert_eq!((code, &shown["verified"]), (0, &json!(true)), "{shown} {talk}");
    assert!(shown["words"][0].as_str().unwrap().contains(&appliance::EXCHANGE.to_string()), "{shown}");
    assert!(shown["checked"].to_string().contains("officer `ann` approved exactly this"), "{shown}");
    people_see_it_in_words_and_pictures(&scene, &id);
    spoiled_requests_are_not_signed(&scene);
    failed(
        &scene.apart(&[
            "cold",
            "sign",
            &scene.at("request.json"),
            "--key",
            &scene.at("vault"),
            "--trust",
            &scene.at("trust.json"),
            "--password-file",
            &scene.at("password"),
            "--out",
            &scene.at("no.json"),
        ]),
        "nobody can be asked",
    );
    std::fs::write(scene.at("password"), "another long walk").unwrap();
    failed(&scene.sign("vault", "request.json", "no.json", &[]), "does not open");
    std::fs::write(scene.at("password"), PASSWORD).unwrap();
    assert!(!Path::new(&scene.at("no.json")).exists());
    let (code, _, talk) = scene.sign("vault", "request.json", "signed.json", &[]);
    assert_eq!(code, 0, "{talk}");
    let signed = scene.signed("signed.json");
    assert_eq!(signed["request_sha256"], exported["sha256"]);

    // What comes back proves itself, or is refused. Nothing of it counts, also after a restart.
    scene.restart();
    let other = scene.appliance.peer("client", "other");
    refused(&scene.submit(&other, &id, &signed).await, 404, "not-found");
    refused(&scene.submit(&scene.appliance.peer("auditor", "aud"), &id, &signed).await, 403, "forbidden");
    let next = scene.ask(1, 5, "next").await;
    refused(&scene.submit(&scene.client, &next, &signed).await, 422, "cold-signature-invalid");
    let with = |pointer: &str, value: Value| {
        let mut changed = signed.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let good = signed["signatures"][0].as_str().unwrap();
    let mut flipped = good.to_owned();
    flipped.replace_range(..2, if good.starts_with("00") { "01" } else { "00" });
    for (why, changed, status, code) in [
        ("another request's", with("/request_id", json!(next)), 422, "cold-signature-invalid"),
        ("another wallet's", with("/wallet", json!("hot")), 422, "cold-signature-invalid"),
        ("no decision about it", with("/decision_leaf", json!(0)), 422, "cold-signature-invalid"),
        ("flipped", with("/signatures/0", json!(flipped)), 422, "cold-signature-invalid"),
        ("high-S", with("/signatures/0", json!(mirrored(good))), 422, "cold-signature-invalid"),
        ("cut", with("/signatures/0", json!(&good[..126])), 422, "cold-signature-invalid"),
        ("none", with("/signatures", json!([])), 422, "cold-signature-invalid"),
        ("two", with("/signatures", json!([good, good])), 422, "cold-signature-invalid"),
        ("another format", with("/v", json!(2)), 400, "bad-request"),
    ] {
        let answer = scene.submit(&scene.client, &id, &changed).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{why}: {answer:?}");
    }
    let mut early = with("/request_id", json!(next));
    early["decision_leaf"] = json!(1);
    refused(&scene.submit(&scene.client, &next, &early).await, 409, "cold-not-ready");
    assert_eq!(scene.state(&id).await["state"], "pending", "nothing of that counted");

    let (client, receipt) = (scene.as_client(), scene.at("receipt.json"));
    let brought = ["cold", "submit", &scene.at("signed.json"), "--receipt", &receipt];
    let (code, released, talk) = run(&client, &brought);
    assert_eq!((code, &released["state"]), (0, &json!("released")), "{released} {talk}");
    let raw = released["signed_transaction"].as_str().unwrap();
    assert_eq!(signer_of(raw, 0, 50), made["address"].as_str().unwrap(), "what the network sees");
    failed(&run(&client, &brought), "request-not-pending");
    refused(&scene.client.get(&path).await, 409, "request-not-pending");
    let again = scene.client.sign("vault", &transfer(0, 50), "payment").await;
    assert_eq!((again.status, &again.body["signed_transaction"]), (200, &released["signed_transaction"]));

    // And verifies like any other, offline.
    let trust = scene.at("trust.json");
    let (code, verified, talk) = scene.apart(&["receipt", "verify", &receipt, "--trust", &trust]);
    assert_eq!(code, 0, "{verified} {talk}");
    let mut spoiled: Value = scene.signed("receipt.json");
    spoiled["decision"]["review"].as_object_mut().unwrap().remove("brought_sha256").unwrap();
    assert!(chancery_audit::verify(spoiled.to_string().as_bytes(), &scene.appliance.trust().await).is_err());
    let auditor = scene.appliance.client_directory("auditor", "aud");
    let (code, log, talk) = run(&auditor, &["audit", "verify", "--trust", &trust]);
    assert_eq!(code, 0, "{log} {talk}");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", &id]);
    assert_eq!((code, &again["differ"]), (0, &json!([])), "{again} {talk}");
}

/// Without `--json`, as somebody reads it on either machine.
fn people_see_it_in_words_and_pictures(scene: &Scene, id: &str) {
    let said = |arguments: &[&str]| {
        let shown = Command::new(chancery().unwrap()).args(arguments).output().unwrap();
        assert!(shown.status.success(), "{shown:?}");
        String::from_utf8(shown.stdout).unwrap()
    };
    let (request, trust) = (scene.at("request.json"), scene.at("trust.json"));
    let shown = said(&["cold", "show", &request, "--trust", &trust]);
    for line in
        ["asked by  client `backend` of wallet `vault`", "does      send 50", "checked   log `", "digest    "]
    {
        assert!(shown.contains(line), "`{line}`: {shown}");
    }
    let unproved = said(&["cold", "show", &request]);
    assert!(unproved.contains("checked   NOT VERIFIED"), "{unproved}");
    let client = scene.as_client();
    let pictures = said(&["--client", client.to_str().unwrap(), "cold", "export", id, "--qr"]);
    assert!(pictures.contains('█') && pictures.contains("part 2 of "), "{pictures}");
}

/// Each of these says what an attacker between the machines would like signed.
fn spoiled_requests_are_not_signed(scene: &Scene) {
    let whole = scene.signed("request.json");
    let canonical = |value: &Value| chancery_audit::canonical(value).unwrap();
    let other = format!("0x{}", hex::encode(transfer(0, 99)));
    let spoil = |pointer: &str, value: Value| {
        let mut spoiled = whole.clone();
        *spoiled.pointer_mut(pointer).unwrap() = value;
        spoiled
    };
    let (mut early, mut unsaid) = (whole.clone(), whole.clone());
    unsaid["receipt"].as_object_mut().unwrap().remove("approvals").unwrap();
    early["receipt"]["decision"]["missing"] = json!([]);
    for (name, spoiled, why) in [
        ("payload", spoil("/receipt/payload/data", json!(other)), "is not what the decision is about"),
        ("intent", spoil("/receipt/intent/effects/0/amount", json!("1")), "do not open"),
        ("digest", spoil("/receipt/decision/signing_digest", json!("00".repeat(32))), "is not proved"),
        ("signing", spoil("/signings/0/digest", json!("00".repeat(32))), "other digests"),
        ("path", spoil("/signings/0/path", json!("m/44'/60'/0'/0/1")), "another wallet"),
        ("later", spoil("/receipt/decision/expires_ms", json!(9_000_000_000_000_i64)), "is not proved"),
        ("agreed", early, "is not proved"),
        ("approvals", unsaid, "more or fewer approvals"),
        ("kind", spoil("/kind", json!("chancery.cold.signed")), "does not parse"),
    ] {
        std::fs::write(scene.at("spoiled.json"), canonical(&spoiled)).unwrap();
        let answer = scene.sign("vault", "spoiled.json", "no.json", &[]);
        assert!(answer.0 != 0 && answer.2.contains(why), "{name}: {answer:?}");
    }
    std::fs::write(scene.at("spoiled.json"), format!("{whole:#}")).unwrap();
    failed(&scene.sign("vault", "spoiled.json", "no.json", &[]), "canonical");
    // Somebody else's log, and somebody else's key.
    let mut strange: Value = scene.signed("trust.json");
    strange["origin"] = json!("elsewhere.example/chancery");
    std::fs::write(scene.at("strange.json"), strange.to_string()).unwrap();
    let sign = [
        "cold",
        "sign",
        &scene.at("request.json"),
        "--key",
        &scene.at("vault"),
        "--trust",
        &scene.at("strange.json"),
    ];
    let how = ["--password-file", &scene.at("password"), "--yes", "--out", &scene.at("no.json")];
    assert_ne!(scene.apart(&[&sign, &how[..]].concat()).0, 0);
    let init = [
        "cold",
        "init",
        "--dir",
        &scene.at("elsewhere"),
        "--ethereum",
        "--password-file",
        &scene.at("password"),
    ];
    assert_eq!(scene.apart(&init).0, 0);
    failed(&scene.sign("elsewhere", "request.json", "no.json", &[]), "another wallet");
    failed(&scene.apart(&init), "is there");
    assert!(!Path::new(&scene.at("no.json")).exists(), "nothing was written");
}

/// Would catch a request that outlives its time on either machine, a limit that is not held or not given back, and a signature that
/// is released although policy no longer allows it.
#[tokio::test]
async fn time_limits_vetoes_and_changed_bundles_hold_until_the_release() {
    let Some(scene) = Scene::open(&RULES.replace("12h", "15s")).await else { return };
    scene.make("vault", &["--ethereum"], &["--chain-id", "31337"]);
    // What waits holds its place in the limit, approved or not.
    let id = scene.ask(0, 60, "first").await;
    scene.approved(&id).await;
    refused(&scene.client.sign("vault", &transfer(1, 60), "second").await, 403, "policy-denied");
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0);
    assert_eq!(scene.sign("vault", "request.json", "signed.json", &[]).0, 0);
    let signed = scene.signed("signed.json");
    for _ in 0..100 {
        if scene.state(&id).await["state"] == "expired" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    refused(&scene.submit(&scene.client, &id, &signed).await, 410, "request-expired");
    failed(&scene.export(&id, "late.json", &[]), "request-expired");
    failed(&scene.sign("vault", "request.json", "late.json", &[]), "expired at");
    let mut longer = scene.bundle.clone();
    longer["files"]["policies/cold.cedar"] = RULES.into();
    assert_eq!(scene.operator.apply(&longer).await.status, 200);

    // What it held is free again. Another bundle asks again, and what was signed under the old one is stale.
    let id = scene.ask(1, 60, "third").await;
    scene.approved(&id).await;
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0);
    assert_eq!(scene.sign("vault", "request.json", "signed.json", &[]).0, 0);
    let signed = scene.signed("signed.json");
    let mut next = longer.clone();
    next["files"]["policies/cold.cedar"] = RULES.replace("12h", "11h").into();
    assert_eq!(scene.operator.apply(&next).await.status, 200);
    refused(&scene.submit(&scene.client, &id, &signed).await, 409, "approval-stale");
    failed(&scene.export(&id, "again.json", &[]), "cold-not-ready");
    scene.approved(&id).await;
    assert_eq!(scene.export(&id, "again.json", &[]).0, 0);
    assert_eq!(scene.sign("vault", "again.json", "signed-again.json", &[]).0, 0);
    let mut mixed = scene.signed("signed-again.json");
    assert_ne!(mixed["decision_leaf"], signed["decision_leaf"]);
    mixed["decision_leaf"] = signed["decision_leaf"].clone();
    refused(&scene.submit(&scene.client, &id, &mixed).await, 409, "approval-stale");

    // A bundle that only makes its wait unlike: nobody need speak, and it is decided anew when it is exported.
    let open = RULES.replace("@quorum(\"treasury, 1\")\n@veto", "@veto");
    next["files"]["policies/cold.cedar"] = open.clone().into();
    assert_eq!(scene.operator.apply(&next).await.status, 200);
    assert_eq!(scene.export(&id, "open.json", &[]).0, 0);
    assert_eq!(scene.sign("vault", "open.json", "open-signed.json", &[]).0, 0);
    let open_signed = scene.signed("open-signed.json");
    // The limit is asked once more at the release, and a veto ends it although everything is signed.
    next["files"]["policies/cold.cedar"] = open.replace("100000000000", "50000000000").into();
    assert_eq!(scene.operator.apply(&next).await.status, 200);
    let denied = scene.submit(&scene.client, &id, &open_signed).await;
    refused(&denied, 409, "approval-stale");
    refused(&scene.client.get(&format!("/v1/requests/{id}/cold")).await, 403, "policy-denied");
    assert_eq!(scene.state(&id).await["state"], "denied");

    let id = scene.ask(2, 40, "fourth").await;
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0, "without a quorum it may go at once");
    assert_eq!(scene.sign("vault", "request.json", "signed.json", &[]).0, 0);
    let vetoed = scene.say("rex", &id, "veto", "risk").await;
    assert_eq!((vetoed.status, &vetoed.body["state"]), (200, &json!("denied")), "{vetoed:?}");
    let late = scene.submit(&scene.client, &id, &scene.signed("signed.json")).await;
    refused(&late, 409, "request-not-pending");
    let small = scene.ask(3, 50, "fifth").await;
    assert_eq!(scene.state(&small).await["state"], "pending", "the vetoed one holds nothing");

    let auditor = scene.appliance.client_directory("auditor", "aud");
    let (code, log, talk) = run(&auditor, &["audit", "verify", "--trust", &scene.at("trust.json")]);
    assert_eq!(code, 0, "{log} {talk}");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", "--all"]);
    assert_eq!((code, &again["differ"]), (0, &json!([])), "{again} {talk}");
}
