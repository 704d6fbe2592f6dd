//! Figures: the promises of this appliance and its speeds, each shown by a child process that prints rows.
//! A producer that is missing, crashes or prints nothing is a broken promise, never a skipped one.

mod producers;
pub mod row;
mod table;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use producers::{Producer, Program};
use row::{Bench, Promise};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::Cmd;
use crate::tree::Profile;
use crate::{Stop, Tree, talk};

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// What fits a normal test run.
    Quick,
    /// What ASSURANCE asks of a CI.
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
    let rows: Vec<Promise> = produce(tree, Profile::Dev, producers::ASSURANCE, options, &Promise::unshown)?;
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
    if let Ok(count) = std::thread::available_parallelism() {
        talk::line(&format!("bench: {count} cores"));
    }
    let rows: Vec<Bench> = produce(tree, Profile::Release, producers::BENCH, options, &Bench::unshown)?;
    print(&rows, options.json, table::benches);
    Ok(())
}

fn print<R: Serialize>(rows: &[R], json: bool, table: fn(&[R]) -> String) {
    match serde_json::to_string_pretty(rows) {
        Ok(text) if json => talk::data(&text),
        _ => talk::data(&table(rows)),
    }
}

fn produce<R: DeserializeOwned>(
    tree: &Tree,
    profile: Profile,
    all: &[Producer],
    options: &Options,
    unshown: &dyn Fn(&Producer, String) -> R,
) -> Result<Vec<R>, Stop> {
    for name in &options.only {
        if !all.iter().any(|producer| producer.name == name) {
            let names: Vec<&str> = all.iter().map(|producer| producer.name).collect();
            return Err(Stop::Unmet(format!("no producer `{name}`; there are: {}", names.join(", "))));
        }
    }
    tree.build(profile)?;
    let mut rows = Vec::new();
    for producer in all {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == producer.name) {
            continue;
        }
        talk::heading(&format!("{}: {}", producer.name, producer.shows));
        let command = command(tree, profile, producer, options);
        match rows_of(&command) {
            Ok(more) if more.is_empty() => rows.push(unshown(producer, "printed no row".into())),
            Ok(more) => rows.extend(more),
            Err(stop) => {
                talk::line(&format!("error: {stop}"));
                rows.push(unshown(producer, stop.to_string()));
            }
        }
    }
    Ok(rows)
}

fn command(tree: &Tree, profile: Profile, producer: &Producer, options: &Options) -> Cmd {
    let command = match producer.program {
        Program::Binary(name) => Cmd::new(tree.binary(profile, name)),
        Program::Example(name) => Cmd::new(tree.example(profile, name)),
    };
    let mut command = command.args(producer.args);
    if options.size == Size::Quick {
        command = command.arg("--quick");
    }
    if let Some(runs) = options.runs {
        command = command.arg("--runs").arg(runs.to_string());
    }
    command
}

/// Runs a producer: its stdout is rows, one JSON object a line; its stderr is talk and passes through.
fn rows_of<R: DeserializeOwned>(command: &Cmd) -> Result<Vec<R>, Stop> {
    let mut child =
        command.command().stdout(Stdio::piped()).spawn().map_err(|source| command.unstarted(source))?;
    let mut rows = Vec::new();
    let mut wrong = None;
    if let Some(stdout) = child.stdout.take() {
        for line in
            BufReader::new(stdout).lines().map_while(Result::ok).filter(|line| !line.trim().is_empty())
        {
            match serde_json::from_str(&line) {
                Ok(row) => rows.push(row),
                Err(error) => wrong = Some(Stop::answer("not a row", format!("{error}: {line}"))),
            }
        }
    }
    let status = child.wait().map_err(|source| command.unstarted(source))?;
    if !status.success() {
        return Err(Stop::Failed { command: command.text(), status });
    }
    wrong.map_or(Ok(rows), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str =
        r#"{"promise":"a","test":"t","runs":1,"failures":0,"figure":"f","goal":"g","met":true}"#;

    fn shell(script: &str) -> Cmd {
        Cmd::new("sh").args(["-c", script])
    }

    #[test]
    fn rows_are_read_from_stdout() {
        let rows: Vec<Promise> =
            rows_of(&shell(&format!("echo '{ROW}'; echo talk >&2; echo '{ROW}'"))).unwrap();
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_producer_that_crashes_or_babbles_is_an_error() {
        assert!(
            rows_of::<Promise>(&shell(&format!("echo '{ROW}'; exit 3"))).is_err(),
            "a crash after a good row"
        );
        assert!(rows_of::<Promise>(&shell("echo hello")).is_err(), "not a row");
        assert!(rows_of::<Promise>(&shell(r#"echo '{"promise":"a"}'"#)).is_err(), "half a row");
        assert!(rows_of::<Promise>(&Cmd::new("no-such-program-here")).is_err());
    }

    #[test]
    fn an_unshown_promise_is_not_met() {
        for producer in producers::ASSURANCE {
            assert!(!Promise::unshown(producer, "crashed".into()).met);
        }
    }
}
