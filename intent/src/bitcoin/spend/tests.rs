//! The BIPs' own digests and signatures, through the functions that make ours.

use std::collections::BTreeMap;

use bitcoin::secp256k1::ecdsa;
use bitcoin::{ScriptBuf, consensus::deserialize};

use super::*;
use crate::bitcoin::Network;

#[derive(serde::Deserialize)]
struct Vectors {
    skipped: Vec<Skipped>,
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Skipped {
    bip: u16,
    case: String,
    reason: String,
}

#[derive(serde::Deserialize)]
struct Vector {
    bip: u16,
    case: String,
    transaction: String,
    spent: Vec<Output>,
    input: usize,
    descriptor: String,
    key: String,
    sighash: String,
    digest: Option<String>,
    /// In DER, without its sighash type.
    signature: Option<String>,
}

#[derive(serde::Deserialize)]
struct Output {
    script: String,
    sat: u64,
}

#[test]
fn published_digests_come_out() {
    let Vectors { skipped, vectors } =
        serde_json::from_str(include_str!("../../../tests/vectors/sighash.json")).unwrap();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for Skipped { bip, case, reason } in &skipped {
        println!("skipped: BIP-{bip}, {case}: {reason}");
        *reasons.entry(reason.clone()).or_default() += 1;
    }
    let passed = vectors.len();
    assert_eq!((passed, skipped.len()), (6, 5), "no vector was lost");
    for vector in vectors {
        let name = format!("BIP-{}, {}", vector.bip, vector.case);
        let transaction: Transaction = deserialize(&hex::decode(&vector.transaction).unwrap()).unwrap();
        let spent: Vec<TxOut> = vector
            .spent
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output.sat),
                script_pubkey: ScriptBuf::from_hex(&output.script).unwrap(),
            })
            .collect();
        let key = hex::decode(&vector.key).unwrap();
        let wallet = Wallet::parse(Network::Mainnet, &vector.descriptor, &key).unwrap();
        let own = wallet.first().unwrap();
        assert_eq!(own.script(), spent[vector.input].script_pubkey, "{name}: the published script");
        let sighash = if vector.sighash == "all" { Sighash::All } else { Sighash::Default };
        let mut cache = SighashCache::new(&transaction);
        let signing = if is_taproot(&own) {
            schnorr_digests(&mut cache, vector.input, &spent, &own, sighash).unwrap().remove(0)
        } else {
            ecdsa_digest(&mut cache, vector.input, &spent[vector.input], &own, sighash).unwrap()
        };
        if let Some(digest) = vector.digest {
            assert_eq!(hex::encode(signing.digest), digest, "{name}: the published digest");
        }
        if let Some(signature) = vector.signature {
            let signature = ecdsa::Signature::from_der(&hex::decode(signature).unwrap()).unwrap();
            let message = Message::from_digest(signing.digest);
            SECP.verify_ecdsa(&message, &signature, &own.key.inner)
                .unwrap_or_else(|error| panic!("{name}: the published signature: {error}"));
        }
    }
    let tally = serde_json::json!({"file": "BIP-143, 341", "by": "sighash", "total": passed + skipped.len(),
        "passed": passed, "skipped": reasons, "failed": []});
    println!("\nassurance vectors {tally}");
}
