//! Many seeds. A life keeps nothing outside of itself, so threads will do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use xtask::figures::row::Promise;
use xtask::talk;

use super::{Planted, simulate};

/// Failing seeds that are told.
const TOLD: usize = 5;

/// Runs `runs` seeds from `first` on and answers their row.
#[must_use]
pub fn run(first: u64, runs: u64, planted: Option<Planted>) -> Promise {
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, signed, failures) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let seed = first + next.fetch_add(1, Ordering::Relaxed);
                    if seed - first >= runs {
                        return;
                    }
                    let broken = catch_unwind(AssertUnwindSafe(|| simulate(seed, planted))).map(|told| {
                        let is_signed = |line: &&String| line.contains(" is signed in epoch ");
                        signed.fetch_add(told.lines.iter().filter(is_signed).count() as u64, Ordering::Relaxed);
                        told.broken.into_iter().next()
                    });
                    if let Some(what) = broken.unwrap_or(Some("it panics".to_owned())) {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(seed);
                        if failures.len() <= TOLD {
                            let flag = planted.map_or(String::new(), |planted| format!(" --plant {}", planted.name()));
                            talk::line(&format!("parties: BROKEN under seed {seed}: {what}"));
                            talk::line(&format!(
                                "parties: replay it with: cargo run -p chancery-sim -- --of parties --seed {seed}{flag}"
                            ));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_unstable();
    let found = failures.first().map_or(String::new(), |seed| format!("; the first broken seed is {seed}"));
    let (signed, seconds) = (signed.into_inner(), begun.elapsed().as_secs_f64());
    let last = first + runs.saturating_sub(1);
    Promise {
        promise: "no nonce twice, no key lost, no mixed epochs; parties' bugs replay from a seed".into(),
        test: "seeded simulation of parties: loss, delay, doubles, cuts, crashes, a disk set back".into(),
        runs,
        failures: failures.len() as u64,
        figure: format!("seeds {first} to {last}, {signed} signatures in {seconds:.0} s{found}"),
        goal: format!("{runs} seeds, 0 broken"),
        met: failures.is_empty(),
    }
}
