//! Receipts under attack: whatever is changed, moved from another receipt or signed by somebody else must not verify.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::sync::Arc;

use chancery_audit::{
    Digest, End, Outcome, Receipt, ReceiptError, Record, Salt, Trust, Verdict, intent_commitment,
    request_digest, signing_commitment, verify,
};
use chancery_core::Payload;
use secp256k1::{PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};
use support::{Asked, House, Key, bytes};

struct Setting {
    _folder: tempfile::TempDir,
    house: House,
    trust: Trust,
}

fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(Key::fresh());
    let house = House::open(folder.path(), &key).unwrap();
    Setting { house, trust: key.trust(), _folder: folder }
}

fn typed_data() -> Payload {
    let document = json!({"types": {"Order": [{"name": "n", "type": "uint256"}]}, "primaryType": "Order",
        "domain": {"name": "Ünïcode \u{1f600}", "chainId": 1}, "message": {"n": 12, "half": 0.5, "none": null, "yes": true}});
    Payload::EthereumTypedData { document }
}

fn holds(receipt: &Receipt, trust: &Trust) -> bool {
    verify(&bytes(receipt), trust).is_ok()
}

#[tokio::test]
async fn receipts_of_every_outcome_verify_and_say_what_they_proved() {
    let s = setting();
    let released = Asked::transaction(1).released(&s.house).await;
    let verified = verify(&bytes(&released), &s.trust).unwrap();
    assert_eq!((verified.decision_leaf(), verified.outcome_leaf()), (0, Some(1)));
    assert_eq!(verified.findings().len(), 7);
    let pretty = serde_json::to_vec_pretty(&released).unwrap();
    assert!(verify(&pretty, &s.trust).is_ok(), "white space is free");

    for verdict in [Verdict::Denied, Verdict::Pending, Verdict::Allowed] {
        let mut asked = Asked::of(typed_data(), 2);
        asked.decision.outcome = verdict;
        asked.decision.missing = vec![json!({"need": "quorum", "group": "treasury", "needed": 2, "have": 0})];
        let receipt = asked.decided(&s.house).await;
        let verified = verify(&bytes(&receipt), &s.trust).unwrap();
        assert_eq!(verified.receipt().decision.outcome, verdict);
        assert!(!verified.findings().iter().any(|finding| finding.contains("signature is the wallet's")));
    }
    for (verdict, end) in [(Verdict::Allowed, End::Failed), (Verdict::Pending, End::Expired)] {
        let mut asked = Asked::transaction(3);
        asked.decision.outcome = verdict;
        let receipt = ended(asked, &s.house, end).await;
        verify(&bytes(&receipt), &s.trust).unwrap();
    }
    s.house.close().await;
}

async fn ended(asked: Asked, house: &House, end: End) -> Receipt {
    let decision = house.append(Record::Decision(asked.decision.clone())).await;
    let outcome = asked.ended(decision.index(), end, None, None);
    let appended = house.append(Record::Outcome(outcome.clone())).await;
    let checkpoint = house.log.checkpoint_covering(appended.index()).await.unwrap();
    let mut receipt = asked.decided(house).await;
    receipt.decision_proof = house.log.prove(&decision, &checkpoint).unwrap().proof().to_string();
    receipt.outcome_proof = Some(house.log.prove(&appended, &checkpoint).unwrap().proof().to_string());
    receipt.outcome = Some(outcome);
    receipt
}

/// Every byte, every bit: nothing is accepted but JSON that says the same.
#[tokio::test]
async fn no_changed_byte_is_accepted() {
    let s = setting();
    Asked::transaction(7).released(&s.house).await;
    let mut pending = Asked::transaction(2);
    pending.decision.outcome = Verdict::Pending;
    let receipts = [
        Asked::transaction(1).released(&s.house).await,
        Asked::of(typed_data(), 3).released(&s.house).await,
        pending.decided(&s.house).await,
    ];
    let (mut tried, mut accepted) = (0, 0);
    for receipt in &receipts {
        let good = bytes(receipt);
        let value: Value = serde_json::from_slice(&good).unwrap();
        for position in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[position] ^= 1 << bit;
                tried += 1;
                if verify(&changed, &s.trust).is_ok() {
                    let same = serde_json::from_slice::<Value>(&changed).unwrap() == value;
                    assert!(same, "bit {bit} of byte {position}: {}", String::from_utf8_lossy(&changed));
                    accepted += 1;
                }
            }
        }
    }
    assert!(tried > 40_000, "{tried}");
    println!(
        "{tried} changed receipts, {accepted} of them other spellings of the same JSON, 0 others accepted"
    );
    assert!(accepted < 64, "only spellings of the same value may pass: {accepted} of {tried}");
    s.house.close().await;
}

fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{path}/{name}"), found);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| places(value, &format!("{path}/{n}"), found));
        }
        _ => {}
    }
}

/// Every field at every depth: replaced by other values of every type, removed, and joined by an unknown one.
#[tokio::test]
async fn no_changed_field_is_accepted() {
    let s = setting();
    let receipt = Asked::of(typed_data(), 3).released(&s.house).await;
    let other = Asked::of(typed_data(), 4).released(&s.house).await;
    let (good, other) = (serde_json::to_value(&receipt).unwrap(), serde_json::to_value(&other).unwrap());
    let mut paths = Vec::new();
    places(&good, "", &mut paths);
    let mut tried = 0;
    for path in &paths {
        let here = good.pointer(path).unwrap();
        let mut others = vec![
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(0.25),
            json!(""),
            json!("x"),
            json!([]),
            json!({}),
            json!([[]]),
        ];
        // The other receipt as a whole is a good one.
        others.extend(other.pointer(path).filter(|_| !path.is_empty()).cloned());
        if let Some(text) = here.as_str() {
            others.extend([
                json!(text.to_uppercase()),
                json!(format!("{text} ")),
                json!(format!("{text}\n")),
            ]);
        }
        if let Some(items) = here.as_array() {
            others.push(json!([items.clone(), items.clone()].concat()));
            others.push(items.iter().rev().cloned().collect());
        }
        let unlike: Vec<_> = others.into_iter().filter(|other| other != here).collect();
        for replacement in unlike {
            let mut changed = good.clone();
            *changed.pointer_mut(path).unwrap() = replacement;
            tried += 1;
            assert!(verify(changed.to_string().as_bytes(), &s.trust).is_err(), "{path} changed");
        }
        if here.is_object() {
            let mut changed = good.clone();
            changed.pointer_mut(path).unwrap()["unknown"] = json!(null);
            tried += 1;
            assert!(verify(changed.to_string().as_bytes(), &s.trust).is_err(), "unknown field in {path}");
            for name in here.as_object().unwrap().keys() {
                let mut changed = good.clone();
                changed.pointer_mut(path).unwrap().as_object_mut().unwrap().remove(name);
                tried += 1;
                assert!(verify(changed.to_string().as_bytes(), &s.trust).is_err(), "{path} without {name}");
            }
        }
    }
    assert!(tried > 500, "{tried}");
    s.house.close().await;
}

#[tokio::test]
async fn repeated_names_are_refused() {
    let s = setting();
    let text = String::from_utf8(bytes(&Asked::of(typed_data(), 3).released(&s.house).await)).unwrap();
    assert!(verify(text.as_bytes(), &s.trust).is_ok());
    for (name, twice) in [
        ("\"primaryType\":", "\"primaryType\":\"Refund\",\"primaryType\":"),
        ("\"effects\":", "\"effects\":[],\"effects\":"),
        ("\"intent_salt\":", "\"intent_salt\":\"\",\"intent_salt\":"),
    ] {
        // A parser that keeps the last one sees the same receipt; one that keeps the first sees another.
        let doubled = text.replacen(name, twice, 1);
        assert!(doubled != text && verify(doubled.as_bytes(), &s.trust).is_err(), "{name}");
    }
    s.house.close().await;
}

type Swap = fn(&mut Receipt, &Receipt);

#[tokio::test]
async fn parts_of_other_receipts_do_not_fit() {
    let s = setting();
    let a = Asked::transaction(1).released(&s.house).await;
    let b = Asked::transaction(2).released(&s.house).await;
    assert!(holds(&a, &s.trust) && holds(&b, &s.trust));
    let swaps: [(&str, Swap); 11] = [
        ("decision proof", |a, b| a.decision_proof.clone_from(&b.decision_proof)),
        ("outcome proof", |a, b| a.outcome_proof.clone_from(&b.outcome_proof)),
        ("own proofs exchanged", |a, _| {
            let outcome = a.outcome_proof.take().unwrap();
            a.outcome_proof = Some(std::mem::replace(&mut a.decision_proof, outcome));
        }),
        ("decision", |a, b| a.decision = b.decision.clone()),
        ("decision with proof", |a, b| {
            a.decision = b.decision.clone();
            a.decision_proof.clone_from(&b.decision_proof);
        }),
        ("outcome with proof", |a, b| {
            a.outcome.clone_from(&b.outcome);
            a.outcome_proof.clone_from(&b.outcome_proof);
        }),
        ("outcome, proof and signature", |a, b| {
            a.outcome.clone_from(&b.outcome);
            a.outcome_proof.clone_from(&b.outcome_proof);
            a.signature.clone_from(&b.signature);
            a.signed_transaction.clone_from(&b.signed_transaction);
        }),
        ("signature", |a, b| a.signature.clone_from(&b.signature)),
        ("intent", |a, b| a.intent = b.intent.clone()),
        ("payload", |a, b| a.payload = b.payload.clone()),
        ("idempotency key", |a, b| a.idempotency_key = b.idempotency_key.clone()),
    ];
    for (what, swap) in swaps {
        let mut mixed = a.clone();
        swap(&mut mixed, &b);
        assert!(!holds(&mixed, &s.trust), "{what} of another receipt");
    }
    let mut stripped = a.clone();
    stripped.signature = None;
    assert!(!holds(&stripped, &s.trust), "a released receipt shows its signature");
    let mut cut = a.clone();
    (cut.outcome, cut.outcome_proof) = (None, None);
    assert!(!holds(&cut, &s.trust), "a signature needs its outcome");
    s.house.close().await;
}

#[tokio::test]
async fn both_proofs_are_under_one_checkpoint() {
    let s = setting();
    let mut receipt = Asked::transaction(1).released(&s.house).await;
    Asked::transaction(2).released(&s.house).await;
    let later = s.house.log.latest().unwrap();
    let body = s.house.store.read(|rows| rows.leaf(1)).unwrap().unwrap().body;
    receipt.outcome_proof = Some(s.house.log.prove_body(1, &body, &later).unwrap().proof().to_string());
    let error = verify(&bytes(&receipt), &s.trust).unwrap_err();
    assert!(
        matches!(error, ReceiptError::TwoCheckpoints),
        "a log that forked could show two histories: {error}"
    );
    let body = s.house.store.read(|rows| rows.leaf(0)).unwrap().unwrap().body;
    receipt.decision_proof = s.house.log.prove_body(0, &body, &later).unwrap().proof().to_string();
    assert!(holds(&receipt, &s.trust), "a receipt can be made again under a later checkpoint");
    s.house.close().await;
}

#[tokio::test]
async fn only_the_trusted_log_counts() {
    let s = setting();
    let receipt = Asked::transaction(1).released(&s.house).await;
    let stranger = Key::fresh();
    let error = verify(&bytes(&receipt), &stranger.trust()).unwrap_err();
    assert!(matches!(error, ReceiptError::DecisionProof(_)) && error.checkpoint().is_some());

    // A forger with a log of their own under the same name.
    let forger = setting();
    let forged = Asked::transaction(1).released(&forger.house).await;
    assert!(holds(&forged, &forger.trust) && !holds(&forged, &s.trust));
    let mut mixed = receipt.clone();
    mixed.outcome_proof.clone_from(&forged.outcome_proof);
    assert!(!holds(&mixed, &s.trust));
    s.house.close().await;
    forger.house.close().await;
}

/// What the log recorded is proved, but a signature must still be the wallet's, over the digest, in its one form.
#[tokio::test]
async fn recorded_signatures_are_still_verified() {
    let s = setting();
    let good = Asked::transaction(1).signature();
    assert!(holds(&Asked::transaction(1).released(&s.house).await, &s.trust));
    let high_s = {
        const ORDER: [u8; 32] = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
            0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
        ];
        let mut high = good.clone();
        let mut borrow = 0;
        for at in (0..32).rev() {
            let difference = i16::from(ORDER[at]) - i16::from(good[32 + at]) - borrow;
            borrow = i16::from(difference < 0);
            high[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        high[64] ^= 1;
        high
    };
    let mut parity = good.clone();
    parity[64] ^= 1;
    let mut offset = good.clone();
    offset[64] += 27;
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let replayed = Asked::transaction(2).signature();
    let foreign = {
        let mut other = Asked::transaction(1);
        other.wallet = SecretKey::from_slice(&[9; 32]).unwrap();
        other.signature()
    };
    for (what, signature) in [
        ("the malleated twin with high s", high_s),
        ("the other parity", parity),
        ("a parity of 27 or 28", offset),
        ("a flipped bit", flipped),
        ("another request's signature", replayed),
        ("another key's signature", foreign),
        ("no bytes", vec![]),
        ("64 bytes", good[..64].to_vec()),
        ("66 bytes", [good.as_slice(), &[0]].concat()),
    ] {
        let receipt = Asked::transaction(1).released_with(&s.house, signature, b"tx".to_vec()).await;
        let error = verify(&bytes(&receipt), &s.trust).unwrap_err();
        assert!(matches!(error, ReceiptError::Signature(_)), "{what}: {error}");
    }
    s.house.close().await;
}

/// A payload of several signatures, as Bitcoin's are: each is checked, and the decision committed to what each is over.
#[tokio::test]
async fn several_signatures_are_each_checked_against_what_was_decided() {
    let s = setting();
    let digests = [Digest::of(b"input 0"), Digest::of(b"input 1")];
    // The same vector stands in `intent`, which makes what this crate checks.
    let vector = [[1; 32], [2; 32]].map(Digest::from_bytes);
    assert_eq!(
        signing_commitment(&vector).to_string(),
        "a818e8dbaa3a3158c55d3f6ae60502e5aeb68cd88d5153899892b93fa05a794d"
    );
    let receipt = async |digests: &[Digest], signed: Vec<u8>, told: Vec<Digest>| {
        let asked = Asked::several(1, digests);
        let mut receipt = asked.released_with(&s.house, signed, b"tx".to_vec()).await;
        receipt.signing_digests = told;
        verify(&bytes(&receipt), &s.trust)
    };
    let asked = Asked::several(1, &digests);
    let [first, second] = digests.map(|digest| asked.sign(&digest));
    let both = [first.clone(), second.clone()].concat();
    let verified = receipt(&digests, both.clone(), digests.to_vec()).await.unwrap();
    assert!(verified.findings().iter().any(|finding| finding.starts_with("2 signatures")));

    let other = Digest::of(b"input 2");
    let over_commitment = asked.sign(&signing_commitment(&digests));
    for (what, signed, told) in [
        ("the order changed", [second.clone(), first.clone()].concat(), digests.to_vec()),
        ("one twice", [first.clone(), first.clone()].concat(), digests.to_vec()),
        ("one missing", first.clone(), digests.to_vec()),
        ("one too many", [both.clone(), first.clone()].concat(), digests.to_vec()),
        (
            "a digest that was not decided",
            [first.clone(), asked.sign(&other)].concat(),
            vec![digests[0], other],
        ),
        ("a digest left out", first.clone(), vec![digests[0]]),
        ("no digests, signed as one", over_commitment, vec![]),
        ("nothing", vec![], vec![]),
    ] {
        let error = receipt(&digests, signed, told).await.unwrap_err();
        assert!(matches!(error, ReceiptError::Signature(_)), "{what}: {error}");
    }

    // A payload of one signature has no list: two ways to say what is signed would be one too many.
    let one = Asked::transaction(2);
    let (signature, digest) = (one.signature(), one.decision.signing_digest);
    let mut listed = one.released_with(&s.house, signature, b"tx".to_vec()).await;
    listed.signing_digests = vec![digest];
    assert!(matches!(verify(&bytes(&listed), &s.trust), Err(ReceiptError::Signature(_))));
    let mut unsigned = Asked::several(3, &digests).decided(&s.house).await;
    unsigned.signing_digests = digests.to_vec();
    assert!(matches!(verify(&bytes(&unsigned), &s.trust), Err(ReceiptError::Fields(_))), "an unbound field");
    s.house.close().await;
}

/// A log that would record nonsense: its leaves are proved, and the receipt is refused all the same.
#[tokio::test]
async fn recorded_contradictions_are_refused() {
    let s = setting();
    for verdict in [Verdict::Denied, Verdict::Pending] {
        let mut asked = Asked::transaction(1);
        asked.decision.outcome = verdict;
        let receipt = asked.released(&s.house).await;
        assert!(
            matches!(verify(&bytes(&receipt), &s.trust), Err(ReceiptError::Outcome(_))),
            "signed though {verdict:?}"
        );
    }
    let mut key = Asked::transaction(1);
    let other = SecretKey::from_slice(&[9; 32]).unwrap();
    key.decision.public_key =
        PublicKey::from_secret_key(&Secp256k1::signing_only(), &other).serialize().as_slice().into();
    let receipt = key.released(&s.house).await;
    assert!(
        matches!(verify(&bytes(&receipt), &s.trust), Err(ReceiptError::Signature(_))),
        "another public key"
    );

    let mut intent = Asked::transaction(1);
    intent.intent["effects"] = json!([]);
    let receipt = intent.released(&s.house).await;
    assert!(matches!(verify(&bytes(&receipt), &s.trust), Err(ReceiptError::Commitment)), "another intent");

    let mut kind = Asked::transaction(1);
    kind.decision.payload = "ethereum.message".to_owned();
    let receipt = kind.released(&s.house).await;
    assert!(
        matches!(verify(&bytes(&receipt), &s.trust), Err(ReceiptError::NotAsked(_))),
        "another kind of payload"
    );

    let mut early = Asked::transaction(1);
    early.decision.time_ms = early.decision.time_ms.plus_ms(1_000_000);
    let asked = Asked::transaction(1);
    let decision = s.house.append(Record::Decision(early.decision.clone())).await;
    let mut outcome = asked.ended(decision.index(), End::Failed, None, None);
    outcome.request_id = early.decision.request_id;
    let appended = s.house.append(Record::Outcome(outcome.clone())).await;
    let checkpoint = s.house.log.checkpoint_covering(appended.index()).await.unwrap();
    let mut receipt = early.decided(&s.house).await;
    receipt.decision_proof = s.house.log.prove(&decision, &checkpoint).unwrap().proof().to_string();
    receipt.outcome_proof = Some(s.house.log.prove(&appended, &checkpoint).unwrap().proof().to_string());
    receipt.outcome = Some(outcome);
    assert!(
        matches!(verify(&bytes(&receipt), &s.trust), Err(ReceiptError::Outcome(_))),
        "an end before the decision"
    );
    s.house.close().await;
}

type Wrong = Box<dyn Fn(&mut Outcome)>;

/// Outcomes that the log did record, each wrong in one place.
#[tokio::test]
async fn recorded_outcomes_of_something_else_are_refused() {
    let s = setting();
    let other = Asked::transaction(9).decision;
    let wrongs: [(&str, Wrong); 7] = [
        ("another entry", Box::new(|outcome| outcome.decision_leaf += 1)),
        ("another request", Box::new(move |outcome| outcome.request_id = other.request_id)),
        ("another tenant", Box::new(|outcome| outcome.tenant = "other".parse().unwrap())),
        ("no signature", Box::new(|outcome| outcome.signature_sha256 = None)),
        ("another signature", Box::new(|outcome| outcome.signature_sha256 = Some(Digest::of(b"other")))),
        ("no transaction", Box::new(|outcome| outcome.transaction_sha256 = None)),
        ("another transaction", Box::new(|outcome| outcome.transaction_sha256 = Some(Digest::of(b"other")))),
    ];
    for (what, wrong) in wrongs {
        let asked = Asked::transaction(1);
        let (signature, raw) = (asked.signature(), b"tx".to_vec());
        let decision = s.house.append(Record::Decision(asked.decision.clone())).await;
        let mut outcome = asked.ended(decision.index(), End::Released, Some(&signature), Some(&raw));
        wrong(&mut outcome);
        let ended = s.house.append(Record::Outcome(outcome.clone())).await;
        let checkpoint = s.house.log.checkpoint_covering(ended.index()).await.unwrap();
        let mut receipt = asked.decided(&s.house).await;
        receipt.decision_proof = s.house.log.prove(&decision, &checkpoint).unwrap().proof().to_string();
        receipt.outcome_proof = Some(s.house.log.prove(&ended, &checkpoint).unwrap().proof().to_string());
        (receipt.outcome, receipt.signature, receipt.signed_transaction) =
            (Some(outcome), Some(signature.into()), Some(raw.into()));
        let error = verify(&bytes(&receipt), &s.trust).unwrap_err();
        assert!(matches!(error, ReceiptError::Outcome(_) | ReceiptError::Signature(_)), "{what}: {error}");
    }
    s.house.close().await;
}

#[test]
fn digests_separate_what_differs() {
    let asked = Asked::of(typed_data(), 1);
    let digest = |client: &str, change: fn(&mut Asked)| {
        let mut asked = Asked::of(typed_data(), 1);
        change(&mut asked);
        request_digest(&client.parse().unwrap(), &asked.request)
    };
    let same = digest("backend", |_| {}).unwrap();
    assert_eq!(same, asked.decision.request_digest);
    let others = [
        digest("backend2", |_| {}),
        digest("backend", |asked| asked.request.tenant = "other".parse().unwrap()),
        digest("backend", |asked| asked.request.wallet = "cold".parse().unwrap()),
        digest("backend", |asked| asked.request.idempotency_key = "order:2".parse().unwrap()),
        digest("backend", |asked| asked.request.payload = Payload::EthereumMessage { data: vec![1] }),
    ];
    let distinct: std::collections::HashSet<Digest> =
        others.into_iter().map(Result::unwrap).chain([same]).collect();
    assert_eq!(distinct.len(), 6);
    let salted = |salt: u8| intent_commitment(&Salt::from_bytes([salt; 16]), &json!({"a": 1})).unwrap();
    assert_ne!(salted(1), salted(2));

    // Above 2^53 canonical JSON rounds: two such documents would share a digest, so neither has one.
    for number in [9_007_199_254_740_993_u64, 9_007_199_254_740_992] {
        let document = json!({"message": {"amount": number}});
        let mut request = asked.request.clone();
        request.payload = Payload::EthereumTypedData { document };
        assert!(request_digest(&asked.decision.client, &request).is_err(), "{number}");
    }
}
