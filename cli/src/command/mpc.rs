//! `chancery mpc`: keys that several parties hold, as one of them sees it.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::request::time_cell;
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output, file};

/// `chancery mpc`.
#[derive(Subcommand, Debug)]
pub enum Mpc {
    /// Print what the other parties pin of this one: its number, its node's key and its log's trust file
    #[command(
        after_help = "Hand it to the other parties by a way that they trust; `identity` in their `[[mpc.peer]]` names the file.\n\n\
        Examples:\n  chancery mpc identity --out party-1.json"
    )]
    Identity {
        /// Where to write it; standard output without
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show who answers, and the wallets whose keys are shared
    #[command(after_help = "Examples:\n  chancery mpc status\n  chancery mpc status --json")]
    Status,
    /// See which parties are banned from which keys
    #[command(subcommand)]
    Ban(Ban),
}

/// `chancery mpc ban`.
#[derive(Subcommand, Debug)]
pub enum Ban {
    /// List the bans: who cheated where a part of a share may have leaked, for ever
    #[command(after_help = "Examples:\n  chancery mpc ban list")]
    List,
}

impl Mpc {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let answer = Api::open(connection, output)?.call(&Call::get(&["mpc"]))?;
        let document = answer.json()?;
        match self {
            Self::Identity { out } => identity(&document, out.as_ref(), output)?,
            Self::Status if output.is_json() => output.document(&document)?,
            Self::Status => status(&answer, &document, output)?,
            Self::Ban(Ban::List) => {
                let bans = answer.rows(&document, "bans")?;
                if output.is_json() {
                    output.document(&json!({ "bans": bans }))?;
                } else {
                    let rows: Vec<_> = bans
                        .iter()
                        .map(|row| {
                            let [wallet, party, session] =
                                ["/wallet", "/party", "/session"].map(|at| cell(row, at));
                            [wallet, party, time_cell(row, "/banned_ms"), session]
                        })
                        .collect();
                    output.table(["WALLET", "PARTY", "SINCE", "SESSION"], &rows)?;
                }
            }
        }
        Ok(Exit::Ok)
    }
}

fn identity(document: &Value, out: Option<&PathBuf>, output: &Output) -> Result<(), Error> {
    let identity = document.get("identity").unwrap_or(&Value::Null);
    let Some(path) = out else { return output.document(identity) };
    let mut text = serde_json::to_vec_pretty(identity).unwrap_or_default();
    text.push(b'\n');
    file::write_new(path, &text, file::PUBLIC)?;
    let party = cell(document, "/identity/party");
    output.say(&format!("what others pin of party {party} is in `{}`", path.display()));
    Ok(())
}

fn status(answer: &Answer, document: &Value, output: &Output) -> Result<(), Error> {
    let [party, node] = ["/identity/party", "/identity/node_key"].map(|at| cell(document, at));
    output.line(&format!("party {party}, node key {node}"))?;
    let peers = answer.rows(document, "peers")?;
    let rows: Vec<_> = peers
        .iter()
        .map(|row| {
            let reachable = row.get("reachable").and_then(Value::as_bool) == Some(true);
            let stands = if reachable { "answers".to_owned() } else { cell(row, "/reason") };
            [cell(row, "/party"), cell(row, "/url"), stands]
        })
        .collect();
    output.table(["PARTY", "URL", "STANDS"], &rows)?;
    let wallets = answer.rows(document, "wallets")?;
    let rows: Vec<_> = wallets
        .iter()
        .map(|row| {
            let [wallet, threshold, parties, epoch] =
                ["/wallet", "/threshold", "/parties", "/epoch"].map(|at| cell(row, at));
            [wallet, format!("{threshold}-of-{parties}"), epoch]
        })
        .collect();
    output.table(["WALLET", "SHARES", "EPOCH"], &rows)?;
    let bans = answer.rows(document, "bans")?.len();
    if bans > 0 {
        output.say(&format!("{bans} bans: `chancery mpc ban list`"));
    }
    Ok(())
}
