//! Published transactions and documents: their signing digests, senders and hashes must come out of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod fixture;

use alloy_consensus::{SignableTransaction as _, TxEnvelope};
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{Address, Signature};
use chancery_core::Payload;
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, Artifact, Intent, ethereum, understand};
use fixture::{WALLET, WALLET_KEY, ask, recovered, sign};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    name: String,
    form: String,
    chain_id: u64,
    signed: String,
    sender: Option<Address>,
    digest: Option<String>,
    hash: Option<String>,
    effect: String,
}

/// The bytes to sign and the signature, taken apart by alloy.
fn unsigned(signed: &[u8]) -> (Vec<u8>, Signature) {
    match TxEnvelope::decode_2718(&mut &signed[..]).unwrap() {
        TxEnvelope::Legacy(tx) => (tx.tx().encoded_for_signing(), *tx.signature()),
        TxEnvelope::Eip2930(tx) => (tx.tx().encoded_for_signing(), *tx.signature()),
        TxEnvelope::Eip1559(tx) => (tx.tx().encoded_for_signing(), *tx.signature()),
        TxEnvelope::Eip4844(tx) => (tx.tx().tx().encoded_for_signing(), *tx.signature()),
        TxEnvelope::Eip7702(tx) => (tx.tx().encoded_for_signing(), *tx.signature()),
    }
}

/// What `cargo xtask assurance --only vectors` counts; a vector that fails ends its test before this.
fn tally(file: &str, by: &str, total: usize) {
    let tally = serde_json::json!({"file": file, "by": by, "total": total, "passed": total, "skipped": {}, "failed": []});
    println!("\nassurance vectors {tally}");
}

fn finished(intent: &Intent, r: [u8; 32], s: [u8; 32], y_parity: bool) -> Artifact {
    intent.finish(&[chancery_intent::Signature { r, s, y_parity: Some(y_parity) }]).unwrap()
}

#[test]
fn published_transactions_come_back_byte_for_byte() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors/transactions.json")).unwrap();
    let total = vectors.len();
    for vector in vectors {
        let name = &vector.name;
        let signed = hex::decode(&vector.signed).unwrap();
        let (data, signature) = unsigned(&signed);
        let chains = [vector.chain_id];
        let account = Account::Ethereum(ethereum::Account {
            address: vector.sender.unwrap_or_default(),
            chain_ids: &chains,
        });
        let intent =
            understand(&Payload::EthereumTransaction { data: data.clone() }, &account, &Registry::default())
                .unwrap_or_else(|error| panic!("{name}: {error}"));

        let description = intent.description();
        assert_eq!(description.form, vector.form, "{name}");
        assert_eq!(description.chain, format!("eip155:{}", vector.chain_id), "{name}");
        assert_eq!(description.effects[0].kind.as_str(), vector.effect, "{name}");
        assert_eq!(intent.preimage(), data, "{name}: what is hashed is what came in");
        if let Some(digest) = &vector.digest {
            assert_eq!(&hex::encode(intent.signing_digest()), digest, "{name}: published signing hash");
        }
        let (r, s) = (signature.r().to_be_bytes(), signature.s().to_be_bytes());
        if let Some(sender) = vector.sender {
            assert_eq!(
                recovered(intent.signing_digest(), &r, &s, signature.v()),
                sender,
                "{name}: published sender"
            );
        }
        let Artifact::Transaction { raw, hash } = finished(&intent, r, s, signature.v()) else {
            panic!("{name}: not a transaction")
        };
        assert_eq!(raw, signed, "{name}: published bytes");
        if let Some(published) = &vector.hash {
            assert_eq!(&hex::encode(hash), published, "{name}: published hash");
        }
    }
    tally("EIP-155, 2930, 1559, 4844, 7702", "transactions", total);
}

#[test]
fn the_mail_of_eip_712_has_its_published_digest_and_signature() {
    let vector: serde_json::Value = serde_json::from_str(include_str!("vectors/mail.json")).unwrap();
    let intent = ask(&Payload::EthereumTypedData { document: vector["document"].clone() }).unwrap();
    assert_eq!(hex::encode(intent.signing_digest()), vector["digest"].as_str().unwrap());

    let key = hex::encode(alloy_primitives::keccak256("cow"));
    let (r, s, y_parity) = sign(&key, intent.signing_digest());
    assert_eq!(
        (hex::encode(r).as_str(), hex::encode(s).as_str()),
        (vector["r"].as_str().unwrap(), vector["s"].as_str().unwrap())
    );
    let Artifact::Signature { bytes } = finished(&intent, r, s, y_parity) else { panic!("not a signature") };
    assert_eq!(bytes[64], 28, "v of the published signature");
    tally("EIP-712", "messages", 1);
}

#[test]
fn hello_world_has_its_published_digest_and_signature() {
    // EIP-191 by the account above, as viem and foundry publish it.
    let intent = ask(&Payload::EthereumMessage { data: b"hello world".to_vec() }).unwrap();
    assert_eq!(
        hex::encode(intent.signing_digest()),
        "d9eba16ed0ecae432b71fe008c98cc872bb4cc214d3220a36f365326cf807d68"
    );
    let (r, s, y_parity) = sign(WALLET_KEY, intent.signing_digest());
    let Artifact::Signature { bytes } = finished(&intent, r, s, y_parity) else { panic!("not a signature") };
    assert_eq!(
        hex::encode(bytes),
        "a461f509887bd19e312c0c58467ce8ff8e300d3c1a90b608a760c5b80318eaf15fe57c96f9175d6cd4daad4663763baa7e78836e067d0163e9a2ccf2ff753f5b1b"
    );
    assert_eq!(intent.description().detail["text"], "hello world");
    tally("EIP-191", "messages", 1);
}

#[test]
fn an_authorization_has_its_published_signature() {
    // viem, "sign authorization" of the account above: chain 1, nonce 0.
    let data = hex::decode("05d70194fba3912ca04dd458c843e2ee08967fc04f3579c280").unwrap();
    let intent = ask(&Payload::EthereumAuthorization { data: data.clone() }).unwrap();
    assert_eq!(intent.preimage(), data);
    let (r, s, y_parity) = sign(WALLET_KEY, intent.signing_digest());
    let finished = finished(&intent, r, s, y_parity);
    let Artifact::Authorization { rlp, json } = &finished else { panic!("{finished:?}") };
    assert_eq!(
        *json,
        serde_json::json!({
            "chainId": "0x1",
            "address": "0xfba3912ca04dd458c843e2ee08967fc04f3579c2",
            "nonce": "0x0",
            "yParity": "0x0",
            "r": "0xff5d79daa56d5aae2657e8950af71377f8c2860255a9c915948c071ef9286def",
            "s": "0x17318a10ff56f0000a350a210fdb312ba22260a64f38dddc135912a6c4795c1d",
        })
    );
    let signed: alloy_eips::eip7702::SignedAuthorization =
        alloy_rlp::Decodable::decode(&mut &rlp[..]).unwrap();
    assert_eq!((signed.y_parity(), signed.r().to_be_bytes()), (0, r));
    assert_eq!(recovered(intent.signing_digest(), &r, &s, y_parity), WALLET);
    assert_eq!(intent.description().account, WALLET.to_string());
    tally("EIP-7702 authorization", "messages", 1);
}
