//! Signatures through the API against the token alone: how many, how fast, what they cost, what stays in memory.
//! The token alone, the disk alone and the appliance are measured in one run on one machine, one after the other.

pub mod crowd;
pub mod crowds;
pub mod growth;
pub mod raw;

use std::path::Path;
use std::time::Duration;

use xtask::appliance::Programs;
use xtask::figures::row::Bench;
use xtask::talk;

use crate::stage::Stage;
use crate::{Error, process};
use crowd::{Crowd, Gathered};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Requests of the measured crowd.
    pub requests: u64,
    /// Requests over which memory must not grow.
    pub lasting: u64,
    /// How long the token is measured alone.
    pub raw: Duration,
}

/// Clients at once.
const CLIENTS: u64 = 64;
/// Clients at once where a request shall meet no queue.
const FEW: u64 = 2;

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Memory of one moment, in bytes: daemon and worker.
pub(crate) fn resident(stage: &Stage) -> Result<u64, Error> {
    both(stage)?.into_iter().map(process::resident_bytes).sum()
}

/// Processor time of daemon and worker.
pub(crate) fn spent(stage: &Stage) -> Result<Duration, Error> {
    both(stage)?.into_iter().map(process::cpu).sum()
}

fn both(stage: &Stage) -> Result<Vec<u32>, Error> {
    let daemon = stage.appliance.pid().ok_or_else(|| Error::Process { pid: 0, what: "no daemon".into() })?;
    let mut all = vec![daemon];
    all.extend(process::workers(daemon)?);
    Ok(all)
}

/// Runs it all in `folder` and answers its rows.
///
/// # Errors
/// [`Error`] when something could not be measured, or when a single request was not signed.
pub fn run(
    programs: &Programs,
    hardware_tests: &Path,
    folder: &Path,
    plan: &Plan,
) -> Result<Vec<Bench>, Error> {
    let state = folder.join("state");
    let mut stage = Stage::set(programs, &state)?;
    let idle = resident(&stage)?;
    let mut crowd = Crowd::new(&stage);

    talk::line("api: warming up");
    crowd.send(CLIENTS, plan.requests / 10)?;
    talk::line(&format!("api: {} requests of {FEW} clients", plan.requests / 8));
    let few = crowd.send(FEW, plan.requests / 8)?;
    talk::line(&format!("api: {} requests of {CLIENTS} clients", plan.requests));
    let own = std::process::id();
    let before = (spent(&stage)?, process::cpu(own)?);
    let many = crowd.send(CLIENTS, plan.requests)?;
    let cost = spent(&stage)?.saturating_sub(before.0);
    let beside = process::cpu(own)?.saturating_sub(before.1);
    let loaded = resident(&stage)?;
    talk::line(&format!("api: {} more, for what stays in memory", plan.lasting));
    crowd.send(CLIENTS, plan.lasting)?;
    let lasting = resident(&stage)?;
    stage.appliance.stop()?;

    talk::line("api: the same token and disk alone");
    let raw = raw::token(hardware_tests, &state, plan.raw)?;
    let disk = raw::disk(&state)?;
    Ok(Figures { few, many, cost, beside, idle, loaded, lasting, raw, disk }.rows(plan))
}

struct Figures {
    few: Gathered,
    many: Gathered,
    cost: Duration,
    /// What the generator took of the same processors meanwhile.
    beside: Duration,
    idle: u64,
    loaded: u64,
    lasting: u64,
    raw: raw::Token,
    disk: Duration,
}

impl Figures {
    fn rows(&self, plan: &Plan) -> Vec<Bench> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let alone = millis(self.disk) + millis(self.raw.cpu);
        let signed = self.many.signed() as f64;
        let own = micros(self.cost) / signed - micros(self.raw.cpu);
        let mega = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);

        let rate = self.many.per_second();
        let slow = millis(self.few.latency(0.99)) / alone;
        // In a closed crowd each waits for all others: no server answers faster than the crowd divided by the token's rate.
        let crowded = CLIENTS as f64 / self.raw.two_threads * 1e3 + millis(self.disk);
        let growth = self.lasting as f64 / self.loaded as f64;
        let many = |quantile| millis(self.many.latency(quantile));
        let few = |quantile| millis(self.few.latency(quantile));
        vec![
            Bench::new("signatures through the API, 64 clients", "1/s", rate)
                .beside(self.raw.two_threads)
                .asked(">= 0.6 of C_Sign on two threads", rate / self.raw.two_threads >= 0.6),
            Bench::new("C_Sign on one thread, alone", "1/s", self.raw.one_thread),
            Bench::new("own CPU per request beyond C_Sign", "us", own).asked("<= 250 us", own <= 250.0),
            Bench::new("CPU per C_Sign, alone", "us", micros(self.raw.cpu)),
            Bench::new("CPU per request of the generator beside it", "us", micros(self.beside) / signed),
            Bench::new("append 512 B and fdatasync, p50", "ms", millis(self.disk)),
            Bench::new("latency p50, 2 clients", "ms", few(0.5)).beside(alone),
            Bench::new("latency p99, 2 clients", "ms", few(0.99))
                .beside(alone)
                .asked("<= 3 of fdatasync p50 + C_Sign", slow <= 3.0),
            Bench::new("latency p50, 64 clients", "ms", many(0.5)).beside(crowded),
            Bench::new("latency p99, 64 clients", "ms", many(0.99))
                .beside(crowded)
                .asked("<= 3 of fdatasync p50 + 64 C_Sign", many(0.99) / crowded <= 3.0),
            Bench::new("memory of daemon and worker, idle", "MiB", mega(self.idle)),
            Bench::new("memory under load", "MiB", mega(self.loaded)),
            Bench::new(format!("memory after {} more requests", plan.lasting), "MiB", mega(self.lasting))
                .beside(mega(self.loaded))
                .asked("<= 1.1 of under load: does not grow", growth <= 1.1),
        ]
    }
}
