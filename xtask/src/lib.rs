//! The project's tasks: `setup`, `test`, `tidy`, `assurance`, `bench`, `demo`.
//! Nothing here ships. If a task is wrong, a broken promise may pass unseen: so each check has a test that sees it fail.

mod alerts;
pub mod appliance;
pub mod ceremony;
mod cli;
mod demo;
pub mod figures;
mod gate;
pub mod http;
mod package;
pub mod run;
mod setup;
mod stop;
mod suite;
pub mod talk;
pub mod tidy;
pub mod tree;

use std::process::ExitCode;

use clap::Parser;

pub use stop::Stop;
pub use tree::Tree;

/// Parses the command line, does the task and tells how it went: 0 done, 1 failed, 2 something must be installed or
/// the command line is wrong.
#[must_use]
pub fn run() -> ExitCode {
    let args = cli::Args::parse();
    match cli::dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            talk::line(&format!("error: {stop}"));
            stop.exit_code()
        }
    }
}
