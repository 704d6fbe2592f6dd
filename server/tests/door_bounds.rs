//! What a request may be: too much of anything is answered with its code, and the door stays open for the next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support")]

mod support;

use chancery_core::{config, limit};
use support::{Answer, CLIENT, GET_WHO, House, asking, exchange, h2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Asserts the RFC 9457 form of a refusal.
#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    let body = answer.json();
    assert_eq!(body["code"], code);
    assert_eq!(body["type"], format!("urn:chancery:error:{code}"));
    assert_eq!(body["status"], status);
    let id = body["request_id"].as_str().unwrap();
    assert!(answer.head.contains(&format!("x-request-id: {id}")), "{}", answer.head);
}

async fn ask(house: &House, request: &str) -> Answer {
    let mut stream = house.enter("http/1.1").await;
    exchange(&mut stream, request).await.unwrap()
}

fn post(path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    let house = House::open();
    is_problem(&ask(&house, "GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n").await, 404, "not-found");
    let answer = ask(&house, "DELETE /who HTTP/1.1\r\nhost: a\r\n\r\n").await;
    is_problem(&answer, 405, "method-not-allowed");
    assert!(answer.head.contains("allow: GET"), "{}", answer.head);
    is_problem(&ask(&house, &post("/json", "text/plain", "{}")).await, 415, "unsupported-media-type");
    for bad in ["{", "[]", r#"{"n":-1}"#, r#"{"m":1}"#] {
        let answer = ask(&house, &post("/json", "application/json", bad)).await;
        is_problem(&answer, 400, "bad-request");
        assert!(answer.json()["detail"].is_string(), "the client should learn what is wrong with {bad}");
    }
    assert_eq!(ask(&house, &post("/json", "application/json", r#"{"n":7}"#)).await.body, b"7");
}

#[tokio::test]
async fn odd_methods_and_targets_are_refusals_not_defects() {
    let house = House::open();
    for (line, status) in [
        ("CONNECT a:443", 404),
        ("OPTIONS *", 404),
        ("EVIL /who", 405),
        ("TRACE /who", 405),
        ("GET /who/../who", 404),
        ("GET //who", 404),
        ("GET http://elsewhere/who", 200),
    ] {
        let answer = ask(&house, &format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{line}");
    }
    let page = house.metrics.encode();
    assert!(
        page.contains(r#"route="/who",code="ok""#) && page.contains(r#"route="-",code="not-found""#),
        "{page}"
    );
    assert!(
        !page.contains("EVIL") && !page.contains("elsewhere"),
        "what a stranger sends is no label:\n{page}"
    );
}

#[tokio::test]
async fn a_defect_says_nothing_and_harms_nobody_else() {
    let house = House::open();
    let answer = ask(&house, "GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    is_problem(&answer, 500, "internal");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    assert_eq!(ask(&house, GET_WHO).await.status, 200);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_by_its_length_and_by_its_bytes() {
    let house = House::open();
    let most = limit::BODY_BYTES;
    let fits = ask(&house, &post("/echo", "text/plain", &"x".repeat(most))).await;
    assert_eq!((fits.status, fits.body), (200, most.to_string().into_bytes()));

    let declared = format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", most + 1);
    is_problem(&ask(&house, &declared).await, 413, "body-too-large");

    let mut stream = house.enter("http/1.1").await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let sent = [head.to_owned(), chunk.repeat(9)].concat();
    let (mut read, mut write) = tokio::io::split(stream);
    let (answer, _) = tokio::join!(support::read_answer(&mut read), write.write_all(sent.as_bytes()));
    is_problem(&answer.unwrap(), 413, "body-too-large");

    stream = house.enter("http/1.1").await;
    let large = format!("PUT /large HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", most * 2);
    stream.write_all(large.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; most * 2]).await.unwrap();
    assert_eq!(support::read_answer(&mut stream).await.unwrap().status, 200, "this path takes more");
}

#[tokio::test]
async fn header_floods_are_refused() {
    let house = House::open();
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let get = |headers: &str| format!("GET /who HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    assert_eq!(ask(&house, &get(&many(limit::HEADERS - 1))).await.status, 200, "as many as allowed");
    is_problem(&ask(&house, &get(&many(limit::HEADERS))).await, 431, "headers-too-large");
    let long = format!("x-long: {}\r\n", "x".repeat(limit::HEADERS_BYTES));
    is_problem(&ask(&house, &get(&long)).await, 431, "headers-too-large");
    // Far above it hyper itself refuses, and closes.
    for flood in [many(10_000), format!("x-long: {}\r\n", "x".repeat(1_000_000))] {
        let mut stream = house.enter("http/1.1").await;
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let flood = get(&flood);
        let mut answer = Vec::new();
        let (_, _) = tokio::join!(write.write_all(flood.as_bytes()), read.read_to_end(&mut answer));
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(ask(&house, GET_WHO).await.status, 200);
}

#[tokio::test]
async fn header_floods_over_http2_are_refused() {
    let house = House::open();
    let client = support::library_client(&house, house.ca.client(CLIENT));
    for (count, status) in [(limit::HEADERS, 200), (limit::HEADERS + 1, 431)] {
        let many = (0..count).fold(asking("GET", "/who"), |many, n| many.header(format!("x-{n}"), "1"));
        assert_eq!(client.send(many, vec![]).await.unwrap().status(), status, "{count} headers");
    }
    for bytes in [limit::HEADERS_BYTES, 200_000] {
        let long = asking("GET", "/who").header("x-long", "x".repeat(bytes));
        let refused = client.send(long, vec![]).await;
        assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431), "{bytes}");
    }
    assert_eq!(client.get("/who").await.unwrap().status(), 200);
}

/// CVE-2023-44487: requests opened and reset at once cost the client nothing and the server a handler each.
#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let house = House::open();
    let mut stream = house.enter("h2").await;
    let mut sent = h2::hello(&[]);
    for stream in (1..20_001).step_by(2) {
        sent.extend(h2::request(stream, "GET", "/slow?n=1000", true));
        sent.extend(h2::frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut answer = Vec::new();
    let (_, _) = tokio::join!(write.write_all(&sent), read.read_to_end(&mut answer));
    assert!(h2::kinds(&answer).contains(&7), "the door must say GOAWAY: {:?}", h2::kinds(&answer));
    assert_eq!(ask(&house, GET_WHO).await.status, 200);
}

#[tokio::test]
async fn a_client_above_its_rate_is_told_when_to_come_back() {
    let house = House::open_with(|settings| settings.rate = config::Rate { per_second: 1, burst: 3 });
    let mut stream = house.enter("http/1.1").await;
    for _ in 0..3 {
        assert_eq!(exchange(&mut stream, GET_WHO).await.unwrap().status, 200);
    }
    let answer = exchange(&mut stream, GET_WHO).await.unwrap();
    is_problem(&answer, 429, "rate-limited");
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    let other = house.tls(Some(house.ca.client("chancery://default/client/other")), &["http/1.1"]);
    let mut other = house.connect(&other).await.unwrap();
    assert_eq!(exchange(&mut other, GET_WHO).await.unwrap().status, 200, "another client has its own bucket");
    assert!(house.metrics.encode().contains("chancery_rate_limited_total 1"));
}

#[tokio::test]
async fn connections_above_a_clients_share_are_answered_and_closed() {
    chancery_server::door::raise_open_files().unwrap();
    let house = House::open();
    let tls = house.tls(Some(house.ca.client(CLIENT)), &["http/1.1"]);
    let mut held = Vec::new();
    for _ in 0..limit::CONNECTIONS_PER_CLIENT {
        let mut stream = house.connect(&tls).await.unwrap();
        stream.write_all(b"GET /slow?n=20000 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    let mut one_more = house.connect(&tls).await.unwrap();
    let answer = exchange(&mut one_more, GET_WHO).await.unwrap();
    is_problem(&answer, 429, "overloaded");
    assert!(exchange(&mut one_more, GET_WHO).await.is_err(), "and it is closed");
    let other = house.tls(Some(house.ca.client("chancery://default/client/other")), &["http/1.1"]);
    let mut other = house.connect(&other).await.unwrap();
    assert_eq!(exchange(&mut other, GET_WHO).await.unwrap().status, 200, "another client has its own share");
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let house = House::open();
    let client = support::library_client(&house, house.ca.client(CLIENT));
    let mut all = tokio::task::JoinSet::new();
    for n in 0..500_usize {
        let client = client.clone();
        all.spawn(async move {
            let answer = client.send(asking("POST", "/echo"), vec![b'x'; n * 100]).await.unwrap();
            assert_eq!(answer.body(), (n * 100).to_string().as_bytes());
            let answer = client.get(&format!("/big?n={}", n * 300)).await.unwrap();
            assert_eq!(answer.body().len(), n * 300, "an answer was cut");
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}
