//! `chancery policy`: bundles are checked, tested and simulated here with the code that decides in the appliance; a
//! bundle that fails its own tests is not even sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery_core::{ClientId, Payload, Tenant, UnixMillis, WalletId};
use chancery_intent::{Account, Address, ethereum, understand};
use chancery_policy::{
    Bundle, Evaluation, Met, Outcome, PolicyError, Question, Source, SupposedSpending, Tested,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

mod diff;
mod endorse;
mod prove;
mod replay;

pub use endorse::signatures;
pub use replay::row as replayed;

use super::request::{show_intent, time_cell};
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::cell;
use crate::payload::PayloadArgs;
use crate::{Error, Exit, Output, file, when};

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
    /// Ask a bundle what it would decide, here and without the server
    Simulate(Box<Simulate>),
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
    #[command(
        after_help = "Examples:\n  chancery policy apply policies/treasury --signature ann.note --signature bob.note"
    )]
    Apply {
        /// The bundle's folder
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// A signed note over the bundle, as `chancery policy sign` makes it; give it again for more
        #[arg(long, value_name = "FILE")]
        signature: Vec<PathBuf>,
    },
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

/// `chancery policy simulate`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes are those of the decision: 0 allowed, 3 pending, 4 denied.\n\nExamples:\n  \
    chancery policy simulate policies/treasury --request request.json --client-name payments --chain-id 1\n  \
    chancery policy simulate policies/treasury --wallet treasury --client-name payments --chain-id 1 \
    --transaction @unsigned.hex --spent daily=500 --at 2026-11-01T12:00:00Z"
)]
pub struct Simulate {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Who asks
    #[arg(long, value_name = "NAME")]
    client_name: ClientId,
    /// The tenant of client and wallet
    #[arg(long, default_value_t = Tenant::default())]
    tenant: Tenant,
    /// The address of the wallet's key
    #[arg(long, value_name = "ADDRESS", default_value_t = Address::ZERO)]
    account: Address,
    /// A chain the wallet may sign for; give it again for more
    #[arg(long, value_name = "N")]
    chain_id: Vec<u64>,
    /// What a limit has used up already, in its own unit; give it again for more
    #[arg(long, value_name = "LIMIT=N", value_parser = spent)]
    spent: Vec<(String, i64)>,
    /// Suppose that the client signed the request itself
    #[arg(long)]
    request_signed: bool,
    /// The time of the decision: RFC 3339, milliseconds since 1970, or relative such as `-24h`
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true, value_parser = when::parse)]
    at: UnixMillis,
}

/// Wallet and payload, from a request's file or from flags.
#[derive(Args, Debug)]
struct Asked {
    /// The body of a sign request: `{"wallet": ..., "payload": {...}}`; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wallet", "PayloadArgs"], required_unless_present = "wallet")]
    request: Option<PathBuf>,
    /// The wallet
    #[arg(long, requires = "PayloadArgs")]
    wallet: Option<WalletId>,
    #[command(flatten)]
    payload: Option<PayloadArgs>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SignBody {
    wallet: WalletId,
    payload: Payload,
}

impl Asked {
    fn read(&self) -> Result<SignBody, Error> {
        match (&self.request, &self.wallet, &self.payload) {
            (Some(path), ..) => serde_json::from_str(&file::read_text_or_stdin(path)?)
                .map_err(|error| Error::content(path, format!("is not a sign request: {error}"))),
            (None, Some(wallet), Some(payload)) => {
                Ok(SignBody { wallet: wallet.clone(), payload: payload.read()? })
            }
            _ => Err(Error::Usage {
                detail: "no request".to_owned(),
                hint: "give `--request FILE`, or `--wallet` and a payload",
            }),
        }
    }
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
            Self::Apply { directory, signature } => apply(directory, signature, connection, output),
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
                "{}:{}: `{}` expected {}{}, the bundle says {} ({})",
                directory.join(&result.file).display(),
                result.line,
                result.name,
                result.expected,
                result
                    .expected_rules
                    .as_ref()
                    .map(|rules| format!(" ({})", rules.join(", ")))
                    .unwrap_or_default(),
                result.evaluation.outcome,
                names(&result.evaluation),
            ))?;
            for fault in &result.evaluation.errors {
                output.line(&format!("    {}: {}", fault.rule, fault.message))?;
            }
        }
        output.say(&format!("{} of {} tests pass", results.len() - failed, results.len()));
    }
    if failed == 0 {
        Ok(Exit::Ok)
    } else {
        Err(Error::Failed(format!("{failed} of the bundle's tests fail")))
    }
}

fn apply(
    directory: &Path,
    signatures: &[PathBuf],
    connection: &Connection,
    output: &Output,
) -> Result<Exit, Error> {
    let tested = Tested::of(compile(directory, output)?).map_err(|error| Error::Failed(error.to_string()))?;
    let bundle = tested.bundle();
    let api = Api::open(connection, output)?;
    let notes = signatures.iter().map(|path| file::read_text(path)).collect::<Result<Vec<_>, _>>()?;
    let files = &bundle.source().files;
    let body = if notes.is_empty() {
        json!({ "files": files })
    } else {
        json!({ "files": files, "signatures": notes })
    };
    let answer = api.call(&Call::put(&["policy"], body))?;
    let document = answer.json()?;
    if answer.text(&document, "/bundle")? != bundle.hash() {
        return Err(answer.unexpected(&format!("names another bundle than the one sent, {}", bundle.hash())));
    }
    if output.is_json() {
        output.document(&document)?;
    } else {
        output.say(&format!("bundle `{}` is in force", bundle.name()));
        output.line(bundle.hash())?;
    }
    Ok(Exit::Ok)
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

impl Simulate {
    fn run(&self, output: &Output) -> Result<Exit, Error> {
        let bundle = compile(&self.directory, output)?;
        let asked = self.asked.read()?;
        let spent: BTreeMap<String, i64> = self.spent.iter().cloned().collect();
        if let Some(unknown) = spent.keys().find(|name| bundle.limits().all(|limit| limit.name != **name)) {
            return Err(Error::Usage {
                detail: format!("the bundle declares no limit `{unknown}`"),
                hint: "`--spent` takes the name of a limit in `bundle.toml`",
            });
        }
        let account =
            Account::Ethereum(ethereum::Account { address: self.account, chain_ids: &self.chain_id });
        let intent = understand(&asked.payload, &account, bundle.contracts()).map_err(|error| {
            Error::Failed(format!("the payload is refused before policy: {error} [{}]", error.code()))
        })?;
        let explanation = bundle.explain(
            &Question {
                tenant: &self.tenant,
                client: &self.client_name,
                wallet: &asked.wallet,
                description: intent.description(),
                now: self.at,
                met: &Met { request_signed: self.request_signed, ..Met::default() },
            },
            &SupposedSpending(spent),
        );
        if output.is_json() {
            output.document(&json!({
                "intent": intent.description(),
                "signing_digest": hex::encode(intent.signing_digest()),
                "decision": explanation.evaluation,
                "explanation": explanation.effects,
            }))?;
        } else {
            output.line(explanation.to_string().trim_end())?;
            show_intent(&json!(intent.description()), output)?;
        }
        Ok(match explanation.evaluation.outcome {
            Outcome::Allowed => Exit::Ok,
            Outcome::Pending => Exit::Pending,
            Outcome::Denied => Exit::Denied,
        })
    }
}

fn names(evaluation: &Evaluation) -> String {
    evaluation.rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(", ")
}

/// `daily=500`.
fn spent(text: &str) -> Result<(String, i64), String> {
    let wrong = || "the name of a limit, `=`, and a whole number".to_owned();
    let (name, used) = text.split_once('=').ok_or_else(wrong)?;
    let used: i64 = used.parse().map_err(|_| wrong())?;
    if name.is_empty() || used < 0 { Err(wrong()) } else { Ok((name.to_owned(), used)) }
}
