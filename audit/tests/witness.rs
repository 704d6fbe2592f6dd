//! The log and its witnesses: what is required is required of every receipt, whoever is away, lies or contradicts, and
//! nobody waits for a witness that is not required.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::merkle::{Hash, empty_root, verify_consistency};
use chancery_audit::{
    AuditError, Carrying, Cosignature, CosignerKey, Courier, NoteError, Reply, SignedCheckpoint, Submission,
    Trust, Witness, verify,
};
use chancery_core::{Code, limit};
use support::{Asked, House, Key, bytes, note, tiles};

/// A witness in this process, by the specification, that can be made to misbehave.
struct Double {
    pair: Ed25519KeyPair,
    name: &'static str,
    seen: Mutex<(u64, Hash)>,
    asked: AtomicU64,
    away: AtomicBool,
    lies: AtomicBool,
    hangs: AtomicBool,
}

impl Double {
    fn fresh(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            pair: Ed25519KeyPair::generate().unwrap(),
            name,
            seen: Mutex::new((0, empty_root())),
            asked: AtomicU64::new(0),
            away: AtomicBool::new(false),
            lies: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        })
    }

    fn key(&self) -> CosignerKey {
        CosignerKey::new(self.name, self.pair.public_key().as_ref().try_into().unwrap()).unwrap()
    }

    fn witness(self: &Arc<Self>) -> Witness {
        Witness { key: self.key(), courier: Arc::new(Way(Arc::clone(self))) }
    }

    fn judge(&self, body: &str) -> Reply {
        let reply = |status, body: String| Reply { status, body: body.into_bytes() };
        let submission = Submission::parse(body.as_bytes()).unwrap();
        let lines: Vec<&str> = submission.note.split('\n').collect();
        let size: u64 = lines[1].parse().unwrap();
        let root: Hash = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, lines[2])
            .unwrap()
            .try_into()
            .unwrap();
        let mut seen = self.seen.lock().unwrap();
        if submission.old != seen.0 {
            return reply(409, format!("{}\n", seen.0));
        }
        if !verify_consistency(seen.0, size, &submission.proof, &seen.1, &root) {
            return reply(422, String::new());
        }
        *seen = (size, root);
        let text = lines[..3].join("\n") + "\n";
        let lies = self.lies.load(Ordering::SeqCst);
        let made = Cosignature::make(&self.key(), &text, 1_800_000_000, |message| {
            let mut signature: [u8; 64] = self.pair.sign(message).as_ref().try_into().unwrap();
            signature[9] ^= u8::from(lies);
            signature
        });
        reply(200, made.line().to_owned())
    }
}

struct Way(Arc<Double>);

impl Courier for Way {
    fn add_checkpoint<'a>(&'a self, body: &'a str) -> Carrying<'a> {
        Box::pin(async move {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            if self.0.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.0.away.load(Ordering::SeqCst) {
                return Err("connection refused".into());
            }
            Ok(self.0.judge(body))
        })
    }
}

fn open(folder: &Path, key: &Arc<Key>, doubles: &[&Arc<Double>], quorum: usize) -> Result<House, AuditError> {
    House::open_watched(folder, key, doubles.iter().map(|double| double.witness()).collect(), quorum)
}

fn trust(key: &Key, doubles: &[&Arc<Double>], quorum: usize) -> Trust {
    key.trust().with_witnesses(doubles.iter().map(|double| double.key()).collect(), quorum).unwrap()
}

#[tokio::test]
async fn a_receipt_carries_the_cosignatures_that_are_asked_for() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let (one, two, three) =
        (Double::fresh("w.example/1"), Double::fresh("w.example/2"), Double::fresh("w.example/3"));
    let all = [&one, &two, &three];
    three.away.store(true, Ordering::SeqCst);
    let house = open(folder.path(), &key, &all, 2).unwrap();
    let receipt = bytes(&Asked::transaction(1).released(&house).await);
    let verified = verify(&receipt, &trust(&key, &all, 2)).unwrap();
    assert_eq!(verified.checkpoint().cosignatures().len(), 2, "one of three may be away");
    assert!(verify(&receipt, &key.trust()).is_ok(), "a trust file of format 1 asks for none");

    // Each of these would be a receipt that fewer have seen than its reader asks for.
    let error = verify(&receipt, &trust(&key, &all, 3)).unwrap_err();
    assert_eq!(error.checkpoint(), Some(&NoteError::Cosignatures { found: 2, needed: 3 }));
    let stranger = Double::fresh("w.example/1");
    let error = verify(&receipt, &trust(&key, &[&stranger, &two], 2)).unwrap_err();
    assert_eq!(
        error.checkpoint(),
        Some(&NoteError::Cosignatures { found: 1, needed: 2 }),
        "a name is no key"
    );
    house.close().await;

    // The published checkpoint has them too, and so has the head that the next start remembers.
    let note = std::fs::read(tiles(folder.path()).join("checkpoint")).unwrap();
    assert!(SignedCheckpoint::open(&note, &trust(&key, &all, 2)).is_ok());
    let house = open(folder.path(), &key, &all, 2).unwrap();
    assert_eq!(house.log.standing().cosigned, 2);
    house.close().await;
}

#[tokio::test]
async fn too_few_witnesses_release_nothing_until_they_are_back() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let (one, two) = (Double::fresh("w.example/1"), Double::fresh("w.example/2"));
    let house = open(folder.path(), &key, &[&one, &two], 2).unwrap();
    for fault in [&two.away, &two.lies, &two.hangs] {
        fault.store(true, Ordering::SeqCst);
        let leaf = house.append(note(1)).await;
        let error = house.log.checkpoint_covering(leaf.index()).await.unwrap_err();
        assert_eq!(error.code(), Code::NotCosigned, "{error}");
        fault.store(false, Ordering::SeqCst);
        let checkpoint = house.log.checkpoint_covering(leaf.index()).await.unwrap();
        assert_eq!(checkpoint.cosignatures().len(), 2, "a retry gets it");
    }
    house.close().await;
}

#[tokio::test]
async fn missing_witnesses_hold_up_what_strangers_read_and_not_what_the_log_remembers() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let one = Double::fresh("w.example/1");
    one.away.store(true, Ordering::SeqCst);
    let house = open(folder.path(), &key, &[&one], 1).unwrap();
    house.append(note(1)).await;
    let head = tiles(folder.path()).join("head");
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while !head.exists() {
        assert!(std::time::Instant::now() < patience, "the head is written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!tiles(folder.path()).join("checkpoint").exists());
    one.away.store(false, Ordering::SeqCst);
    while !tiles(folder.path()).join("checkpoint").exists() {
        assert!(std::time::Instant::now() < patience, "the checkpoint is written once the witness is back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.close().await;
}

#[tokio::test]
async fn nobody_waits_for_a_witness_that_is_not_required() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let (one, two) = (Double::fresh("w.example/1"), Double::fresh("w.example/2"));
    two.hangs.store(true, Ordering::SeqCst);
    let house = open(folder.path(), &key, &[&one, &two], 0).unwrap();
    for n in 0..50 {
        let leaf = house.append(note(n)).await;
        assert!(house.log.checkpoint_covering(leaf.index()).await.is_ok());
    }
    assert!(
        one.asked.load(Ordering::SeqCst) < 10,
        "they are asked when files are written, not for each request"
    );
    let checkpoint = tiles(folder.path()).join("checkpoint");
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    let cosigned = || {
        std::fs::read(&checkpoint)
            .is_ok_and(|note| SignedCheckpoint::open(&note, &trust(&key, &[&one], 1)).is_ok())
    };
    while !cosigned() {
        assert!(std::time::Instant::now() < patience, "and what they sign is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.close().await;
}

#[tokio::test]
async fn one_round_serves_all_who_wait() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let one = Double::fresh("w.example/1");
    key.delay_ms.store(50, Ordering::SeqCst);
    let house = open(folder.path(), &key, &[&one], 1).unwrap();
    let mut leaves = Vec::new();
    for n in 0..64 {
        leaves.push(house.append(note(n)).await);
    }
    let before = one.asked.load(Ordering::SeqCst);
    let waiting: Vec<_> = leaves
        .iter()
        .map(|leaf| {
            let (log, index) = (house.log.clone(), leaf.index());
            tokio::spawn(async move { log.checkpoint_covering(index).await.unwrap() })
        })
        .collect();
    for task in waiting {
        task.await.unwrap();
    }
    let rounds = one.asked.load(Ordering::SeqCst) - before;
    assert!(rounds <= 4, "64 waited, {rounds} rounds");
    house.close().await;
}

/// The whole state of the appliance is set back: nothing on this machine can tell, the witness can.
#[tokio::test]
async fn a_log_that_was_set_back_or_forked_is_not_cosigned() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let one = Double::fresh("w.example/1");
    let house = open(folder.path(), &key, &[&one], 1).unwrap();
    house.fill(20).await;
    house.log.checkpoint_covering(19).await.unwrap();
    house.close().await;
    for entries in [5, 30] {
        let other = tempfile::tempdir().unwrap();
        let house = open(other.path(), &key, &[&one], 1).unwrap();
        house.fill(entries).await;
        let error = house.log.checkpoint_covering(entries - 1).await.unwrap_err();
        assert_eq!(error.code(), Code::NotCosigned, "{entries}: {error}");
        house.keeper.stop().await.unwrap_err();
        house.store.close().await;
    }
}

#[test]
fn a_trust_file_is_of_format_1_or_2_and_counts_each_witness_once() {
    let key = Key::fresh();
    let (one, two) = (Double::fresh("w.example/1"), Double::fresh("w.example/2"));
    let plain = key.trust().to_json();
    assert!(plain.contains("\"v\": 1") && Trust::parse(plain.as_bytes()).unwrap() == key.trust());
    let watched = trust(&key, &[&one, &two], 2);
    let text = watched.to_json();
    assert!(text.contains("\"v\": 2") && Trust::parse(text.as_bytes()).unwrap() == watched);
    let twice = CosignerKey::new("w.example/2", *one.key().key()).unwrap();
    for bad in [
        text.replace("\"v\": 2", "\"v\": 1"),
        text.replace("\"v\": 2", "\"v\": 3"),
        plain.replace("\"v\": 1", "\"v\": 2"),
        text.replace("\"cosignatures\": 2", "\"cosignatures\": 3"),
        text.replace("\"cosignatures\": 2", "\"cosignatures\": -1"),
        text.replace(&two.key().to_string(), &one.key().to_string()),
        text.replace(&two.key().to_string(), &twice.to_string()),
        text.replace(
            &two.key().to_string(),
            &CosignerKey::new("w.example/2", key.public()).unwrap().to_string(),
        ),
        text.replace(&two.key().to_string(), &key.verifier().to_string()),
    ] {
        assert!(bad != text && Trust::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let many = (0..=limit::WITNESSES)
        .map(|n| CosignerKey::new(&format!("w{n}"), [u8::try_from(n).unwrap(); 32]).unwrap());
    assert!(key.trust().with_witnesses(many.collect(), 1).is_err());
}

/// The example of c2sp.org/tlog-cosignature, with the message rebuilt from its note: format and key id, against the page.
#[test]
fn a_cosignature_has_the_form_of_the_specification() {
    let one = Double::fresh("w.example/1");
    let text = "example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let mut signed = Vec::new();
    let made = Cosignature::make(&one.key(), text, 1_679_315_147, |message| {
        signed = message.to_vec();
        one.pair.sign(message).as_ref().try_into().unwrap()
    });
    assert_eq!(signed, format!("cosignature/v1\ntime 1679315147\n{text}").into_bytes());
    let blob = made.line().rsplit(' ').next().unwrap().trim();
    let blob = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, blob).unwrap();
    assert_eq!(blob.len(), 4 + 8 + 64);
    assert_eq!(blob[4..12], 1_679_315_147_u64.to_be_bytes());
    let id = chancery_audit::Digest::of(&[b"w.example/1\n\x04".as_slice(), one.key().key()].concat());
    assert_eq!(blob[..4], id.as_bytes()[..4]);
}
