//! The one table of commands: help, completions, man pages and the dispatch below all come from it.

mod approval;
mod audit;
mod ceremony;
mod client;
mod cold;
mod events;
mod history;
mod init;
mod login;
mod mpc;
mod officer;
mod page;
mod policy;
mod receipt;
mod reevaluate;
mod request;
mod serve_config;
mod session;
mod sign;
mod trust;
mod verify;
mod wallet;
mod webhook;

use clap::{Parser, Subcommand};

use crate::connection::Connection;
use crate::{Error, Exit, Output};

const ABOUT_JSON: &str = "\
With `--json` a result is one JSON document on standard output (JSON lines where a command says so), and an error is \
one object `{\"error\": {\"code\", \"detail\", \"exit\", ...}}` on standard error. Results go to standard output, talk \
to standard error.";

/// Chancery at the command line: operator, auditor and verifier.
#[derive(Parser, Debug)]
#[command(
    name = "chancery",
    version,
    about,
    long_about = None,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = Exit::table(),
    after_long_help = format!("{}\n\n{ABOUT_JSON}", Exit::table()),
)]
pub struct Cli {
    /// Print results as JSON, and errors as JSON objects
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a new appliance's folder: authority, certificates, configuration, development token
    Init(init::Init),
    /// Look at a server's configuration
    #[command(subcommand)]
    ServeConfig(serve_config::ServeConfig),
    /// Issue client certificates and look at them
    #[command(subcommand)]
    Client(client::Client),
    /// Create wallets and list them
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Keys that several parties hold: who answers, what is shared, who is banned
    #[command(subcommand)]
    Mpc(mpc::Mpc),
    /// Ask for a signature
    Sign(sign::Sign),
    /// Ask what would be decided, without a decision
    Preview(sign::Preview),
    /// Look at requests that were made
    #[command(subcommand)]
    Request(request::Request),
    /// Hear what happened, and what happens
    Events(events::Events),
    /// Have somebody told by HTTP
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// See what waits for an officer, approve it or veto it
    #[command(subcommand)]
    Approval(approval::Approval),
    /// Make what a policy bundle says of an officer; enrol and log in
    #[command(subcommand)]
    Officer(officer::Officer),
    /// See who is logged in, and end it
    #[command(subcommand)]
    Session(session::Session),
    /// Check, test, simulate and apply policy bundles
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Read, export and verify the record of decisions
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Fetch receipts and verify them offline
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// Fetch the keys that receipts are verified against
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Make, back up, restore and destroy keys before witnesses
    #[command(subcommand)]
    Ceremony(ceremony::Ceremony),
    /// Sign for cold wallets on a machine without a network, and carry what goes there and back
    #[command(subcommand)]
    Cold(cold::Cold),
    /// Print a shell's completions
    Completions(page::Completions),
    /// Write the man pages
    Man(page::Man),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Any [`Error`]; its exit code is the program's.
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let connection = &self.connection;
        match &self.command {
            Command::Init(command) => command.run(output),
            Command::ServeConfig(command) => command.run(output),
            Command::Client(command) => command.run(connection, output),
            Command::Wallet(command) => command.run(connection, output),
            Command::Mpc(command) => command.run(connection, output),
            Command::Sign(command) => command.run(connection, output),
            Command::Preview(command) => command.run(connection, output),
            Command::Request(command) => command.run(connection, output),
            Command::Events(command) => command.run(connection, output),
            Command::Webhook(command) => command.run(output),
            Command::Approval(command) => command.run(connection, output),
            Command::Officer(command) => command.run(connection, output),
            Command::Session(command) => command.run(connection, output),
            Command::Policy(command) => command.run(connection, output),
            Command::Audit(command) => command.run(connection, output),
            Command::Receipt(command) => command.run(connection, output),
            Command::Trust(command) => command.run(connection, output),
            Command::Ceremony(command) => command.run(connection, output),
            Command::Cold(command) => command.run(connection, output),
            Command::Completions(command) => command.run(output),
            Command::Man(command) => command.run(output),
        }
    }
}
