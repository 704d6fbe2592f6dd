//! `chancery session`: who is logged in, and ending it.

use chancery_core::RequestId;
use clap::Subcommand;
use serde_json::{Value, json};

use super::request::time_cell;
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery session`.
#[derive(Subcommand, Debug)]
pub enum Session {
    /// List the open sessions: yours, and for an administrator everybody's
    #[command(after_help = "Examples:\n  chancery session list\n  chancery session list --json")]
    List,
    /// End a session: yours, or for an administrator anybody's
    #[command(after_help = "Examples:\n  chancery session revoke 019a0000-0000-7000-8000-000000000000")]
    Revoke {
        /// The session
        id: RequestId,
    },
}

impl Session {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        match self {
            Self::List => {
                let answer = api.call(&Call::get(&["sessions"]))?;
                let document = answer.json()?;
                let sessions = answer.rows(&document, "sessions")?;
                if output.is_json() {
                    output.document(&json!({ "sessions": sessions }))?;
                } else {
                    let rows: Vec<_> = sessions.iter().map(row).collect();
                    output.table(["SESSION", "OFFICER", "OPENED", "ENDS", "BY", "THIS ONE"], &rows)?;
                }
            }
            Self::Revoke { id } => {
                api.call(&Call::delete(&["sessions", &id.to_string()]))?;
                output.say(&format!("session {id} is over"));
            }
        }
        Ok(Exit::Ok)
    }
}

fn row(row: &Value) -> [String; 6] {
    [
        cell(row, "/session"),
        cell(row, "/officer"),
        time_cell(row, "/opened_ms"),
        time_cell(row, "/expires_ms"),
        cell(row, "/factor"),
        cell(row, "/own"),
    ]
}
