//! Kinds of cold wallets from outside: the coins of an account, a key that another program signs with, one that custodians give
//! back, and one that officers have to agree to.
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
mod watched;

use std::path::Path;
use std::process::Command;

use appliance::{Answer, chancery, run};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use serde_json::{Value, json};
use vault::{RULES, Scene, failed, refused, signer_of, transfer};
use watched::{Watched, payment};

/// Would catch an input that is signed by another key of the account, and a file that does not survive being shown in parts.
#[tokio::test]
async fn coins_of_a_cold_account_cross_in_parts_and_are_good_for_the_network() {
    let Some(scene) = Scene::open(RULES).await else { return };
    let made = scene.make("coins", &["--bitcoin", "regtest"], &["--bitcoin", "regtest"]);
    let watched = Watched::of(&made);
    assert_eq!(made["address"], watched.address([0, 0]).to_string());
    assert_eq!(watched.path.to_string(), "84'/1'/0'", "where wallets that recover look");
    let psbt = payment(&watched, &[[0, 0], [0, 7]], [1, 0]);
    let ask = json!({ "wallet": "coins", "payload": { "type": "bitcoin.psbt", "data": STANDARD.encode(psbt.serialize()) } });
    let answer = scene.client.post("/v1/sign", &ask, Some("coins-1")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.body["request_id"].as_str().unwrap();
    scene.approved(id).await;

    let (code, _, talk) = scene.export(id, "request.ur", &["--ur"]);
    assert_eq!(code, 0, "{talk}");
    let text = std::fs::read_to_string(scene.at("request.ur")).unwrap();
    let mut parts: Vec<_> = text.lines().collect();
    assert!(parts.len() > 3 && parts.iter().all(|part| part.starts_with("ur:bytes/")), "{text}");
    // A camera sees them in any order, some twice, and all in capitals.
    parts.reverse();
    parts.push(parts[1]);
    std::fs::write(scene.at("request.ur"), parts.join("\n").to_uppercase()).unwrap();
    let (code, _, talk) = scene.sign("coins", "request.ur", "signed.ur", &["--ur"]);
    assert_eq!(code, 0, "{talk}");
    parts.truncate(parts.len() - 3);
    std::fs::write(scene.at("request.ur"), parts.join("\n")).unwrap();
    failed(&scene.sign("coins", "request.ur", "no.ur", &["--ur"]), "parts are missing");

    let (code, released, talk) = run(&scene.as_operator(), &["cold", "submit", &scene.at("signed.ur")]);
    assert_eq!(code, 0, "an operator may carry it: {released} {talk}");
    let raw =
        hex::decode(released["signed_transaction"].as_str().unwrap().strip_prefix("0x").unwrap()).unwrap();
    for (index, input) in psbt.inputs.iter().enumerate() {
        let spent = &input.non_witness_utxo.as_ref().unwrap().output[0];
        let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT;
        let (script, value) = (spent.script_pubkey.as_bytes(), spent.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, value, &raw, None, index, flags).unwrap();
    }
    let receipt = Answer { status: 200, retry_after: None, body: released.clone() };
    let signers = receipt.verified(&scene.appliance.trust().await).receipt().decision.signers.clone();
    let expected = [[0, 0], [0, 7]].map(|steps| watched.key(steps).to_bytes());
    assert!(signers.iter().map(|key| key.as_bytes()).eq(expected.iter().map(|key| &key[..])), "{signers:?}");

    // An account of one network is no wallet of another, and taproot is not promised.
    let (operator, public) = (scene.as_operator(), scene.at("coins/public.json"));
    failed(&run(&operator, &["wallet", "create", "x", "--cold", &public, "--bitcoin", "mainnet"]), "regtest");
    failed(&run(&operator, &["wallet", "create", "x", "--cold", &public, "--chain-id", "1"]), "regtest");
    let bad = |key: Value| json!({ "id": "x", "chain": "bitcoin", "network": "mainnet", "descriptor": "wpkh(@0/<0;1>/*)", "key": key });
    for key in [
        json!({ "from": "cold", "account": made["account"] }),
        json!({ "from": "cold", "account": made["account"], "index": 1 }),
        json!({ "from": "cold", "account": "xpub" }),
        json!({ "from": "cold", "public_key": "02" }),
        json!({ "from": "cold" }),
    ] {
        let refused = scene.operator.post("/v1/wallets", &bad(key.clone()), None).await;
        assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{key}: {refused:?}");
    }
    let tr =
        ["cold", "init", "--dir", &scene.at("tr"), "--bitcoin", "regtest", "--descriptor", "tr(@0/<0;1>/*)"];
    failed(&scene.apart(&[&tr, &["--password-file", &scene.at("password")][..]].concat()), "taproot");
}

/// Would catch a share that anybody can read, fewer custodians than agreed, and a restore of another wallet.
#[tokio::test]
async fn custodians_give_a_lost_cold_wallet_back() {
    let Some(scene) = Scene::open(RULES).await else { return };
    let made = scene.make("vault", &["--ethereum"], &["--chain-id", "31337"]);
    let mut custodians = Vec::new();
    for name in ["cy", "di", "eli"] {
        let out = scene.at(&format!("{name}.identity"));
        let (code, custodian, talk) = scene.apart(&["ceremony", "custodian", name, "--out", &out]);
        assert_eq!(code, 0, "{talk}");
        custodians.push(format!("{name}={}", custodian["recipient"].as_str().unwrap()));
    }
    let (password, shares) = (scene.at("password"), scene.at("shares"));
    let mut backup = vec!["cold", "backup", "--key"];
    let (vault, restored) = (scene.at("vault"), scene.at("restored"));
    backup.extend([vault.as_str(), "--dir", &shares, "--threshold", "2", "--password-file", &password]);
    custodians.iter().for_each(|custodian| backup.extend(["--custodian", custodian]));
    let (code, told, talk) = scene.apart(&backup);
    assert_eq!(code, 0, "{told} {talk}");
    std::fs::remove_dir_all(&vault).unwrap();

    let restore = |answers: &str, dir: &str| {
        let (reading, mut writing) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writing, answers.as_bytes()).unwrap();
        drop(writing);
        let output = Command::new(chancery().unwrap())
            .args([
                "--json",
                "cold",
                "restore",
                "--shares",
                &shares,
                "--dir",
                dir,
                "--password-file",
                &password,
            ])
            .args(["--answers", "0"])
            .stdin(reading)
            .output()
            .unwrap();
        (output.status.code().unwrap(), Value::Null, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let identity = |name: &str| std::fs::read_to_string(scene.at(&format!("{name}.identity"))).unwrap();
    failed(&restore(&format!("{}\n\n", identity("cy")), &restored), "1 of 2 shares");
    failed(&restore(&format!("{}{}\n", identity("di"), identity("di")), &restored), "shares");
    let (code, _, talk) = restore(&format!("{}\n{}", identity("cy"), identity("eli")), &restored);
    assert_eq!(code, 0, "{talk}");
    assert!(!talk.contains("AGE-SECRET-KEY"), "{talk}");

    // It is the same wallet: it signs for it.
    let id = scene.ask(0, 1, "payment").await;
    scene.approved(&id).await;
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0);
    let (code, _, talk) = scene.sign("restored", "request.json", "signed.json", &[]);
    assert_eq!(code, 0, "{talk}");
    let released = scene.submit(&scene.client, &id, &scene.signed("signed.json")).await;
    assert_eq!(released.status, 200, "{released:?}");
    let raw = released.body["signed_transaction"].as_str().unwrap();
    assert_eq!(signer_of(raw, 0, 1), made["address"].as_str().unwrap());

    // A share that was changed counts nothing, and names its holder.
    let file = Path::new(&shares).join("shares/cy.age");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    failed(&restore(&format!("{}\n{}", identity("cy"), identity("eli")), &scene.at("again")), "`cy` is bad");
}

/// Would catch a cold wallet that is made without those who must agree, or whose key they are not shown.
#[tokio::test]
async fn where_changes_are_governed_officers_see_the_key_of_a_cold_wallet() {
    let govern = "\n@id(\"change\")\n@quorum(\"administrators, 1\")\npermit (principal == Client::\"default/op\", \
                  action == Action::\"change\", resource);\n";
    let Some(scene) = Scene::open(&format!("{RULES}{govern}")).await else { return };
    let init =
        ["cold", "init", "--dir", &scene.at("vault"), "--ethereum", "--password-file", &scene.at("password")];
    assert_eq!(scene.apart(&init).0, 0);
    let public = scene.at("vault/public.json");
    let create = ["wallet", "create", "vault", "--cold", &public, "--chain-id", "31337", "--index", "3"];
    let (code, asked, talk) = run(&scene.as_operator(), &create);
    assert_eq!(code, 3, "it waits: {asked} {talk}");
    let id = asked["request_id"].as_str().unwrap();
    let account = scene.signed("vault/public.json")["account"].clone();
    let design =
        scene.operator.get(&format!("/v1/requests/{id}")).await.body["intent"]["detail"]["change"]["design"]
            .clone();
    assert_eq!(
        (&design["account"], &design["index"], &design["cold"]),
        (&account, &json!(3), &json!(true)),
        "{design}"
    );
    let said = scene.say("ada", id, "approve", "administrators").await;
    assert_eq!((said.status, &said.body["state"]), (200, &json!("released")), "{said:?}");
    let made = scene.operator.get("/v1/wallets/vault").await;
    assert_eq!((&made.body["tier"], &made.body["index"]), (&json!("cold"), &json!(3)), "{made:?}");
    assert_eq!(made.body["account"], account);

    // Another address of the account signs as that one.
    let id = scene.ask(0, 1, "payment").await;
    scene.approved(&id).await;
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0);
    assert_eq!(scene.signed("request.json")["signings"][0]["path"], "m/44'/60'/0'/0/3");
    assert_eq!(scene.sign("vault", "request.json", "signed.json", &[]).0, 0);
    let released = scene.submit(&scene.operator, &id, &scene.signed("signed.json")).await;
    assert_eq!(released.status, 200, "{released:?}");
    let raw = released.body["signed_transaction"].as_str().unwrap();
    assert_eq!(signer_of(raw, 0, 1), made.body["address"].as_str().unwrap());
}

/// A device of another maker: an account below a master key, and nothing of this project.
struct Device {
    master: Xpriv,
    account: String,
}

impl Device {
    fn with(path: &str) -> Self {
        let secp = Secp256k1::new();
        let master = Xpriv::new_master(bitcoin::NetworkKind::Test, &[42; 32]).unwrap();
        let account = master.derive_priv(&secp, &path.parse::<DerivationPath>().unwrap()).unwrap();
        let public = Xpub::from_priv(&secp, &account);
        Self { master, account: format!("[{}/{path}]{public}", master.fingerprint(&secp)) }
    }

    fn public(&self, scene: &Scene, of: &Value) -> String {
        let public = json!({ "v": 1, "kind": "chancery.cold.public", "for": of, "account": self.account });
        std::fs::write(scene.at("device.json"), public.to_string()).unwrap();
        scene.at("device.json")
    }
}

/// Would catch a request that a device does not understand, and a PSBT whose signatures are taken for others'.
#[tokio::test]
async fn a_device_of_another_maker_signs_a_psbt() {
    let Some(scene) = Scene::open(RULES).await else { return };
    let device = Device::with("84'/1'/0'");
    let of = json!({ "chain": "bitcoin", "network": "regtest", "descriptor": "wpkh(@0/<0;1>/*)" });
    let public = device.public(&scene, &of);
    let create = ["wallet", "create", "coins", "--bitcoin", "regtest", "--cold", &public];
    let (code, made, talk) = run(&scene.as_operator(), &create);
    assert_eq!(code, 0, "{made} {talk}");
    let mut psbt = payment(&Watched::of(&made), &[[0, 0], [0, 7]], [1, 0]);
    let ask = json!({ "wallet": "coins", "payload": { "type": "bitcoin.psbt", "data": STANDARD.encode(psbt.serialize()) } });
    let answer = scene.client.post("/v1/sign", &ask, Some("coins-1")).await;
    let id = answer.body["request_id"].as_str().unwrap();
    scene.approved(id).await;
    assert_eq!(scene.export(id, "request.json", &[]).0, 0);
    let (request, trust) = (scene.at("request.json"), scene.at("trust.json"));
    let show = ["cold", "show", &request, "--trust", &trust, "--ur", "psbt"];
    let (code, shown, talk) = scene.apart(&show);
    assert_eq!((code, &shown["type"]), (0, &json!("crypto-psbt")), "{talk}");
    let parts = shown["parts"].as_array().unwrap();
    assert!(
        parts.len() > 1 && parts.iter().all(|part| part.as_str().unwrap().starts_with("ur:crypto-psbt/"))
    );
    failed(&scene.apart(&[&show[..6], &["eth-sign-request"]].concat()), "crypto-psbt");

    let signed = |psbt: &bitcoin::Psbt| std::fs::write(scene.at("answer.psbt"), psbt.serialize()).unwrap();
    let submit = ["cold", "submit", &scene.at("answer.psbt"), "--request", &request].map(str::to_owned);
    let submit: Vec<_> = submit.iter().map(String::as_str).collect();
    signed(&psbt);
    failed(&run(&scene.as_client(), &submit), "0 of 2 signatures");
    failed(&run(&scene.as_client(), &submit[..3]), "--request");
    psbt.sign(&device.master, &Secp256k1::new()).unwrap();
    signed(&psbt);
    let (code, released, talk) = run(&scene.as_client(), &submit);
    assert_eq!(code, 0, "{released} {talk}");
    let raw = hex::decode(&released["signed_transaction"].as_str().unwrap()[2..]).unwrap();
    for (index, input) in psbt.inputs.iter().enumerate() {
        let spent = &input.non_witness_utxo.as_ref().unwrap().output[0];
        let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT;
        let (script, value) = (spent.script_pubkey.as_bytes(), spent.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, value, &raw, None, index, flags).unwrap();
    }
}

/// Would catch an answer that is taken for another request's, and parity where `r || s` is meant.
#[tokio::test]
async fn a_device_of_another_maker_signs_a_transaction() {
    let Some(scene) = Scene::open(RULES).await else { return };
    let device = Device::with("44'/60'/0'");
    // Ethereum's accounts are spelled as mainnet's.
    let mut account = device.account.clone();
    let (origin, xpub) = account.split_once(']').unwrap();
    let mut main: Xpub = xpub.parse().unwrap();
    main.network = bitcoin::NetworkKind::Main;
    account = format!("{origin}]{main}");
    let public = Device { account, ..device }.public(&scene, &json!({ "chain": "ethereum" }));
    let create = ["wallet", "create", "vault", "--chain-id", "31337", "--index", "2", "--cold", &public];
    let (code, made, talk) = run(&scene.as_operator(), &create);
    assert_eq!(code, 0, "{made} {talk}");
    let id = scene.ask(0, 1, "payment").await;
    scene.approved(&id).await;
    assert_eq!(scene.export(&id, "request.json", &[]).0, 0);
    let (request, trust) = (scene.at("request.json"), scene.at("trust.json"));
    let show = ["cold", "show", &request, "--trust", &trust, "--ur", "eth-sign-request", "--public", &public];
    let (code, shown, talk) = scene.apart(&show);
    assert_eq!((code, &shown["type"]), (0, &json!("eth-sign-request")), "{talk}");
    let (_, asked) = ur::ur::decode(shown["parts"][0].as_str().unwrap()).unwrap();
    let has = |bytes: &[u8]| asked.windows(bytes.len()).any(|window| window == bytes);
    let uuid: Vec<u8> = hex::decode(id.replace('-', "")).unwrap();
    let address = hex::decode(&made["address"].as_str().unwrap()[2..]).unwrap();
    assert!(
        has(&transfer(0, 1)) && has(&uuid) && has(&address),
        "what the device shows: {}",
        hex::encode(&asked)
    );

    let secp = Secp256k1::new();
    let path: DerivationPath = "44'/60'/0'/0/2".parse().unwrap();
    let key =
        Xpriv::new_master(bitcoin::NetworkKind::Test, &[42; 32]).unwrap().derive_priv(&secp, &path).unwrap();
    let digest = alloy_primitives::keccak256(transfer(0, 1));
    let signature = secp.sign_ecdsa(&Message::from_digest(digest.0), &key.private_key).serialize_compact();
    let answer = |uuid: &[u8]| {
        // EIP-4527: {1: 37(request), 2: r || s || v}.
        let cbor = [&[0xa2, 1, 0xd8, 0x25, 0x50], uuid, &[2, 0x58, 65], &signature, &[27]].concat();
        let text = ur::ur::try_encode(&cbor, &ur::Type::Custom("eth-signature")).unwrap();
        std::fs::write(scene.at("answer.ur"), text.to_uppercase()).unwrap();
    };
    let submit = ["cold", "submit", &scene.at("answer.ur"), "--request", &request].map(str::to_owned);
    let submit: Vec<_> = submit.iter().map(String::as_str).collect();
    answer(&[7; 16]);
    failed(&run(&scene.as_client(), &submit), "for another one");
    answer(&uuid);
    let (code, released, talk) = run(&scene.as_client(), &submit);
    assert_eq!(code, 0, "{released} {talk}");
    assert_eq!(
        signer_of(released["signed_transaction"].as_str().unwrap(), 0, 1),
        made["address"].as_str().unwrap()
    );
}

/// Would catch a wallet that only this project's own program can sign for, and a message that needs no approval and is signed at
/// once.
#[tokio::test]
async fn another_program_signs_for_a_key_that_is_named_alone() {
    let Some(scene) = Scene::open(RULES).await else { return };
    let (secp, secret) = (Secp256k1::new(), SecretKey::from_slice(&[7; 32]).unwrap());
    let public = hex::encode(secret.public_key(&secp).serialize());
    let create = ["wallet", "create", "vault", "--public-key", &public, "--chain-id", "31337"];
    let (code, made, talk) = run(&scene.as_operator(), &create);
    assert_eq!((code, &made["tier"], made.get("account")), (0, &json!("cold"), None), "{made} {talk}");
    let message = json!({ "wallet": "vault", "payload": { "type": "ethereum.message", "data": "0x6869" } });
    let asked = scene.client.post("/v1/sign", &message, Some("message")).await;
    assert_eq!((asked.status, &asked.body["missing"][0]["needs"][0]["need"]), (202, &json!("signature")));
    let id = asked.body["request_id"].as_str().unwrap();
    let request = scene.client.get(&format!("/v1/requests/{id}/cold")).await.body;
    assert_eq!(request["signings"][0]["public_key"], json!(public), "{request}");
    let digest = hex::decode(request["signings"][0]["digest"].as_str().unwrap()).unwrap();
    let signature = secp.sign_ecdsa(&Message::from_digest_slice(&digest).unwrap(), &secret);
    let proof = request["receipt"]["decision_proof"].as_str().unwrap();
    let leaf: u64 = proof.lines().nth(1).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let signed = json!({
        "v": 1, "kind": "chancery.cold.signed", "tenant": "default", "request_id": id, "wallet": "vault",
        "decision_leaf": leaf, "request_sha256": "00".repeat(32),
        "signatures": [hex::encode(signature.serialize_compact())],
    });
    let released = scene.submit(&scene.client, id, &signed).await;
    assert_eq!(released.status, 200, "{released:?}");
    released.verified(&scene.appliance.trust().await);
    refused(&scene.submit(&scene.client, id, &signed).await, 409, "request-not-pending");
    let transfer = scene.client.sign("vault", &transfer(0, 101), "large").await;
    refused(&transfer, 403, "policy-denied");
}
