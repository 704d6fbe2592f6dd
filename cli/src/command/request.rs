//! `chancery request`: requests that were made, and how they stand.

use chancery_core::{RequestId, UnixMillis};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::sign::missing;
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::{cell, one_line};
use crate::{Error, Exit, Output, when};

/// How a request stands; for `audit`, its outcome.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// Allowed and recorded; the signature is being made.
    Permitted,
    /// Waits for its obligations.
    Pending,
    /// Signed and handed out.
    Released,
    /// Refused by policy.
    Denied,
    /// Waited too long.
    Expired,
    /// Allowed, but not signed.
    Failed,
}

impl State {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Pending => "pending",
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

/// `chancery request`.
#[derive(Subcommand, Debug)]
pub enum Request {
    /// List requests, the newest first
    #[command(
        after_help = "Examples:\n  chancery request list --state pending\n  chancery request list --limit 10"
    )]
    List {
        /// Only those that stand so
        #[arg(long)]
        state: Option<State>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show one request: how it stands, what it would do, what it still needs
    #[command(after_help = "Examples:\n  chancery request show 019a0000-0000-7000-8000-000000000000")]
    Show {
        /// The request
        id: RequestId,
    },
}

impl Request {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        match self {
            Self::List { state, limit } => {
                let state = state.map(|state| state.as_str().to_owned());
                let rows = api.pages("requests", &["requests"], &[("state", state)], *limit)?;
                if output.is_json() {
                    output.document(&json!({ "requests": rows }))?;
                } else {
                    let rows: Vec<_> = rows.iter().map(row).collect();
                    output.table(["REQUEST", "TIME", "CLIENT", "WALLET", "STATE", "RULES"], &rows)?;
                }
            }
            Self::Show { id } => {
                let answer = api.call(&Call::get(&["requests", &id.to_string()]))?;
                let request = answer.json()?;
                answer.text(&request, "/state")?;
                if output.is_json() {
                    output.document(&request)?;
                } else {
                    show(&request, output)?;
                }
            }
        }
        Ok(Exit::Ok)
    }
}

/// A time in milliseconds as people read it.
pub fn time_cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer).and_then(Value::as_i64) {
        Some(ms) => when::show(UnixMillis(ms)),
        None => cell(document, pointer),
    }
}

fn row(request: &Value) -> [String; 6] {
    [
        cell(request, "/request_id"),
        time_cell(request, "/time_ms"),
        cell(request, "/client"),
        cell(request, "/wallet"),
        cell(request, "/state"),
        cell(request, "/rules"),
    ]
}

fn show(request: &Value, output: &Output) -> Result<(), Error> {
    for (name, pointer) in [
        ("request", "/request_id"),
        ("state", "/state"),
        ("client", "/client"),
        ("wallet", "/wallet"),
        ("rules", "/rules"),
        ("bundle", "/bundle"),
        ("signed", "/signed_transaction"),
        ("bytes", "/signature/bytes"),
        ("psbt", "/signed_psbt"),
        ("proof", "/message_signature"),
    ] {
        if request.pointer(pointer).is_some() {
            output.line(&format!("{name:<8}  {}", cell(request, pointer)))?;
        }
    }
    for item in missing(request.get("missing")) {
        output.line(&format!("missing   {item}"))?;
    }
    for (name, pointer) in [("time", "/time_ms"), ("expires", "/expires_ms")] {
        if request.pointer(pointer).is_some() {
            output.line(&format!("{name:<8}  {}", time_cell(request, pointer)))?;
        }
    }
    match request.get("intent") {
        Some(intent) => show_intent(intent, output),
        None => Ok(()),
    }
}

/// What a payload would do, an effect a line.
///
/// # Errors
/// As [`Output::line`].
pub fn show_intent(intent: &Value, output: &Output) -> Result<(), Error> {
    output.line(&format!("account   {} on {}", cell(intent, "/account"), cell(intent, "/chain")))?;
    for effect in intent.get("effects").and_then(Value::as_array).into_iter().flatten() {
        let parts: Vec<String> = [
            ("", "/kind"),
            ("amount ", "/amount"),
            ("of ", "/asset"),
            ("to ", "/destination"),
            ("from ", "/owner"),
            ("by ", "/contract"),
            ("calling ", "/method/signature"),
        ]
        .into_iter()
        .filter_map(|(word, pointer)| Some(format!("{word}{}", one_line(effect.pointer(pointer)?))))
        .collect();
        let unlimited = effect.get("unlimited").and_then(Value::as_bool).unwrap_or(false);
        output.line(&format!(
            "effect    {}{}",
            parts.join(" "),
            if unlimited { " UNLIMITED" } else { "" }
        ))?;
    }
    if intent.get("fee").is_some() {
        output.line(&format!(
            "fee       at most {} of {}",
            cell(intent, "/fee/maximum"),
            cell(intent, "/fee/asset")
        ))?;
    }
    Ok(())
}
