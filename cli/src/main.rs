//! The binary `chancery`. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    chancery_cli::run(std::env::args_os()).into()
}
