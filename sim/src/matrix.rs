//! Many seeds, each in a process of its own: a simulation then starts from nothing that another one left in memory, and one
//! that panics or never ends takes no other with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::figures::row::Promise;
use xtask::talk;

use crate::SimError;
use crate::life::Planted;

/// LIMIT: real time for one seed; the simulated time of one is minutes.
const SEED_TIME: Duration = Duration::from_secs(120);
/// Failing seeds that are told in full.
const TOLD: u64 = 5;
/// Lines of a failing seed's trace that are told.
const TRACE: usize = 60;
/// A file system in memory, where there is one: each simulation's disk is a folder in it.
const MEMORY: &str = "/dev/shm";

/// A folder for one simulation's disk.
pub fn scratch() -> std::io::Result<TempDir> {
    let memory = Path::new(MEMORY);
    if memory.is_dir()
        && let Ok(folder) = tempfile::Builder::new().prefix("chancery-sim-").tempdir_in(memory)
    {
        return Ok(folder);
    }
    tempfile::tempdir()
}

/// Runs `runs` seeds from `first` on and answers their row.
///
/// # Errors
/// [`SimError::Machine`] when no process can be started.
pub fn run(first: u64, runs: u64, planted: Option<Planted>) -> Result<Promise, SimError> {
    let program = std::env::current_exe()?;
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, failures, begun) = (AtomicU64::new(0), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let seed = first + number;
                    if let Some(what) = one(&program, seed, planted) {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(seed);
                        tell(seed, &what, failures.len() as u64, planted);
                    }
                    if (number + 1).is_multiple_of(1_000) {
                        talk::line(&format!("sim: {} seeds", number + 1));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_unstable();
    let broken = failures.len() as u64;
    let seconds = begun.elapsed().as_secs_f64();
    let found = failures.first().map_or(String::new(), |seed| format!("; the first broken seed is {seed}"));
    Ok(Promise {
        promise: "order and crash bugs replay from a seed".into(),
        test: "seeded simulation of store, log, walk and HSM worker: crashes, power losses, I/O errors, lies"
            .into(),
        runs,
        failures: broken,
        figure: format!("seeds {first} to {} in {seconds:.0} s{found}", first + runs.saturating_sub(1)),
        goal: format!("{runs} seeds, 0 broken"),
        met: broken == 0,
    })
}

/// What is broken under one seed.
fn one(program: &Path, seed: u64, planted: Option<Planted>) -> Option<String> {
    let folder = scratch().map_err(|error| error.to_string());
    let folder = match folder {
        Ok(folder) => folder,
        Err(error) => return Some(error),
    };
    // Made here, so that nothing stays of a child that is killed.
    let mut command = Command::new(program);
    command.args(["--seed", &seed.to_string(), "--disk"]).arg(folder.path());
    if let Some(planted) = planted {
        command.args(["--planted", planted.name()]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return Some(error.to_string()),
    };
    wait(child)
}

fn wait(mut child: std::process::Child) -> Option<String> {
    use std::io::Read;
    let (mut out, mut err) = (child.stdout.take()?, child.stderr.take()?);
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let talked = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() > SEED_TIME => {
                let _ = child.kill();
                let _ = child.wait();
                return Some("it did not end".to_owned());
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Some(error.to_string()),
        }
    };
    let (said, talked) = (said.join().unwrap_or_default(), talked.join().unwrap_or_default());
    (!status.success()).then(|| format!("{said}{talked}{status}"))
}

fn tell(seed: u64, what: &str, number: u64, planted: Option<Planted>) {
    let broken: Vec<&str> = what.lines().filter(|line| line.starts_with("broken: ")).collect();
    let why = broken.first().copied().or_else(|| what.lines().last()).unwrap_or_default();
    talk::line(&format!("sim: BROKEN under seed {seed}: {why}"));
    if number > TOLD {
        return;
    }
    let flag = planted.map_or(String::new(), |planted| format!(" --planted {}", planted.name()));
    talk::line(&format!("sim: replay it with: cargo run -p chancery-sim -- --seed {seed}{flag}"));
    let lines: Vec<&str> = what.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(TRACE)) {
        talk::line(&format!("    {line}"));
    }
}
