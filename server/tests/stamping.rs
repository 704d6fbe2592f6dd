//! The appliance and a time-stamping authority, both real: `chanceryd` asks OpenSSL over HTTP, keeps what verifies, and an
//! auditor counts it with `chancery`. An authority that gives nothing, or anything else, stops nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;
#[path = "../../audit/tests/support/tsa.rs"]
mod tsa;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use appliance::{Appliance, one_ether, treasury};
use serde_json::Value;
use tsa::{P256, STAMPING, Tsa};

/// What the authority does when it is asked.
#[derive(Clone)]
enum Manner {
    Honest,
    /// Takes no hash that is asked for.
    Rejects,
    /// Reads the question and says nothing.
    Hangs,
    /// More than anybody reads.
    Endless,
    Fails,
    /// Always the same answer.
    Repeats(Vec<u8>),
    /// Signs with this certificate.
    As(&'static str),
}

/// An authority on loopback.
struct Served {
    tsa: Arc<Tsa>,
    url: String,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<usize>>,
}

impl Served {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tsr", listener.local_addr().unwrap());
        let served = Self {
            tsa: Arc::new(Tsa::new()),
            url,
            manner: Arc::new(Mutex::new(Manner::Honest)),
            asked: Arc::default(),
        };
        let (tsa, manner, asked) =
            (Arc::clone(&served.tsa), Arc::clone(&served.manner), Arc::clone(&served.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                *asked.lock().unwrap() += 1;
                let manner = manner.lock().unwrap().clone();
                let tsa = Arc::clone(&tsa);
                // A client that has gone is no fault of ours.
                std::thread::spawn(move || drop(answer(&mut stream.unwrap(), &tsa, manner)));
            }
        });
        served
    }

    fn turn(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

fn answer(stream: &mut TcpStream, tsa: &Tsa, manner: Manner) -> std::io::Result<()> {
    let query = question(stream)?;
    let (status, body) = match manner {
        Manner::Honest => ("200 OK", tsa.answer("tsa", &query)),
        Manner::As(name) => ("200 OK", tsa.forge(name, &tsa.answer("tsa", &query), true, &[])),
        Manner::Repeats(answer) => ("200 OK", answer),
        Manner::Endless => ("200 OK", vec![0x30; 1 << 20]),
        Manner::Fails => ("503 Service Unavailable", Vec::new()),
        Manner::Rejects => {
            tsa.digests("sha512");
            let refusal = tsa.answer("tsa", &query);
            tsa.digests("sha256");
            ("200 OK", refusal)
        }
        Manner::Hangs => {
            // Until the other side gives up.
            return stream.read_exact(&mut [0]);
        }
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// The body of a request.
fn question(stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut reader, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some(value) = line.strip_prefix("content-type:") {
            assert_eq!(value.trim(), "application/timestamp-query");
        }
        if line.is_empty() {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            return Ok(body);
        }
    }
}

/// An appliance that has its log timestamped every second by this authority.
fn prepared(served: &Served) -> Option<Appliance> {
    let appliance = Appliance::prepare()?;
    let ca = served.tsa.at("root.pem");
    let authority = format!("{{ url = \"{}\", ca = \"{}\", every_s = 1 }}", served.url, ca.display());
    appliance
        .reconfigure("directory = \"log\" }", &format!("directory = \"log\", timestamp = [{authority}] }}"));
    Some(appliance)
}

async fn metric(appliance: &Appliance, name: &str) -> u64 {
    let page = reqwest::get(format!("http://{}/metrics", appliance.running().ops)).await.unwrap();
    let page = page.text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("chancery_{name} ")));
    line.unwrap_or_else(|| panic!("no metric `{name}`:\n{page}")).parse().unwrap()
}

/// Waits for what must come sooner or later.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All that is published is timestamped.
async fn timestamped(appliance: &Appliance) {
    until("the newest checkpoint is timestamped", async || {
        let entries = metric(appliance, "log_entries").await;
        entries > 0 && metric(appliance, "log_timestamped").await == entries
    })
    .await;
}

/// The `chancery` that was built beside `chanceryd`.
fn chancery(arguments: &[&str]) -> Option<Value> {
    let program = Path::new(env!("CARGO_BIN_EXE_chanceryd")).with_file_name("chancery");
    if !program.is_file() {
        println!("skipped: no `chancery` beside `chanceryd`; `cargo build -p chancery-cli` makes it");
        return None;
    }
    let ran = Command::new(program).arg("--json").args(arguments).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(serde_json::from_slice(&ran.stdout).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_log_is_timestamped_and_strangers_can_tell() {
    let served = Served::start();
    let Some(mut appliance) = prepared(&served) else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    timestamped(&appliance).await;
    let first = metric(&appliance, "timestamps").await;
    assert!(first > 0 && metric(&appliance, "timestamp_newest_seconds").await > 1_700_000_000);

    // What was kept outlives a kill, and is not asked for again.
    appliance.kill();
    let asked = *served.asked.lock().unwrap();
    appliance.start();
    assert_eq!(metric(&appliance, "timestamps").await, first);
    timestamped(&appliance).await;
    assert_eq!(*served.asked.lock().unwrap(), asked, "nothing is new");
    let signed = appliance.peer("client", "backend").sign("treasury", &one_ether(0), "order-0").await;
    assert_eq!(signed.status, 200, "{signed:?}");
    timestamped(&appliance).await;
    let kept = metric(&appliance, "timestamps").await;
    assert!(kept > first);

    // Over the API, as tiles are, for whoever may see a checkpoint.
    let backend = appliance.peer("client", "backend");
    let index = backend.get("/v1/log/timestamps/index").await;
    let numbers: Vec<&str> = index.body.as_str().unwrap().lines().skip(1).collect();
    assert_eq!(numbers.len() as u64, kept, "{index:?}");
    for number in &numbers {
        let [note, answer] = ["checkpoint", "tsr"].map(|kind| format!("timestamps/{number}.{kind}"));
        let served_as = backend.client.get(format!("{}/v1/log/{answer}", backend.base)).send().await.unwrap();
        assert_eq!(served_as.headers()["content-type"], "application/timestamp-reply");
        let folder = appliance.at("log");
        assert_eq!(served_as.bytes().await.unwrap(), std::fs::read(folder.join(&answer)).unwrap());
        assert!(served.tsa.openssl_verifies(&folder.join(&note), &folder.join(&answer)), "OpenSSL agrees");
    }
    for none in ["0.tsr", "01.tsr", "1.tsr.new", "..%2Fhead", "x"] {
        assert_eq!(backend.get(&format!("/v1/log/timestamps/{none}")).await.status, 404, "{none}");
    }

    let (trust, root) = (appliance.at("trust.json"), served.tsa.at("root.pem"));
    std::fs::write(&trust, appliance.trust().await.to_json()).unwrap();
    let auditor = appliance.client_directory("auditor", "ann");
    let always = ["audit", "verify", "--trust", text(&trust), "--tsa-ca", text(&root)];
    let folder = appliance.at("log");
    let Some(there) = chancery(&[&["--client", text(&auditor)][..], &always].concat()) else { return };
    appliance.stop();
    let here = chancery(&[&always[..], &["--dir", text(&folder)]].concat()).unwrap();
    for found in [&there["timestamps"], &here["timestamps"]] {
        assert_eq!(found["count"], kept, "{there}\n{here}");
        assert_eq!(found["newest"]["size"], there["size"]);
        assert_eq!(found["newest"]["authority"], "CN=Test TSA tsa");
    }
}

/// Would catch an appliance that waits for its authority, keeps what does not verify, or says nothing of it.
#[tokio::test]
async fn an_authority_that_gives_nothing_stops_nothing() {
    let served = Served::start();
    let Some(mut appliance) = prepared(&served) else { return };
    served.tsa.issue("ended", P256, STAMPING, ["20200101000000Z", "20210101000000Z"]);
    served.turn(Manner::Fails);
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");
    let other = served.tsa.answer("tsa", chancery_audit::TimestampQuery::new(b"x", [9; 8]).unwrap().der());
    for (nonce, (manner, said)) in (0..).zip([
        (Manner::Fails, "it answered 503"),
        (Manner::Rejects, "the authority refused, with status 2"),
        (Manner::Endless, "the answer is too long"),
        (Manner::Repeats(other), "it is of something else"),
        (Manner::Repeats(vec![0x30, 0]), "it does not parse"),
        (Manner::As("ended"), "its signer's certificate"),
        (Manner::Hangs, "it cannot be reached"),
    ]) {
        served.turn(manner);
        let signed = backend.sign("treasury", &one_ether(nonce), &format!("order-{nonce}")).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        until(said, async || {
            let log = appliance.running().log.lock().unwrap();
            log.iter().any(|line| line.contains("no timestamp was had") && line.contains(said))
        })
        .await;
        let stands = [metric(&appliance, "timestamps_failing").await, metric(&appliance, "timestamps").await];
        assert_eq!(stands, [1, 0], "{said}");
        let ready = reqwest::get(format!("http://{}/health/ready", appliance.running().ops)).await.unwrap();
        assert_eq!(ready.status(), 200, "{said}");
    }
    assert!(!appliance.at("log/timestamps").exists(), "nothing was kept");
    served.turn(Manner::Honest);
    timestamped(&appliance).await;
    assert_eq!(metric(&appliance, "timestamps_failing").await, 0);

    // Roots that are none keep it from starting, as every wrong setting does.
    appliance.stop();
    let leaf: PathBuf = served.tsa.at("tsa.pem");
    appliance.reconfigure("root.pem", "tsa.pem");
    let said = appliance.start_in_vain();
    assert!(said.contains("holds no roots of a time-stamping authority"), "{}: {said}", leaf.display());
}
