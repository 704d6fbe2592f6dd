//! `chancery policy`: bundles are checked, tested and simulated here with the code that decides in the appliance; a
//! bundle that fails its own tests is not even sent.

use std::path::{Path, PathBuf};

use chancery_policy::{Answer, Bundle, PolicyError, Source};
use clap::Subcommand;
use serde_json::{Value, json};

mod apply;
mod diff;
mod endorse;
mod prove;
mod replay;
mod simulate;

pub use endorse::{Signer, signatures};
pub use replay::row as replayed;

use super::request::time_cell;
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery policy`.
#[derive(Subcommand, Debug)]
pub enum Policy {
    /// Compile a bundle and print every finding as `file:line:column: message`
    #[command(after_help = "Examples:\n  chancery policy check policies/treasury")]
    Check {
        /// The bundle's folder
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Run a bundle's own tests
    #[command(after_help = "Examples:\n  chancery policy test policies/treasury\n  \
        chancery policy test policies/treasury --json")]
    Test {
        /// The bundle's folder
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Ask a bundle what it would decide and why, here and without the server
    Simulate(Box<simulate::Simulate>),
    /// Show what changes from one bundle to another: rules, limits, assets, prices, addresses, approvers, contracts
    Diff(diff::Diff),
    /// Prove a bundle's goals for every request there could be, or show a request that breaks one
    Prove(Box<prove::Prove>),
    /// Ask recorded decisions of a draft: what would change (auditor, operator)
    Replay(replay::ReplayCommand),
    /// Make a key that signs bundles; offline
    Keygen(endorse::Keygen),
    /// Sign a bundle; offline
    Sign(endorse::Sign),
    /// Put a bundle in force (operator). Refused here when it does not compile or a test fails
    Apply(apply::Apply),
    /// Show the bundle in force, or one that was, and who signed it; with `--json` also its files
    #[command(
        after_help = "Each signature is verified here over the bundle's hash; whose keys they should be is yours to know.\n\n\
        Examples:\n  chancery policy show\n  chancery policy show --json"
    )]
    Show {
        /// The hash of a bundle that was in force
        #[arg(value_name = "HASH")]
        hash: Option<String>,
    },
    /// Print the Cedar schema that a bundle's policies are checked against
    #[command(after_help = "Examples:\n  chancery policy schema policies/treasury > chancery.cedarschema")]
    Schema {
        /// The bundle's folder: its limits, approver groups and ABIs are in the schema
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

impl Policy {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Check { directory } => {
                let bundle = compile(directory, output)?;
                if output.is_json() {
                    output
                        .document(&json!({ "ok": true, "bundle": bundle.hash(), "rules": bundle.rules() }))?;
                } else {
                    output.say(&format!(
                        "bundle `{}` compiles: {} rules",
                        bundle.name(),
                        bundle.rules().len()
                    ));
                    output.line(bundle.hash())?;
                }
                Ok(Exit::Ok)
            }
            Self::Test { directory } => test(directory, output),
            Self::Simulate(simulate) => simulate.run(output),
            Self::Diff(diff) => diff.run(connection, output),
            Self::Prove(prove) => prove.run(connection, output),
            Self::Replay(replay) => replay.run(connection, output),
            Self::Keygen(keygen) => keygen.run(output),
            Self::Sign(sign) => sign.run(output),
            Self::Apply(apply) => apply.run(connection, output),
            Self::Show { hash } => show(hash.as_deref(), connection, output),
            Self::Schema { directory } => {
                let bundle = compile(directory, output)?;
                if output.is_json() {
                    output.document(&json!({ "schema": bundle.schema() }))?;
                } else {
                    output.bytes(bundle.schema().as_bytes())?;
                }
                Ok(Exit::Ok)
            }
        }
    }
}

fn source(directory: &Path) -> Result<Source, Error> {
    Source::from_directory(directory).map_err(|error| match error {
        PolicyError::Read { path, source } => Error::File { action: "read", path, source },
        PolicyError::Refused { path, rule } => Error::content(&path, rule),
        other => Error::Failed(other.to_string()),
    })
}

/// Compiles a bundle; its findings go to standard output, with the paths as this machine has them.
fn compile(directory: &Path, output: &Output) -> Result<Bundle, Error> {
    let source = source(directory)?;
    let error = match Bundle::compile(&source) {
        Ok(bundle) => return Ok(bundle),
        Err(error) => error,
    };
    if output.is_json() {
        output.document(&json!({ "ok": false, "findings": error.findings, "more": error.more }))?;
    } else {
        for finding in &error.findings {
            let mut placed = finding.clone();
            placed.file = directory.join(&finding.file).display().to_string();
            output.line(&placed.to_string())?;
        }
    }
    let findings = error.findings.len() + error.more;
    Err(Error::Failed(format!("the bundle does not compile: {findings} findings")))
}

/// The bundle in force, compiled here.
fn in_force(connection: &Connection, output: &Output) -> Result<Bundle, Error> {
    let answer = Api::open(connection, output)?.call(&Call::get(&["policy"]))?;
    let document = answer.json()?;
    let source = json!({ "files": document.get("files") });
    let source: Source =
        serde_json::from_value(source).map_err(|_| answer.unexpected("has no bundle's files"))?;
    let bundle = Bundle::compile(&source)
        .map_err(|error| Error::Failed(format!("the bundle in force does not compile here: {error}")))?;
    if answer.text(&document, "/bundle")? != bundle.hash() {
        return Err(answer.unexpected("has files that are not those of its hash"));
    }
    Ok(bundle)
}

fn test(directory: &Path, output: &Output) -> Result<Exit, Error> {
    let bundle = compile(directory, output)?;
    let results = bundle.test();
    let failed = results.iter().filter(|result| !result.passed).count();
    if output.is_json() {
        let document = json!({ "ok": failed == 0, "bundle": bundle.hash(), "passed": results.len() - failed, "tests": results });
        output.document(&document)?;
    } else {
        for result in results.iter().filter(|result| !result.passed) {
            output.line(&format!(
                "{}:{}: `{}` expected {}{}, the bundle says {}",
                directory.join(&result.file).display(),
                result.line,
                result.name,
                result.expected,
                result
                    .expected_rules
                    .as_ref()
                    .map(|rules| format!(" ({})", rules.join(", ")))
                    .unwrap_or_default(),
                result.answer,
            ))?;
            let Answer::Evaluation(said) = &result.answer else { continue };
            for fault in &said.errors {
                output.line(&format!("    {}: {}", fault.rule, fault.message))?;
            }
        }
        output.say(&format!("{} of {} tests pass", results.len() - failed, results.len()));
    }
    if failed == 0 {
        Ok(Exit::Ok)
    } else {
        Err(Error::Failed(format!(
            "{failed} of the bundle's tests fail; `chancery policy simulate DIR --case NAME` shows why one does"
        )))
    }
}

fn show(hash: Option<&str>, connection: &Connection, output: &Output) -> Result<Exit, Error> {
    let api = Api::open(connection, output)?;
    let path: Vec<&str> = ["policy"].into_iter().chain(hash).collect();
    let answer = api.call(&Call::get(&path))?;
    let document = answer.json()?;
    let bundle = answer.text(&document, "/bundle")?;
    if hash.is_some_and(|hash| *hash != bundle) {
        return Err(answer.unexpected("is about another bundle than the one asked for"));
    }
    let signatures = signatures(&api, &document, &bundle)?;
    if output.is_json() {
        output.document(&document)?;
        return Ok(Exit::Ok);
    }
    output.line(&format!("bundle   {}", cell(&document, "/bundle")))?;
    if document.get("name").is_some() {
        output.line(&format!("name     {}", cell(&document, "/name")))?;
    }
    output.line(&format!("applied  {}", time_cell(&document, "/applied_ms")))?;
    for one in &signatures {
        output.line(&format!("signed   {}", one.key))?;
    }
    for file in document.get("files").and_then(Value::as_object).into_iter().flat_map(|files| files.keys()) {
        output.line(&format!("file     {file}"))?;
    }
    Ok(Exit::Ok)
}
