//! The seed of one wallet in custodians' hands, with the real programs: dealt in words that nobody sees, killed within the act,
//! joined again to the account that the wallet has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod ceremony_room;

use std::fs;
use std::process::Command;

use ceremony_room::{FIVE, House, Move, Ran, answered, chancery, custodians, everybody, talk, words};
use serde_json::json;

const WITHIN: [(&str, u32); 6] =
    [("openat", 40), ("write", 3), ("sendto", 2), ("fsync", 1), ("fsync", 4), ("rename", 2)];

fn join(house: &House, present: &[&str]) -> Ran {
    let mut command = Command::new(chancery());
    command.args(["ceremony", "seed", "seed"]).current_dir(house.appliance.folder.path());
    talk(&mut command, |_, question| Move::Say(answered(question, present)))
}

#[tokio::test]
async fn a_seed_is_dealt_and_joins_to_its_account() {
    let mut house = House::new();
    house.initialise();
    house.appliance.start();
    let operator = house.appliance.peer("operator", "op");
    let wanted = json!({"id": "deposits", "chain": "bitcoin", "network": "regtest", "descriptor": "wpkh(@0/<0;1>/*)", "key": {"from": "seed"}});
    let made = operator.post("/v1/wallets", &wanted, None).await;
    assert_eq!(made.status, 201, "{made:?}");
    let plain = json!({"id": "plain", "chain": "ethereum", "chain_ids": [1]});
    assert_eq!(operator.post("/v1/wallets", &plain, None).await.status, 201);
    house.appliance.stop();

    let five = custodians(&FIVE);
    let more = |wallet| words(&["--threshold", "3", "--wallet", wallet], &five);
    let hash = house.plan("seed-shares", "seed", &more("deposits"));
    house.hold_through("seed", &hash, &[], &WITHIN, None);
    let verified = house.verify("seed", &hash);
    assert_eq!(verified["files"], json!(["seed"]));
    let facts =
        &verified["entries"].as_array().unwrap().iter().rev().find(|entry| entry["event"] == "done").unwrap()
            ["facts"];
    assert_eq!((&facts["account"], facts["holders"].as_array().unwrap().len()), (&made.body["account"], 5));
    // After a rotation of the keys that encrypt it is still the same seed.
    let rotation = house.plan("rotate-kek", "rotation", &["--shares", "first"]);
    house.hold("rotation", &rotation, &[], &[]);
    let joined = join(&house, &["di", "flo", "gus"]);
    assert_eq!((joined.code, &joined.document["account"]), (Some(0), &made.body["account"]), "{joined:?}");
    assert_eq!(joined.document.as_object().unwrap().len(), 4, "what is told, and nothing else: {joined:?}");
    let few = join(&house, &["di", "gus"]);
    assert!(few.code == Some(1) && few.talk.contains("2 of 3 shares: absent cy, ed, flo"), "{few:?}");
    let share = house.appliance.at("seed/shares/cy.age");
    fs::copy(house.appliance.at("seed/shares/di.age"), &share).unwrap();
    let bad = join(&house, &["cy", "di", "ed", "gus"]);
    assert_eq!((bad.code, &bad.document["bad"]), (Some(0), &json!(["cy"])), "{bad:?}");

    // A wallet without a seed has none to deal.
    let hash = house.plan("seed-shares", "plain", &more("plain"));
    let mut last = String::new();
    let refused = house.run("plain", &hash, &[], |_, question| everybody(question, &mut last));
    assert!(refused.code == Some(1) && refused.talk.contains("ceremony-house"), "{refused:?}");
    let error = refused.talk.lines().find(|line| line.contains("derived from a seed"));
    assert!(error.is_some(), "{refused:?}");
}
