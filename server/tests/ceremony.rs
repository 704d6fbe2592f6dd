//! A node's keys from their first ceremony to their last, with the real `chancery`, `chanceryd` and SoftHSM2: people answer at
//! a descriptor, and the program is killed at every question it asks. Would catch a key, a share or a step that a crash
//! loses, a restore that gives other keys, and a ceremony that goes on without those who must be there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod appliance;
mod ceremony_room;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use appliance::{Answer, one_ether, treasury};
use ceremony_room::{FIVE, House, Move, answered, chancery, custodians, everybody, talk, words};
use serde_json::{Value, json};

/// The same public key in every receipt, and each of them verified offline.
fn signed(answer: &Answer, trust: &chancery_audit::Trust) -> Vec<u8> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.verified(trust).receipt().decision.public_key.as_bytes().to_vec()
}

#[tokio::test]
async fn a_node_is_made_destroyed_and_restored() {
    let mut house = House::new();
    let five = custodians(&FIVE);

    // The first ceremony, killed at every question, again and again until there is none left.
    let first = house.plan("initialise", "first", &words(&["--threshold", "3", "--wallet", "spare"], &five));
    let wrong = "00".repeat(32);
    let refused = house.run("first", &wrong, &[], |_, question| panic!("nothing may be asked: {question}"));
    assert!(refused.code == Some(1) && refused.talk.contains("ceremony-other-script"), "{refused:?}");
    let mut killed = BTreeSet::new();
    let ended = loop {
        let mut last = String::new();
        let ran = house.run("first", &first, &[], |heading, question| {
            let heading = heading.split(" (it was begun").next().unwrap();
            if question.ends_with("(`yes` or `no`)") && killed.insert(format!("{heading} {question}")) {
                return Move::Kill;
            }
            everybody(question, &mut last)
        });
        match ran.signal {
            Some(9) => {}
            _ => break ran,
        }
    };
    assert_eq!(ended.code, Some(0), "{}", ended.talk);
    assert_eq!(killed.len(), 9, "before and after each of four steps, and before them all: {killed:?}");
    let verified = house.verify("first", &first);
    assert_eq!((&verified["closed"], &verified["files"]), (&json!(true), &json!(["shares", "backup"])));
    let begun = verified["entries"].as_array().unwrap().iter().filter(|entry| entry["event"] == "begun");
    assert_eq!(begun.count(), 8, "each step was begun, killed, and begun again");
    let again = house.run("first", &first, &[], |_, question| panic!("it is over: {question}"));
    assert!(again.talk.contains("ceremony-closed"), "{again:?}");

    // Never over keys that exist.
    let over = house.plan("initialise", "over", &words(&["--threshold", "3"], &five));
    let mut last = String::new();
    let occupied = house.run("over", &over, &[], |_, question| everybody(question, &mut last));
    assert!(occupied.code == Some(1) && occupied.talk.contains("ceremony-occupied"), "{occupied:?}");

    // The node works with these keys, takes one for a wallet, and makes one of its own.
    let keys = &verified["entries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .find(|entry| entry["act"] == "keys")
        .unwrap()["facts"]["keys"];
    let spare =
        keys.as_array().unwrap().iter().find(|key| key["label"] == "chancery/default/spare").unwrap().clone();
    let log = keys.as_array().unwrap().iter().find(|key| key["uses"] == "ed25519").unwrap();
    house.appliance.start();
    let address = house.appliance.furnish("treasury", &treasury()).await;
    let operator = house.appliance.peer("operator", "op");
    let adopt = async |name: &str, key: &Value| {
        let wanted = json!({"id": name, "chain": "ethereum", "chain_ids": [1], "key": {"from": "ceremony", "id": key["id"]}});
        operator.post("/v1/wallets", &wanted, None).await
    };
    let adopted = adopt("spare", &spare).await;
    assert_eq!((adopted.status, &adopted.body["public_key"]), (201, &spare["public"]), "{adopted:?}");
    assert_eq!(adopt("twice", &spare).await.code(), "already-exists", "one key, one wallet, one policy");
    assert_eq!(adopt("log", log).await.code(), "bad-request", "the log's key is no wallet's");
    assert_eq!(adopt("none", &json!({"id": "00".repeat(16)})).await.code(), "not-found");
    let trust = house.appliance.trust().await;
    let backend = house.appliance.peer("client", "backend");
    let before = backend.sign("treasury", &one_ether(0), "order-1").await;
    let key = signed(&before, &trust);
    let backup = house.plan("backup", "second", &["--shares", "first"]);
    house.hold("second", &backup, &[], &[]);
    let leaves = [house.anchor("first"), house.anchor("second")];
    assert!(leaves[0] < leaves[1]);
    house.appliance.stop();

    // The node is no more.
    for name in ["tokens", "store", "log"] {
        fs::remove_dir_all(house.appliance.at(name)).unwrap();
    }
    fs::create_dir(house.appliance.at("tokens")).unwrap();

    let sources = ["--shares", "first", "--backup", "second"];
    let restore = house.plan("restore", "third", &sources);
    let mut last = String::new();
    let two = house.run("third", &restore, &sources, |_, question| match question {
        "the same again" => Move::Say(last.clone()),
        _ => {
            last = answered(question, &["di", "gus"]);
            Move::Say(last.clone())
        }
    });
    assert_eq!(two.code, Some(1), "{}", two.talk);
    assert!(two.talk.contains("2 of 3 shares: absent cy, ed, flo"), "{}", two.talk);

    let share = house.appliance.at("first/shares/cy.age");
    let whole = fs::read(&share).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&share, changed).unwrap();
    let restored = house.hold("third", &restore, &sources, &["cy", "di", "ed", "gus"]);
    fs::write(&share, whole).unwrap();
    assert!(restored.talk.contains("the share of `cy` is bad"), "{}", restored.talk);
    assert!(restored.document["entries"].as_u64().is_some_and(|entries| entries > 5), "{restored:?}");

    // SoftHSM2 wraps no Ed25519 key, so the old log is over: the restored node begins another, and takes its wallets' keys.
    let second = house.verify("second", &backup);
    let facts = &second["entries"][2]["facts"];
    assert_eq!(facts["left_out"], json!(["chancery/log/test.example/chancery"]), "{second}");
    let kept = facts["keys"].as_array().unwrap();
    let treasury_key = kept.iter().find(|key| key["label"] == "chancery/default/treasury").unwrap();
    let said = house.appliance.start_in_vain();
    assert!(said.contains("begin another by another `log.origin`"), "{said}");
    house.appliance.reconfigure("test.example/chancery", "test.example/chancery-2");
    house.appliance.start();
    let operator = house.appliance.peer("operator", "op");
    let wanted = json!({"id": "treasury", "chain": "ethereum", "chain_ids": [31337], "key": {"from": "ceremony", "id": treasury_key["id"]}});
    let made = operator.post("/v1/wallets", &wanted, None).await;
    assert_eq!((made.status, &made.body["address"]), (201, &json!(address)), "{made:?}");
    assert_eq!(operator.apply(&treasury()).await.status, 200);
    let backend = house.appliance.peer("client", "backend");
    let after = backend.sign("treasury", &one_ether(1), "order-2").await;
    assert_eq!(signed(&after, &house.appliance.trust().await), key, "the same wallet");
    assert_eq!(signed(&before, &trust), key, "and the old receipt says so under the old trust");
    let (none, said) = house.anchoring("third", &[]);
    assert!(none.is_none() && said.contains("--origin"), "a ceremony of another log: {said}");
    let (leaf, said) = house.anchoring("third", &["--origin", "test.example/chancery"]);
    assert!(leaf.is_some(), "{said}");

    // Other custodians; the backup stays as it is.
    let three = custodians(&["gus", "hal", "ida"]);
    let reshare = house.plan("reshare", "fourth", &words(&["--shares", "first", "--threshold", "2"], &three));
    house.hold("fourth", &reshare, &["--shares", "first"], &["ed", "flo", "gus"]);
    let mut drill = Command::new(chancery());
    drill.args(["ceremony", "drill", "--shares", "fourth", "--backup", "second"]);
    drill.current_dir(house.appliance.folder.path());
    let drilled = talk(&mut drill, |_, question| Move::Say(answered(question, &["hal", "ida"])));
    assert_eq!(drilled.code, Some(0), "{}", drilled.talk);
    assert_eq!(
        (&drilled.document["keys"], &drilled.document["proved"]),
        (&json!(3), &json!(2)),
        "{drilled:?}"
    );
    println!("drill: {}", drilled.document);

    // Another backup key makes shares and backups of the one before worthless for what is wrapped from now on.
    let rotate =
        house.plan("rotate-backup-key", "fifth", &words(&["--shares", "fourth", "--threshold", "2"], &three));
    house.hold("fifth", &rotate, &[], &[]);

    // The end of the spare key.
    let doomed = format!("{}=spare", spare["id"].as_str().unwrap());
    let end = house.plan("destroy", "sixth", &["--destroy", &doomed]);
    house.hold("sixth", &end, &[], &[]);
    let evidence = house.verify("sixth", &end);
    let facts = &evidence["entries"][2]["facts"];
    assert_eq!(facts["found"][0]["public"], spare["public"], "{evidence}");
    assert!(!facts["left"].as_array().unwrap().contains(&spare["id"]), "{evidence}");
}

/// Would catch a transcript whose past can be changed, or that says less than was signed.
#[test]
fn a_transcript_holds_together() {
    let house = House::new();
    let hash = house.plan("initialise", "first", &words(&["--threshold", "2"], &custodians(&["cy", "di"])));
    let mut last = String::new();
    let stopped = house.run("first", &hash, &[], |heading, question| match heading {
        "step 2 of 4: make the keys on the token" => Move::Say("no".to_owned()),
        _ => everybody(question, &mut last),
    });
    assert!(stopped.code == Some(1) && stopped.talk.contains("ceremony-stopped"), "{stopped:?}");
    let path = house.appliance.at("first/transcript.cose");
    let whole = fs::read(&path).unwrap();
    let verify = || {
        let verified = Command::new(chancery())
            .args(["--json", "ceremony", "verify"])
            .arg(house.appliance.at("first"))
            .output()
            .unwrap();
        let error: Value = serde_json::from_slice(&verified.stderr).unwrap_or(Value::Null);
        error["error"]["code"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(verify(), "check-failed", "it verifies, and is not closed");
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(verify(), "ceremony-transcript", "byte {at}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(verify(), "ceremony-transcript", "cut short");

    // A crash cut the last entry short: what it told was not acted upon, and the ceremony goes on before it.
    let mut last = String::new();
    let resumed = house.run("first", &hash, &[], |_, question| everybody(question, &mut last));
    assert_eq!(resumed.code, Some(0), "{}", resumed.talk);
    house.verify("first", &hash);
}
