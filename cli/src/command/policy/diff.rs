//! `chancery policy diff`: what an officer approves, told by the names of things.

use std::path::PathBuf;

use clap::Args;

use super::{compile, in_force};
use crate::connection::Connection;
use crate::{Error, Exit, Output};

/// `chancery policy diff`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 when nothing changes, 1 when something does.\n\nExamples:\n  \
    chancery policy diff policies/treasury policies/draft\n  chancery policy diff policies/draft")]
pub struct Diff {
    /// The old bundle's folder and the new one's; with one alone, the old one is the bundle in force
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    directories: Vec<PathBuf>,
}

impl Diff {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let (old, new) = match self.directories.as_slice() {
            [old, new] => (compile(old, output)?, compile(new, output)?),
            [new] => (in_force(connection, output)?, compile(new, output)?),
            _ => return Err(Error::Usage { detail: "no bundle".to_owned(), hint: "give one folder or two" }),
        };
        let difference = new.diff(&old);
        if output.is_json() {
            output.document(&difference)?;
        } else {
            for line in difference.to_string().lines() {
                output.line(line)?;
            }
            output.say(&format!("{} changes", difference.changes.len()));
        }
        Ok(if difference.changes.is_empty() { Exit::Ok } else { Exit::Failed })
    }
}
