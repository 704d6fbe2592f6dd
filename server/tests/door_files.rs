//! The accept loop survives a process that has no file left to open. Alone in its program: it takes all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test support")]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{GET_WHO, House, exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_opens_again_when_files_are_free() {
    let house = House::open();
    let tls = house.tls(Some(house.ca.client(support::CLIENT)), &["http/1.1"]);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: before.maximum }).unwrap();
    // Both ends are in this process: connecting and accepting eat the same files until neither goes on.
    let mut taken = Vec::new();
    while let Ok(socket) = tokio::net::TcpStream::connect(house.address).await {
        taken.push(socket);
        assert!(taken.len() < 64, "the limit does not bind");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    taken.clear();
    let again = async {
        loop {
            if let Ok(mut stream) = house.connect(&tls).await
                && let Ok(answer) = exchange(&mut stream, GET_WHO).await
            {
                return answer.status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let status = tokio::time::timeout(std::time::Duration::from_secs(30), again).await;
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(status.unwrap(), 200, "the accept loop ended when files ran out");
}
