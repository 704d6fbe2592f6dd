//! The witness as a process, spoken to over TCP: what it vouches for, and what no log may get from it, before and after it
//! was killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::merkle::{Hash, Nodes, leaf_hash, node_hash, prove_consistency, root};
use chancery_audit::{Checkpoint, Submission, Trust};

const ORIGIN: &str = "log.example/one";
const PROGRAM: &str = env!("CARGO_BIN_EXE_chancery-witness");

/// A log in memory. `salt` makes another history.
struct Log {
    pair: Ed25519KeyPair,
    origin: &'static str,
}

struct Leaves(u8);

impl Nodes for Leaves {
    type Error = ();
    fn node(&self, height: u32, index: u64) -> Result<Hash, ()> {
        if height == 0 {
            // Histories part after the fifth leaf.
            let salt = if index < 5 { 0 } else { self.0 };
            return Ok(leaf_hash(&[&[salt], index.to_be_bytes().as_slice()].concat()));
        }
        Ok(node_hash(&self.node(height - 1, 2 * index)?, &self.node(height - 1, 2 * index + 1)?))
    }
}

impl Log {
    fn fresh(origin: &'static str) -> Self {
        Self { pair: Ed25519KeyPair::generate().unwrap(), origin }
    }

    fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    fn trust(&self) -> Trust {
        Trust::in_key(self.origin, self.public()).unwrap()
    }

    fn note(&self, size: u64, history: u8) -> String {
        let root = root(&Leaves(history), size).unwrap();
        let text = Checkpoint { origin: self.origin.to_owned(), size, root }.text();
        let id = self.trust().log_keys()[0].to_string();
        let id = hex::decode(id.split('+').nth(1).unwrap()).unwrap();
        let blob = [id.as_slice(), self.pair.sign(text.as_bytes()).as_ref()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.origin, base64(&blob))
    }

    fn body(&self, old: u64, size: u64, history: u8) -> String {
        let proof = prove_consistency(&Leaves(history), old, size).unwrap();
        Submission { old, proof, note: self.note(size, history) }.to_string()
    }
}

/// Would catch a witness whose memory anybody can damage: by a note that has its own cosignature already, or more lines than a
/// note may have with one more.
#[test]
fn what_others_add_to_a_note_is_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, log) = (folder.path().join("w"), Log::fresh(ORIGIN));
    init(&folder);
    std::fs::write(folder.join("logs/one.json"), log.trust().to_json()).unwrap();
    let witness = start(&folder).unwrap();
    let (status, line) = witness.post(&log.body(0, 7, 0));
    assert_eq!(status, 200, "{line}");
    let again = log.body(7, 7, 0) + &line;
    assert_eq!(witness.post(&again).0, 200);
    let mut crowded = log.body(7, 7, 0);
    for n in 0..31 {
        crowded += &format!("\u{2014} other{n} AAAAAAA=\n");
    }
    assert_eq!(witness.post(&crowded).0, 200);
    drop(witness);
    let witness = start(&folder).unwrap();
    assert_eq!(witness.post(&log.body(7, 9, 0)).0, 200);
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= chunk.len() { DIGITS[index].into() } else { '=' });
        }
    }
    text
}

struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn init(folder: &Path) -> String {
    let made =
        Command::new(PROGRAM).args(["init", "--name", "witness.example/w1", "--folder"]).arg(folder).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn start(folder: &Path) -> Result<Running, String> {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--folder"])
        .arg(folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("\"address\":\"") {
            let address = rest.split('"').next().unwrap().to_owned();
            return Ok(Running { child, address });
        }
        said.push_str(&line);
    }
    child.wait().unwrap();
    Err(said)
}

impl Running {
    fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    fn post(&self, body: &str) -> (u16, String) {
        let length = body.len();
        let (status, head, body) = self.raw(&format!(
            "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(status == 409, head.contains("content-type: text/x.tlog.size"), "{head}");
        (status, body)
    }
}

struct Scene {
    folder: tempfile::TempDir,
    log: Log,
    vkey: String,
}

impl Scene {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vkey = init(&folder.path().join("w"));
        let log = Log::fresh(ORIGIN);
        std::fs::write(folder.path().join("w/logs/one.json"), log.trust().to_json()).unwrap();
        Self { folder, log, vkey }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("w")
    }

    fn verifies(&self, note: &str, line: &str) -> bool {
        let trust = self.log.trust().with_witnesses(vec![self.vkey.parse().unwrap()], 1).unwrap();
        chancery_audit::SignedCheckpoint::open(format!("{note}{line}").as_bytes(), &trust).is_ok()
    }
}

#[test]
fn growth_is_cosigned_and_nothing_else() {
    let scene = Scene::set();
    let (log, witness) = (&scene.log, start(&scene.root()).unwrap());
    let (status, line) = witness.post(&log.body(0, 3, 0));
    assert_eq!(status, 200, "{line}");
    assert!(scene.verifies(&log.note(3, 0), &line), "the cosignature verifies under the printed key");
    assert!(!scene.verifies(&log.note(4, 0), &line), "and of no other checkpoint");
    let (status, line) = witness.post(&log.body(3, 9, 0));
    assert_eq!(status, 200, "{line}");

    // What the specification says of each.
    let empty =
        |old, size, history| Submission { old, proof: Vec::new(), note: log.note(size, history) }.to_string();
    let twelve = log.body(9, 12, 0);
    let other_log = Log::fresh("log.example/two");
    let other_key = Log::fresh(ORIGIN);
    for (body, status, why) in [
        (log.body(3, 12, 0), 409, "an old size that is not the last seen"),
        (log.body(0, 12, 0), 409, "a log that begins again"),
        (log.body(3, 5, 0), 409, "a rollback"),
        (empty(9, 5, 0), 400, "an old size above the checkpoint's"),
        (empty(9, 9, 7), 409, "another root of the same size"),
        (log.body(9, 12, 7), 422, "another history"),
        (empty(9, 12, 0), 422, "no proof"),
        (other_log.body(0, 3, 0), 404, "a log nobody watches"),
        (other_key.body(9, 12, 0), 403, "a key of nobody"),
        (twelve.replacen("\u{2014} log.example/one ", "\u{2014} log.example/one A", 1), 400, "no base64"),
        ("old 9\n".to_owned(), 400, "no checkpoint"),
    ] {
        let (found, said) = witness.post(&body);
        assert_eq!(found, status, "{why}: {said}");
        if status == 409 {
            assert_eq!(said, "9\n", "{why}: the size that was seen");
        }
    }
    // The same again is no growth, and harmless: the log may have missed the answer.
    assert_eq!(witness.post(&empty(9, 9, 0)).0, 200);
    assert_eq!(witness.post(&twelve).0, 200, "what was refused changed nothing");
}

#[test]
fn what_was_cosigned_is_remembered_over_a_kill() {
    let scene = Scene::set();
    let (log, witness) = (&scene.log, start(&scene.root()).unwrap());
    assert_eq!(witness.post(&log.body(0, 9, 0)).0, 200);
    // SIGKILL, with nothing said before.
    drop(witness);
    let witness = start(&scene.root()).unwrap();
    assert_eq!(witness.post(&log.body(0, 5, 0)), (409, "9\n".to_owned()), "a rollback");
    assert_eq!(witness.post(&log.body(9, 12, 7)).0, 422, "a fork");
    assert_eq!(witness.post(&log.body(9, 12, 0)).0, 200);
}

#[test]
fn no_memory_no_witness() {
    let scene = Scene::set();
    let witness = start(&scene.root()).unwrap();
    assert_eq!(witness.post(&scene.log.body(0, 9, 0)).0, 200);
    let said = start(&scene.root()).err().expect("a second process on one memory");
    assert!(said.contains("in use by another process"), "{said}");
    drop(witness);

    let seen = scene.root().join("seen");
    let memory = std::fs::read_dir(&seen).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&memory).unwrap();
    // Any one bit of it: size, root or signature.
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&memory, &bad).unwrap();
        // A changed line of the log's own signature leaves the memory what it was: only its own word counts.
        if let Ok(witness) = start(&scene.root()) {
            assert_eq!(witness.post(&scene.log.body(0, 5, 0)), (409, "9\n".to_owned()), "byte {at}");
        }
    }
    std::fs::write(&memory, &good[..good.len() / 2]).unwrap();
    let said = start(&scene.root()).err().expect("a torn memory");
    assert!(said.contains("is damaged"), "{said}");
    std::fs::remove_dir_all(&seen).unwrap();
    assert!(start(&scene.root()).is_err(), "a witness that forgot everything");
}

#[test]
fn the_key_and_the_folder_are_guarded() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::set();
    let again =
        Command::new(PROGRAM).args(["init", "--name", "w", "--folder"]).arg(scene.root()).output().unwrap();
    assert!(!again.status.success(), "a key is never overwritten");
    let shown = Command::new(PROGRAM).args(["key", "--folder"]).arg(scene.root()).output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim(), scene.vkey);
    let key = scene.root().join("key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(start(&scene.root()).err().unwrap().contains("chmod 600"));
}

#[test]
fn the_door_is_bounded() {
    let scene = Scene::set();
    let witness = start(&scene.root()).unwrap();
    assert_eq!(witness.raw("GET /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n").0, 405);
    assert_eq!(witness.raw("GET / HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n").0, 404);
    let long = "old 0\n".repeat(4_000);
    let request = format!(
        "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{long}",
        long.len()
    );
    assert_eq!(witness.raw(&request).0, 413);
    // Half a head is closed by the witness; the read ends.
    let mut stream = TcpStream::connect(&witness.address).unwrap();
    stream.write_all(b"POST /add-checkpoint HTTP/1.1\r\nhost:").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(witness.post(&scene.log.body(0, 3, 0)).0, 200, "and others are served");
}
