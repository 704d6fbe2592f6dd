//! Assurance 15: cargo-mutants changes the code in one place at a time, in a copy of the tree, and runs the tests that should
//! notice. What passes them all is a survivor: code that could be wrong without anybody seeing it.
//! Trusts cargo-mutants' list of changes: what it never changes (a lone statement, a constructor) is not tried here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Size;
use super::read::Said;
use super::row::Promise;
use crate::run::Cmd;
use crate::setup::{solver, tool};
use crate::{Stop, Tree, talk};

/// Mutants of each place at the quick size.
const QUICK: usize = 10;

/// Code whose every change should be noticed.
struct Place {
    name: &'static str,
    package: &'static str,
    files: &'static str,
    /// Tests that should notice, those that find most in the shortest time first: what one lets pass goes to the next.
    tests: &'static [Tests],
}

/// Tests as cargo chooses them.
struct Tests {
    packages: &'static [&'static str],
    targets: &'static [&'static str],
}

const PLACES: &[Place] = &[
    Place {
        name: "walk",
        package: "chancery-enclave",
        files: "enclave/src/walk/**",
        tests: &[
            Tests { packages: &["chancery-enclave"], targets: &["--lib"] },
            Tests {
                packages: &["chancery-sim", "chancery-server"],
                targets: &["--test=replay", "--test=api", "--test=bitcoin"],
            },
        ],
    },
    Place {
        name: "audit",
        package: "chancery-audit",
        files: "audit/src/**",
        tests: &[
            Tests { packages: &["chancery-audit"], targets: &["--lib", "--test=merkle", "--test=log"] },
            Tests { packages: &["chancery-audit"], targets: &["--tests"] },
        ],
    },
    Place {
        name: "policy",
        package: "chancery-policy",
        files: "policy/src/**",
        tests: &[
            Tests {
                packages: &["chancery-policy"],
                targets: &["--lib", "--test=findings", "--test=decisions"],
            },
            Tests { packages: &["chancery-policy"], targets: &["--tests"] },
            Tests { packages: &["chancery-prove"], targets: &["--tests"] },
        ],
    },
];

/// What became of one mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Fate {
    /// A test failed.
    CaughtMutant,
    /// It does not compile.
    Unviable,
    /// Tests did not come to an end.
    Timeout,
    /// Every test passed.
    MissedMutant,
}

/// What cargo-mutants writes of a run.
#[derive(Deserialize)]
struct Written {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: serde_json::Value,
    phase_results: Vec<Phase>,
}

#[derive(Deserialize)]
enum Scenario {
    Baseline,
    Mutant(Mutant),
}

#[derive(Deserialize)]
struct Mutant {
    name: String,
}

#[derive(Deserialize)]
struct Phase {
    duration: f64,
}

/// The mutants of a place and what became of them.
#[derive(Default)]
struct Tried {
    all: usize,
    fates: BTreeMap<String, Fate>,
    seconds: f64,
}

impl Tried {
    fn count(&self, fate: Fate) -> u64 {
        self.fates.values().filter(|each| **each == fate).count() as u64
    }

    fn survivors(&self) -> Vec<&str> {
        let missed = self.fates.iter().filter(|(_, fate)| **fate == Fate::MissedMutant);
        missed.map(|(name, _)| name.as_str()).collect()
    }

    /// Takes in a run: what survived before met other tests now. Others that cargo-mutants 27.1 tries besides, whatever it is
    /// asked for (a field left out of a struct), have their answer or were not chosen.
    fn add(&mut self, outcomes: &str) -> Result<(), String> {
        let first = self.fates.is_empty();
        let written: Written =
            serde_json::from_str(outcomes).map_err(|error| format!("not outcomes: {error}"))?;
        for Outcome { scenario, summary, phase_results } in written.outcomes {
            let Scenario::Mutant(Mutant { name }) = scenario else { continue };
            let fate = Fate::deserialize(&summary).map_err(|error| format!("`{name}`: {error}"))?;
            if first || self.fates.get(&name) == Some(&Fate::MissedMutant) {
                self.fates.insert(name, fate);
            }
            self.seconds += phase_results.iter().map(|phase| phase.duration).sum::<f64>();
        }
        Ok(())
    }

    fn row(&self, place: &str) -> Promise {
        let survivors = self.survivors();
        let tried = self.fates.len();
        let mut figure = format!(
            "{tried} of {} mutants: {} caught, {} not compiled, {} without end, {} survived; {:.1} s each",
            self.all,
            self.count(Fate::CaughtMutant),
            self.count(Fate::Unviable),
            self.count(Fate::Timeout),
            survivors.len(),
            self.seconds / tried.max(1) as f64,
        );
        for name in &survivors {
            figure.push_str("; ");
            figure.push_str(name);
        }
        Promise {
            promise: format!("tests notice a change of the code: {place}"),
            test: format!("mutants {place}"),
            runs: tried as u64,
            failures: survivors.len() as u64,
            figure,
            goal: "no survivor".into(),
            met: tried > 0 && survivors.is_empty(),
        }
    }
}

/// Tries the mutants of each place, `runs` of them spread over it or all, and says a row for each.
///
/// # Errors
/// [`Stop`] when a tool is missing, the unchanged tree fails its tests, or a run does not come to its end.
pub fn said(tree: &Tree, size: Size, runs: Option<u64>) -> Result<Said, Stop> {
    let program = tool::MUTANTS.ensure(tree)?;
    solver::ensure(tree)?;
    let most = match (runs, size) {
        (Some(runs), _) => usize::try_from(runs).unwrap_or(usize::MAX).max(1),
        (None, Size::Quick) => QUICK,
        (None, Size::Full) => usize::MAX,
    };
    let lab = Lab { tree, program: &program, folder: &tree.target.join("mutants") };
    let mut stdout = String::new();
    for place in PLACES {
        let row = lab.place(place, most)?.row(place.name);
        stdout.push_str(&serde_json::to_string(&row).map_err(|error| Stop::answer("a row", error))?);
        stdout.push('\n');
    }
    Ok(Said { stdout, ended_well: true })
}

/// Where mutants are tried.
struct Lab<'a> {
    tree: &'a Tree,
    program: &'a Path,
    folder: &'a Path,
}

impl Lab<'_> {
    fn place(&self, place: &Place, most: usize) -> Result<Tried, Stop> {
        let list = self.mutants(place).args(["--list", "--json"]).output()?;
        let all: Vec<Mutant> =
            serde_json::from_str(&list).map_err(|error| Stop::answer("a list of mutants", error))?;
        let mut tried = Tried { all: all.len(), ..Tried::default() };
        let every = tried.all.div_ceil(most).max(1);
        let mut only = vec!["--sharding=round-robin".to_owned(), format!("--shard=0/{every}")];
        for (turn, tests) in place.tests.iter().enumerate() {
            talk::line(&format!("mutants: {}, tests {}", place.name, tests.targets.join(" ")));
            let outcomes = self.run(place, tests, &only, turn)?;
            tried.add(&outcomes).map_err(|error| Stop::answer("outcomes of mutants", error))?;
            only = tried.survivors().iter().map(|name| format!("--re=^{}$", literally(name))).collect();
            if only.is_empty() {
                break;
            }
        }
        Ok(tried)
    }

    fn mutants(&self, place: &Place) -> Cmd {
        Cmd::new(self.program)
            .args(["mutants", "--colors=never", "--package", place.package, "--file", place.files])
            .dir(&self.tree.root)
    }

    /// One run, to its outcomes.
    fn run(&self, place: &Place, tests: &Tests, only: &[String], turn: usize) -> Result<String, Stop> {
        let folder = self.folder.join(format!("{}-{turn}", place.name));
        fs::create_dir_all(&folder).map_err(Stop::file(&folder))?;
        let mut command = self.mutants(place).args(only);
        for package in tests.packages {
            command = command.args(["--test-package", package]);
        }
        for target in tests.targets {
            command = command.arg(format!("--cargo-arg={target}"));
        }
        if let Some(solver) = solver::binary(self.tree) {
            command = command.env(solver::VARIABLE, solver);
        }
        let run = command
            .arg("--output")
            .arg(&folder)
            // Kept from run to run, and apart from ours: what was built of a mutant must never pass for the tree.
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .run();
        match run {
            // Survivors, or tests without end: the outcomes tell.
            Err(Stop::Failed { status, .. }) if matches!(status.code(), Some(2 | 3)) => {}
            other => other?,
        }
        let outcomes = folder.join("mutants.out/outcomes.json");
        fs::read_to_string(&outcomes).map_err(Stop::file(&outcomes))
    }
}

/// A regular expression for this text alone. What means nothing in one stays bare: `\<` would not be one.
fn literally(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, letter| {
        if r"\.+*?()|[]{}^$".contains(letter) {
            all.push('\\');
        }
        all.push(letter);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: &str =
        r#"{"scenario": "Baseline", "summary": "Success", "phase_results": [{"duration": 60.0}]}"#;

    fn outcomes(mutants: &[(&str, &str)]) -> String {
        let mutants = mutants.iter().map(|(name, fate)| {
            format!(
                r#", {{"scenario": {{"Mutant": {{"name": "{name}", "genre": "FnValue"}}}}, "summary": "{fate}",
                    "phase_results": [{{"duration": 1.0}}, {{"duration": 0.5}}]}}"#
            )
        });
        format!(r#"{{"outcomes": [{BASELINE}{}]}}"#, mutants.collect::<String>())
    }

    #[test]
    fn a_mutant_that_no_test_notices_breaks_the_promise_and_is_named() {
        let mut tried = Tried { all: 9, ..Tried::default() };
        assert!(!tried.row("walk").met, "nothing was tried");
        let first = [("a", "CaughtMutant"), ("b", "MissedMutant"), ("c", "Unviable"), ("d", "MissedMutant")];
        tried.add(&outcomes(&first)).unwrap();
        let second = [("a", "MissedMutant"), ("b", "Timeout"), ("d", "MissedMutant"), ("e", "MissedMutant")];
        tried.add(&outcomes(&second)).unwrap();
        let row = tried.row("walk");
        assert_eq!((row.met, row.runs, row.failures), (false, 4, 1));
        assert_eq!(
            row.figure,
            "4 of 9 mutants: 1 caught, 1 not compiled, 1 without end, 1 survived; 3.0 s each; d"
        );
        tried.add(&outcomes(&[("d", "CaughtMutant")])).unwrap();
        assert!(tried.row("walk").met);
    }

    #[test]
    fn what_is_no_outcome_is_an_error() {
        for bad in ["", "{}", &outcomes(&[("a", "Failure")])] {
            assert!(Tried::default().add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_asked_for_literally() {
        let name =
            "audit/src/tile.rs:73:70: replace & with | in <impl Nodes for Edge>::node -> Result<u64, ()>";
        assert_eq!(
            literally(name),
            r"audit/src/tile\.rs:73:70: replace & with \| in <impl Nodes for Edge>::node -> Result<u64, \(\)>"
        );
    }
}
