//! Ceremonies that are killed within their acts: the program, its HSM workers, whichever comes first to a call. Would catch a key
//! of which one half is there, shares without their key, and a backup that opens nothing.
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

use ceremony_room::{FIVE, House, Move, answered, chancery, custodians, talk, words};
use serde_json::json;

/// The worker of a token makes many of these calls, the program few.
const WITHIN: [(&str, u32); 8] = [
    ("openat", 45),
    ("openat", 55),
    ("write", 3),
    ("write", 8),
    ("sendto", 2),
    ("fsync", 1),
    ("rename", 1),
    ("unlink", 1),
];

#[tokio::test]
async fn keys_shares_and_backups_survive_a_kill_within_their_acts() {
    let house = House::new();
    let three = custodians(&FIVE[..3]);
    let more = words(&["--threshold", "2", "--wallet", "spare"], &three);
    let hash = house.plan("initialise", "first", &more);
    house.hold_through("first", &hash, &[], &WITHIN, None);
    let keys = &house.verify("first", &hash)["entries"];
    let made = keys
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .find(|entry| entry["act"] == "keys" && entry["event"] == "done");
    let spare =
        made.unwrap()["facts"]["keys"].as_array().unwrap().iter().find(|key| key["uses"] == "secp256k1");
    let spare = spare.unwrap().clone();

    let rotate =
        house.plan("rotate-backup-key", "second", &words(&["--shares", "first", "--threshold", "2"], &three));
    house.hold_through("second", &rotate, &[], &WITHIN, None);
    let mut drill = Command::new(chancery());
    drill.args(["ceremony", "drill", "--shares", "second"]).current_dir(house.appliance.folder.path());
    let drilled = talk(&mut drill, |_, question| Move::Say(answered(question, &FIVE[..3])));
    assert_eq!((drilled.code, &drilled.document["proved"]), (Some(0), &json!(1)), "{drilled:?}");

    fs::remove_dir_all(house.appliance.at("tokens")).unwrap();
    fs::create_dir(house.appliance.at("tokens")).unwrap();
    let sources = ["--shares", "second"];
    let restore = house.plan("restore", "third", &sources);
    house.hold_through("third", &restore, &sources, &WITHIN, None);
    let restored = house.verify("third", &restore).to_string();
    assert!(restored.contains(spare["public"].as_str().unwrap()), "{restored}");
}
