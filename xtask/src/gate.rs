//! `cargo xtask test`: everything a change must pass, in one order, each step with its time.
//! CI runs this and nothing else, so a step left out here is a promise nobody checks.

use std::fs;
use std::time::{Duration, Instant};

use crate::figures::{self, Size};
use crate::run::Cmd;
use crate::tree::Profile;
use crate::{Stop, Tree, alerts, package, setup, suite, talk, tidy};

/// The API's description, generated from the code and checked in.
const OPENAPI: &str = "docs/openapi.json";

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Tree) -> Result<(), Stop>,
}

const STEPS: &[Step] = &[
    Step {
        name: "setup",
        what: "install what is missing",
        run: |tree| setup::ensure(tree, setup::For::Test),
    },
    Step {
        name: "format",
        what: "cargo fmt --check",
        run: |tree| tree.cargo(&["fmt", "--all", "--check"]).run(),
    },
    Step {
        name: "lint",
        what: "cargo clippy, warnings are errors",
        run: |tree| tree.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run(),
    },
    Step {
        name: "build",
        what: "every binary, test and example",
        run: |tree| tree.cargo(&["build", "--workspace", "--all-targets"]).run(),
    },
    Step { name: "test", what: "every test, a program for each core", run: suite::run },
    Step { name: "tidy", what: "the rules of the house", run: |_| tidy::run() },
    Step { name: "deny", what: "licences, sources and dependency walls", run: deny },
    Step { name: "openapi", what: "the checked-in API description is the code's", run: openapi },
    Step { name: "alerts", what: "each alert fires when it should, and not otherwise", run: alerts::check },
    Step { name: "package", what: "the Debian packages hold what they should", run: package::check },
    Step {
        name: "assurance",
        what: "the promises, at the size that fits here",
        run: |tree| {
            figures::assurance(tree, &figures::Options { size: Size::Quick, ..figures::Options::default() })
        },
    },
];

/// The names of the steps, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

/// Runs the steps, or those of `only`; stops at the first failure unless `keep_going`.
///
/// # Errors
/// What the first failing step said, or how many failed.
pub fn run(only: &[String], keep_going: bool) -> Result<(), Stop> {
    let tree = Tree::find()?;
    let mut results: Vec<(&str, Duration, Result<(), Stop>)> = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)) {
        talk::heading(&format!("{}: {}", step.name, step.what));
        let started = Instant::now();
        let result = (step.run)(&tree);
        if let Err(stop) = &result {
            talk::line(&format!("error: {stop}"));
        }
        let failed = result.is_err();
        results.push((step.name, started.elapsed(), result));
        if failed && !keep_going {
            break;
        }
    }
    summary(results)
}

fn summary(results: Vec<(&str, Duration, Result<(), Stop>)>) -> Result<(), Stop> {
    talk::heading("summary");
    for (name, time, result) in &results {
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        talk::line(&format!("{name:<10} {word}  {:>9}", talk::span(*time)));
    }
    let total: Duration = results.iter().map(|(_, time, _)| *time).sum();
    talk::line(&format!("{:<10}         {:>9}", "total", talk::span(total)));
    let mut failures: Vec<(&str, Stop)> =
        results.into_iter().filter_map(|(name, _, result)| result.err().map(|stop| (name, stop))).collect();
    match failures.len() {
        0 => Ok(()),
        // The one failure keeps its kind, so that the exit code can ask for an installation.
        1 => failures.pop().map_or(Ok(()), |(_, stop)| Err(stop)),
        count => {
            let names: Vec<&str> = failures.iter().map(|(name, _)| *name).collect();
            Err(Stop::Unmet(format!("{count} steps failed: {}", names.join(", "))))
        }
    }
}

/// Advisories are left out: their database is fetched from the network, and a test run needs none.
fn deny(tree: &Tree) -> Result<(), Stop> {
    let binary = setup::tool::DENY.binary(tree).ok_or_else(|| {
        Stop::Missing("cargo-deny is not installed; run this first: cargo xtask setup".into())
    })?;
    Cmd::new(binary)
        .args(["--workspace", "--all-features", "--offline", "--log-level", "error", "check"])
        .args(["bans", "licenses", "sources"])
        .dir(&tree.root)
        .run()
}

fn openapi(tree: &Tree) -> Result<(), Stop> {
    let path = tree.root.join(OPENAPI);
    let kept = fs::read_to_string(&path).map_err(Stop::file(&path))?;
    let told = Cmd::new(tree.binary(Profile::Dev, "chanceryd")).arg("openapi").output()?;
    if kept == told {
        return Ok(());
    }
    let line = kept.lines().zip(told.lines()).take_while(|(a, b)| a == b).count() + 1;
    Err(Stop::Unmet(format!(
        "{OPENAPI} is not what the code says, from line {line} on; write it again:\n\n    \
         cargo run --bin chanceryd -- openapi > {OPENAPI}\n"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_keeps_its_kind_and_several_are_counted() {
        let failed = || Err(Stop::Missing("a".into()));
        let time = Duration::from_millis(1);
        assert!(summary(vec![("a", time, Ok(()))]).is_ok());
        assert!(matches!(summary(vec![("a", time, Ok(())), ("b", time, failed())]), Err(Stop::Missing(_))));
        let two = summary(vec![("a", time, failed()), ("b", time, failed())]).unwrap_err();
        assert_eq!(two.to_string(), "2 steps failed: a, b");
    }
}
