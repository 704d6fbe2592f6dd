//! Ceremonies that are killed within their acts: the program itself, its HSM workers, or the `chanceryd` that works on the store,
//! whichever comes first to the so-manieth of one of its calls. The same command then goes on; in the end the transcript
//! verifies, the wallet signs under the key it had, and every receipt of before verifies.

use std::fs;
use std::path::Path;

use serde_json::Value;
use xtask::appliance::{Appliance, Programs};
use xtask::ceremony::{self, Question, Reply};
use xtask::figures::row::Promise;
use xtask::run::Cmd;
use xtask::talk;

use super::point::{Point, Target, Threads};
use super::strace::{Fault, Strace};
use crate::Error;
use crate::door::{Door, unexpected};
use crate::stage::{self, NAME, Stage};

/// The calls that others see, and how often a thread of an act makes each, or little more.
const PLACES: [(&str, u32); 8] = [
    ("openat", 60),
    ("read", 60),
    ("write", 10),
    ("sendto", 4),
    ("pwrite64", 6),
    ("fdatasync", 3),
    ("fsync", 4),
    ("rename", 2),
];
/// How often an act is killed before it is let through.
const TIMES: usize = 4;
/// LIMIT: runs of one ceremony.
const RUNS: usize = 60;
/// The ceremonies, in turns.
const KINDS: [&str; 3] = ["rotate-log-key", "rotate-kek", "backup"];
const SIGNERS: [&str; 2] = ["operator", "witness"];
const TOKEN: &str = "vault";

/// Holds ceremonies in `folder` until `kills` of them were delivered, and answers their row.
///
/// # Errors
/// [`Error`] when a ceremony could not be held at all.
pub fn run(programs: &Programs, folder: &Path, kills: u64) -> Result<Promise, Error> {
    let mut people = People::gather(programs, folder)?;
    let (mut ceremonies, mut broken) = (0_u64, 0_u64);
    // Calls that do not come so often deliver nothing; a matrix that delivers nothing at all must still end.
    while people.killed < kills && ceremonies < kills.saturating_add(3) {
        // A log is rotated fifteen times at most.
        let kinds = if ceremonies < 3 * 14 { &KINDS[..] } else { KINDS.get(1..).unwrap_or_default() };
        let kind = kinds.get(usize::try_from(ceremonies).unwrap_or(0) % kinds.len().max(1));
        let kind = kind.copied().unwrap_or_default();
        let name = format!("c{ceremonies}");
        let failures = people.hold(kind, &name)?;
        for failure in &failures {
            talk::line(&format!("kill: BROKEN after `{kind}` {name}: {failure}"));
        }
        broken += u64::from(!failures.is_empty());
        ceremonies += 1;
        talk::line(&format!("kill: {ceremonies} ceremonies, {} kills, {broken} broken", people.killed));
    }
    Ok(Promise {
        promise: "a ceremony that is killed goes on, and no key, secret or entry is lost".into(),
        test: "kill matrix: SIGKILL at file and socket calls within the acts of ceremonies".into(),
        runs: people.killed,
        failures: broken,
        figure: format!("{ceremonies} ceremonies, each act killed up to {TIMES} times"),
        goal: format!("{kills} runs, 0 broken"),
        met: broken == 0 && people.killed >= kills,
    })
}

struct People {
    stage: Stage,
    signers: [String; 2],
    /// The wallet's public key.
    key: Value,
    signed: u64,
    killed: u64,
    dice: u64,
}

impl People {
    /// A node whose keys a ceremony made, at work and stopped again.
    fn gather(programs: &Programs, folder: &Path) -> Result<Self, Error> {
        let appliance = Appliance::init(programs, folder)?;
        appliance.set("token = ", &format!("\"{TOKEN}\""))?;
        appliance.set("recoverable = ", "true")?;
        let chancery = || appliance.chancery(None).dir(&appliance.dir);
        let signer = |name: &str| {
            let made = chancery().args(["policy", "keygen", name, "--out", &format!("{name}.key")]);
            made.asked().map(|key| key.trim().to_owned())
        };
        let signers = [signer(SIGNERS[0])?, signer(SIGNERS[1])?];
        let mut plan = vec!["--threshold".to_owned(), "2".to_owned()];
        for name in ["cy", "di"] {
            let made = chancery().args(["ceremony", "custodian", name, "--out", &format!("{name}.identity")]);
            plan.extend(["--custodian".to_owned(), made.asked()?.trim().to_owned()]);
        }
        let hash = planned(&appliance, &signers, "initialise", "first", &plan)?;
        let held = ceremony::hold(command(&appliance, "first", &hash), |question| {
            Ok::<_, Error>(Reply::Say(said(&appliance, question)?))
        })?;
        if held.code != Some(0) {
            return Err(held.unexpected("held to its end").into());
        }
        let mut stage = Stage::on(appliance, folder)?;
        stage.appliance.stop()?;
        let mut people =
            Self { stage, signers, key: Value::Null, signed: 0, killed: 0, dice: 0x9e37_79b9_7f4a_7c15 };
        if let Some(failure) = people.work()?.first() {
            talk::line(&format!("kill: BROKEN before any ceremony: {failure}"));
        }
        Ok(people)
    }

    /// One ceremony, killed in each of its acts; what is broken after it.
    fn hold(&mut self, kind: &str, name: &str) -> Result<Vec<String>, Error> {
        let shares =
            if kind == "rotate-log-key" { vec![] } else { ["--shares", "first"].map(str::to_owned).into() };
        let hash = planned(&self.stage.appliance, &self.signers, kind, name, &shares)?;
        let (log, mut last, mut times) = (self.stage.appliance.dir.join("injected"), String::new(), 0);
        for _ in 0..RUNS {
            let (mut traces, appliance, dice) = (Vec::new(), &self.stage.appliance, &mut self.dice);
            let held = ceremony::hold(command(appliance, name, &hash), |question| {
                if question.text.starts_with("shall it be done?") {
                    let step = question.step.split(" (it was begun").next().unwrap_or_default();
                    if step != last {
                        (last, times) = (step.to_owned(), 0);
                    }
                    times += 1;
                    if times <= TIMES && traces.is_empty() {
                        traces.push(Strace::injecting(question.pid, &point(dice), Fault::Kill, &log)?);
                    }
                }
                said(appliance, question).map(Reply::Say)
            })?;
            drop(traces);
            if log.exists() {
                let text = fs::read_to_string(&log).map_err(Error::file(&log))?;
                self.killed += u64::from(text.contains("killed by SIGKILL"));
                fs::remove_file(&log).map_err(Error::file(&log))?;
            }
            // It may be killed after its last word is on record.
            if held.code == Some(0) || held.talk.contains("this ceremony is closed") {
                let verify = self.stage.appliance.chancery(None).dir(&self.stage.appliance.dir);
                verify.args(["ceremony", "verify", "--hash", &hash, name]).quiet()?;
                return self.work();
            }
        }
        Ok(vec![format!("it does not come to its end in {RUNS} runs")])
    }

    /// Starts the appliance, has the wallet sign, and verifies every receipt there is under the trust file of now.
    fn work(&mut self) -> Result<Vec<String>, Error> {
        let dir = self.stage.appliance.dir.clone();
        self.stage.appliance.start()?;
        let client = Door::read(&self.stage.appliance.client(NAME))?;
        let body = stage::sign_body(NAME, self.signed);
        let answer = client.call("POST", "/v1/sign", Some(&format!("after-{}", self.signed)), Some(&body))?;
        let receipt = answer.json().get("receipt").cloned();
        let receipt = receipt.ok_or_else(|| unexpected("POST /v1/sign", &answer))?;
        let path = dir.join(format!("receipt-{}.json", self.signed));
        fs::write(&path, receipt.to_string()).map_err(Error::file(&path))?;
        let trust = dir.join(format!("trust-{}.json", self.signed));
        let operator = || self.stage.appliance.chancery(Some("operator"));
        operator().args(["trust", "fetch", "--out"]).arg(&trust).quiet()?;
        self.stage.appliance.stop()?;
        let mut failures = Vec::new();
        let key = receipt.pointer("/decision/public_key").cloned().unwrap_or_default();
        if self.signed == 0 {
            self.key = key;
        } else if self.key != key {
            failures.push(format!("the wallet's key was {}, and is {key}", self.key));
        }
        self.signed += 1;
        let verify = self.stage.appliance.chancery(None).args(["receipt", "verify", "--trust"]).arg(&trust);
        let receipts = (0..self.signed).map(|n| dir.join(format!("receipt-{n}.json")));
        if let Err(error) = verify.args(receipts).quiet() {
            failures.push(format!("a receipt does not verify: {error}"));
        }
        let whole = self.stage.appliance.chancery(None).args(["audit", "verify", "--trust"]).arg(&trust);
        if let Err(error) = whole.arg("--dir").arg(dir.join("log")).quiet() {
            failures.push(format!("the log does not verify: {error}"));
        }
        Ok(failures)
    }
}

/// A place to die at, by dice that fall the same way each time.
fn point(dice: &mut u64) -> Point {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let (which, often) = (*dice >> 33, u32::try_from(*dice >> 40).unwrap_or_default());
    let place = usize::try_from(which).unwrap_or(0) % PLACES.len();
    let (call, most) = PLACES.get(place).copied().unwrap_or(("openat", 1));
    let occurrence = often % most + 1;
    Point { target: Target::Daemon, threads: Threads::Any, call: call.to_owned(), occurrence }
}

fn planned(
    appliance: &Appliance,
    signers: &[String; 2],
    kind: &str,
    name: &str,
    more: &[String],
) -> Result<String, Error> {
    let plan = appliance.chancery(None).dir(&appliance.dir).args(["ceremony", "plan", kind, "--dir", name]);
    let plan = plan.args(["--operator", &signers[0], "--witness", &signers[1]]).args(more);
    Ok(plan.asked()?.trim().to_owned())
}

fn command(appliance: &Appliance, name: &str, hash: &str) -> Cmd {
    let run = appliance.chancery(None).dir(&appliance.dir).args(["ceremony", "run", "--dir", name]);
    let run = run.args(["--hash", hash, "--config"]).arg(appliance.config());
    run.args(["--key", "operator.key", "--key", "witness.key"])
}

fn said(appliance: &Appliance, question: Question<'_>) -> Result<String, Error> {
    let read = |name: &str| {
        let path = appliance.dir.join(name);
        fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(Error::file(&path))
    };
    match question.text {
        text if text.contains("security officer") => read("hsm/so-pin"),
        text if text.contains("user") => read("hsm/pin"),
        _ => Ok("yes".to_owned()),
    }
}
