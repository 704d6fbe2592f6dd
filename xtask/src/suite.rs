//! Every test of the workspace, as many test programs at once as there are cores: most wait for a daemon, a token or a clock
//! half of their time. Each prints what it would under `cargo test`, in one piece when it has ended; all run, also after a failure.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::run::Cmd;
use crate::tree::Test;
use crate::{Stop, Tree, setup, talk};

/// Runs them all.
///
/// # Errors
/// [`Stop::Unmet`] with the names of the programs in which a test failed.
pub fn run(tree: &Tree) -> Result<(), Stop> {
    let tests = tree.tests()?;
    let failed = at_once(tests.into(), |test| one(tree, test));
    if !failed.is_empty() {
        return Err(Stop::Unmet(format!("tests failed in {}", failed.join(", "))));
    }
    with_solver(tree, tree.cargo(&["test", "--workspace", "--doc"])).run()
}

/// Runs each of the queue once, a thread for each core, and answers what they return.
fn at_once<J: Send, F: Send>(queue: VecDeque<J>, run: impl Fn(J) -> Option<F> + Sync) -> Vec<F> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (queue, found) = (Mutex::new(queue), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(next) = next else { break };
                    found.lock().unwrap_or_else(PoisonError::into_inner).extend(run(next));
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one, and answers its name where it failed.
fn one(tree: &Tree, Test { package, target, executable, folder }: Test) -> Option<String> {
    let name = format!("{package} {target}");
    let started = Instant::now();
    // As cargo does: a test runs in the folder of its crate.
    let command = with_solver(tree, Cmd::new(executable).dir(&folder).env("CARGO_MANIFEST_DIR", &folder));
    let (passed, said) = match command.ended() {
        Ok(ended) => (ended.code == Some(0), format!("{}\n{}", ended.stdout, ended.stderr)),
        Err(stop) => (false, stop.to_string()),
    };
    let word = if passed { "passed" } else { "FAILED" };
    talk::line(&format!("\n     {name}: {word} in {}\n{said}", talk::span(started.elapsed())));
    (!passed).then_some(name)
}

fn with_solver(tree: &Tree, command: Cmd) -> Cmd {
    match setup::solver::binary(tree) {
        Some(solver) => command.env(setup::solver::VARIABLE, solver),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a program that is left out, or one failure that hides another.
    #[test]
    fn each_runs_once_whatever_became_of_the_others() {
        let seen = Mutex::new(Vec::new());
        let mut failed = at_once((0..50).collect(), |job: u32| {
            seen.lock().unwrap().push(job);
            (job % 10 == 3).then_some(job)
        });
        failed.sort_unstable();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        assert_eq!(failed, [3, 13, 23, 33, 43]);
    }
}
