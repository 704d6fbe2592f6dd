//! `chancery cold`: a wallet whose keys are on a machine without a network. `init`, `show`, `sign`, `backup` and `restore` run there
//! and make no connection; `export` and `submit` run where the appliance is reached, and hold no secret.

use clap::Subcommand;

use crate::connection::Connection;
use crate::{Error, Exit, Output};

mod backup;
mod carry;
mod init;
mod sign;

/// `chancery cold`.
#[derive(Subcommand, Debug)]
pub enum Cold {
    /// Make a cold wallet's seed, and the public file that the appliance is given
    Init(init::Init),
    /// Fetch what a cold wallet is asked to sign, once nothing else is missing (client, operator)
    Export(carry::Export),
    /// Show a request in plain words, decoded and verified here
    Show(sign::Show),
    /// Verify a request, show it, ask, and sign it
    Sign(sign::Sign),
    /// Bring what was signed: it is verified, decided again and released (client, operator)
    Submit(carry::Submit),
    /// Deal the seed to custodians: SLIP-39 shares, each encrypted to one of them
    Backup(backup::Backup),
    /// Make the folder anew from custodians' shares
    Restore(backup::Restore),
}

impl Cold {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Init(command) => command.run(output),
            Self::Export(command) => command.run(connection, output),
            Self::Show(command) => command.run(output),
            Self::Sign(command) => command.run(output),
            Self::Submit(command) => command.run(connection, output),
            Self::Backup(command) => command.run(output),
            Self::Restore(command) => command.run(output),
        }
    }
}

/// Before the first secret: nobody looks into this process, and it leaves no core.
fn harden() -> Result<(), Error> {
    chancery_ceremony::harden_process()
        .map_err(|error| Error::Failed(format!("this process cannot be closed to others: {error}")))
}
