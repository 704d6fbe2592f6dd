//! Bitcoin from outside: a wallet that is a descriptor, a PSBT with change over the real door, a real token, and Bitcoin's
//! own consensus code as the judge of what comes out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod transfers;

use appliance::{Answer, Appliance, example};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::consensus::deserialize;
use bitcoin::psbt::Psbt;
use bitcoin::{ScriptBuf, Transaction};
use serde_json::{Value, json};
use transfers::{EXCHANGE, payment, script};

fn vault() -> Value {
    example("vault")
}

fn payload(psbt: &Psbt) -> Value {
    json!({ "type": "bitcoin.psbt", "data": STANDARD.encode(psbt.serialize()) })
}

/// Whether the network would take it.
fn check_consensus(answer: &Answer, psbt: &Psbt) {
    let raw = answer.body["signed_transaction"].as_str().unwrap().strip_prefix("0x").unwrap();
    let raw = hex::decode(raw).unwrap();
    for (index, input) in psbt.inputs.iter().enumerate() {
        let spent = &input.non_witness_utxo.as_ref().unwrap().output[0];
        let flags = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT;
        let (script, value) = (spent.script_pubkey.as_bytes(), spent.value.to_sat());
        bitcoinconsensus::verify_with_flags(script, value, &raw, None, index, flags).unwrap();
    }
    let transaction: Transaction = deserialize(&raw).unwrap();
    assert_eq!(answer.body["transaction_hash"], format!("0x{}", transaction.compute_txid()));
    assert_eq!(transaction.output, psbt.unsigned_tx.output, "what was asked for is what was signed");
}

#[tokio::test]
async fn a_payment_with_change_is_signed_recorded_and_good_for_the_network() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    let wallet = json!({ "id": "vault", "chain": "bitcoin", "network": "regtest", "descriptor": "wpkh(@0)" });
    let made = operator.post("/v1/wallets", &wallet, None).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["chain"], "bitcoin");
    let key = made.body["public_key"].as_str().unwrap();
    assert!(made.body["descriptor"].as_str().unwrap().starts_with(&format!("wpkh({key})#")), "{made:?}");
    let applied = operator.put("/v1/policy", &vault()).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let psbt = payment(&script(made.body["address"].as_str().unwrap()));
    let ask = json!({ "wallet": "vault", "payload": payload(&psbt) });

    let forecast = backend.post("/v1/preview", &ask, None).await;
    assert_eq!(forecast.body["decision"]["outcome"], "allowed", "{forecast:?}");
    let answer = backend.post("/v1/sign", &ask, Some("payment-1")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let effects = answer.body["intent"]["effects"].as_array().unwrap();
    assert_eq!(effects.len(), 1, "change is no effect");
    assert_eq!((&effects[0]["amount"], &effects[0]["destination"]), (&json!("20000"), &json!(EXCHANGE)));
    assert_eq!(answer.body["intent"]["fee"]["maximum"], "1000");
    assert_eq!(answer.body["signatures"].as_array().unwrap().len(), 2, "one for each input");
    check_consensus(&answer, &psbt);

    let trust = appliance.trust().await;
    let receipt = answer.verified(&trust);
    assert_eq!(receipt.receipt().signing_digests.len(), 2);
    assert!(receipt.findings().iter().any(|finding| finding.starts_with("2 signatures")));

    // The first answer again, also after a restart: wallet and release are read from the store.
    let again = backend.post("/v1/sign", &ask, Some("payment-1")).await;
    assert_eq!(again.body["signed_psbt"], answer.body["signed_psbt"]);
    appliance.stop();
    appliance.start();
    let backend = appliance.peer("client", "backend");
    let again = backend.post("/v1/sign", &ask, Some("payment-1")).await;
    assert_eq!(again.body["signed_transaction"], answer.body["signed_transaction"]);
    let more = backend.post("/v1/sign", &ask, Some("payment-2")).await;
    check_consensus(&more, &psbt);

    // What the vault's policy does not know: a payment to somebody else.
    let mut stray = psbt;
    stray.unsigned_tx.output[0].script_pubkey = ScriptBuf::new_op_return([1]);
    let stray = json!({ "wallet": "vault", "payload": payload(&stray) });
    let denied = backend.post("/v1/sign", &stray, Some("payment-3")).await;
    assert_eq!((denied.status, denied.code()), (403, "policy-denied"), "{denied:?}");

    let message = json!({ "wallet": "vault", "payload": { "type": "bitcoin.message", "data": "0x6869" } });
    let proof = backend.post("/v1/sign", &message, Some("message-1")).await;
    assert_eq!(proof.status, 200, "{proof:?}");
    assert!(proof.body["message_signature"].is_string(), "{proof:?}");
    proof.verified(&trust);
}

#[tokio::test]
async fn taproot_is_decided_recorded_and_refused_at_the_signer() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (operator, backend) = (appliance.peer("operator", "op"), appliance.peer("client", "backend"));
    let wallet = json!({ "id": "vault", "chain": "bitcoin", "network": "regtest", "descriptor": "tr(@0)" });
    let made = operator.post("/v1/wallets", &wallet, None).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(operator.put("/v1/policy", &vault()).await.status, 200);
    let psbt = payment(&script(made.body["address"].as_str().unwrap()));
    let ask = json!({ "wallet": "vault", "payload": payload(&psbt) });
    let forecast = backend.post("/v1/preview", &ask, None).await;
    assert_eq!(forecast.body["decision"]["outcome"], "allowed", "{forecast:?}");
    let refused = backend.post("/v1/sign", &ask, Some("payment-1")).await;
    assert_eq!((refused.status, refused.code()), (501, "schnorr-unavailable"), "{refused:?}");
    // The decision is on record, and so is that nothing was signed.
    let id = refused.body["request_id"].as_str().unwrap();
    let recorded = backend.get(&format!("/v1/requests/{id}")).await;
    assert_eq!(recorded.body["state"], "failed", "{recorded:?}");
}

#[tokio::test]
async fn a_descriptor_that_cannot_be_a_wallet_makes_no_key() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let operator = appliance.peer("operator", "op");
    let other = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    for descriptor in
        ["", "wpkh(@1)", "pk(@0)", "sh(pk(@0))", &format!("wpkh({other})"), "wsh(multi(2,@0,@0))"]
    {
        let wallet = json!({ "id": "w", "chain": "bitcoin", "network": "regtest", "descriptor": descriptor });
        let refused = operator.post("/v1/wallets", &wallet, None).await;
        assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{descriptor}: {refused:?}");
    }
    for wallet in [
        json!({ "id": "w", "chain": "bitcoin", "network": "moon", "descriptor": "wpkh(@0)" }),
        json!({ "id": "w", "chain": "bitcoin", "chain_ids": [1] }),
        json!({ "id": "w", "chain": "bitcoin", "network": "regtest", "descriptor": "wpkh(@0)", "chain_ids": [1] }),
    ] {
        let refused = operator.post("/v1/wallets", &wallet, None).await;
        assert!((400..500).contains(&refused.status), "{wallet}: {refused:?}");
    }
}
