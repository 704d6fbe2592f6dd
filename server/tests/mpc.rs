//! Three parties, each a real `chanceryd` with its own token, store, policy and log: they make a key that nobody has, and any two
//! sign with it, each by its own decision. One set-up for all cases, because it is the dear part.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod administrators;
mod appliance;
mod parties;
mod passkey;
mod people;
mod transfers;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use administrators::Administrators;
use alloy_consensus::SignableTransaction as _;
use alloy_primitives::{Address, U256};
use appliance::{Answer, chancery, one_ether, read, run, transfer, treasury};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use bitcoin::secp256k1::{Message, Secp256k1};
use chancery_audit::Trust;
use chancery_intent::solana::address;
use parties::Parties;
use serde_json::{Value, json};
use transfers::{check_spends, lamports, payment, script};

const STRICT: &str = r#"
@id("small-only")
forbid (principal, action == Action::"transfer", resource) when { context.amount > 2000000000 };
"#;

/// The treasury's rules, and a stricter one.
fn strict() -> Value {
    let mut bundle = treasury();
    let files = bundle["files"].as_object_mut().unwrap();
    files.retain(|path, _| !path.starts_with("tests/"));
    files.insert("policies/strict.cedar".to_owned(), STRICT.into());
    bundle
}

/// Who signed, by a library that none of the parties uses to sign.
fn signer(answer: &Answer, digest: [u8; 32]) -> Address {
    let bytes =
        hex::decode(answer.body["receipt"]["signature"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    let (compact, parity) = bytes.split_at(64);
    let id = RecoveryId::from_i32(i32::from(parity[0])).unwrap();
    let signature = RecoverableSignature::from_compact(compact, id).unwrap();
    let mut low = signature.to_standard();
    low.normalize_s();
    assert_eq!(low, signature.to_standard(), "low-S");
    let key = Secp256k1::new().recover_ecdsa(&Message::from_digest(digest), &signature).unwrap();
    Address::from_raw_public_key(&key.serialize_uncompressed()[1..])
}

/// The parties whose decisions a receipt proves, its own among them.
fn proved(answer: &Answer, trust: &Trust) -> BTreeSet<u8> {
    let verified = answer.verified(trust);
    let receipt = verified.receipt();
    let others = receipt.parties.iter().map(|party| party.party().unwrap());
    others.chain([receipt.decision.share.unwrap().party]).collect()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// The same as people see it: who answers, and the receipt verified with nothing but the trust file.
fn by_command_line(parties: &Parties, signed: &Answer) {
    if chancery().is_none() {
        return;
    }
    let appliance = parties.appliance(1);
    let operator = appliance.client_directory("operator", "op");
    let at = |name: &str| appliance.at(name).to_str().unwrap().to_owned();
    let (code, status, talk) = run(&operator, &["mpc", "status"]);
    assert_eq!((code, &status["peers"][1]["reachable"]), (0, &json!(true)), "{status} {talk}");
    let (code, shown, talk) = read(&operator, &["mpc", "status"]);
    assert!(code == 0 && shown.contains("treasury") && shown.contains("2-of-3"), "{shown} {talk}");
    assert_eq!(run(&operator, &["mpc", "ban", "list"]).1, json!({"bans": []}));
    assert_eq!(run(&operator, &["mpc", "identity", "--out", &at("own.json")]).0, 0);
    let own: Value = serde_json::from_slice(&std::fs::read(at("own.json")).unwrap()).unwrap();
    assert_eq!((&own, &own["party"]), (&status["identity"], &json!(1)));
    assert_eq!(run(&operator, &["trust", "fetch", "--out", &at("trust.json")]).0, 0);
    std::fs::write(at("receipt.json"), signed.body["receipt"].to_string()).unwrap();
    let verify = ["receipt", "verify", &at("receipt.json"), "--trust", &at("trust.json")];
    let (code, told, talk) = read(&operator, &verify);
    assert!(code == 0 && told.contains("party 2 allowed exactly this for itself"), "{told} {talk}");
    // Its two ports 0 are one address to it; of the parties there is nothing to say.
    let (_, found, talk) = run(&operator, &["serve-config", "check", &at("chancery.toml")]);
    let mpc = |finding: &&Value| finding["key"].as_str().unwrap().starts_with("mpc");
    assert!(
        code == 0 && !found["findings"].as_array().unwrap().iter().any(|one| mpc(&one)),
        "{found} {talk}"
    );
}

/// A bundle that allows what parties sign, and nothing of any other tier.
fn joint() -> Value {
    let bundle = "version = 1\nname = \"joint\"\n";
    let rule = "@id(\"joint\") permit(principal, action in Action::\"sign\", resource) when { context.tier == \"mpc\" };";
    json!({ "files": { "bundle.toml": bundle, "policies/joint.cedar": rule } })
}

/// A taproot wallet, whose inputs are signed in one session, and one of Solana: by the same way to the end, each signature judged by
/// a library that none of the parties signs with.
async fn other_kinds(parties: &Parties, people: &Administrators) {
    if chancery().is_none() {
        return;
    }
    for number in 1..=2 {
        assert_eq!(parties.operator(number).apply(&joint()).await.status, 200);
    }
    let operator = parties.appliance(1).client_directory("operator", "op");
    let key = json!({"from": "parties", "threshold": 2, "parties": 3});
    let vault =
        json!({"id": "vault", "chain": "bitcoin", "network": "regtest", "descriptor": "tr(@0)", "key": key});
    let payouts = json!({"id": "payouts", "chain": "solana", "cluster": "devnet", "key": key});
    let mut made = Vec::new();
    for (wallet, on) in [(&vault, ["--bitcoin", "regtest"]), (&payouts, ["--solana", "devnet"])] {
        let asked = parties.operator(3).post("/v1/wallets", wallet, None).await;
        let id = asked.body["request_id"].as_str().unwrap();
        for name in ["ada", "ben"] {
            assert_eq!(people.approve(name, id).await.status, 200);
        }
        let create =
            [&["wallet", "create", wallet["id"].as_str().unwrap()][..], &on, &["--mpc", "2-of-3"]].concat();
        let (code, here, talk) = run(&operator, &create);
        assert_eq!(code, 0, "{talk}\n{}", parties.logs());
        let there = parties.operator(3).get(&format!("/v1/wallets/{}", wallet["id"].as_str().unwrap())).await;
        assert_eq!(
            (&there.body["address"], &there.body["tier"]),
            (&here["address"], &json!("mpc")),
            "{there:?}"
        );
        made.push(here);
    }
    // Not every Bitcoin wallet can be so: nothing but the internal key of taproot.
    for descriptor in
        ["wpkh(@0)", "tr(50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0,pk(@0))"]
    {
        let wallet = json!({"id": "w", "chain": "bitcoin", "network": "regtest", "descriptor": descriptor, "key": key});
        refused(&parties.operator(1).post("/v1/wallets", &wallet, None).await, 400, "bad-request");
    }

    let trust = parties.trust(1).await;
    let psbt = payment(&script(made[0]["address"].as_str().unwrap()));
    let payload = json!({"type": "bitcoin.psbt", "data": STANDARD.encode(psbt.serialize())});
    let spent = parties.sign_with(1, &json!({"wallet": "vault", "payload": payload}), "coins").await;
    assert_eq!(spent.status, 200, "{spent:?}\n{}", parties.logs());
    let raw = hex::decode(&spent.body["signed_transaction"].as_str().unwrap()[2..]).unwrap();
    check_spends(&raw, &psbt).unwrap();
    assert_eq!(spent.body["signatures"].as_array().unwrap().len(), 2, "one for each input");
    assert_eq!(proved(&spent, &trust), BTreeSet::from([1, 2]));

    let key = address(made[1]["address"].as_str().unwrap()).unwrap();
    let message = lamports(&key, 600_000_000);
    let payload =
        json!({"type": "solana.transaction", "data": STANDARD.encode(&message), "token_accounts": []});
    let paid = parties.sign_with(1, &json!({"wallet": "payouts", "payload": payload}), "sol").await;
    assert_eq!(paid.status, 200, "{paid:?}\n{}", parties.logs());
    let raw = STANDARD.decode(paid.body["signed_transaction"].as_str().unwrap()).unwrap();
    assert_eq!((raw[0], &raw[65..]), (1, &message[..]));
    UnparsedPublicKey::new(&ED25519, key.as_ref()).verify(&message, &raw[1..65]).unwrap();
    assert_eq!(proved(&paid, &trust), BTreeSet::from([1, 2]));
}

/// The whole log of each: also of the one whose bundle asks its people about wallets.
async fn every_log_verifies(parties: &Parties) {
    if chancery().is_none() {
        return;
    }
    for number in 1..=3 {
        let appliance = parties.appliance(number);
        let auditor = appliance.client_directory("auditor", "aud");
        let trust = appliance.at("log-trust.json");
        std::fs::write(&trust, parties.trust(number).await.to_json()).unwrap();
        let (code, out, talk) = read(&auditor, &["audit", "verify", "--trust", trust.to_str().unwrap()]);
        assert_eq!(code, 0, "party {number}: {out} {talk}");
    }
}

/// Would catch a party that signs without having decided, on another's word or with a share that was changed; a key that one party
/// alone can use; a dead party that stops the others; and a receipt that leaves out who agreed.
#[tokio::test]
async fn three_parties_make_a_key_and_any_two_sign_each_by_its_own_decision() {
    let Some(mut parties) = Parties::open(3).await else { return };
    let wallet = |id: &str| {
        json!({"id": id, "chain": "ethereum", "chain_ids": [31337],
            "key": {"from": "parties", "threshold": 2, "parties": 3}})
    };

    // Nobody lets party 2 propose: what it proposes is not made.
    let vain = parties.operator(2).post("/v1/wallets", &wallet("treasury"), None).await;
    refused(&vain, 403, "party-refused");
    assert!(
        vain.body["detail"].as_str().unwrap().contains("refused: forbidden: party 2 may not propose"),
        "{vain:?}"
    );
    // Where changes are governed, that party's own people agree first: to just this wallet. What they agreed to comes to nothing by
    // itself, because nobody lets party 3 propose.
    let (people, bundle) = Administrators::of(parties.appliance(3));
    let applied = parties.operator(3).apply(&bundle).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let other = json!({"id": "treasury", "chain": "ethereum", "chain_ids": [1],
        "key": {"from": "parties", "threshold": 2, "parties": 3}});
    let mut waiting = Vec::new();
    for agreed in [other, wallet("treasury")] {
        let early = parties.operator(1).post("/v1/wallets", &wallet("treasury"), None).await;
        refused(&early, 403, "party-refused");
        assert!(early.body["detail"].as_str().unwrap().contains("party 3 refused"), "{early:?}");
        let asked = parties.operator(3).post("/v1/wallets", &agreed, None).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        let id = asked.body["request_id"].as_str().unwrap().to_owned();
        assert_eq!(people.approve("ada", &id).await.status, 200);
        let agreed = people.approve("ben", &id).await;
        assert_eq!((agreed.status, &agreed.body["state"]), (200, &json!("permitted")), "{agreed:?}");
        assert!(
            agreed.body["missing"][0]["parties"].as_str().unwrap().contains("may not propose"),
            "{agreed:?}"
        );
        waiting.push(id);
    }
    let made = parties.operator(1).post("/v1/wallets", &wallet("treasury"), None).await;
    assert_eq!(made.status, 201, "{made:?}\n{}", parties.logs());
    let address: Address = made.body["address"].as_str().unwrap().parse().unwrap();
    for number in 1..=3 {
        let shown = parties.operator(number).get("/v1/wallets/treasury").await;
        assert_eq!(shown.body["address"], made.body["address"], "{shown:?}");
        assert_eq!((&shown.body["tier"], &shown.body["share"]), (&json!("mpc"), &json!("2-of-3")));
    }
    // It was entered there with what its people agreed to, and what they had said before about that name has ended.
    assert_eq!(
        [parties.state(3, &waiting[0]).await, parties.state(3, &waiting[1]).await],
        ["failed", "released"]
    );
    other_kinds(&parties, &people).await;
    for number in 1..=2 {
        let applied = parties.operator(number).apply(&treasury()).await;
        assert_eq!(applied.status, 200, "{applied:?}");
    }

    // Without the client's own signature nobody else would believe that it asked.
    refused(
        &parties.client(1).sign("treasury", &one_ether(0), "plain").await,
        403,
        "request-signature-required",
    );
    let none = parties.operator(1).get("/v1/requests?wallet=treasury").await;
    assert!(none.body["requests"].as_array().unwrap().is_empty(), "it is not even decided: {none:?}");
    let asked = Instant::now();
    let signed = parties.sign(1, &one_ether(0), "first").await;
    println!("  a signature of two parties, with its receipt: {} ms", asked.elapsed().as_millis());
    assert_eq!(signed.status, 200, "{signed:?}\n{}", parties.logs());
    let digest = transfer(0, U256::from(10_u64.pow(18))).signature_hash().0;
    assert_eq!(signer(&signed, digest), address);
    let trust = parties.trust(1).await;
    assert_eq!(proved(&signed, &trust), BTreeSet::from([1, 2]));
    // Party 2 walked it too: its own log, its own receipt.
    let theirs = parties.operator(2).get("/v1/requests?state=released").await;
    let id = theirs.body["requests"][0]["request_id"].as_str().unwrap();
    let receipt = parties.operator(2).get(&format!("/v1/requests/{id}/receipt")).await;
    assert_eq!(proved(&receipt, &parties.trust(2).await), BTreeSet::from([1, 2]));
    let none = parties.operator(3).get("/v1/requests?wallet=treasury").await;
    assert!(none.body["requests"].as_array().unwrap().is_empty(), "party 3 was not asked: {none:?}");

    by_command_line(&parties, &signed);

    // A receipt without the other party, or with another's word for it, shows nothing.
    let receipt = &signed.body["receipt"];
    let fails = |receipt: &Value, trust: &Trust| {
        chancery_audit::verify(receipt.to_string().as_bytes(), trust).unwrap_err().to_string()
    };
    let mut alone = receipt.clone();
    alone.as_object_mut().unwrap().remove("parties");
    assert!(fails(&alone, &trust).contains("fewer parties"), "{}", fails(&alone, &trust));
    let mut forged = receipt.clone();
    forged["parties"][0]["decision_proof"] = receipt["decision_proof"].clone();
    assert!(fails(&forged, &trust).starts_with("party 2: "), "{}", fails(&forged, &trust));
    let mut other = receipt.clone();
    other["parties"][0]["decision"]["share"]["party"] = json!(3);
    assert!(fails(&other, &trust).starts_with("party 3: "), "{}", fails(&other, &trust));
    let mut none = serde_json::from_str::<Value>(&trust.to_json()).unwrap();
    none["parties"].as_object_mut().unwrap().remove("2");
    let none = Trust::parse(none.to_string().as_bytes()).unwrap();
    assert!(fails(receipt, &none).contains("knows no log"), "{}", fails(receipt, &none));

    // The strictest has the last word, and is named with its rule. What one party held for it is given back.
    let applied = parties.operator(2).apply(&strict()).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let three = transfer(1, U256::from(3 * 10_u64.pow(18))).encoded_for_signing();
    let denied = parties.sign(1, &three, "three").await;
    refused(&denied, 403, "party-refused");
    assert_eq!(denied.body["rules"], json!(["party 2: small-only"]), "{denied:?}");
    assert_eq!(parties.sign(1, &one_ether(1), "again").await.status, 200);

    // Whoever does not answer in time is routed around.
    parties.signal(2, "STOP");
    let past = parties.sign(1, &one_ether(6), "past").await;
    parties.signal(2, "CONT");
    assert_eq!(past.status, 200, "{past:?}\n{}", parties.logs());
    assert_eq!(proved(&past, &trust), BTreeSet::from([1, 3]));

    every_log_verifies(&parties).await;

    // Whoever is dead is too; with one alone there is nobody to sign with, and that is said soon.
    parties.kill(2);
    let around = parties.sign(1, &one_ether(2), "around").await;
    assert_eq!(around.status, 200, "{around:?}\n{}", parties.logs());
    assert_eq!(proved(&around, &trust), BTreeSet::from([1, 3]));
    parties.kill(3);
    let asked = Instant::now();
    let alone = parties.sign(1, &one_ether(3), "alone").await;
    refused(&alone, 503, "parties-unavailable");
    assert!(asked.elapsed() < Duration::from_secs(25), "in time");
    let standing = parties.operator(1).get("/v1/mpc").await;
    let there = |at: usize| standing.body["peers"][at]["reachable"].clone();
    assert_eq!([there(0), there(1)], [json!(false), json!(false)], "{standing:?}");

    // Started again they sign again, under the key that the failed request gave back.
    parties.start(2);
    let back = parties.sign(1, &one_ether(3), "alone").await;
    assert_eq!(back.status, 200, "{back:?}\n{}", parties.logs());
    assert_eq!(proved(&back, &trust), BTreeSet::from([1, 2]));

    // A share that was changed on the disk signs nothing; the others go on without it.
    parties.tamper(2);
    parties.start(2);
    parties.start(3);
    refused(&parties.sign(2, &one_ether(4), "changed").await, 503, "store-unavailable");
    let without = parties.sign(1, &one_ether(5), "without").await;
    assert_eq!(without.status, 200, "{without:?}\n{}", parties.logs());
    assert_eq!(proved(&without, &trust), BTreeSet::from([1, 3]));

    // The whole of an older disk, log and its remembered head included: only the token knows that there was more.
    let said = parties.set_back(3);
    assert!(said.contains("the store was set back"), "{said}");
}
