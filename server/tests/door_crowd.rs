//! ASSURANCE line 10, second half: 2,000 stalled sockets and not one honest request fails. `--nocapture` prints
//! `assurance door <crowd> stalled=<n> honest=<n> failures=<n> p99_alone_us=<n> p99_crowd_us=<n> ratio=<x>`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test support; the figures are the point"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chancery_core::limit;
use support::{GET_WHO, House, h2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const HONEST: usize = 8;
const REQUESTS: usize = 100;

/// Holds one socket open in one of the ways to stall, again each time it is closed.
async fn stall(
    house: Arc<House>,
    way: usize,
    tls: Arc<rustls::ClientConfig>,
    held: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    let mut buffer = [0; 1_024];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut tcp) = tokio::net::TcpStream::connect(house.address).await else { continue };
        match way {
            0..=2 => {
                held.fetch_add(1, Ordering::Relaxed);
                let _ = tcp.read(&mut buffer).await;
            }
            3 | 4 => {
                // A record header that promises a ClientHello of 512 bytes, and 3 of them.
                let _ = tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).await;
                held.fetch_add(1, Ordering::Relaxed);
                let _ = tcp.read(&mut buffer).await;
            }
            way => {
                let Ok(mut stream) = support::handshake(tcp, &tls).await else { continue };
                let bytes: Vec<u8> = match way {
                    5 => b"GET /who HTTP/1.1\r\nhost".to_vec(),
                    6 => b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1".to_vec(),
                    _ => h2::hello(&[]),
                };
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                held.fetch_add(1, Ordering::Relaxed);
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
            }
        }
        held.fetch_sub(1, Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Honest clients: half keep their connection, half make a new one for each request. Returns times and failures.
async fn ask(house: &Arc<House>) -> (Vec<Duration>, usize) {
    let mut clients = JoinSet::new();
    for client in 0..HONEST {
        let house = Arc::clone(house);
        clients.spawn(async move {
            let tls = house.tls(Some(house.ca.client(support::CLIENT)), &["http/1.1"]);
            let mut kept = house.connect(&tls).await.ok();
            let (mut times, mut failures) = (Vec::new(), 0);
            for _ in 0..REQUESTS {
                let began = Instant::now();
                if client % 2 == 0 || kept.is_none() {
                    kept = house.connect(&tls).await.ok();
                }
                let answer = match &mut kept {
                    Some(stream) => support::exchange(stream, GET_WHO).await.ok(),
                    None => None,
                };
                times.push(began.elapsed());
                if answer.is_none_or(|answer| answer.status != 200) {
                    failures += 1;
                    kept = None;
                }
                sleep(Duration::from_millis(10)).await;
            }
            (times, failures)
        });
    }
    let (mut times, mut failures) = (Vec::new(), 0);
    while let Some(done) = clients.join_next().await {
        let (more, failed) = done.unwrap();
        times.extend(more);
        failures += failed;
    }
    times.sort();
    (times, failures)
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

/// Two crowds at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Asks alone, then beside a crowd that stalls in the ways `ways`; prints the figures, returns the failures. So many
/// more than `stalled` hold sockets that as many are open at any time, though each is closed now and then.
async fn ask_beside_a_crowd(name: &str, stalled: usize, more: usize, ways: &[usize]) -> usize {
    let _alone = ONE_AT_A_TIME.lock().await;
    chancery_server::door::raise_open_files().unwrap();
    let house = Arc::new(House::open());
    let (alone, failures_alone) = ask(&house).await;
    assert_eq!(failures_alone, 0, "the door fails honest requests even without a crowd");

    let (held, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    // A client may hold 256 connections: so many stallers with a certificate need several.
    let stallers: Vec<_> = (0..8)
        .map(|n| {
            let identity = |kind| house.ca.client(&format!("chancery://default/client/{kind}-{n}"));
            (house.tls(Some(identity("one")), &["http/1.1"]), house.tls(Some(identity("two")), &["h2"]))
        })
        .collect();
    let mut crowd = JoinSet::new();
    for n in 0..stalled + more {
        let way = ways[n % ways.len()];
        let (http1, http2) = &stallers[n / ways.len() % stallers.len()];
        let tls = Arc::clone(if way == 7 { http2 } else { http1 });
        crowd.spawn(stall(Arc::clone(&house), way, tls, Arc::clone(&held), Arc::clone(&stop)));
    }
    let gathered = async {
        while held.load(Ordering::Relaxed) < stalled {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gathered).await.expect("the crowd did not gather");
    let before = held.load(Ordering::Relaxed);
    let (crowded, failures) = ask(&house).await;
    let after = held.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    crowd.shutdown().await;

    let ratio = p99(&crowded).as_secs_f64() / p99(&alone).as_secs_f64();
    println!(
        "assurance door {name} stalled={} honest={} failures={failures} p99_alone_us={} p99_crowd_us={} ratio={ratio:.2}",
        before.min(after),
        crowded.len(),
        p99(&alone).as_micros(),
        p99(&crowded).as_micros(),
    );
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_stalled_sockets_fail_no_honest_request() {
    let failures = ask_beside_a_crowd("crowd", 2_000, 200, &[0, 1, 2, 3, 4, 5, 6, 7]).await;
    assert_eq!(failures, 0, "honest requests failed beside the crowd");
}

/// More silent sockets than the lobby seats: the longest silent make room, not the honest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_larger_than_the_lobby_fails_no_honest_request() {
    let failures = ask_beside_a_crowd("overcrowd", limit::HANDSHAKES_PER_SOURCE - 100, 400, &[0]).await;
    assert_eq!(failures, 0, "honest requests failed beside the crowd");
}
