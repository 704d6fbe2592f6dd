//! Whoever listens is told all that is theirs, in the order of the log, and nothing else; whatever breaks in between, nothing is
//! missed: a stream that went away, a receiver that is down or refuses, an appliance that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_consensus::SignableTransaction as _;
use alloy_primitives::U256;
use appliance::{Appliance, Peer, chancery, run, treasury};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

/// So little that no limit of a day asks for anybody.
fn milli_ether(nonce: u64) -> Vec<u8> {
    appliance::transfer(nonce, U256::from(10_u64.pow(15))).encoded_for_signing()
}

async fn release(peer: &Peer, nonce: u64, key: &str) {
    let answer = peer.sign("treasury", &milli_ether(nonce), key).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A stream that is listened to.
struct Ear {
    response: reqwest::Response,
    text: String,
}

impl Ear {
    async fn open(peer: &Peer, after: Option<u64>) -> Self {
        let response = Self::ask(peer, after).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    async fn ask(peer: &Peer, after: Option<u64>) -> reqwest::Response {
        let request = peer.client.get(format!("{}/v1/events", peer.base)).timeout(Duration::from_secs(600));
        let request = request.header("accept", "text/event-stream");
        let request = match after {
            Some(index) => request.header("last-event-id", index),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// The next event: its index, its name, the idempotency key of its request. `None` where the stream ended.
    async fn next(&mut self) -> Option<(u64, String, String)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let Some(data) = field("data: ") else { continue };
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(data["data"]["index"].to_string(), field("id: ").unwrap());
                assert_eq!(data["type"], field("event: ").unwrap());
                assert!(data["timestamp"].as_str().unwrap().ends_with('Z'), "{data}");
                let key = data["data"]["idempotency_key"].as_str().unwrap_or_default().to_owned();
                return Some((data["data"]["index"].as_u64().unwrap(), field("event: ").unwrap(), key));
            }
            let chunk = timeout(SOON, self.response.chunk()).await.expect("a stream shows that it lives");
            self.text += std::str::from_utf8(&chunk.ok().flatten()?).unwrap();
        }
    }

    /// Where it says that it is, before any event.
    async fn place(&mut self) -> u64 {
        let chunk = timeout(SOON, self.response.chunk()).await.unwrap().unwrap().unwrap();
        std::str::from_utf8(&chunk).unwrap().trim().strip_prefix("id: ").unwrap().parse().unwrap()
    }

    /// Those up to the first that is about this key and of this name.
    async fn until(&mut self, name: &str, key: &str) -> Vec<(u64, String, String)> {
        let mut heard: Vec<(u64, String, String)> = Vec::new();
        while heard.last().is_none_or(|(_, of, about)| (of.as_str(), about.as_str()) != (name, key)) {
            heard.push(self.next().await.expect("the stream goes on"));
        }
        heard
    }
}

fn names(heard: &[(u64, String, String)]) -> Vec<(&str, &str)> {
    heard.iter().map(|(_, name, key)| (name.as_str(), key.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_its_own_requests_and_misses_none() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let (backend, other, auditor) = (
        appliance.peer("client", "backend"),
        appliance.peer("client", "other"),
        appliance.peer("auditor", "a"),
    );
    let mut theirs = Ear::open(&backend, None).await;
    let mut all = Ear::open(&auditor, None).await;
    other.sign("treasury", &milli_ether(0), "others-0").await;
    release(&backend, 1, "order-1").await;
    let heard = theirs.until("request.released", "order-1").await;
    assert_eq!(names(&heard), [("request.allowed", "order-1"), ("request.released", "order-1")]);
    let everything = all.until("request.released", "order-1").await;
    assert!(everything.iter().any(|(_, _, key)| key == "others-0"), "{everything:?}");

    // Whoever heard nothing yet goes on from where it began, too.
    let mut early = Ear::open(&backend, None).await;
    let began = early.place().await;
    drop(early);
    release(&backend, 9, "order-9").await;
    let mut early = Ear::open(&backend, Some(began)).await;
    early.until("request.released", "order-9").await;
    drop(early);
    let mut again = theirs.until("request.released", "order-9").await;
    again.retain(|(_, _, key)| key == "order-9");
    let last = again.last().unwrap().0;
    for beyond in ["999999", "18446744073709551615"] {
        let refused = auditor.get(&format!("/v1/events?after={beyond}")).await;
        assert_eq!((refused.status, refused.code()), (400, "bad-request"), "{refused:?}");
    }
    assert_eq!(Ear::ask(&backend, Some(999_999)).await.status(), 400, "it would be silent for ever");

    // Away for a while, and the appliance with it.
    drop((theirs, all));
    release(&backend, 2, "order-2").await;
    appliance.kill();
    appliance.start();
    let (backend, auditor) = (appliance.peer("client", "backend"), appliance.peer("auditor", "a"));
    release(&backend, 3, "order-3").await;
    let mut theirs = Ear::open(&backend, Some(last)).await;
    let heard = theirs.until("request.released", "order-3").await;
    let expected = ["order-2", "order-3"].map(|key| [("request.allowed", key), ("request.released", key)]);
    assert_eq!(names(&heard), expected.concat());

    // All of it again, page by page, is what the log holds.
    let mut after = None;
    let mut indexes = Vec::new();
    loop {
        let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let page = auditor.get(&format!("/v1/events?limit=3{from}")).await;
        let events = page.body["events"].as_array().unwrap().clone();
        indexes.extend(events.iter().map(|event| event["data"]["index"].as_u64().unwrap()));
        match page.body["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(indexes, (0..indexes.len() as u64).collect::<Vec<_>>(), "every entry, once, in order");
    let bad = auditor.get("/v1/events?after=x").await;
    assert_eq!((bad.status, bad.code()), (400, "bad-request"), "{bad:?}");

    // The program says the same.
    if chancery().is_some() {
        let client = appliance.client_directory("auditor", "a");
        let (code, _, said) = run(&client, &["events", "--only", "request.released"]);
        assert_eq!(code, 0, "{said}");
    }

    // A stream keeps nobody from stopping.
    let started = Instant::now();
    assert!(appliance.stop().success());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    while theirs.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_holds_so_many_streams_and_no_more() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let (greedy, other) = (appliance.peer("auditor", "greedy"), appliance.peer("auditor", "other"));
    let mut open = Vec::new();
    for _ in 0..chancery_core::limit::EVENT_STREAMS {
        open.push(Ear::open(&greedy, None).await);
    }
    assert_eq!(Ear::ask(&greedy, None).await.status(), 429);
    Ear::open(&other, None).await;
    open.pop();
    // The server notices by the time it wants to say something.
    let until = Instant::now() + SOON;
    while Ear::ask(&greedy, None).await.status() != 200 {
        assert!(Instant::now() < until, "the place of a stream that is gone is never free again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An event that was taken: its id, its name, the idempotency key it is about.
type Taken = (String, String, String);

/// Somebody who is told: what was taken, by log index, and what is answered.
#[derive(Clone, Default)]
struct Receiver {
    told: Arc<Mutex<BTreeMap<u64, Taken>>>,
    answer: Arc<AtomicU16>,
}

impl Receiver {
    async fn open(answer: u16) -> (Self, u16) {
        let receiver = Self::default();
        receiver.answer.store(answer, Ordering::SeqCst);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let there = receiver.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let receiver = there.clone();
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let receiver = receiver.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let status = receiver.take(&parts.headers, &body);
                        let mut answer = Response::new(Empty::<Bytes>::new());
                        *answer.status_mut() = status;
                        Ok::<_, hyper::Error>(answer)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        (receiver, port)
    }

    /// The names and keys of what was taken, in the order of the log.
    fn told(&self) -> Vec<(String, String)> {
        let told = self.told.lock().unwrap();
        told.values().map(|(_, name, key)| (name.clone(), key.clone())).collect()
    }

    /// Verifies as one does that knows the standard and nothing of us.
    fn take(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let key = BASE64.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let tag = BASE64.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        aws_lc_rs::hmac::verify(&key, &signed, &tag).expect("the delivery is signed");
        let event: Value = serde_json::from_slice(body).unwrap();
        let answer = StatusCode::from_u16(self.answer.load(Ordering::SeqCst)).unwrap();
        if answer.is_success() {
            let index = event["data"]["index"].as_u64().unwrap();
            let name = event["type"].as_str().unwrap().to_owned();
            let about = event["data"]["idempotency_key"].as_str().unwrap_or_default().to_owned();
            let mut told = self.told.lock().unwrap();
            let kept = told.entry(index).or_insert((id.clone(), name, about));
            assert_eq!(kept.0, id, "what is told twice has the same id");
        }
        answer
    }

    async fn until(&self, name: &str, key: &str) {
        let until = Instant::now() + SOON;
        while !self.told().contains(&(name.to_owned(), key.to_owned())) {
            assert!(Instant::now() < until, "never told of {name} {key}: {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_everything_whatever_breaks() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    let (all, all_port) = Receiver::open(500).await;
    let (ledger, ledger_port) = Receiver::open(200).await;
    let path = appliance.at("hook.secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let hook = |name: &str, port: u16, more: &str| {
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}/hook\"\n\
             secret = {{ file = \"hook.secret\" }}\n{more}\n[hsm]"
        )
    };
    appliance.reconfigure(
        "[hsm]",
        &hook("ledger", ledger_port, "client = \"backend\"\nevents = [\"request.released\"]"),
    );
    appliance.reconfigure("[hsm]", &hook("all", all_port, ""));
    let said = appliance.start_in_vain();
    assert!(said.contains("`ledger`") && said.contains("only its owner may read"), "{said}");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let backend = appliance.peer("client", "backend");
    appliance.peer("client", "other").sign("treasury", &milli_ether(0), "others-0").await;
    release(&backend, 1, "order-1").await;
    ledger.until("request.released", "order-1").await;
    assert_eq!(all.told(), [], "a receiver that refuses has taken nothing");
    assert!(metric(&appliance, "chancery_webhooks_failing").await == 1, "and is seen to");
    assert!(metric(&appliance, "chancery_webhook_entries_behind").await > 0);

    // Killed before anything was taken, and once more in the middle.
    appliance.kill();
    all.answer.store(200, Ordering::SeqCst);
    appliance.start();
    all.until("request.released", "order-1").await;
    let backend = appliance.peer("client", "backend");
    for n in 2..12 {
        release(&backend, n, &format!("order-{n}")).await;
    }
    appliance.kill();
    appliance.start();
    let backend = appliance.peer("client", "backend");
    release(&backend, 12, "order-12").await;
    all.until("request.released", "order-12").await;
    ledger.until("request.released", "order-12").await;
    let told = all.told.lock().unwrap().clone();
    let size = *told.last_key_value().unwrap().0 + 1;
    let missed: Vec<u64> = (0..size).filter(|index| !told.contains_key(index)).collect();
    assert_eq!(missed, [0_u64; 0], "of {size}");
    let orders: Vec<_> = (1..=12).map(|n| ("request.released".to_owned(), format!("order-{n}"))).collect();
    assert_eq!(ledger.told(), orders, "what it asked for and nothing else");
    assert_eq!(metric(&appliance, "chancery_webhooks_failing").await, 0);
}

async fn metric(appliance: &Appliance, name: &str) -> u64 {
    let url = format!("http://{}/metrics", appliance.running().ops);
    let page = reqwest::get(url).await.unwrap().text().await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}
