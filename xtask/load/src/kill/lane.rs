//! One appliance that dies again and again. It is not made anew between runs: what one death left behind is what the next
//! one finds, and the log must hold through all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::appliance::Programs;
use xtask::http::Answer;

use super::point::{self, Point, Target};
use super::strace::{self, Fault, Strace};
use super::verdict::Verdict;
use crate::door::unexpected;
use crate::stage::{self, Stage};
use crate::{Error, process};

/// Dry runs: threads share work differently each time.
const DRY_RUNS: u64 = 5;
/// After an answer, by when the log's files are written.
const PUBLISHED: Duration = Duration::from_millis(1_500);
/// After an answer, how long a fault at what follows it (closing the connection) is waited for.
const AFTER_ANSWER: Duration = Duration::from_millis(25);
/// After a broken connection, how long the death is waited for.
const AFTER_BREAK: Duration = Duration::from_secs(5);

/// What is under way when the fault bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Act {
    /// A client asks for a signature.
    Sign,
    /// An officer says the last word to a request that waits, and it goes on to its signature.
    Approval,
    /// An administrator says the last word to a change, and it makes a wallet.
    Change,
    /// What a cold wallet signed is brought, and the request that waited for it is released.
    Cold,
}

impl Act {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Approval => "approval",
            Self::Change => "change",
            Self::Cold => "cold wallet's signature",
        }
    }
}

/// What the client of one run saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// A released signature.
    Signature,
    /// Another answer.
    Refusal,
    /// No answer.
    Nothing,
}

/// One run.
#[derive(Debug)]
pub struct Run {
    /// Whether the fault was delivered: with fewer calls this time, it may not be.
    pub delivered: bool,
    /// What the client saw.
    pub saw: Saw,
    /// How long the restart took, if one was needed, in milliseconds.
    pub restart_ms: Option<u64>,
    /// What was broken.
    pub failures: Vec<String>,
}

/// A request under its key, or a wallet by its name; and what waits for an officer.
#[derive(Debug)]
struct Asked {
    key: String,
    body: Vec<u8>,
    waits: Option<String>,
    /// What the cold wallet signed of it.
    signed: Vec<u8>,
}

/// An appliance and what its client knows.
#[derive(Debug)]
pub struct Lane {
    stage: Stage,
    folder: PathBuf,
    act: Act,
    nonce: u64,
    verdict: Verdict,
}

/// A thread of the matrix ended in a panic.
pub fn lost() -> Error {
    Error::Tracer("a thread of the matrix panicked".into())
}

impl Lane {
    /// Makes an appliance in `folder`.
    ///
    /// # Errors
    /// [`Error`] when it cannot be made or does not sign.
    pub fn prepare(programs: &Programs, folder: &Path, act: Act) -> Result<Self, Error> {
        let mut stage = Stage::set(programs, &folder.join("state"))?;
        let mut verdict = Verdict::new(folder)?;
        // What was refused before a policy was there, and the first signature, are the start of the account.
        let answer =
            stage.client.call("POST", "/v1/sign", Some("first"), Some(&stage::sign_body(stage::NAME, 0)))?;
        let failures =
            verdict.settle(&mut stage, "first", &stage::sign_body(stage::NAME, 0), Some(&answer))?;
        match failures.into_iter().next() {
            None if act == Act::Change => {
                stage.govern()?;
                Ok(Self { stage, folder: folder.into(), act, nonce: 0, verdict })
            }
            None if act == Act::Cold => {
                stage.make_cold()?;
                verdict.turn_to(stage::COLD);
                Ok(Self { stage, folder: folder.into(), act, nonce: 0, verdict })
            }
            None => Ok(Self { stage, folder: folder.into(), act, nonce: 0, verdict }),
            Some(failure) => Err(Error::Tracer(format!("unharmed, and yet: {failure}"))),
        }
    }

    /// Counts the calls of an act, in the daemon and in its worker.
    ///
    /// # Errors
    /// [`Error`] when strace cannot count.
    pub fn points(&mut self) -> Result<Vec<Point>, Error> {
        let mut points = Vec::new();
        for target in [Target::Daemon, Target::Worker] {
            let mut dry_runs = Vec::new();
            for number in 0..DRY_RUNS {
                let traces = self.folder.join(format!("traces-{target:?}-{number}"));
                fs::create_dir_all(&traces).map_err(Error::file(&traces))?;
                let pid = self.pid(target)?;
                let asked = self.next()?;
                let tracer = Strace::counting(pid, &traces)?;
                let did = self.act(&asked);
                // The log's files follow a second later, at a time of their own: one dry run of each process waits for them.
                std::thread::sleep(if number == 0 { PUBLISHED } else { AFTER_ANSWER });
                let names = process::threads(pid)?;
                tracer.detach();
                self.settle(&asked, did?.as_ref())?;
                dry_runs.push(strace::counted(&traces, &names)?);
            }
            points.extend(point::points(target, &dry_runs));
        }
        Ok(points)
    }

    /// One act with a fault at `point`, and everything that must hold afterwards.
    ///
    /// # Errors
    /// [`Error`] when the run could not be made; a broken promise is in the answer.
    pub fn run(&mut self, point: &Point, fault: Fault) -> Result<Run, Error> {
        let asked = self.next()?;
        let pid = self.pid(point.target)?;
        let log = self.folder.join("injected");
        let tracer = match Strace::injecting(pid, point, fault, &log) {
            Ok(tracer) => tracer,
            // Threads of a pool come and go; without the thread there is nothing to break.
            Err(Error::Tracer(_)) if self.stage.appliance.is_running() => {
                return Ok(Run {
                    delivered: false,
                    saw: Saw::Nothing,
                    restart_ms: None,
                    failures: Vec::new(),
                });
            }
            Err(error) => return Err(error),
        };
        let did = self.act(&asked);
        let killed =
            matches!(fault, Fault::Kill) && died(pid, if did.is_ok() { AFTER_ANSWER } else { AFTER_BREAK });
        if !matches!(fault, Fault::Kill) {
            std::thread::sleep(AFTER_ANSWER);
        }
        tracer.detach();
        let hit = strace::injected(&log)?.filter(|_| fault != Fault::Kill);
        let delivered = killed || hit.as_deref().is_some_and(is_of_a_file);
        let went_on = hit.as_deref().is_some_and(is_sync_of_store) && !died(pid, AFTER_BREAK);
        let restart_ms = self.revive()?;
        let saw = match &did {
            Err(_) => Saw::Nothing,
            Ok(None) => Saw::Signature,
            Ok(Some(answer)) if is_signature(&answer.json()) => Saw::Signature,
            Ok(Some(_)) => Saw::Refusal,
        };
        let answer = did.unwrap_or_default();
        let settled = self.settle(&asked, answer.as_ref());
        let mut failures = match settled {
            // A fault may bite late, in the tiles of a second ago: who ended since is revived and looked at again.
            Err(error) => {
                if self.revive()?.is_none() {
                    return Err(error);
                }
                self.settle(&asked, answer.as_ref())?
            }
            Ok(failures) => failures,
        };
        if went_on {
            failures.push("the daemon went on after a failed sync of its store".into());
        }
        Ok(Run { delivered, saw, restart_ms, failures })
    }

    /// Ends the appliance in order and looks once more at the whole.
    ///
    /// # Errors
    /// [`Error`] when it cannot be looked at.
    pub fn close(&mut self) -> Result<Vec<String>, Error> {
        let mut failures = self.verdict.look_at_log(&self.stage)?;
        if let Err(stop) = self.stage.appliance.stop() {
            failures.push(format!("it does not end in order: {stop}"));
        }
        Ok(failures)
    }

    /// What the next act is about: a request to send, or one that waits already.
    fn next(&mut self) -> Result<Asked, Error> {
        self.nonce += 1;
        let key = format!("run-{}", self.nonce);
        if self.act == Act::Change {
            let waits = Some(self.stage.ask_for_wallet(&key)?);
            return Ok(Asked { key, body: Vec::new(), waits, signed: Vec::new() });
        }
        if self.act == Act::Sign {
            let body = stage::sign_body(stage::NAME, self.nonce);
            return Ok(Asked { key, body, waits: None, signed: Vec::new() });
        }
        let body = match self.act {
            Act::Cold => stage::sign_body(stage::COLD, self.nonce),
            _ => stage::large_body(stage::NAME, self.nonce),
        };
        let answer = self.stage.client.call("POST", "/v1/sign", Some(&key), Some(&body))?;
        let document = answer.json();
        let id = document.get("request_id").and_then(Value::as_str).filter(|_| answer.status == 202);
        let id = id.ok_or_else(|| unexpected("POST /v1/sign (nothing waits)", &answer))?.to_owned();
        let signed = if self.act == Act::Cold { self.stage.sign_apart(&id)? } else { Vec::new() };
        Ok(Asked { key, body, waits: Some(id), signed })
    }

    /// What is broken after it.
    fn settle(&mut self, asked: &Asked, answer: Option<&Answer>) -> Result<Vec<String>, Error> {
        match &asked.waits {
            Some(id) if self.act == Act::Change => self.verdict.settle_change(&self.stage, &asked.key, id),
            _ => self.verdict.settle(&mut self.stage, &asked.key, &asked.body, answer),
        }
    }

    /// Does it. The client's answer, if it was the client who did.
    fn act(&self, asked: &Asked) -> Result<Option<Answer>, Error> {
        match &asked.waits {
            None => self.stage.client.call("POST", "/v1/sign", Some(&asked.key), Some(&asked.body)).map(Some),
            Some(id) if self.act == Act::Change => self.stage.agree(id).map(|()| None),
            Some(id) if self.act == Act::Cold => self.stage.bring(id, &asked.signed).map(Some),
            Some(id) => self.stage.approve(id).map(|()| None),
        }
    }

    fn pid(&self, target: Target) -> Result<u32, Error> {
        let daemon = self.stage.appliance.pid().ok_or_else(|| Error::Tracer("no daemon".into()))?;
        if target == Target::Daemon {
            return Ok(daemon);
        }
        let started = Instant::now();
        loop {
            if let [worker] = process::workers(daemon)?.as_slice() {
                return Ok(*worker);
            }
            if started.elapsed() > AFTER_BREAK {
                return Err(Error::Process { pid: daemon, what: "has not one worker".into() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the daemon again if it is gone, and waits until it is ready again if it is not.
    fn revive(&mut self) -> Result<Option<u64>, Error> {
        let started = Instant::now();
        if self.stage.appliance.is_running() {
            if self.stage.appliance.is_ready() {
                return Ok(None);
            }
            while !self.stage.appliance.is_ready() && self.stage.appliance.is_running() {
                if started.elapsed() > AFTER_BREAK {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if !self.stage.appliance.is_running() || !self.stage.appliance.is_ready() {
            self.stage.appliance.kill();
            self.stage.appliance.start()?;
        }
        Ok(Some(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Whether a traced call has a file's descriptor, and not a socket's or none.
fn is_of_a_file(call: &str) -> bool {
    call.contains("</") || call.contains(", \"/")
}

/// After this nothing of the store may be tried again: see `docs/durability.md`. A tile's sync may be, because the whole file
/// is written again first.
fn is_sync_of_store(call: &str) -> bool {
    call.contains("sync(") && call.contains("/store/")
}

/// Whether an answer carries a released signature.
#[must_use]
pub fn is_signature(answer: &Value) -> bool {
    answer.pointer("/signature/bytes").is_some_and(|bytes| !bytes.is_null())
}

/// Whether the process ends within `patience`. A zombie has ended: its parent has not looked yet.
fn died(pid: u32, patience: Duration) -> bool {
    let started = Instant::now();
    loop {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let ended =
            state.is_none_or(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")));
        if ended || started.elapsed() > patience {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
