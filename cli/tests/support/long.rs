//! Long logs in static files, written by the code that writes real ones, and a server of static files that can fall silent.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::{
    Algorithm, AuditError, CheckpointSigner, Decision, Digest, End, LeafSource, Log, LogOptions, Outcome,
    Policy, Record, Signing, Trust, V1, Verdict, feed,
};
use chancery_core::{RequestId, Tenant, UnixMillis};

use crate::log::ORIGIN;

/// Decisions at the log's beginning; their outcomes follow in the same order, and then only policies.
const DECISIONS: u64 = 5_000;

/// A log's key.
pub struct Key(Ed25519KeyPair);

impl Key {
    pub fn fresh() -> Arc<Self> {
        Arc::new(Self(Ed25519KeyPair::generate().unwrap()))
    }

    pub fn trust(&self) -> Trust {
        Trust::in_key(ORIGIN, self.public_key()).unwrap()
    }
}

impl CheckpointSigner for Key {
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(async move { Ok(self.0.sign(message).as_ref().try_into().unwrap()) })
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }
}

struct Entries {
    size: u64,
    /// From this entry on, another history.
    forked_at: u64,
}

impl Entries {
    fn body(&self, index: u64) -> Vec<u8> {
        let mut id = [7; 16];
        id[8..].copy_from_slice(&(index % DECISIONS).to_be_bytes());
        let (v, tenant, request_id) = (V1, Tenant::default(), RequestId::from_bytes(id));
        let time_ms = UnixMillis(1_800_000_000_000 + i64::try_from(index).unwrap());
        let history = if index < self.forked_at { "officer" } else { "intruder" };
        let (client, digest) = (history.parse().unwrap(), Digest::of(&index.to_be_bytes()));
        let record = match index / DECISIONS {
            0 => Record::Decision(Decision {
                v,
                tenant,
                request_id,
                time_ms,
                client,
                certificate: digest,
                wallet: "treasury".parse().unwrap(),
                algorithm: Algorithm::Secp256k1,
                public_key: vec![2; 33].into(),
                tier: Default::default(),
                signers: Vec::new(),
                payload: "ethereum.message".to_owned(),
                request_digest: digest,
                signing_digest: digest,
                intent_commitment: digest,
                outcome: Verdict::Allowed,
                rules: vec!["a-rule".to_owned()],
                missing: Vec::new(),
                bundle: digest,
                expires_ms: None,
                review: None,
                request_signature: None,
                share: None,
            }),
            1 => Record::Outcome(Outcome {
                v,
                tenant,
                request_id,
                time_ms,
                decision_leaf: index - DECISIONS,
                outcome: End::Released,
                signature_sha256: Some(digest),
                transaction_sha256: None,
                reason: None,
            }),
            _ => Record::Policy(Policy {
                v,
                tenant,
                request_id,
                time_ms,
                client,
                certificate: digest,
                bundle: digest,
                previous: None,
                signatures: Vec::new(),
                governs_changes: false,
            }),
        };
        record.body().unwrap()
    }
}

impl LeafSource for Entries {
    fn size(&self) -> Result<u64, AuditError> {
        Ok(self.size)
    }

    fn bodies(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, AuditError> {
        Ok(range.map(|index| self.body(index)).collect())
    }
}

/// Lets the log in `folder` grow to `size` entries, another history from `forked_at` on, and publishes it.
pub fn grow(folder: &Path, key: &Arc<Key>, size: u64, forked_at: u64) {
    let (_observer, feed) = feed();
    let options = LogOptions {
        origin: ORIGIN.to_owned(),
        directory: folder.to_owned(),
        retired: Vec::new(),
        witnesses: Vec::new(),
        quorum: 0,
        ml_dsa: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let entries = Arc::new(Entries { size, forked_at });
        let log = Log::open(entries, &feed, options, Arc::<Key>::clone(key)).unwrap();
        log.start().stop().await.unwrap();
    });
}

#[derive(Default)]
struct Seen {
    paths: Vec<String>,
    /// How many files are still served; of no number, all.
    left: Option<usize>,
    /// How often that was said: who waits from before is gone.
    turn: usize,
}

/// A plain server of static files.
pub struct Files {
    pub url: String,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Files {
    pub fn serve(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/log", listener.local_addr().unwrap());
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let (root, watched) = (root.to_owned(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, seen) = (root.clone(), Arc::clone(&watched));
                // A client that was killed breaks its connections.
                std::thread::spawn(move || drop(answer(stream.unwrap(), &root, &seen)));
            }
        });
        Self { url, seen }
    }

    /// Serves so many more files and then none, until this is said again; forgets what was asked for.
    pub fn serve_only(&self, left: Option<usize>) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        *seen = Seen { paths: Vec::new(), left, turn: seen.turn + 1 };
        changed.notify_all();
    }

    /// Waits until somebody asks for a file that is not served any more.
    pub fn wait_until_silent(&self) {
        let (seen, changed) = &*self.seen;
        let seen = seen.lock().unwrap();
        let silent =
            changed.wait_timeout_while(seen, Duration::from_secs(120), |seen| seen.left != Some(0)).unwrap();
        assert!(!silent.1.timed_out(), "it never asked for enough files");
    }

    /// What was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().paths.clone()
    }
}

fn answer(stream: TcpStream, root: &Path, seen: &(Mutex<Seen>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut line, mut header) = (String::new(), String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = line.split(' ').nth(1).unwrap().strip_prefix("/log/").unwrap().to_owned();
        {
            let (lock, changed) = seen;
            let mut seen = lock.lock().unwrap();
            let turn = seen.turn;
            while seen.left == Some(0) {
                changed.notify_all();
                seen = changed.wait(seen).unwrap();
            }
            if seen.turn != turn {
                return Ok(());
            }
            seen.left = seen.left.map(|left| left - 1);
            seen.paths.push(path.clone());
        }
        let file: PathBuf = root.join(&path);
        let (status, bytes) = match std::fs::read(&file) {
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", b"<html>no such file</html>".to_vec()),
        };
        stream
            .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", bytes.len()).as_bytes())?;
        stream.write_all(&bytes)?;
    }
}
