//! `chancery audit`: the record of decisions, read through the API (auditor or operator), and the log under it.

use chancery_core::{ClientId, RequestId, UnixMillis, WalletId};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::request::{show_intent, time_cell};
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::cell;
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
    /// Print the log's newest signed checkpoint
    #[command(
        after_help = "Keep one: `chancery audit verify --since FILE` shows later that the log only grew.\n\n\
        Examples:\n  chancery audit checkpoint > checkpoint"
    )]
    Checkpoint,
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
    /// Only those that were decided or ended so
    #[arg(long)]
    outcome: Option<Outcome>,
    /// Not before: RFC 3339, milliseconds since 1970, or relative such as `-24h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    from: Option<UnixMillis>,
    /// Before: the same forms
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    to: Option<UnixMillis>,
}

/// What was decided, or how it ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Outcome {
    /// Policy allowed it.
    Allowed,
    /// It waits for its obligations.
    Pending,
    /// Policy denied it.
    Denied,
    /// Its signature was released.
    Released,
    /// It was allowed, but not signed.
    Failed,
    /// It waited too long.
    Expired,
}

impl Filter {
    fn query(&self) -> [(&'static str, Option<String>); 5] {
        let outcome = self.outcome.and_then(|outcome| outcome.to_possible_value());
        [
            ("wallet", self.wallet.as_ref().map(ToString::to_string)),
            ("client", self.client_id.as_ref().map(ToString::to_string)),
            ("outcome", outcome.map(|outcome| outcome.get_name().to_owned())),
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
                        .table(["REQUEST", "TIME", "CLIENT", "WALLET", "OUTCOME", "STATE", "RULES"], &rows)?;
                }
            }
            Self::Show { id } => show(*id, connection, output)?,
            Self::Checkpoint => {
                let answer = Api::open(connection, output)?.call(&Call::get(&["log", "checkpoint"]))?;
                let note =
                    String::from_utf8(answer.bytes.clone()).map_err(|_| answer.unexpected("is not text"))?;
                if output.is_json() {
                    output.document(&json!({ "checkpoint": note }))?;
                } else {
                    output.bytes(crate::output::visible(&note).as_bytes())?;
                }
            }
        }
        Ok(Exit::Ok)
    }
}

const DECISIONS: &[&str] = &["audit", "decisions"];

fn row(decision: &Value) -> [String; 7] {
    [
        cell(decision, "/request_id"),
        time_cell(decision, "/time_ms"),
        cell(decision, "/client"),
        cell(decision, "/wallet"),
        cell(decision, "/outcome"),
        cell(decision, "/state"),
        cell(decision, "/rules"),
    ]
}

fn show(id: RequestId, connection: &Connection, output: &Output) -> Result<(), Error> {
    let api = Api::open(connection, output)?;
    let answer = api.call(&Call::get(&["audit", "decisions", &id.to_string()]))?;
    let decision = answer.json()?;
    answer.text(&decision, "/outcome")?;
    if output.is_json() {
        return output.document(&decision);
    }
    for (name, pointer) in [
        ("request", "/request_id"),
        ("client", "/client"),
        ("wallet", "/wallet"),
        ("payload", "/payload"),
        ("outcome", "/outcome"),
        ("state", "/state"),
        ("rules", "/rules"),
        ("missing", "/missing"),
        ("bundle", "/bundle"),
        ("digest", "/signing_digest"),
        ("leaf", "/leaf"),
    ] {
        output.line(&format!("{name:<8}  {}", cell(&decision, pointer)))?;
    }
    output.line(&format!("time      {}", time_cell(&decision, "/time_ms")))?;
    match decision.get("intent") {
        Some(intent) if intent.is_object() => show_intent(intent, output),
        _ => Ok(()),
    }
}
