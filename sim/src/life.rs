//! The lives of one house: it opens on what the last process left, people go about their errands, something goes wrong, it
//! ends. The last life is without faults: in it everything must come to its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_audit::feed;
use chancery_core::config::{
    Config, Hsm, Listen, Log, Officers, Policy, Rates, SecretSource, Store as StoreConfig, Tls,
};
use chancery_core::{Code, Mode, SystemClock};
use chancery_enclave::{Enclave, Ground, Programs, StartError};
use chancery_secret::{Pin, SecretBytes};
use chancery_store::Store;

use crate::SimError;
use crate::account::Account;
use crate::errand::{self, World};
use crate::machine::dice::Dice;
use crate::machine::{self, Death, Error, Plan};
use crate::people::People;
use crate::setback::Copies;
use crate::token::{self, Manners, Token};
use crate::verdict;

/// How often it is looked whether the process lives, in milliseconds.
const GLANCE: Duration = Duration::from_millis(5);
/// LIMIT: how long the last life may take until everything has come to its end.
const LIVENESS_MS: u64 = 120_000;
/// A quiet time after which the log is signed and published.
const QUIET: Duration = Duration::from_millis(3_500);

/// Something wrong on purpose, which must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Planted {
    /// A disk that says that it synced and did not
    LyingDisk,
    /// A log that has forgotten its head when an older store is put back
    ForgottenHead,
}

impl Planted {
    /// As the command line says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingDisk => "lying-disk",
            Self::ForgottenHead => "forgotten-head",
        }
    }
}

/// What a simulation gave.
#[derive(Debug)]
pub struct Told {
    /// SHA-256 of the trace.
    pub hash: String,
    /// The trace.
    pub lines: Vec<String>,
    /// What does not hold.
    pub broken: Vec<String>,
}

/// Runs the simulation of `seed` on this thread, with its disk below the empty folder `root`.
///
/// # Errors
/// What keeps it from being run at all; a broken promise is in the answer.
pub fn simulate(seed: u64, root: &Path, planted: Option<Planted>) -> Result<Told, SimError> {
    machine::boot(seed, root, planted == Some(Planted::LyingDisk))?;
    let root = root.canonicalize()?;
    let mut dice = Dice::of(seed, "workload");
    let requests = if dice.percent(3) { 140 } else { dice.spread(6, 40) };
    let world = World {
        account: Arc::new(Mutex::new(Account::default())),
        people: Arc::new(People::admitted()?),
        errands: Arc::new(Mutex::new(errand::errands(&mut dice, requests))),
        dice: Arc::new(Mutex::new(Dice::of(seed, "people"))),
    };
    let token = Token::new(seed);
    let config = config(&root);
    let mut copies = Copies::default();
    for left in (0..=1 + dice.below(4)).rev() {
        let manners = if left == 0 { Manners::default() } else { manners(&mut dice) };
        let plan = if left == 0 { Plan::default() } else { plan(&mut dice) };
        machine::note(format!("a life begins, {left} after it, {manners:?}"));
        token.behave(manners);
        machine::expect(plan);
        let length_ms = dice.spread(500, 25_000);
        let shift =
            dice.percent(15).then(|| (dice.below(length_ms), dice.spread(10, 6_000), dice.percent(60)));
        let one = Life { config: &config, world: &world, token: &token, last: left == 0, length_ms, shift };
        let done = loop {
            let runtime = runtime()?;
            match runtime.block_on(one.live()) {
                // A house whose clock stands behind does not open; whoever runs it tries again until it does.
                Err(error) if clock_behind(&error) && machine::alive() => {
                    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
                }
                done => break done,
            }
        };
        if let Err(why) = done
            && left == 0
        {
            world.seen(|account| account.breaks(format!("the house does not open: {why}")));
        }
        if machine::alive() {
            machine::die(if dice.percent(50) { Death::Power } else { Death::Killed });
        }
        machine::restart()?;
        token.behave(Manners::default());
        machine::expect(Plan::default());
        copies.keep(&one, &mut dice, planted == Some(Planted::ForgottenHead))?;
    }
    let broken = world.seen(|account| account.broken.clone());
    let (hash, lines) = machine::trace();
    Ok(Told { hash, lines, broken })
}

/// What a process runs on. Dropped with all its tasks, as a process ends with all its threads.
///
/// # Errors
/// What the system says.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn clock_behind(error: &SimError) -> bool {
    matches!(error, SimError::Start(StartError::Content(refusal)) if refusal.code == Code::ClockBehind)
}

fn manners(dice: &mut Dice) -> Manners {
    Manners {
        slow: [0, 2, 10, 30].get(dice.below(4) as usize).copied().unwrap_or(0),
        fails: [0, 0, 2, 8].get(dice.below(4) as usize).copied().unwrap_or(0),
        lies: [0, 0, 0, 20].get(dice.below(4) as usize).copied().unwrap_or(0),
    }
}

fn plan(dice: &mut Dice) -> Plan {
    let death = if dice.percent(65) { Death::Power } else { Death::Killed };
    let end = dice.percent(75).then(|| (dice.spread(1, 1_500), death));
    let mut errors = BTreeMap::new();
    if dice.percent(45) {
        for _ in 0..=dice.below(4) {
            let first = dice.spread(1, 900);
            let error = [Error::Input, Error::Space, Error::Short].get(dice.below(3) as usize).copied();
            for call in first..first + dice.spread(1, 8) {
                errors.extend(error.map(|error| (call, error)));
            }
        }
    }
    Plan::new(end, errors, dice.percent(30))
}

fn config(root: &Path) -> Config {
    let address = ([127, 0, 0, 1], 0).into();
    Config {
        version: 1,
        mode: Mode::Production,
        listen: Listen { api: address, ops: address },
        tls: Tls {
            certificate: root.join("none"),
            key: root.join("none"),
            client_ca: Some(root.join("none")),
            crl: Vec::new(),
        },
        // The room on a real disk is none of a simulation's business.
        store: StoreConfig { directory: root.join("store"), reserve_mib: 0 },
        log: Log {
            origin: "localhost/simulation".to_owned(),
            directory: root.join("log"),
            cosignatures: 0,
            witness: Vec::new(),
            timestamp: Vec::new(),
        },
        hsm: Hsm {
            module: root.join("none"),
            token: "simulated".to_owned(),
            pin: SecretSource::Fd(0),
            sessions: 2,
            queue: 64,
            call_ms: 1_500,
            environment: BTreeMap::new(),
            writable: Vec::new(),
            init_argument: None,
            recoverable: false,
        },
        policy: Policy::default(),
        rate: Rates::default(),
        officers: Officers::default(),
        webhook: Vec::new(),
        mpc: None,
    }
}

/// The store gives up: its process ends. Nobody hears of it any more.
fn fatal(reason: &str) {
    machine::note(format!("the store ends the process: {reason}"));
    machine::die(Death::Killed);
}

/// One life of the house.
pub struct Life<'a> {
    config: &'a Config,
    /// What everybody shares.
    pub world: &'a World,
    token: &'a Token,
    last: bool,
    length_ms: u64,
    /// When the wall clock moves, how far, and whether back.
    shift: Option<(u64, u64, bool)>,
}

impl Life<'_> {
    /// Opens the house on what is on the disk; `None` where it died of it.
    ///
    /// # Errors
    /// Why it does not open.
    pub async fn open(&self) -> Result<Option<Enclave>, SimError> {
        let (observer, feed) = feed();
        let (store, hand) = Store::open_by_hand(&self.config.store.directory, Box::new(observer), fatal)?;
        let dice = Arc::clone(&self.world.dice);
        tokio::spawn(hand.write(move || {
            let ms = dice.lock().unwrap_or_else(PoisonError::into_inner).below(9);
            tokio::time::sleep(Duration::from_millis(ms))
        }));
        let ground = Ground {
            store,
            feed,
            programs: Programs { worker: Arc::new(self.token.clone()), solver: None },
            clock: Arc::new(SystemClock::default()),
            second_signature: false,
        };
        let pin = Pin::new(SecretBytes::take(&mut token::PIN.clone())?)?;
        let opening = Enclave::open_on(self.config, pin, ground);
        // A store that has ended answers nobody; what waits for it would wait for ever.
        tokio::select! {
            biased;
            () = death() => Ok(None),
            opened = opening => Ok(Some(opened?)),
        }
    }

    async fn live(&self) -> Result<(), SimError> {
        let Some(enclave) = self.open().await? else { return Ok(()) };
        let looked = verdict::look(&enclave, self.world, self.token, false);
        if self.last {
            looked?;
        }
        machine::note("the house is open");
        self.world.go(&enclave);
        if self.last {
            self.end_well(&enclave).await?;
            enclave.close().await;
            machine::note("the house is closed");
            return Ok(());
        }
        let begun = machine::now_ms();
        let mut shift = self.shift;
        while machine::alive() && machine::now_ms() < begun + self.length_ms {
            tokio::time::sleep(GLANCE).await;
            if let Some((_, ms, back)) = shift.take_if(|(at, ..)| machine::now_ms() >= begun + *at) {
                let ms = i64::try_from(ms).unwrap_or(0);
                machine::shift_clock(if back { -ms } else { ms });
            }
        }
        if machine::alive() && self.world.draw(|dice| dice.below(3)) == 0 {
            let close = enclave.close();
            tokio::select! {
                biased;
                () = death() => {}
                () = close => machine::note("the house is closed"),
            }
        }
        Ok(())
    }

    async fn end_well(&self, enclave: &Enclave) -> Result<(), SimError> {
        let begun = machine::now_ms();
        while !self.world.done() {
            tokio::time::sleep(GLANCE).await;
            if self.world.seen(|account| !account.broken.is_empty()) {
                return Ok(());
            }
            if machine::now_ms() > begun + LIVENESS_MS {
                for what in self.world.open() {
                    self.world
                        .seen(|account| account.breaks(format!("this does not come to an end: {what}")));
                }
                return Ok(());
            }
        }
        tokio::time::sleep(QUIET).await;
        let standing = enclave.figures().log;
        if standing.published != standing.size {
            self.world.seen(|account| account.breaks(format!("the log is not published: {standing:?}")));
        }
        Ok(verdict::look(enclave, self.world, self.token, true)?)
    }
}

async fn death() {
    while machine::alive() {
        tokio::time::sleep(GLANCE).await;
    }
}
