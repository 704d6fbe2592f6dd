//! Measures an inclusion proof and the verification of a whole log beside raw SHA-256 of the same files with as many threads.
//! JSON lines on stdout: `{name, value, unit, limit, ratio, goal, met}`.
//! `cargo run --release -p chancery-audit --example whole_log -- [entries]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on has nothing to say"
)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::merkle::leaf_hash;
use chancery_audit::{
    Algorithm, AuditError, CheckpointSigner, Decision, Digest, End, Folder, LeafSource, Log, LogOptions,
    Outcome, Record, Signing, Start, TlogProof, Trust, V1, Verdict, feed, verify_log,
};
use chancery_core::{RequestId, Tenant, UnixMillis};
use sha2::{Digest as _, Sha256};

const ORIGIN: &str = "chancery.example/log";
/// Seconds for 10^6 entries.
const GOAL_S: f64 = 10.0;
/// Proofs made and verified.
const PROOFS: u64 = 20_000;

/// Released transfers: a decision, then its outcome.
struct Transfers {
    entries: u64,
}

impl Transfers {
    fn body(index: u64) -> Vec<u8> {
        let request = index / 2;
        let digest = |what: &str| Digest::of(format!("{what} {request}").as_bytes());
        let mut id = [7; 16];
        id[8..].copy_from_slice(&request.to_be_bytes());
        let (tenant, request_id) = (Tenant::default(), RequestId::from_bytes(id));
        let time_ms = UnixMillis(1_800_000_000_000 + i64::try_from(index).unwrap());
        let record = if index.is_multiple_of(2) {
            Record::Decision(Decision {
                v: V1,
                tenant,
                request_id,
                time_ms,
                client: "backend".parse().unwrap(),
                certificate: Digest::of(b"certificate"),
                wallet: format!("treasury-{}", request % 100).parse().unwrap(),
                algorithm: Algorithm::Secp256k1,
                public_key: vec![2; 33].into(),
                tier: Default::default(),
                signers: Vec::new(),
                payload: "ethereum.transaction".to_owned(),
                request_digest: digest("request"),
                signing_digest: digest("signing"),
                intent_commitment: digest("intent"),
                outcome: Verdict::Allowed,
                rules: vec!["small-transfers".to_owned()],
                missing: Vec::new(),
                bundle: Digest::of(b"bundle"),
                expires_ms: None,
                review: None,
                request_signature: None,
                share: None,
            })
        } else {
            Record::Outcome(Outcome {
                v: V1,
                tenant,
                request_id,
                time_ms,
                decision_leaf: index - 1,
                outcome: End::Released,
                signature_sha256: Some(digest("signature")),
                transaction_sha256: Some(digest("transaction")),
                reason: None,
            })
        };
        record.body().unwrap()
    }
}

impl LeafSource for Transfers {
    fn size(&self) -> Result<u64, AuditError> {
        Ok(self.entries)
    }

    fn bodies(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
        Ok(range.map(Self::body).collect())
    }
}

struct Key(Ed25519KeyPair);

impl CheckpointSigner for Key {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(async move { Ok(self.0.sign(message).as_ref().try_into().unwrap()) })
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }
}

#[tokio::main]
async fn main() {
    let entries: u64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("entries"));
    let folder = tempfile::tempdir().unwrap();
    let key = Arc::new(Key(Ed25519KeyPair::generate().unwrap()));
    let trust = Trust::in_key(ORIGIN, key.public_key()).unwrap();
    let (_observer, feed) = feed();
    let options = LogOptions {
        origin: ORIGIN.to_owned(),
        directory: folder.path().to_owned(),
        retired: Vec::new(),
        witnesses: Vec::new(),
        quorum: 0,
        ml_dsa: None,
    };
    let begin = Instant::now();
    let log = Log::open(Arc::new(Transfers { entries }), &feed, options, key).unwrap();
    let keeper = log.start();
    let checkpoint = log.checkpoint_covering(entries - 1).await.unwrap();
    proofs(&log, &trust, entries, &checkpoint);
    keeper.stop().await.unwrap();
    eprintln!("{entries} entries written in {:.1} s", begin.elapsed().as_secs_f64());

    let files = files(folder.path());
    // Twice, so that neither of the two is the first to read the files.
    let (mut raw_s, mut whole_s) = (f64::MAX, f64::MAX);
    for _ in 0..2 {
        let begin = Instant::now();
        let bytes = hash_all(&files);
        raw_s = raw_s.min(begin.elapsed().as_secs_f64());
        eprintln!("{} files, {} MiB", files.len(), bytes >> 20);
        let begin = Instant::now();
        let report = verify_log(&Folder::at(folder.path()), &trust, Start::Afresh, &mut |_| Ok(())).unwrap();
        whole_s = whole_s.min(begin.elapsed().as_secs_f64());
        assert_eq!((report.counts.outcomes, report.open), (entries / 2, entries % 2));
    }
    let million = whole_s * 1e6 / entries as f64;
    let goal = format!("< {GOAL_S} s for 10^6 entries");
    row("log_verify_whole", (whole_s, "s"), Some(raw_s), Some((goal, million < GOAL_S)));
    row("log_verify_entry", (whole_s * 1e6 / entries as f64, "us"), Some(raw_s * 1e6 / entries as f64), None);
}

fn proofs(log: &Log, trust: &Trust, entries: u64, checkpoint: &chancery_audit::SignedCheckpoint) {
    let places: Vec<u64> = (0..PROOFS).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % entries).collect();
    let bodies: Vec<Vec<u8>> = places.iter().map(|index| Transfers::body(*index)).collect();
    let begin = Instant::now();
    let made: Vec<String> = places
        .iter()
        .zip(&bodies)
        .map(|(index, body)| log.prove_body(*index, body, checkpoint).unwrap().proof().to_string())
        .collect();
    let make_us = begin.elapsed().as_secs_f64() * 1e6 / PROOFS as f64;
    let begin = Instant::now();
    for (text, body) in made.iter().zip(&bodies) {
        TlogProof::parse(text).unwrap().verify(&leaf_hash(body), trust).unwrap();
    }
    let verify_us = begin.elapsed().as_secs_f64() * 1e6 / PROOFS as f64;
    let begin = Instant::now();
    let (signed, key) = (checkpoint.note().as_bytes(), trust);
    for _ in 0..PROOFS {
        chancery_audit::SignedCheckpoint::open(signed, key).unwrap();
    }
    let signature_us = begin.elapsed().as_secs_f64() * 1e6 / PROOFS as f64;
    row("log_inclusion_make", (make_us, "us"), None, None);
    // What it cannot do without: one Ed25519 verification of the checkpoint.
    row("log_inclusion_verify", (verify_us, "us"), Some(signature_us), None);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Reads and hashes every file, with as many threads as the verification; answers how many bytes.
fn hash_all(files: &[PathBuf]) -> usize {
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let read = std::fs::read(path).unwrap();
                    std::hint::black_box(Sha256::digest(&read));
                    bytes.fetch_add(read.len(), Ordering::Relaxed);
                }
            });
        }
    });
    bytes.into_inner()
}

fn row(name: &str, (value, unit): (f64, &str), limit: Option<f64>, goal: Option<(String, bool)>) {
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    let line = serde_json::json!({
        "name": name,
        "value": rounded(value),
        "unit": unit,
        "limit": limit.map(rounded),
        "ratio": limit.map(|limit| rounded(value / limit)),
        "goal": goal.as_ref().map(|(goal, _)| goal),
        "met": goal.map(|(_, met)| met),
    });
    println!("{line}");
}
