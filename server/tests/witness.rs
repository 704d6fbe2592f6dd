//! The appliance and its witnesses, all of them real processes: a receipt is released with the cosignatures that are asked
//! for or not at all, and an appliance that was set back whole does not start where
//! those who remember are asked for.
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
mod watcher;

use std::path::Path;

use appliance::{Appliance, one_ether, treasury};
use watcher::Witness;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn receipts_wait_for_their_witnesses_and_a_set_back_appliance_gets_none() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    let Some(mut one) = Witness::init(appliance.folder.path(), "w1") else { return };
    let mut two = Witness::init(appliance.folder.path(), "w2").unwrap();

    // The first start makes the log's key; the witnesses are told of it.
    appliance.start();
    appliance.furnish("treasury", &treasury()).await;
    let trust = appliance.trust().await.to_json();
    appliance.stop();
    for witness in [&mut one, &mut two] {
        witness.watch(&trust);
        witness.start();
    }
    appliance.reconfigure(
        "directory = \"log\" }",
        &format!("directory = \"log\", cosignatures = 2, witness = [{}, {}] }}", one.entry(), two.entry()),
    );
    appliance.start();
    let trust = appliance.trust().await;
    assert_eq!(
        (trust.witness_keys().len(), trust.quorum()),
        (2, 2),
        "the appliance hands out what it demands"
    );
    let backend = appliance.peer("client", "backend");
    let answer = backend.sign("treasury", &one_ether(0), "order-0").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.verified(&trust).checkpoint().cosignatures().len(), 2);

    // One away: the outcome is on record, the signature is not out.
    two.kill();
    let refused = backend.sign("treasury", &one_ether(1), "order-1").await;
    assert_eq!((refused.status, refused.code()), (503, "not-cosigned"), "{refused:?}");
    assert!(refused.retry_after.is_some() && !refused.body.to_string().contains("signature"), "{refused:?}");
    let id = refused.body["request_id"].as_str().unwrap().to_owned();
    let receipt = backend.get(&format!("/v1/requests/{id}/receipt")).await;
    assert_eq!(
        (receipt.status, receipt.code()),
        (503, "not-cosigned"),
        "nor is it by the other way: {receipt:?}"
    );
    let shown = backend.get(&format!("/v1/requests/{id}")).await;
    assert_eq!((shown.status, shown.code()), (503, "not-cosigned"), "nor by looking at it: {shown:?}");
    assert!(!shown.body.to_string().contains("signature"), "{shown:?}");
    let told = backend.get("/v1/events").await;
    assert!(!told.body.to_string().contains(&id), "what cannot be proved yet is not told: {told:?}");
    two.start();
    let again = backend.sign("treasury", &one_ether(1), "order-1").await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body["request_id"], id.as_str(), "the same request, not a second signature");
    again.verified(&trust);

    // The whole state is set back to now, two signatures later: only the witnesses remember.
    appliance.stop();
    for part in ["store", "log"] {
        copy(&appliance.at(part), &appliance.at("kept").join(part));
    }
    appliance.start();
    let backend = appliance.peer("client", "backend");
    assert_eq!(backend.sign("treasury", &one_ether(2), "order-2").await.status, 200);
    assert_eq!(backend.sign("treasury", &one_ether(3), "order-3").await.status, 200);
    appliance.stop();
    for part in ["store", "log"] {
        std::fs::remove_dir_all(appliance.at(part)).unwrap();
        copy(&appliance.at("kept").join(part), &appliance.at(part));
    }
    let said = appliance.start_in_vain();
    assert!(said.contains("this log was rolled back"), "{said}");
    assert!(said.contains("2 of 2 witnesses contradict this log"), "{said}");
    println!("assurance log whole files=1 runs=1 refused=1 harmless=0 different=0");

    // With a witness away nobody can tell yet: it starts, and releases nothing.
    two.kill();
    appliance.reconfigure("cosignatures = 2", "cosignatures = 1");
    appliance.start();
    let backend = appliance.peer("client", "backend");
    let refused = backend.sign("treasury", &one_ether(2), "order-4").await;
    assert_eq!((refused.status, refused.code()), (503, "not-cosigned"), "{refused:?}");
    let said = appliance.running().log.lock().unwrap().join("\n");
    assert!(said.contains("this log was rolled back"), "{said}");
}
