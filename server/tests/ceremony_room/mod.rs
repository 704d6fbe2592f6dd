//! The room that ceremonies are held in: an appliance, people who sign, custodians, and answers at a descriptor.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code; each test file uses its own part"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::appliance::{self, Appliance};

pub const SO_PIN: &str = "ceremony-so-8151";
pub const PIN: &str = "test-pin-4711";
/// Made for these tests from public text: worth nothing.
pub const CUSTODIANS: [(&str, &str, &str); 7] = [
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
pub const FIVE: [&str; 5] = ["cy", "di", "ed", "flo", "gus"];

pub fn chancery() -> PathBuf {
    appliance::chancery().expect("`cargo build --bins` makes `chancery` beside `chanceryd`")
}

/// The people of one ceremony after another.
pub struct House {
    pub appliance: Appliance,
    /// Public keys of operator and witness.
    pub signers: [String; 2],
}

/// What a run said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub talk: String,
    pub document: Value,
}

/// What somebody does at a question.
pub enum Move {
    Say(String),
    Kill,
    /// Says yes, and whichever of its processes comes to this call for the so-manieth time is killed there.
    KillAt(&'static str, u32),
}

impl House {
    pub fn new() -> Self {
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

    pub fn config(&self) -> PathBuf {
        self.appliance.at("chancery.toml")
    }

    /// Plans, and answers the script's hash.
    pub fn plan(&self, kind: &str, folder: &str, more: &[&str]) -> String {
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

    pub fn run(
        &self,
        folder: &str,
        hash: &str,
        more: &[&str],
        answer: impl FnMut(&str, &str) -> Move,
    ) -> Ran {
        let mut command = Command::new(chancery());
        command.args(["ceremony", "run", "--hash", hash, "--config"]).arg(self.config());
        for name in ["ann.key", "ben.key"] {
            command.arg("--key").arg(self.appliance.at(name));
        }
        command.arg("--dir").arg(self.appliance.at(folder)).args(more);
        talk(command.current_dir(self.appliance.folder.path()), answer)
    }

    /// The first keys of the node, two of three custodians.
    pub fn initialise(&self) -> String {
        let three = custodians(&FIVE[..3]);
        let hash = self.plan("initialise", "first", &words(&["--threshold", "2"], &three));
        let mut last = String::new();
        let ran = self.run("first", &hash, &[], |_, question| everybody(question, &mut last));
        assert_eq!(ran.code, Some(0), "{}", ran.talk);
        hash
    }

    /// Holds a ceremony to its end, or to where `pause` begins a step's heading, with these kills in each step: at its
    /// questions, and within its act.
    pub fn hold_through(
        &self,
        folder: &str,
        hash: &str,
        more: &[&str],
        within: &[(&'static str, u32)],
        pause: Option<&str>,
    ) -> Ran {
        let (mut killed, mut last) = (std::collections::BTreeMap::<String, usize>::new(), String::new());
        for _ in 0..100 {
            let mut cut = false;
            let ran = self.run(folder, hash, more, |heading, question| {
                let step = heading.split(" (it was begun").next().unwrap();
                if pause.is_some_and(|pause| step.starts_with(pause)) {
                    return Move::Say("no".to_owned());
                }
                if question == "shall it be done? (`yes` or `no`)" {
                    let turn = killed.entry(step.to_owned()).or_default();
                    *turn += 1;
                    // What is left of a token that was made by half is its maker's: perhaps no PIN opens it.
                    let ours = !step.contains("make the token");
                    if let Some((call, occurrence)) = within.get(*turn - 1).filter(|_| ours) {
                        cut = true;
                        return Move::KillAt(call, *occurrence);
                    }
                } else if question.ends_with("(`yes` or `no`)")
                    && !killed.contains_key(&format!("{step} {question}"))
                {
                    killed.insert(format!("{step} {question}"), 1);
                    return Move::Kill;
                }
                everybody(question, &mut last)
            });
            if pause.is_some() && ran.talk.contains("ceremony-stopped") {
                return ran;
            }
            // It may be killed after its last word is on record.
            if ran.code == Some(0) || ran.talk.contains("ceremony-closed") {
                self.verify(folder, hash);
                return ran;
            }
            assert!(cut || ran.signal == Some(9), "{}", ran.talk);
        }
        panic!("`{folder}` does not come to its end");
    }

    /// Runs a ceremony that everybody agrees with.
    pub fn hold(&self, folder: &str, hash: &str, more: &[&str], present: &[&str]) -> Ran {
        let ran = self.run(folder, hash, more, |_, question| Move::Say(answered(question, present)));
        assert_eq!(ran.code, Some(0), "{}", ran.talk);
        self.verify(folder, hash);
        ran
    }

    pub fn verify(&self, folder: &str, hash: &str) -> Value {
        let verified = Command::new(chancery())
            .args(["--json", "ceremony", "verify", "--hash", hash])
            .arg(self.appliance.at(folder))
            .output()
            .unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        serde_json::from_slice(&verified.stdout).unwrap()
    }

    pub fn anchor(&self, folder: &str) -> u64 {
        let (anchored, talk) = self.anchoring(folder, &[]);
        anchored.unwrap_or_else(|| panic!("{talk}"))
    }

    /// The log entry where there is one, and what was said.
    pub fn anchoring(&self, folder: &str, more: &[&str]) -> (Option<u64>, String) {
        let client = self.appliance.client_directory("operator", "op");
        let anchored = Command::new(chancery())
            .args(["--json", "ceremony", "anchor", "--client"])
            .arg(client)
            .arg(self.appliance.at(folder))
            .args(more)
            .output()
            .unwrap();
        let document: Value = serde_json::from_slice(&anchored.stdout).unwrap_or_default();
        (document["leaf"].as_u64(), String::from_utf8_lossy(&anchored.stderr).into_owned())
    }
}

/// Answers at descriptor 0 what is asked on standard error, until the program ends.
pub fn talk(command: &mut Command, mut answer: impl FnMut(&str, &str) -> Move) -> Ran {
    let mut child = command
        .args(["--json", "--answers", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut all, mut heading, mut traces) = (String::new(), String::new(), Vec::new());
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
            Move::KillAt(call, occurrence) => {
                // The one of a step before may still wait for its call, and a process has one tracer.
                if traces.is_empty() {
                    traces.push(trace(child.id(), call, occurrence));
                }
                drop(input.write_all(b"yes\n"));
            }
        }
    }
    let output = child.wait_with_output().unwrap();
    for mut trace in traces {
        // It ends with the processes that it follows.
        trace.wait().unwrap();
    }
    Ran {
        code: output.status.code(),
        signal: output.status.signal(),
        talk: all,
        document: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
    }
}

/// Has strace deliver SIGKILL to whichever process of a ceremony, its workers included, comes to the call so often.
fn trace(pid: u32, call: &str, occurrence: u32) -> Child {
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={occurrence}")])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is needed: `apt-get install strace`");
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    // Whoever stops listening would end it.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    strace
}

/// What everybody answers who is here and agrees.
pub fn answered(question: &str, present: &[&str]) -> String {
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

/// The same of five custodians, where a PIN is asked for twice.
pub fn everybody(question: &str, last: &mut String) -> Move {
    if question != "the same again" {
        *last = answered(question, &FIVE);
    }
    Move::Say(last.clone())
}

pub fn custodians(names: &[&str]) -> Vec<String> {
    let chosen = CUSTODIANS.iter().filter(|custodian| names.contains(&custodian.0));
    chosen
        .flat_map(|(name, recipient, _)| ["--custodian".to_owned(), format!("{name}={recipient}")])
        .collect()
}

pub fn words<'a>(fixed: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    fixed.iter().copied().chain(more.iter().map(String::as_str)).collect()
}
