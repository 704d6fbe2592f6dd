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

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use appliance::{Answer, Appliance, one_ether, treasury};
use serde_json::{Value, json};

const SO_PIN: &str = "ceremony-so-8151";
const PIN: &str = "test-pin-4711";
/// Made for these tests from public text: worth nothing.
const CUSTODIANS: [(&str, &str, &str); 7] = [
    (
        "cy",
        "age1qjvsnsjgeslyvtrvd2k45mmgl7m7ehxuaud4gkslvmhhu0s4qufqh548l8",
        "AGE-SECRET-KEY-17WQYGU8KND29M9XNX7CWV0V2ZX2DSM07XM267TDD5P57ZGJ5Y6RSA944EU",
    ),
    (
        "di",
        "age1nunkhznqh4xhuvdq230dqqgwew0asdrk2wdg7rza5jkq7yvfzfaq4y5xua",
        "AGE-SECRET-KEY-1E9ZJFHR2ANZQXEJCDTK9JD74PK0NWC3K24FVPQWZYVMKVQVTLX5S6P9ZXD",
    ),
    (
        "ed",
        "age16dmutcyhc7ym2shmeskxad82ze57vzee9f8dcmqrxql575t54vqsmlq7n9",
        "AGE-SECRET-KEY-18FZS0AXFAN03203EVUS9TRN03DRTQNLTWRH4QRN22DATYXUHNZWQ48JXEQ",
    ),
    (
        "flo",
        "age1k4njleceqrjaudrww3ddj2k6gkq4ww9fs2ke5s8q0jsz0626uyls648vrp",
        "AGE-SECRET-KEY-1P6VZPLD52EYXS62SLXDJXH0FMZWMCFH3TVY6YUWLRKJXSY4AQHVSMA06MU",
    ),
    (
        "gus",
        "age1pmcuh7gewgr7wsxe3t7c6k37veqlt7g2ezz7fvljl60g26uz0q0srt0h79",
        "AGE-SECRET-KEY-1MDSX67ZCJ2SSU0KHPKC5LTXYHLTR7NK9PM45NX3YU2F5WFW45GNQNF93LU",
    ),
    (
        "hal",
        "age1jt04l9gu7tdg3rzh80wjkjvc0k6kreypjyjq5d06re3uwv2fsckshpkw7t",
        "AGE-SECRET-KEY-1QCFQ882Y4HE88T43LY5G8WERX2UPKJM652JQLZPKTXC6D5SZ8JXSR96J69",
    ),
    (
        "ida",
        "age1c0s8reml0a84seute5nv5qn272qqnnwr6cqataw92tt66m4pa4rq300cfa",
        "AGE-SECRET-KEY-1P2EHPTKE6D0NSX0303LXAY76EWWSTKXKJSGXNPLLJRSMYLXM2ZHSN8S2SJ",
    ),
];
const FIVE: [&str; 5] = ["cy", "di", "ed", "flo", "gus"];

fn chancery() -> PathBuf {
    appliance::chancery().expect("`cargo build --bins` makes `chancery` beside `chanceryd`")
}

/// The people of one ceremony after another.
struct House {
    appliance: Appliance,
    /// Public keys of operator and witness.
    signers: [String; 2],
}

/// What a run said, and how it ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    signal: Option<i32>,
    talk: String,
    document: Value,
}

/// What somebody does at a question.
enum Move {
    Say(String),
    Kill,
}

impl House {
    fn new() -> Self {
        let appliance = Appliance::prepare().expect("SoftHSM2 is needed: `apt-get install softhsm2`");
        appliance.configure("development", "recoverable = true");
        appliance.reconfigure("token = \"chancery\"", "token = \"vault\"");
        let signers = ["ann", "ben"].map(|name| {
            let made = Command::new(chancery())
                .args(["policy", "keygen", name, "--out"])
                .arg(appliance.at(&format!("{name}.key")))
                .output()
                .unwrap();
            String::from_utf8(made.stdout).unwrap().trim().to_owned()
        });
        Self { appliance, signers }
    }

    fn config(&self) -> PathBuf {
        self.appliance.at("chancery.toml")
    }

    /// Plans, and answers the script's hash.
    fn plan(&self, kind: &str, folder: &str, more: &[&str]) -> String {
        let planned = Command::new(chancery())
            .args(["ceremony", "plan", kind, "--operator", &self.signers[0], "--witness", &self.signers[1]])
            .arg("--config")
            .arg(self.config())
            .arg("--dir")
            .arg(self.appliance.at(folder))
            .args(more)
            .current_dir(self.appliance.folder.path())
            .output()
            .unwrap();
        assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
        String::from_utf8(planned.stdout).unwrap().trim().to_owned()
    }

    fn run(&self, folder: &str, hash: &str, more: &[&str], answer: impl FnMut(&str, &str) -> Move) -> Ran {
        let mut command = Command::new(chancery());
        command.args(["ceremony", "run", "--hash", hash, "--config"]).arg(self.config());
        for name in ["ann.key", "ben.key"] {
            command.arg("--key").arg(self.appliance.at(name));
        }
        command.arg("--dir").arg(self.appliance.at(folder)).args(more);
        talk(command.current_dir(self.appliance.folder.path()), answer)
    }

    /// Runs a ceremony that everybody agrees with.
    fn hold(&self, folder: &str, hash: &str, more: &[&str], present: &[&str]) -> Ran {
        let ran = self.run(folder, hash, more, |_, question| Move::Say(answered(question, present)));
        assert_eq!(ran.code, Some(0), "{}", ran.talk);
        self.verify(folder, hash);
        ran
    }

    fn verify(&self, folder: &str, hash: &str) -> Value {
        let verified = Command::new(chancery())
            .args(["--json", "ceremony", "verify", "--hash", hash])
            .arg(self.appliance.at(folder))
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        serde_json::from_slice(&verified.stdout).unwrap()
    }

    fn anchor(&self, folder: &str) -> u64 {
        let client = self.appliance.client_directory("operator", "op");
        let anchored = Command::new(chancery())
            .args(["--json", "ceremony", "anchor", "--client"])
            .arg(client)
            .arg(self.appliance.at(folder))
            .output()
            .unwrap();
        assert!(anchored.status.success(), "{}", String::from_utf8_lossy(&anchored.stderr));
        serde_json::from_slice::<Value>(&anchored.stdout).unwrap()["leaf"].as_u64().unwrap()
    }
}

/// Answers at descriptor 0 what is asked on standard error, until the program ends.
fn talk(command: &mut Command, mut answer: impl FnMut(&str, &str) -> Move) -> Ran {
    let mut child = command
        .args(["--json", "--answers", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut all, mut heading) = (String::new(), String::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        all += &format!("{line}\n");
        if line.starts_with("step ") {
            heading.clone_from(&line);
        }
        let Some(question) = line.strip_prefix("? ") else { continue };
        match answer(&heading, question) {
            Move::Say(text) => drop(input.write_all(format!("{text}\n").as_bytes())),
            Move::Kill => child.kill().unwrap(),
        }
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        signal: output.status.signal(),
        talk: all,
        document: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
    }
}

/// What everybody answers who is here and agrees.
fn answered(question: &str, present: &[&str]) -> String {
    if question.contains("security officer") {
        return SO_PIN.to_owned();
    }
    if question.contains("user") {
        return PIN.to_owned();
    }
    if let Some((name, _)) = question.split_once(": your age identity") {
        let identity = CUSTODIANS.iter().find(|custodian| custodian.0 == name).unwrap().2;
        return if present.contains(&name) { identity.to_owned() } else { String::new() };
    }
    assert!(question.ends_with("(`yes` or `no`)"), "{question}");
    "yes".to_owned()
}

/// The same, where a PIN is asked for twice.
fn everybody(question: &str, last: &mut String) -> Move {
    if question != "the same again" {
        *last = answered(question, &[]);
    }
    Move::Say(last.clone())
}

fn custodians(names: &[&str]) -> Vec<String> {
    let chosen = CUSTODIANS.iter().filter(|custodian| names.contains(&custodian.0));
    chosen
        .flat_map(|(name, recipient, _)| ["--custodian".to_owned(), format!("{name}={recipient}")])
        .collect()
}

fn words<'a>(fixed: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    fixed.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

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
    house.anchor("third");

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
