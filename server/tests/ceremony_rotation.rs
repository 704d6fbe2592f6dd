//! Keys that are replaced, with the real programs and SoftHSM2: the log goes on under another key that the one before vouches
//! for, and every secret of the store is encrypted anew. Killed at every question and inside every act, nothing may be lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod ceremony_room;
mod passkey;
mod people;
mod watcher;

use std::fs;
use std::path::Path;

use appliance::{Answer, Appliance, Peer, one_ether, run, treasury};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ceremony_room::{FIVE, House, Move, answered, chancery, everybody, talk};
use chancery_audit::{LogKeys, Trust};
use chancery_identity::login::{Enrolling, Entering};
use people::{Person, bundle};
use serde_json::{Value, json};
use watcher::Witness;

const PASSWORD: &[u8] = b"correct horse battery staple";
/// Where the processes of an act are killed: early and late in what they write, sync, open and say to each other.
const WITHIN: [(&str, u32); 6] =
    [("openat", 40), ("write", 2), ("sendto", 2), ("fdatasync", 1), ("fsync", 2), ("rename", 1)];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The state of the appliance, but not its token.
fn keep(appliance: &Appliance, name: &str) {
    for part in ["store", "log"] {
        copy(&appliance.at(part), &appliance.at(name).join(part));
    }
}

fn put_back(appliance: &Appliance, name: &str, parts: &[&str]) {
    for part in parts {
        fs::remove_dir_all(appliance.at(part)).unwrap();
        copy(&appliance.at(name).join(part), &appliance.at(part));
    }
}

fn key_of(answer: &Answer, trust: &Trust) -> Vec<u8> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.verified(trust).receipt().decision.public_key.as_bytes().to_vec()
}

fn fact<'a>(verified: &'a Value, act: &str) -> &'a Value {
    let done = |entry: &&Value| entry["act"] == act && entry["event"] == "done";
    &verified["entries"].as_array().unwrap().iter().rev().find(done).unwrap()["facts"]
}

/// How many keys were to be destroyed, none of which is left. A run that was cut short may have destroyed them.
fn gone(end: &Value) -> usize {
    let left = end["left"].as_array().unwrap();
    let asked = end["asked"].as_array().unwrap();
    assert!(asked.iter().all(|key| !left.contains(&key["id"])), "{end}");
    asked.len()
}

#[tokio::test]
async fn the_log_goes_on_under_a_key_that_the_one_before_vouches_for() {
    let mut house = House::new();
    house.initialise();
    let Some(mut witness) = Witness::init(house.appliance.folder.path(), "w1") else { return };
    house.appliance.start();
    house.appliance.furnish("treasury", &treasury()).await;
    let trust = house.appliance.trust().await.to_json();
    house.appliance.stop();
    witness.watch(&trust);
    witness.start();
    let log = format!("directory = \"log\", cosignatures = 1, witness = [{}] }}", witness.entry());
    house.appliance.reconfigure("directory = \"log\" }", &log);
    house.appliance.start();
    let before = house.appliance.trust().await;
    let old = house.appliance.peer("client", "backend").sign("treasury", &one_ether(0), "order-0").await;
    let key = key_of(&old, &before);
    fs::write(house.appliance.at("old.json"), before.to_json()).unwrap();

    // Nothing is rotated under a daemon that serves.
    let hash = house.plan("rotate-log-key", "rotation", &[]);
    let mut last = String::new();
    let busy = house.run("rotation", &hash, &[], |_, question| everybody(question, &mut last));
    assert!(busy.code == Some(1) && busy.talk.contains("in use"), "{busy:?}");
    house.appliance.stop();

    // What a thief of the old key would have: a log that went on under it.
    keep(&house.appliance, "kept");
    house.appliance.start();
    let backend = house.appliance.peer("client", "backend");
    for n in 1..9 {
        backend.sign("treasury", &one_ether(n), &format!("stolen-{n}")).await;
    }
    house.appliance.stop();
    keep(&house.appliance, "stolen");
    put_back(&house.appliance, "kept", &["store", "log"]);
    // To the witness this is another log from here on.
    witness.kill();
    fs::remove_dir_all(witness.folder.join("seen")).unwrap();
    fs::create_dir(witness.folder.join("seen")).unwrap();
    witness.start();

    house.hold_through("rotation", &hash, &[], &WITHIN, None);
    let verified = house.verify("rotation", &hash);
    let told = fact(&verified, "log-keys");
    assert_eq!(told["before"]["key"], before.log_keys()[0].to_string(), "{told}");
    assert_eq!(gone(fact(&verified, "retire")), 1);

    // Before the witness has the new trust file it does not cosign, and nothing is released.
    house.appliance.start();
    let after = house.appliance.trust().await;
    let LogKeys { key: new, .. } = serde_json::from_value(json!({ "key": told["after"]["key"] })).unwrap();
    assert_eq!((after.log_keys().len(), &after.log_keys()[1]), (2, &new));
    let backend = house.appliance.peer("client", "backend");
    let waiting = backend.sign("treasury", &one_ether(1), "order-1").await;
    assert_eq!((waiting.status, waiting.code()), (503, "not-cosigned"), "{waiting:?}");
    witness.kill();
    witness.watch(&after.to_json());
    witness.start();
    let now = backend.sign("treasury", &one_ether(1), "order-1").await;
    assert_eq!(key_of(&now, &after), key);
    assert_eq!(key_of(&old, &after), key, "the old receipt, under the new trust file");
    let receipt = now.body["receipt"].to_string();
    let refused = chancery_audit::verify(receipt.as_bytes(), &before).unwrap_err().to_string();
    assert!(refused.contains("needs the trust file of after"), "{refused}");
    house.anchor("rotation");
    house.appliance.stop();

    // A reader with the trust file of before follows the old key's word; the copy needs no appliance.
    let root = house.appliance.folder.path().to_owned();
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let (dir, old, new) = (at("log"), at("old.json"), at("new.json"));
    let (exit, report, talk) = run(Path::new("."), &["audit", "verify", "--dir", &dir, "--trust", &old]);
    assert_eq!((exit, &report["followed"]), (0, &json!(true)), "{talk}");
    assert_eq!(report["rotations"][0]["after"], told["after"]["key"], "{report}");
    let (exit, _, talk) =
        run(Path::new("."), &["trust", "follow", "--dir", &dir, "--trust", &old, "--out", &new]);
    assert_eq!(exit, 0, "{talk}");
    assert_eq!(fs::read_to_string(&new).unwrap(), after.to_json(), "what the appliance hands out");
    let (exit, report, talk) = run(Path::new("."), &["audit", "verify", "--dir", &dir, "--trust", &new]);
    assert_eq!((exit, &report["followed"]), (0, &json!(false)), "{talk}");

    // The thief's head, longer and signed by the key that was replaced.
    keep(&house.appliance, "rotated");
    for name in ["head", "checkpoint"] {
        fs::copy(house.appliance.at("stolen/log").join(name), house.appliance.at("log").join(name)).unwrap();
    }
    let said = house.appliance.start_in_vain();
    assert!(said.contains("retired"), "{said}");
    // The whole state of before: its key is gone.
    put_back(&house.appliance, "stolen", &["store", "log"]);
    let said = house.appliance.start_in_vain();
    assert!(said.contains("no key"), "{said}");
    put_back(&house.appliance, "rotated", &["store", "log"]);

    // And once more, by which the reader of the first trust file follows two rotations.
    let hash = house.plan("rotate-log-key", "again", &[]);
    house.hold("again", &hash, &[], &[]);
    house.appliance.start();
    let last = house.appliance.trust().await;
    assert_eq!(last.log_keys().len(), 3);
    witness.kill();
    witness.watch(&last.to_json());
    witness.start();
    let backend = house.appliance.peer("client", "backend");
    assert_eq!(key_of(&backend.sign("treasury", &one_ether(2), "order-2").await, &last), key);
    house.appliance.stop();
    let (exit, report, talk) = run(Path::new("."), &["audit", "verify", "--dir", &dir, "--trust", &old]);
    assert_eq!((exit, report["rotations"].as_array().map(Vec::len)), (0, Some(2)), "{talk}");
    for (from, to) in [(&old, at("newest.json")), (&new, at("newer.json"))] {
        let (exit, _, talk) =
            run(Path::new("."), &["trust", "follow", "--dir", &dir, "--trust", from, "--out", &to]);
        assert_eq!((exit, fs::read_to_string(&to).ok()), (0, Some(last.to_json())), "{talk}");
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(answer: &Answer, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(answer.body[name].as_str().unwrap_or_else(|| panic!("{answer:?}"))).unwrap()
}

async fn enrol(peer: &Peer, person: &Person) {
    let (enrolling, request) = Enrolling::begin(PASSWORD).unwrap();
    let body = json!({ "code": *person.code.text(), "request": text(&request) });
    let answer = peer.post("/v1/login/enrolment", &body, None).await;
    let record = enrolling.finish(PASSWORD, &decoded(&answer, "response")).unwrap();
    let body = json!({ "code": *person.code.text(), "record": text(&record) });
    let answer = peer.post("/v1/login/enrolment/record", &body, None).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Whether the appliance has the secret that the password was set under.
async fn knows(peer: &Peer) -> bool {
    let (entering, ke1) = Entering::begin(PASSWORD).unwrap();
    let answer = peer.post("/v1/login", &json!({ "ke1": text(&ke1) }), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    entering.finish(PASSWORD, &decoded(&answer, "ke2")).is_ok()
}

#[tokio::test]
async fn every_secret_is_encrypted_anew_and_none_is_lost() {
    let mut house = House::new();
    house.initialise();
    house.appliance.start();
    let operator = house.appliance.peer("operator", "op");
    let seeded =
        |id: &str| json!({"id": id, "chain": "ethereum", "chain_ids": [31337, 1], "key": {"from": "seed"}});
    let made = operator.post("/v1/wallets", &seeded("treasury"), None).await;
    assert_eq!((made.status, &made.body["tier"]), (201, &json!("hd")), "{made:?}");
    let ann = Person::new("ann", "approver");
    assert_eq!(operator.apply(&bundle([&ann])).await.status, 200);
    let officer = house.appliance.peer("officer", "ann");
    enrol(&officer, &ann).await;
    let trust = house.appliance.trust().await;
    let backend = house.appliance.peer("client", "backend");
    let key = key_of(&backend.sign("treasury", &one_ether(0), "order-0").await, &trust);
    house.appliance.stop();
    keep(&house.appliance, "kept");

    let hash = house.plan("rotate-kek", "rotation", &["--shares", "first"]);
    house.hold_through("rotation", &hash, &[], &WITHIN, None);
    let verified = house.verify("rotation", &hash);
    assert_eq!(
        fact(&verified, "rewrap")["secrets"],
        3,
        "the log's seed, the logins' secret, a wallet's seed"
    );
    assert_eq!(gone(fact(&verified, "retire")), 3);

    house.appliance.start();
    assert_eq!(house.appliance.trust().await, trust, "the log's keys are what they were");
    let backend = house.appliance.peer("client", "backend");
    assert_eq!(key_of(&backend.sign("treasury", &one_ether(1), "order-1").await, &trust), key);
    assert!(knows(&house.appliance.peer("officer", "ann")).await);
    // What is made from now on is under the new keys, and so is what is beside it.
    let operator = house.appliance.peer("operator", "op");
    assert_eq!(operator.post("/v1/wallets", &seeded("second"), None).await.status, 201);
    let beside = json!({"id": "third", "chain": "ethereum", "chain_ids": [1], "key": {"from": "beside", "wallet": "treasury"}});
    let beside = operator.post("/v1/wallets", &beside, None).await;
    assert_eq!(beside.status, 201, "{beside:?}");
    house.appliance.stop();

    // The store of before opens under nothing any more.
    keep(&house.appliance, "rotated");
    put_back(&house.appliance, "kept", &["store", "log"]);
    let said = house.appliance.start_in_vain();
    assert!(said.contains("has not the key that encrypts this secret"), "{said}");
    put_back(&house.appliance, "rotated", &["store", "log"]);

    // Once more; then the log's keys, whose seed is under what came of it.
    let again = house.plan("rotate-kek", "again", &["--shares", "first"]);
    house.hold("again", &again, &[], &[]);
    assert_eq!(fact(&house.verify("again", &again), "rewrap")["secrets"], 4);
    let log = house.plan("rotate-log-key", "log", &[]);
    house.hold("log", &log, &[], &[]);
    let last = house.plan("rotate-kek", "last", &["--shares", "first"]);
    house.hold("last", &last, &[], &[]);
    house.appliance.start();
    let trust = house.appliance.trust().await;
    let backend = house.appliance.peer("client", "backend");
    assert_eq!(key_of(&backend.sign("treasury", &one_ether(2), "order-2").await, &trust), key);
    assert!(knows(&house.appliance.peer("officer", "ann")).await);
    house.appliance.stop();

    // The backup that is part of it has the new keys.
    let mut drill = std::process::Command::new(chancery());
    drill.args(["ceremony", "drill", "--shares", "first", "--backup", "last"]);
    drill.current_dir(house.appliance.folder.path());
    let drilled = talk(&mut drill, |_, question| Move::Say(answered(question, &FIVE[..3])));
    assert_eq!(drilled.code, Some(0), "{}", drilled.talk);
    assert_eq!(drilled.document["keys"], 6, "those before were there when it was made: {drilled:?}");
}
