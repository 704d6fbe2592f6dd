//! `chancery policy prove`: goals for every request there could be, and the questions that need no goal: is anything
//! allowed that was not, does every rule apply to something, can any fail.

use chancery_core::causes;
use std::path::PathBuf;
use std::time::Duration;

use chancery_policy::Bundle;
use chancery_prove::{Options, ProveError, Prover, Report, Solver, Verdict};
use clap::Args;

use super::{compile, in_force};
use crate::connection::Connection;
use crate::{Error, Exit, Output, when};

/// `chancery policy prove`.
#[derive(Args, Debug)]
#[command(
    after_help = "What is not proved counts as a failure, whether an example was found or the solver ran out of time. An \
    example is a test case: paste it into `tests/` and it fails until the bundle is mended; where the mended \
    one is to wait for somebody, let it expect `pending`.\n\n\
    Exit codes: 0 when all is proved, 1 when something is not, 7 without a solver.\n\nExamples:\n  \
    chancery policy prove policies/treasury --rules\n  chancery policy prove policies/draft --against policies/treasury\n  \
    chancery policy prove policies/draft --against-in-force --solver /usr/bin/cvc5 --json"
)]
pub struct Prove {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// An old bundle's folder: is anything allowed that it does not allow?
    #[arg(long, value_name = "DIR", conflicts_with = "against_in_force")]
    against: Option<PathBuf>,
    /// The same against the bundle in force
    #[arg(long)]
    against_in_force: bool,
    /// Also ask of each rule whether it applies to anything, and whether it can fail
    #[arg(long)]
    rules: bool,
    /// The solver, a `cvc5`; without it `CVC5`, or the one in PATH
    #[arg(long, value_name = "FILE")]
    solver: Option<PathBuf>,
    /// How long the solver may take over one question
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = when::parse_span)]
    limit: Duration,
    /// How long everything may take together
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = when::parse_span)]
    total: Duration,
}

impl Prove {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let bundle = compile(&self.directory, output)?;
        let old = match &self.against {
            Some(directory) => Some(compile(directory, output)?),
            None if self.against_in_force => Some(in_force(connection, output)?),
            None => None,
        };
        let solver = match &self.solver {
            Some(path) => Solver::at(path),
            None => Solver::find(),
        };
        let prover = Prover::new(
            solver.map_err(refuse)?,
            Options { limit: self.limit, total: self.total, rules: self.rules },
        );
        report(&prover, &bundle, old.as_ref(), output)
    }
}

fn report(prover: &Prover, bundle: &Bundle, old: Option<&Bundle>, output: &Output) -> Result<Exit, Error> {
    let (told, talk) = std::sync::mpsc::channel();
    let report = std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            prover.prove(bundle, old, &|done, total, proof| {
                // A listener that went away is told nothing.
                let _ = told.send((done, total, proof.subject.clone()));
            })
        });
        for (done, total, subject) in talk {
            output.say(&format!("{done} of {total}: {subject}"));
        }
        work.join().unwrap_or_else(|_| Err(ProveError::Run(std::io::Error::other("the prover panicked"))))
    });
    let report: Report = report.map_err(refuse)?;
    if output.is_json() {
        output.document(&report)?;
    } else {
        for proof in &report.proofs {
            for line in proof.to_string().lines() {
                output.line(line)?;
            }
        }
    }
    let failures = report.failures().count();
    if failures == 0 {
        output.say(&format!("{} claims hold for every request", report.proofs.len()));
        return Ok(Exit::Ok);
    }
    let broken = report.failures().filter(|proof| matches!(proof.verdict, Verdict::Broken { .. })).count();
    Err(Error::Failed(format!(
        "{failures} of {} claims do not stand: {broken} with an example, {} without",
        report.proofs.len(),
        failures - broken
    )))
}

fn refuse(error: ProveError) -> Error {
    let hint = "name a `cvc5` with `--solver` or `CVC5`; `cargo xtask setup` puts one into the target folder"
        .to_owned();
    match error {
        ProveError::NoSolver => {
            Error::Program { program: "cvc5".to_owned(), what: "is not there".to_owned(), hint }
        }
        ProveError::Solver { path, what } => {
            Error::Program { program: path.display().to_string(), what, hint }
        }
        other => Error::Failed(causes(&other)),
    }
}
