//! Figures: the promises of this appliance and its speeds, each shown by a child process.
//! A producer that is missing, crashes or prints nothing is a broken promise, never a skipped one.

mod mutants;
mod producers;
mod read;
mod report;
pub mod row;
mod table;

use std::fs;
use std::process::Stdio;

use producers::{Producer, Program, Runs};
use read::Said;
use row::{Bench, Promise, Unshown};
use serde::Serialize;

use crate::run::Cmd;
use crate::tree::{Profile, Test};
use crate::{Stop, Tree, talk};

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// What fits a normal test run.
    Quick,
    /// What is asked of a whole run.
    #[default]
    Full,
}

/// What to produce and how to print it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The size.
    pub size: Size,
    /// Rows as JSON instead of a table.
    pub json: bool,
    /// These producers only; all when empty.
    pub only: Vec<String>,
    /// Overrides the size's count.
    pub runs: Option<u64>,
}

/// Shows the promises.
///
/// # Errors
/// [`Stop::Unmet`] when one is not met.
pub fn assurance(tree: &Tree, options: &Options) -> Result<(), Stop> {
    let rows: Vec<Promise> = produce(tree, Profile::Dev, producers::ASSURANCE, options)?;
    print(&rows, options.json, table::promises);
    let unmet = rows.iter().filter(|row| !row.met).count();
    if unmet > 0 {
        Err(Stop::Unmet(format!("{unmet} of {} promises are not met", rows.len())))
    } else {
        Ok(())
    }
}

/// Measures. A figure below its goal says `met: false` and fails nothing: timing depends on the machine.
///
/// # Errors
/// [`Stop`] when something cannot be built.
pub fn bench(tree: &Tree, options: &Options) -> Result<(), Stop> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    talk::line(&format!("bench: {cores} cores"));
    let rows: Vec<Bench> = produce(tree, Profile::Release, producers::BENCH, options)?;
    print(&rows, options.json, table::benches);
    let path = tree.target.join("bench").join("report.html");
    let about = format!("{cores} cores; every limit measured in the same run, on the same machine.");
    let kept = fs::create_dir_all(tree.target.join("bench"))
        .and_then(|()| fs::write(&path, report::page(&rows, &about)));
    kept.map_err(Stop::file(&path))?;
    talk::line(&format!("bench: plots in {}", path.display()));
    Ok(())
}

fn print<R: Serialize>(rows: &[R], json: bool, table: fn(&[R]) -> String) {
    match serde_json::to_string_pretty(rows) {
        Ok(text) if json => talk::data(&text),
        _ => talk::data(&table(rows)),
    }
}

fn produce<R: Unshown>(
    tree: &Tree,
    profile: Profile,
    all: &[Producer<R>],
    options: &Options,
) -> Result<Vec<R>, Stop> {
    for name in &options.only {
        if !all.iter().any(|producer| producer.name == name) {
            let names: Vec<&str> = all.iter().map(|producer| producer.name).collect();
            return Err(Stop::Unmet(format!("no producer `{name}`; there are: {}", names.join(", "))));
        }
    }
    let (chosen, left): (Vec<&Producer<R>>, Vec<_>) =
        all.iter().partition(|producer| match options.only.as_slice() {
            [] => producer.program != Program::Mutants,
            only => only.iter().any(|name| name == producer.name),
        });
    if options.only.is_empty() {
        for Producer { name, shows, .. } in left {
            talk::line(&format!("not run, it takes hours: {shows} (`--only {name}`)"));
        }
    }
    // Mutants build their own copy of the tree.
    if chosen.iter().any(|producer| producer.program != Program::Mutants) {
        tree.build(profile)?;
    }
    let needs_tests = chosen.iter().any(|producer| matches!(producer.program, Program::Test { .. }));
    let tests = if needs_tests { tree.tests()? } else { Vec::new() };
    let mut rows = Vec::new();
    for producer in chosen {
        talk::heading(&format!("{}: {}", producer.name, producer.shows));
        rows.extend(shown(tree, profile, &tests, producer, options));
    }
    Ok(rows)
}

fn shown<R: Unshown>(
    tree: &Tree,
    profile: Profile,
    tests: &[Test],
    producer: &Producer<R>,
    options: &Options,
) -> Vec<R> {
    let said = said(tree, profile, tests, producer, options);
    let rows = said.map_err(|stop| stop.to_string()).and_then(|said| (producer.read)(&said));
    let why = match rows {
        Ok(rows) if !rows.is_empty() => return rows,
        Ok(_) => "it printed no row".to_owned(),
        Err(why) => why,
    };
    talk::line(&format!("error: {}: {why}", producer.name));
    vec![R::unshown(producer.name, producer.shows, why)]
}

fn said<R>(
    tree: &Tree,
    profile: Profile,
    tests: &[Test],
    producer: &Producer<R>,
    options: &Options,
) -> Result<Said, Stop> {
    let full = options.size == Size::Full;
    let command = match producer.program {
        Program::Binary(name) => Cmd::new(tree.binary(profile, name)),
        Program::Example(name) => Cmd::new(tree.example(profile, name)),
        Program::Test { package, target } => {
            let test = tests.iter().find(|test| test.package == package && test.target == target);
            let test = test.ok_or_else(|| Stop::Unmet(format!("no test `{target}` in {package}")))?;
            // As cargo does: a test runs in the folder of its crate.
            Cmd::new(&test.executable).dir(&test.folder)
        }
        Program::Fuzz => {
            let fuzz =
                Cmd::new(tree.binary(profile, "chancery-fuzz")).arg("--work").arg(tree.target.join("fuzz"));
            if full { fuzz.arg("--engine").arg(tree.instrumented()?) } else { fuzz }
        }
        Program::Mutants => return mutants::said(tree, options.size, options.runs),
    };
    let command = command.args(if full { producer.full } else { producer.quick });
    hear(&match (producer.runs, options.runs) {
        (Runs::Flag, Some(runs)) => command.args(["--runs", &runs.to_string()]),
        (Runs::Variable(name, _), Some(runs)) => command.env(name, runs.to_string()),
        (Runs::Variable(name, runs), None) if full => command.env(name, runs.to_string()),
        _ => command,
    })
}

/// Runs a producer to its end; its stderr is talk and passes through.
fn hear(command: &Cmd) -> Result<Said, Stop> {
    let output = command
        .command()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| command.unstarted(source))?;
    Ok(Said {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        ended_well: output.status.success(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(read: fn(&Said) -> Result<Vec<Promise>, String>, program: &'static str) -> Producer<Promise> {
        let program = Program::Binary(program);
        Producer { name: "n", shows: "s", program, quick: &[], full: &[], runs: Runs::Fixed, read }
    }

    fn unmet(producer: &Producer<Promise>, folder: &str) -> bool {
        let tree = Tree { root: "/".into(), target: folder.into() };
        let rows = shown(&tree, Profile::Dev, &[], producer, &Options::default());
        rows.len() == 1 && !rows[0].met
    }

    #[test]
    fn a_producer_that_is_missing_fails_or_is_silent_is_a_broken_promise() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("debug");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink("/bin/false", bin.join("fails")).unwrap();
        std::os::unix::fs::symlink("/bin/true", bin.join("silent")).unwrap();
        let folder = folder.path().to_str().unwrap();
        for program in ["missing", "fails", "silent"] {
            assert!(unmet(&producer(read::rows, program), folder), "{program}");
        }
    }
}
