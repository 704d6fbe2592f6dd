//! `chancery ceremony`: keys are made, backed up, restored and destroyed by people who agreed on a script and sign what they
//! saw. The token is reached through a worker of `chanceryd`, in a process of its own; this one holds PINs and shares in
//! secret memory and ends with the ceremony.

use std::path::Path;

use chancery_ceremony::{CeremonyError, Console};
use chancery_core::config::Config;
use clap::Subcommand;

use crate::connection::Connection;
use crate::{Error, Exit, Output, file};

mod anchor;
mod custodian;
mod drill;
pub mod plan;
mod run;
mod seed;
mod verify;

/// `chancery ceremony`.
#[derive(Subcommand, Debug)]
pub enum Ceremony {
    /// Make the age identity of somebody who will hold a share
    Custodian(custodian::Custodian),
    /// Write a script, and print the hash that people agree on
    Plan(Box<plan::Plan>),
    /// Carry a script out, or go on with one that was interrupted
    Run(run::Run),
    /// Verify a ceremony's folder, offline
    Verify(verify::Verify),
    /// Rehearse a restore into a throw-away token, and say how long it takes and what would be lost
    Drill(drill::Drill),
    /// Join shares of a wallet's seed, and say whether the wallet's account comes out
    Seed(seed::Seed),
    /// Put a verified transcript's hash into the appliance's log (operator)
    Anchor(anchor::Anchor),
}

impl Ceremony {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Custodian(command) => command.run(output),
            Self::Plan(command) => command.run(output),
            Self::Run(command) => command.run(output),
            Self::Verify(command) => command.run(output),
            Self::Drill(command) => command.run(output),
            Self::Seed(command) => command.run(output),
            Self::Anchor(command) => command.run(connection, output),
        }
    }
}

/// The configuration of the appliance.
fn configuration(path: &Path) -> Result<Config, Error> {
    let text = file::read_text(path)?;
    let base = std::path::absolute(path).map_err(Error::file("find", path))?;
    let base = base.parent().unwrap_or(Path::new("/"));
    Config::parse(&text, base).map_err(|error| Error::content(path, error.to_string()))
}

/// The people: on the terminal, or at an inherited descriptor.
pub fn console(answers: Option<i32>) -> Result<Console, Error> {
    // Before the first secret: nobody looks into this process, and it leaves no core.
    chancery_ceremony::harden_process().map_err(|error| CeremonyError::NoAnswer(error.to_string()))?;
    Ok(match answers {
        Some(fd) => Console::descriptor(fd)?,
        None => Console::terminal()?,
    })
}

fn wait<T>(work: impl Future<Output = Result<T, CeremonyError>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("start", Path::new("a runtime")))?;
    Ok(runtime.block_on(work)?)
}
