//! Solana from outside: wallets of an Ed25519 key in the token or of a seed, over the real door and with the real command line;
//! limits of SOL and of a token; AWS-LC as the judge of what comes out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod transfers;

use appliance::{Appliance, Peer, chancery, example, run};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_intent::solana::{Pubkey, address, token_account};
use serde_json::{Value, json};
use transfers::{SOLANA_EXCHANGE as EXCHANGE, lamports, message};

const TOKEN: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
/// Of the example bundle.
const USDC: &str = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU";

/// Dollars from the wallet's own account to the exchange's.
fn dollars(from: &Pubkey, amount: u64) -> Vec<u8> {
    let (mint, exchange) = (address(USDC).unwrap(), address(EXCHANGE).unwrap());
    let accounts = [
        *from,
        token_account(from, &mint).unwrap(),
        mint,
        token_account(&exchange, &mint).unwrap(),
        address(TOKEN).unwrap(),
    ];
    message(&accounts, &[1, 2, 3, 0], &[&[12][..], &amount.to_le_bytes(), &[6]].concat())
}

fn ask(wallet: &str, message: &[u8], claims: &Value) -> Value {
    let data = STANDARD.encode(message);
    json!({ "wallet": wallet, "payload": { "type": "solana.transaction", "data": data, "token_accounts": claims } })
}

fn claim() -> Value {
    json!([{ "owner": EXCHANGE, "mint": USDC }])
}

/// A signed transaction in base64: one signature, by this key over exactly this message.
fn check_signed(signed: &str, message: &[u8], key: &Pubkey) -> Vec<u8> {
    let raw = STANDARD.decode(signed).unwrap();
    assert_eq!((raw[0], &raw[65..]), (1, message));
    UnparsedPublicKey::new(&ED25519, key.as_ref()).verify(message, &raw[1..65]).unwrap();
    raw[1..65].to_vec()
}

async fn make(operator: &Peer, id: &str, key: Value) -> Value {
    let wallet = json!({ "id": id, "chain": "solana", "cluster": "devnet", "key": key });
    let made = operator.post("/v1/wallets", &wallet, None).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

#[tokio::test]
async fn a_key_of_the_token_signs_what_policy_allows_and_no_more() {
    let (Some(mut appliance), Some(_)) = (Appliance::prepare(), chancery()) else { return };
    appliance.start();
    let [operator, client] = [("operator", "op"), ("client", "backend")]
        .map(|(role, name)| appliance.client_directory(role, name));
    let (code, made, talk) = run(&operator, &["wallet", "create", "payouts", "--solana", "devnet"]);
    assert_eq!(code, 0, "{talk}");
    assert_eq!(
        (&made["chain"], &made["algorithm"], &made["tier"]),
        (&json!("solana"), &json!("ed25519"), &json!("hsm"))
    );
    let key = address(made["address"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode(key.as_ref()), made["public_key"].as_str().unwrap());
    assert_eq!(appliance.peer("operator", "op").apply(&example("payouts")).await.status, 200);

    // By the command line, which decodes again what it sent.
    let sol = lamports(&key, 600_000_000);
    let receipt = appliance.at("receipt.json");
    let trust_file = appliance.at("trust.json");
    let text = STANDARD.encode(&sol);
    let sign = ["sign", "--wallet", "payouts", "--solana", &text, "--receipt", receipt.to_str().unwrap()];
    let (code, released, talk) = run(&client, &sign);
    assert_eq!(code, 0, "{talk}");
    assert!(!talk.contains("WARNING"), "{talk}");
    let signature = check_signed(released["signed_transaction"].as_str().unwrap(), &sol, &key);
    assert_eq!(released["transaction_hash"], bitcoin::base58::encode(&signature));
    assert_eq!(released["intent"]["effects"][0]["amount"], "600000000");
    assert_eq!(released["intent"]["fee"]["maximum"], "5000");

    // The receipt holds offline, in the program and in the library; a changed one does not.
    let trust = appliance.trust().await;
    let (code, document, _) = run(&client, &["trust", "fetch"]);
    assert_eq!(code, 0);
    std::fs::write(&trust_file, document.to_string()).unwrap();
    let verify = ["receipt", "verify", "--trust", trust_file.to_str().unwrap(), receipt.to_str().unwrap()];
    let (code, _, talk) = run(&client, &verify);
    assert_eq!(code, 0, "{talk}");
    let good: Value = serde_json::from_slice(&std::fs::read(&receipt).unwrap()).unwrap();
    chancery_audit::verify(good.to_string().as_bytes(), &trust).unwrap();
    let spoiled = |change: &dyn Fn(&mut Value)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        chancery_audit::verify(receipt.to_string().as_bytes(), &trust).is_err()
    };
    let other = STANDARD.encode(lamports(&key, 600_000_001));
    assert!(spoiled(&|receipt| receipt["payload"]["data"] = json!(other)), "another message");
    assert!(spoiled(&|receipt| receipt["decision"]["algorithm"] = json!("secp256k1")), "another kind of key");

    // The limit counts lamports: what is left of the SOL goes, and not one lamport more.
    let backend = appliance.peer("client", "backend");
    let more = backend
        .post("/v1/sign", &ask("payouts", &lamports(&key, 400_000_001), &json!([])), Some("more"))
        .await;
    assert_eq!((more.status, more.code()), (403, "policy-denied"), "{more:?}");
    let rest = lamports(&key, 400_000_000);
    let answer = backend.post("/v1/sign", &ask("payouts", &rest, &json!([])), Some("rest")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    check_signed(answer.body["signed_transaction"].as_str().unwrap(), &rest, &key);

    // Of a token too, each by its own units, and only where it is proved who gains.
    let half = dollars(&key, 250_000_000);
    let unproved = backend.post("/v1/sign", &ask("payouts", &half, &json!([])), Some("unproved")).await;
    assert_eq!(unproved.code(), "policy-denied", "{unproved:?}");
    for nonce in ["usdc-1", "usdc-2"] {
        let answer = backend.post("/v1/sign", &ask("payouts", &half, &claim()), Some(nonce)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["intent"]["effects"][0]["destination"], EXCHANGE);
        check_signed(answer.body["signed_transaction"].as_str().unwrap(), &half, &key);
        answer.verified(&trust);
    }
    let above = backend.post("/v1/sign", &ask("payouts", &dollars(&key, 1), &claim()), Some("usdc-3")).await;
    assert_eq!(above.code(), "policy-denied", "{above:?}");

    // A program that nobody knows would have the wallet's signature: no amount of anything bounds it.
    let unknown = message(&[key, address(EXCHANGE).unwrap(), address(USDC).unwrap()], &[0, 1], &[1, 2, 3]);
    let denied = backend.post("/v1/sign", &ask("payouts", &unknown, &json!([])), Some("unknown")).await;
    assert_eq!(denied.code(), "policy-denied", "{denied:?}");
    let foreign = backend.sign("payouts", &appliance::one_ether(0), "eth").await;
    assert_eq!(foreign.code(), "chain-id-mismatch", "{foreign:?}");
    let other = Pubkey::new_from_array([5; 32]);
    let nothing =
        backend.post("/v1/sign", &ask("payouts", &lamports(&other, 1), &json!([])), Some("other")).await;
    assert_eq!(nothing.code(), "nothing-to-sign", "{nothing:?}");
}

#[tokio::test]
async fn keys_of_a_seed_are_wallets_beside_one_another() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    let bundle = "version = 1\nname = \"any\"\n";
    let rule = "@id(\"derived\") permit(principal, action == Action::\"transfer\", resource) when { context.tier == \"hd\" };";
    let policy = json!({ "files": { "bundle.toml": bundle, "policies/any.cedar": rule } });
    assert_eq!(operator.put("/v1/policy", &policy).await.status, 200);
    let first = make(&operator, "customer-0", json!({ "from": "seed" })).await;
    assert_eq!((&first["tier"], &first["index"]), (&json!("hd"), &json!(0)));
    let beside = json!({ "from": "beside", "wallet": "customer-0" });
    let second = make(&operator, "customer-1", beside.clone()).await;
    assert_eq!(second["index"], 1);
    assert_ne!(first["address"], second["address"]);

    let trust = appliance.trust().await;
    let sign = async |backend: &Peer, id: &str, made: &Value, nonce: &str| {
        let key = address(made["address"].as_str().unwrap()).unwrap();
        let message = lamports(&key, 5);
        let answer = backend.post("/v1/sign", &ask(id, &message, &json!([])), Some(nonce)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        check_signed(answer.body["signed_transaction"].as_str().unwrap(), &message, &key);
        answer.verified(&trust);
    };
    sign(&backend, "customer-0", &first, "a").await;
    sign(&backend, "customer-1", &second, "b").await;

    // A restart opens the same seed, and another account of the same one is none of theirs.
    appliance.stop();
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    sign(&backend, "customer-1", &second, "c").await;
    let third = make(&operator, "customer-2", beside).await;
    assert_eq!(third["index"], 2);
    let ethereum = json!({
        "id": "x", "chain": "ethereum", "chain_ids": [1], "key": { "from": "beside", "wallet": "customer-0" }
    });
    let refused = operator.post("/v1/wallets", &ethereum, None).await;
    assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{refused:?}");
    let cold = json!({ "from": "cold", "public_key": first["public_key"] });
    let wallet = json!({ "id": "y", "chain": "solana", "cluster": "devnet", "key": cold });
    assert_eq!(operator.post("/v1/wallets", &wallet, None).await.code(), "bad-request");
}
