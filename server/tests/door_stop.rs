//! Stopping, and running out of files: nothing in flight is lost, and the door opens again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chancery_server::door::Drained;
use chancery_server::ops::{Component, Ops};
use chancery_server::telemetry::Metrics;
use support::{CLIENT, GET_WHO, House, exchange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

const CLEAN: Drained = Drained { connections_cut: 0, requests_finished: true };

#[tokio::test]
async fn requests_in_flight_are_answered_before_the_door_closes() {
    let mut house = House::open();
    let mut http1 = house.enter("http/1.1").await;
    http1.write_all(b"GET /slow?n=1500 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let client = support::library_client(&house, house.ca.client(CLIENT));
    let http2 = tokio::spawn(async move { client.get("/slow?n=1500").await.unwrap().into_body() });
    let mut idle = house.enter("http/1.1").await;
    let mut half = house.tcp().await;
    half.write_all(&[22, 3, 1]).await.unwrap();
    sleep(Duration::from_millis(500)).await;

    house.ask_to_stop();
    assert_eq!(support::read_answer(&mut http1).await.unwrap().body, b"done", "HTTP/1.1 in flight");
    assert_eq!(http2.await.unwrap(), "done", "HTTP/2 in flight");
    assert_eq!(idle.read(&mut [0; 64]).await.unwrap_or(0), 0, "an idle connection ends");
    assert_eq!(half.read(&mut [0; 64]).await.unwrap_or(0), 0, "a handshake ends");
    assert_eq!(house.drained().await, CLEAN);
    assert!(tokio::net::TcpStream::connect(house.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_request_whose_client_left_still_runs_to_its_end() {
    static FINISHED: AtomicBool = AtomicBool::new(false);
    let work = || async {
        sleep(Duration::from_millis(1_000)).await;
        FINISHED.store(true, Ordering::SeqCst);
    };
    let router = axum::Router::new().route("/work", axum::routing::get(work));
    let mut house = House::open_to(router, |_| {});
    let mut stream = house.enter("http/1.1").await;
    stream.write_all(b"GET /work HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    sleep(Duration::from_millis(300)).await;
    drop(stream);
    house.ask_to_stop();
    assert_eq!(house.drained().await, CLEAN, "the drain must wait for work whose client has left");
    assert!(FINISHED.load(Ordering::SeqCst), "the work was cancelled half-way");
    assert!(
        house.metrics.encode().contains("code=\"client-left\",status=\"499\"} 1"),
        "and the log must say so"
    );
}

async fn ops_get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let answer = support::read_answer(&mut socket).await.unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[tokio::test]
async fn the_ops_listener_reports_and_stops() {
    let ready = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&ready);
    let ops = Ops::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = ops.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let component = move || {
        vec![Component {
            component: "hsm",
            ok: asked.load(Ordering::SeqCst),
            detail: "2 sessions".to_owned(),
        }]
    };
    let serving = tokio::spawn(
        ops.serve(Arc::new(Metrics::new()), Arc::new(component), async move { drop(stopped.await) }),
    );
    assert_eq!(ops_get(address, "/health/live").await, (200, r#"{"live":true}"#.to_owned()));
    let (status, body) = ops_get(address, "/health/ready").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""component":"hsm""#) && body.contains(r#""ready":true"#), "{body}");
    ready.store(false, Ordering::SeqCst);
    let (status, body) = ops_get(address, "/health/ready").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains(r#""ready":false"#), "{body}");
    let (status, body) = ops_get(address, "/metrics").await;
    assert!(
        status == 200 && body.contains("chancery_resident_memory_bytes") && body.ends_with("# EOF\n"),
        "{body}"
    );
    assert_eq!(ops_get(address, "/v1/sign").await.0, 404, "nothing of the API is here");

    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    drop(stop);
    serving.await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_stopped_house_reports_a_clean_drain() {
    let mut house = House::open();
    let mut stream = house.enter("http/1.1").await;
    assert_eq!(exchange(&mut stream, GET_WHO).await.unwrap().status, 200);
    house.ask_to_stop();
    assert_eq!(house.drained().await, CLEAN);
}
