//! `chancery audit`: the record of decisions, read through the API (auditor or operator), and the log under it. Lists
//! and exports are for reading; evidence is what `audit verify` and `receipt verify` find.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use chancery_audit::{Decision, Row, write_csv, write_json_lines};
use chancery_core::{ClientId, RequestId, UnixMillis, WalletId};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::request::{State, show_intent, time_cell};
use super::sign::missing;
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::{cell, escaped, visible};
use crate::{Error, Exit, Output, when};

/// `chancery audit`.
#[derive(Subcommand, Debug)]
pub enum Audit {
    /// List decisions, the newest first
    #[command(after_help = "Examples:\n  chancery audit list --outcome denied --from -24h\n  \
        chancery audit list --wallet treasury --client-id payments --limit 10")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show one decision as it was recorded, with its intent
    #[command(after_help = "Examples:\n  chancery audit show 019a0000-0000-7000-8000-000000000000")]
    Show {
        /// The request
        id: RequestId,
    },
    /// Export decisions, and how they ended, for spreadsheets and other programs
    #[command(
        after_help = "Examples:\n  chancery audit export --format csv --from 2026-10-01T00:00:00Z --out october.csv\n  \
        chancery audit export --format jsonl --outcome denied"
    )]
    Export(Export),
    /// Verify the whole log: every entry, tile, outcome, policy bundle's signatures and the signed root
    #[command(
        after_help = "From the appliance, or with no certificate from any copy of its static files. Every outcome must \
        belong to an earlier decision, every policy bundle be signed by as many officers as the trust file or \
        `--policy-key` says, whose keys of past years belong there too. `--tsa-ca` verifies besides the timestamps beside the log. \
        `--since` shows besides that the log only grew; `--state` remembers what was seen, so that a killed run is gone on with \
        and a later one reads what is new.\n\n\
        Examples:\n  chancery audit verify --dir state/log --trust trust.json\n  \
        chancery audit verify --mirror https://log.example/chancery --trust trust.json --state verified.json\n  \
        chancery audit verify --dir state/log --trust trust.json --tsa-ca tsa.pem\n  \
        chancery audit verify --trust trust.json --since checkpoint --json\n  \
        chancery audit verify --trust trust.json --policy-key ann+1b2c3d4e+AQ... --policy-key bob+... --signatures 2"
    )]
    Verify(super::verify::Verify),
    /// Ask decisions again of the bundle of their time, and say which come out as recorded
    ReEvaluate(Box<super::reevaluate::Reevaluate>),
    /// Print the log's newest signed checkpoint
    #[command(
        after_help = "Keep one: `chancery audit verify --since FILE` shows later that the log only grew.\n\n\
        Examples:\n  chancery audit checkpoint > checkpoint"
    )]
    Checkpoint,
}

/// `chancery audit export`.
#[derive(Args, Debug)]
pub struct Export {
    /// JSON lines, or CSV with a header
    #[arg(long)]
    format: Format,
    #[command(flatten)]
    filter: Filter,
    /// Where to write it; standard output without
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, formulas made harmless.
    Csv,
}

/// Which decisions.
#[derive(Args, Debug)]
pub struct Filter {
    /// Only of this wallet
    #[arg(long)]
    wallet: Option<WalletId>,
    /// Only asked for by this client
    #[arg(long, value_name = "NAME")]
    client_id: Option<ClientId>,
    /// Only those that stand so
    #[arg(long)]
    outcome: Option<State>,
    /// Not before: RFC 3339, milliseconds since 1970, or relative such as `-24h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    from: Option<UnixMillis>,
    /// Before: the same forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    to: Option<UnixMillis>,
}

impl Filter {
    /// As the API takes it.
    pub fn query(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("wallet", self.wallet.as_ref().map(ToString::to_string)),
            ("client", self.client_id.as_ref().map(ToString::to_string)),
            ("outcome", self.outcome.map(|state| state.as_str().to_owned())),
            ("from", self.from.map(|at| at.to_string())),
            ("to", self.to.map(|at| at.to_string())),
        ]
    }
}

impl Audit {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::List { filter, limit } => {
                let api = Api::open(connection, output)?;
                let rows = api.pages("decisions", DECISIONS, &filter.query(), *limit)?;
                if output.is_json() {
                    output.document(&json!({ "decisions": rows }))?;
                } else {
                    let rows: Vec<_> = rows.iter().map(row).collect();
                    output
                        .table(["REQUEST", "TIME", "CLIENT", "WALLET", "DECIDED", "ENDED", "RULES"], &rows)?;
                }
            }
            Self::Show { id } => show(*id, connection, output)?,
            Self::Export(export) => export.run(connection, output)?,
            Self::Verify(verify) => verify.run(connection, output)?,
            Self::ReEvaluate(again) => return again.run(connection, output),
            Self::Checkpoint => {
                let answer = Api::open(connection, output)?.call(&Call::get(&["log", "checkpoint"]))?;
                let note =
                    String::from_utf8(answer.bytes.clone()).map_err(|_| answer.unexpected("is not text"))?;
                if output.is_json() {
                    output.document(&json!({ "checkpoint": note }))?;
                } else {
                    output.bytes(visible(&note).as_bytes())?;
                }
            }
        }
        Ok(Exit::Ok)
    }
}

/// The API's path of decisions.
pub const DECISIONS: &[&str] = &["audit", "decisions"];

fn row(row: &Value) -> [String; 7] {
    [
        cell(row, "/decision/request_id"),
        time_cell(row, "/decision/time_ms"),
        cell(row, "/decision/client"),
        cell(row, "/decision/wallet"),
        cell(row, "/decision/outcome"),
        cell(row, "/end/outcome"),
        cell(row, "/decision/rules"),
    ]
}

fn show(id: RequestId, connection: &Connection, output: &Output) -> Result<(), Error> {
    let api = Api::open(connection, output)?;
    let answer = api.call(&Call::get(&["audit", "decisions", &id.to_string()]))?;
    let row = answer.json()?;
    answer.text(&row, "/decision/outcome")?;
    if output.is_json() {
        return output.document(&row);
    }
    for (name, pointer) in [
        ("request", "/decision/request_id"),
        ("client", "/decision/client"),
        ("wallet", "/decision/wallet"),
        ("payload", "/decision/payload"),
        ("outcome", "/decision/outcome"),
        ("rules", "/decision/rules"),
        ("bundle", "/decision/bundle"),
        ("digest", "/decision/signing_digest"),
        ("leaf", "/leaf"),
        ("ended", "/end/outcome"),
        ("end leaf", "/end_leaf"),
    ] {
        output.line(&format!("{name:<8}  {}", cell(&row, pointer)))?;
    }
    output.line(&format!("time      {}", time_cell(&row, "/decision/time_ms")))?;
    for item in missing(row.pointer("/decision/missing")) {
        output.line(&format!("missing   {item}"))?;
    }
    match row.get("intent") {
        Some(intent) if intent.is_object() => show_intent(intent, output),
        _ => Ok(()),
    }
}

/// A row of the API: what `chancery_audit::Row` writes, and perhaps more.
#[derive(Deserialize)]
struct Recorded {
    leaf: u64,
    decision: Decision,
    #[serde(default)]
    end_leaf: Option<u64>,
    #[serde(default)]
    end: Option<chancery_audit::Outcome>,
}

impl From<Recorded> for Row {
    fn from(row: Recorded) -> Self {
        Self { leaf: row.leaf, decision: row.decision, end_leaf: row.end_leaf, end: row.end }
    }
}

impl Export {
    fn run(&self, connection: &Connection, output: &Output) -> Result<(), Error> {
        let api = Api::open(connection, output)?;
        let mut file = match &self.out {
            Some(path) => Some((path, File::create(path).map_err(Error::file("write", path))?)),
            None => None,
        };
        let mut write = |text: String| match &mut file {
            Some((path, file)) => file.write_all(text.as_bytes()).map_err(Error::file("write", path)),
            None => output.bytes(text.as_bytes()),
        };
        let mut exported = 0;
        // An export without decisions still has its header.
        if self.format == Format::Csv {
            write(self.text(&[])?)?;
        }
        api.each_page("decisions", DECISIONS, &self.filter.query(), usize::MAX, |page| {
            let rows: Vec<Row> = page.iter().map(recorded).collect::<Result<_, _>>()?;
            exported += rows.len();
            let text = self.text(&rows)?;
            write(match self.format {
                Format::Jsonl => text,
                Format::Csv => text.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default(),
            })
        })?;
        if let Some((path, file)) = &file {
            file.sync_all().map_err(Error::file("write", path))?;
        }
        output.say(&format!("{exported} decisions"));
        Ok(())
    }

    /// A page in the form asked for, without characters that act on a terminal.
    fn text(&self, rows: &[Row]) -> Result<String, Error> {
        let mut bytes = Vec::new();
        let written = match self.format {
            Format::Jsonl => write_json_lines(rows, &mut bytes),
            Format::Csv => write_csv(rows, &mut bytes),
        };
        written.map_err(|error| Error::Failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(match self.format {
            Format::Jsonl => escaped(&text),
            Format::Csv => visible(&text),
        })
    }
}

/// A row of the API, read strictly.
pub fn recorded(row: &Value) -> Result<Row, Error> {
    let recorded: Recorded = serde_json::from_value(row.clone()).map_err(|error| Error::Answer {
        call: "GET /v1/audit/decisions".to_owned(),
        what: format!("has a row this program does not understand: {error}"),
    })?;
    Ok(recorded.into())
}
