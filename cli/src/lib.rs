//! The command line of Chancery: operator, auditor and verifier. Talks to the server as any client does, with the
//! certificate it is given, and verifies receipts and logs with no server at all. It never touches the token.

mod cold;
pub mod command;
mod connection;
mod daemon;
mod device;
mod error;
mod events;
mod exit;
mod file;
mod http;
mod mirror;
mod output;
mod passkey;
mod payload;
mod pki;
mod problem;
mod progress;
mod recheck;
mod replay;
mod session;
mod signer;
mod typed;
mod ur;
mod when;

use std::ffi::{OsStr, OsString};

use clap::Parser;
use clap::error::ErrorKind;

pub use command::Cli;
pub use error::Error;
pub use exit::Exit;
pub use output::Output;

/// Runs the program with these arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            return refuse(&error, arguments.iter().any(|argument| argument == OsStr::new("--json")));
        }
    };
    let output = Output::new(cli.json);
    let done = cli.run(&output).and_then(|exit| output.flush().map(|()| exit));
    done.unwrap_or_else(|error| {
        // What was found before the error is part of the answer, such as the findings of a failed check.
        let _ = output.flush();
        output.fail(&error);
        error.exit()
    })
}

/// Prints clap's help, version or complaint.
fn refuse(error: &clap::Error, json: bool) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Ok;
    }
    if json {
        let text = error.render().to_string();
        let detail = text.trim_start_matches("error: ").trim_end().to_owned();
        Output::new(true)
            .fail(&Error::Usage { detail, hint: "`--help` after any command shows what it takes" });
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
