//! The kill matrix: a real daemon is killed at every occurrence of every file and socket call of one sign or of the last approval of one, and then asked
//! whether it kept its promise. What a promise is stands in `verdict`; where it dies, in `point`.

pub mod ceremony;
pub mod lane;
pub mod point;
pub mod strace;
pub mod verdict;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use xtask::appliance::Programs;
use xtask::figures::row::Promise;
use xtask::talk;

use crate::Error;
use lane::{Act, Lane, Run};
use point::{Point, Target};
use strace::Fault;

/// How much, and which fault.
#[derive(Clone, Debug)]
pub struct Plan {
    /// During what.
    pub act: Act,
    /// Runs in which the fault was delivered.
    pub runs: u64,
    /// Appliances side by side.
    pub lanes: usize,
    /// What happens at the chosen call, in turns.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Only SIGKILL is for sockets and for the worker too: the others are a disk's.
    fn may_hit(&self, point: &Point) -> bool {
        let disk = point.target == Target::Daemon && point::FILE_CALLS.contains(&point.call.as_str());
        self.faults.contains(&Fault::Kill) || disk
    }

    fn fault(&self, number: u64, point: &Point, points: usize) -> Fault {
        let turn = number + number / points.max(1) as u64;
        let fault =
            usize::try_from(turn).ok().and_then(|turn| self.faults.get(turn % self.faults.len().max(1)));
        match fault {
            Some(Fault::Short) if !point.call.contains("write") => Fault::Errno("EIO"),
            Some(fault) => *fault,
            None => Fault::Kill,
        }
    }

    fn names(&self) -> String {
        self.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// What all runs gave.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    broken: u64,
    seen: u64,
    answered: u64,
    lost: u64,
    points: std::collections::BTreeSet<String>,
    restart_ms: Vec<u64>,
}

/// Runs the matrix in `folder` and answers its row.
///
/// # Errors
/// [`Error`] when a run could not be made at all.
pub fn run(programs: &Programs, folder: &Path, plan: &Plan) -> Result<Promise, Error> {
    let mut lanes = Vec::new();
    for number in 0..plan.lanes.max(1) {
        talk::line(&format!("kill: preparing appliance {} of {}", number + 1, plan.lanes.max(1)));
        lanes.push(Lane::prepare(programs, &folder.join(format!("lane-{number}")), plan.act)?);
    }
    let mut points = Vec::new();
    if let Some(first) = lanes.first_mut() {
        points = first.points()?;
        points.retain(|point| plan.may_hit(point));
    }
    talk::line(&format!(
        "kill: {} calls of one {} are known, each counted on its own thread",
        points.len(),
        plan.act.name()
    ));
    let order = point::shuffled(&points);
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let outcome: Result<Vec<()>, Error> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            lanes.iter_mut().map(|lane| scope.spawn(|| work(lane, &order, plan, &next, &tally))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(lane::lost()))).collect()
    });
    outcome?;
    let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for lane in &mut lanes {
        tell(&mut tally, "the end", &lane.close()?);
    }
    Ok(row(plan, &mut tally, order.len()))
}

fn work(
    lane: &mut Lane,
    order: &[&Point],
    plan: &Plan,
    next: &AtomicU64,
    tally: &Mutex<Tally>,
) -> Result<(), Error> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let enough = |tally: &Tally| {
            // Points beyond the last occurrence deliver nothing; a matrix that delivers nothing at all must still end.
            tally.runs >= plan.runs || number > plan.runs.saturating_mul(4)
        };
        if order.is_empty() || enough(&tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Ok(());
        }
        let Some(point) = order.get(usize::try_from(number).unwrap_or(0) % order.len()) else {
            return Ok(());
        };
        let run = lane.run(point, plan.fault(number, point, order.len()))?;
        note(&mut tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner), point, run);
    }
}

fn note(tally: &mut Tally, point: &Point, run: Run) {
    tell(tally, &point.to_string(), &run.failures);
    if !run.delivered {
        return;
    }
    tally.runs += 1;
    tally.points.insert(point.to_string());
    match run.saw {
        lane::Saw::Signature => tally.seen += 1,
        lane::Saw::Refusal => tally.answered += 1,
        lane::Saw::Nothing => tally.lost += 1,
    }
    tally.restart_ms.extend(run.restart_ms);
    if tally.runs.is_multiple_of(100) {
        talk::line(&format!("kill: {} runs, {} broken", tally.runs, tally.broken));
    }
}

/// However many things are broken after one run, it is one broken run.
fn tell(tally: &mut Tally, place: &str, failures: &[String]) {
    for failure in failures {
        talk::line(&format!("kill: BROKEN at {place}: {failure}"));
    }
    tally.broken += u64::from(!failures.is_empty());
}

fn row(plan: &Plan, tally: &mut Tally, planned: usize) -> Promise {
    tally.restart_ms.sort_unstable();
    let median = tally.restart_ms.get(tally.restart_ms.len() / 2).copied().unwrap_or_default();
    let failures = tally.broken;
    let (promise, places) = if plan.faults.contains(&Fault::Kill) {
        ("no signature without a durable, verifying audit entry", "file and socket calls")
    } else {
        ("I/O faults release nothing, and a failed sync of the store ends the process", "file calls")
    };
    Promise {
        promise: promise.into(),
        test: format!("kill matrix: {} at {places} of one {}", plan.names(), plan.act.name()),
        runs: tally.runs,
        failures,
        figure: format!(
            "{} of {planned} calls hit; the client saw {} signatures, {} refusals, {} broken connections; back in {median} ms",
            tally.points.len(),
            tally.seen,
            tally.answered,
            tally.lost,
        ),
        goal: format!("{} runs, 0 broken", plan.runs),
        met: failures == 0 && tally.runs >= plan.runs,
    }
}
