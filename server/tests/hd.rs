//! HD wallets from outside: seeds that the token keeps, addresses that are derived, PSBTs with inputs of several keys, and
//! a policy that tells tiers apart. What comes out is judged by Bitcoin's consensus code, and by receipts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod transfers;
mod watched;

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_primitives::U256;
use appliance::{Answer, Appliance, Peer};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::psbt::Psbt;
use serde_json::{Value, json};
use transfers::check_spends;
use watched::{Watched, payment};

/// Allows what keys of a seed sign, and nothing of any other tier.
fn policy() -> Value {
    let bundle = "version = 1\nname = \"tiers\"\n";
    let rule = "@id(\"derived\") permit(principal, action in Action::\"sign\", resource) when { context.tier == \"hd\" };";
    json!({ "files": { "bundle.toml": bundle, "policies/tiers.cedar": rule } })
}

fn ask(wallet: &str, psbt: &Psbt) -> Value {
    json!({ "wallet": wallet, "payload": { "type": "bitcoin.psbt", "data": STANDARD.encode(psbt.serialize()) } })
}

/// Whether the network would take it.
fn check_consensus(answer: &Answer, psbt: &Psbt) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let raw = answer.body["signed_transaction"].as_str().unwrap().strip_prefix("0x").unwrap();
    check_spends(&hex::decode(raw).unwrap(), psbt).unwrap();
}

async fn make(operator: &Peer, wallet: Value) -> Answer {
    let made = operator.post("/v1/wallets", &wallet, None).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

fn bitcoin(id: &str, descriptor: &str, key: Value) -> Value {
    json!({ "id": id, "chain": "bitcoin", "network": "regtest", "descriptor": descriptor, "key": key })
}

#[tokio::test]
async fn a_payment_of_several_derived_keys_is_good_for_the_network() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    assert_eq!(operator.put("/v1/policy", &policy()).await.status, 200);
    let made = make(&operator, bitcoin("deposits", "wpkh(@0/<0;1>/*)", json!({ "from": "seed" }))).await;
    assert_eq!(made.body["tier"], "hd");
    let watched = Watched::of(&made.body);
    assert_eq!(watched.path.to_string(), "84'/1'/0'", "where wallets that recover look");
    assert_eq!(made.body["address"], watched.address([0, 0]).to_string());
    let branches = made.body["branch_descriptors"].as_array().unwrap();
    assert!(branches[1].as_str().unwrap().contains("/1/*)#"), "{branches:?}");

    let psbt = payment(&watched, &[[0, 0], [0, 5], [1, 2]], [1, 3]);
    let answer = backend.post("/v1/sign", &ask("deposits", &psbt), Some("payment-1")).await;
    check_consensus(&answer, &psbt);
    assert_eq!(answer.body["intent"]["effects"].as_array().unwrap().len(), 1, "change is no effect");
    let trust = appliance.trust().await;
    let receipt = answer.verified(&trust);
    let signers = &receipt.receipt().decision.signers;
    let expected = [[0, 0], [0, 5], [1, 2]].map(|steps| watched.key(steps).to_bytes());
    assert!(signers.iter().map(|key| key.as_bytes()).eq(expected.iter().map(|key| &key[..])), "{signers:?}");

    // Which key signs what is part of the record: a receipt that names another does not verify.
    let mut swapped = answer.body["receipt"].clone();
    let keys = swapped["decision"]["signers"].as_array_mut().unwrap();
    keys.swap(0, 1);
    assert!(chancery_audit::verify(swapped.to_string().as_bytes(), &trust).is_err());

    // Nothing tells where these inputs stand: they are nobody's, and nothing is signed.
    let mut nowhere = psbt.clone();
    nowhere.inputs.iter_mut().for_each(|input| input.bip32_derivation.clear());
    let refused = backend.post("/v1/sign", &ask("deposits", &nowhere), Some("payment-2")).await;
    assert_eq!(refused.code(), "nothing-to-sign", "{refused:?}");
    // Change that is said to be ours and is not: a payment to a stranger, and shown as one.
    let mut foreign = psbt.clone();
    foreign.unsigned_tx.output[1].script_pubkey = foreign.unsigned_tx.output[0].script_pubkey.clone();
    let shown = backend.post("/v1/preview", &ask("deposits", &foreign), None).await;
    assert_eq!(shown.body["intent"]["effects"].as_array().unwrap().len(), 2, "{shown:?}");

    // The seed is opened again after a restart, and stays bound to its wallet.
    appliance.stop();
    appliance.start();
    let backend = appliance.peer("client", "backend");
    check_consensus(&backend.post("/v1/sign", &ask("deposits", &psbt), Some("payment-3")).await, &psbt);

    // A key of the token is of another tier, which this policy does not allow.
    let operator = appliance.peer("operator", "op");
    make(&operator, bitcoin("vault", "wpkh(@0)", json!({ "from": "hsm" }))).await;
    let message = json!({ "wallet": "vault", "payload": { "type": "bitcoin.message", "data": "0x6869" } });
    let denied = backend.post("/v1/sign", &message, Some("message-1")).await;
    assert_eq!((denied.status, denied.code()), (403, "policy-denied"), "{denied:?}");
    let message = json!({ "wallet": "deposits", "payload": { "type": "bitcoin.message", "data": "0x6869" } });
    let proof = backend.post("/v1/sign", &message, Some("message-2")).await;
    assert_eq!(proof.status, 200, "{proof:?}");
}

#[tokio::test]
async fn addresses_are_handed_out_once_and_no_further_than_a_recovery_looks() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    assert_eq!(operator.put("/v1/policy", &policy()).await.status, 200);
    let made = make(&operator, bitcoin("deposits", "wpkh(@0/<0;1>/*)", json!({ "from": "seed" }))).await;
    let watched = Watched::of(&made.body);
    let path = "/v1/wallets/deposits/addresses";
    for index in 0..20_u32 {
        let next = backend.post(path, &json!({}), None).await;
        assert_eq!(next.status, 201, "{next:?}");
        assert_eq!(next.body["index"], index);
        assert_eq!(next.body["address"], watched.address([0, index]).to_string());
    }
    let full = backend.post(path, &json!({}), None).await;
    assert_eq!((full.status, full.code()), (409, "gap-limit"), "{full:?}");
    // Spending from an address shows that it is used; a client that watches the chain can say so too.
    let psbt = payment(&watched, &[[0, 0]], [1, 0]);
    check_consensus(&backend.post("/v1/sign", &ask("deposits", &psbt), Some("p-1")).await, &psbt);
    assert_eq!(backend.post(path, &json!({}), None).await.body["index"], 20);
    assert_eq!(backend.post(path, &json!({}), None).await.code(), "gap-limit");
    assert_eq!(backend.post(path, &json!({ "used": 9 }), None).await.body["index"], 21);
    // Nor does a client's word, or a spend that it made up, move the branch to where nobody would look.
    let far = backend.post(path, &json!({ "used": 2_000_000_000 }), None).await;
    assert_eq!((far.status, far.code()), (400, "bad-request"), "{far:?}");
    let psbt = payment(&watched, &[[0, 900_000]], [1, 0]);
    check_consensus(&backend.post("/v1/sign", &ask("deposits", &psbt), Some("p-far")).await, &psbt);
    assert_eq!(backend.get(path).await.body["given"], 22, "the branch stands where it stood");

    appliance.stop();
    appliance.start();
    let shown = appliance.peer("auditor", "ann").get(&format!("{path}?from=20&count=2")).await;
    assert_eq!(shown.body["given"], 22, "{shown:?}");
    assert_eq!(shown.body["used"], 10);
    assert_eq!(shown.body["addresses"][1]["address"], watched.address([0, 21]).to_string());
    let backend = appliance.peer("client", "backend");
    let change = backend.post(path, &json!({ "branch": 1 }), None).await;
    assert_eq!(change.body["address"], watched.address([1, 0]).to_string());
    for (body, why) in
        [(json!({ "branch": 2 }), "no such branch"), (json!({ "used": 0x8000_0000_u32 }), "hardened")]
    {
        assert_eq!(backend.post(path, &body, None).await.status, 400, "{why}");
    }
    assert_eq!(appliance.peer("auditor", "ann").post(path, &json!({}), None).await.status, 403);
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 { chain_id: 1, ..appliance::transfer(nonce, U256::from(7)) }
}

#[tokio::test]
async fn addresses_of_one_ethereum_account_are_wallets_beside_one_another() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    assert_eq!(operator.put("/v1/policy", &policy()).await.status, 200);
    let wallet =
        |id: &str, key: Value| json!({ "id": id, "chain": "ethereum", "chain_ids": [1], "key": key });
    let first = make(&operator, wallet("customer-0", json!({ "from": "seed" }))).await;
    let watched = Watched::of(&first.body);
    assert_eq!((watched.path.to_string(), &first.body["index"]), ("44'/60'/0'".to_owned(), &json!(0)));
    let beside = json!({ "from": "beside", "wallet": "customer-0" });
    let second = make(&operator, wallet("customer-1", beside.clone())).await;
    assert_eq!(second.body["account"], first.body["account"]);
    let address = chancery_intent::address_of(&watched.key([0, 1]).to_bytes()).unwrap();
    assert_eq!(second.body["address"], address.to_string());

    let trust = appliance.trust().await;
    for (id, made) in [("customer-0", &first), ("customer-1", &second)] {
        let answer = backend.sign(id, &transfer(0).encoded_for_signing(), id).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // The receipt verifies the signature under this key, whose address must be the wallet's.
        let receipt = answer.verified(&trust);
        let signer = chancery_intent::address_of(receipt.receipt().decision.public_key.as_bytes()).unwrap();
        assert_eq!(signer.to_string(), made.body["address"], "{id}");
    }

    // Twenty that nobody used, and not one more.
    for index in 2..22 {
        make(&operator, wallet(&format!("customer-{index}"), beside.clone())).await;
    }
    let full = operator.post("/v1/wallets", &wallet("customer-22", beside.clone()), None).await;
    assert_eq!((full.status, full.code()), (409, "gap-limit"), "{full:?}");
    let answer = backend.sign("customer-21", &transfer(0).encoded_for_signing(), "late").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let more = make(&operator, wallet("customer-22", beside)).await;
    assert_eq!(more.body["index"], 22);
    make(&operator, wallet("plain", json!({ "from": "hsm" }))).await;
    let refused = operator
        .post("/v1/wallets", &wallet("x", json!({ "from": "beside", "wallet": "plain" })), None)
        .await;
    assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{refused:?}");
}

#[tokio::test]
async fn accounts_are_those_of_the_bips() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let operator = appliance.peer("operator", "op");
    for (id, descriptor, path) in [
        ("pkh", "pkh(@0/<0;1>/*)", "44'/1'/0'"),
        ("sh", "sh(wpkh(@0/<0;1>/*))", "49'/1'/0'"),
        ("wsh", "wsh(pk(@0/<0;1>/*))", "48'/1'/0'/2'"),
        ("tr", "tr(@0/<0;1>/*)", "86'/1'/0'"),
    ] {
        let made = make(&operator, bitcoin(id, descriptor, json!({ "from": "seed" }))).await;
        assert_eq!(Watched::of(&made.body).path.to_string(), path);
    }
    for descriptor in
        ["wpkh(@0)", "wpkh(@0/*)", "wpkh(@0/0/1/*)", "wpkh(@0/<0;1>)", "wsh(multi(1,@0/0/*,@0/1/*))"]
    {
        let wallet = bitcoin("w", descriptor, json!({ "from": "seed" }));
        let refused = operator.post("/v1/wallets", &wallet, None).await;
        assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{descriptor}: {refused:?}");
    }
}

#[tokio::test]
async fn taproot_is_signed_by_the_tweaked_key_and_by_scripts() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    assert_eq!(operator.put("/v1/policy", &policy()).await.status, 200);
    let made = make(&operator, bitcoin("deposits", "tr(@0/<0;1>/*)", json!({ "from": "seed" }))).await;
    let watched = Watched::of(&made.body);
    assert_eq!(watched.path.to_string(), "86'/1'/0'");
    assert_eq!(made.body["address"], watched.address([0, 0]).to_string(), "as BIP-86 derives it");

    let psbt = payment(&watched, &[[0, 0], [0, 5], [1, 2]], [1, 3]);
    let answer = backend.post("/v1/sign", &ask("deposits", &psbt), Some("payment-1")).await;
    check_consensus(&answer, &psbt);
    assert_eq!(answer.body["intent"]["effects"].as_array().unwrap().len(), 1, "change is no effect");
    let raw = hex::decode(&answer.body["signed_transaction"].as_str().unwrap()[2..]).unwrap();
    let mut spoiled = raw.clone();
    let witness = raw.len() - 10;
    spoiled[witness] ^= 1;
    assert!(check_spends(&spoiled, &psbt).is_err(), "the judge sees a wrong signature");
    let signed = STANDARD.decode(answer.body["signed_psbt"].as_str().unwrap()).unwrap();
    let signed = Psbt::deserialize(&signed).unwrap();
    assert!(signed.inputs.iter().all(|input| input.tap_key_sig.is_some()));

    // The receipt names each tweaked key, and holds under no other.
    let trust = appliance.trust().await;
    let receipt = answer.verified(&trust);
    let decision = &receipt.receipt().decision;
    assert_eq!(decision.algorithm, chancery_audit::Algorithm::Bip340);
    let outputs = [[0, 0], [0, 5], [1, 2]].map(|steps| watched.address(steps).script_pubkey());
    let keys = outputs.iter().map(|script| &script.as_bytes()[2..]);
    assert!(decision.signers.iter().map(|key| key.as_bytes()).eq(keys), "{:?}", decision.signers);
    let mut swapped = answer.body["receipt"].clone();
    swapped["decision"]["signers"].as_array_mut().unwrap().swap(0, 1);
    assert!(chancery_audit::verify(swapped.to_string().as_bytes(), &trust).is_err());

    // Another's internal key and ours in a leaf: the script's way, with the key as it is.
    let other = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    let descriptor = format!("tr({other},{{pk(@0/<0;1>/*),and_v(v:pk(@0/<2;3>/*),older(10))}})");
    let refused =
        operator.post("/v1/wallets", &bitcoin("twice", &descriptor, json!({ "from": "seed" })), None).await;
    assert_eq!(refused.code(), "bad-request", "one place for the key: {refused:?}");
    // And ours with a script beside it: the tweak has the script's root in it.
    for (id, descriptor) in [
        ("leaf", format!("tr({other},{{pk(@0/<0;1>/*),pk({other})}})")),
        ("beside", format!("tr(@0/<0;1>/*,pk({other}))")),
    ] {
        let made = make(&operator, bitcoin(id, &descriptor, json!({ "from": "seed" }))).await;
        let address: bitcoin::Address<_> = made.body["address"].as_str().unwrap().parse().unwrap();
        let script = address.require_network(bitcoin::Network::Regtest).unwrap().script_pubkey();
        let mut psbt = payment(&watched, &[[0, 0]], [1, 3]);
        let mut funding = psbt.inputs[0].non_witness_utxo.take().unwrap();
        funding.output[0].script_pubkey = script;
        psbt.unsigned_tx.input[0].previous_output.txid = funding.compute_txid();
        psbt.inputs[0].non_witness_utxo = Some(funding);
        let origins = Watched::of(&made.body).origin([0, 0]).into_iter();
        psbt.inputs[0].tap_key_origins =
            origins.map(|(key, origin)| (key.x_only_public_key().0, (Vec::new(), origin))).collect();
        let answer = backend.post("/v1/sign", &ask(id, &psbt), Some(id)).await;
        check_consensus(&answer, &psbt);
        answer.verified(&trust);
    }

    // A message by the key of the first address (BIP-322).
    let message = json!({ "wallet": "deposits", "payload": { "type": "bitcoin.message", "data": "0x6869" } });
    let proof = backend.post("/v1/sign", &message, Some("message")).await;
    assert_eq!(proof.status, 200, "{proof:?}");
    let witness = STANDARD.decode(proof.body["message_signature"].as_str().unwrap()).unwrap();
    assert_eq!((witness.len(), &witness[..2]), (66, &[1, 64][..]), "one signature of Schnorr, nothing else");
    proof.verified(&trust);
}
