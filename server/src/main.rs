//! `chanceryd`: the appliance's one program. `serve` is the trusted process; `hsm-worker` is the process that loads the
//! vendor's PKCS#11 module and is started by `serve`; the rest makes a token or prints a document.

use std::path::PathBuf;
use std::process::ExitCode;

use chancery_server::{house, serve, setup};
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  chanceryd serve --config state/chancery.toml
  chanceryd hsm-init --config state/chancery.toml --so-pin-file state/hsm/so-pin
  chanceryd openapi > docs/openapi.json

The log on standard error is JSON lines; CHANCERY_LOG sets its filter, such as `warn` or `info,door=debug`.
Exit codes: 0 stopped or done, 1 failed (one line says why), 2 wrong usage.";

#[derive(Parser)]
#[command(name = "chanceryd", version, about = "Chancery: policy-checked signatures with receipts", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or SIGINT
    Serve {
        /// The configuration file
        #[arg(long, default_value = "chancery.toml")]
        config: PathBuf,
    },
    /// Make the token that the configuration names, and set its PINs
    HsmInit {
        /// The configuration file; its `hsm.pin` becomes the user PIN
        #[arg(long, default_value = "chancery.toml")]
        config: PathBuf,
        /// An owner-only file with the security officer's PIN
        #[arg(long)]
        so_pin_file: PathBuf,
    },
    /// Print the API's OpenAPI 3.1 document
    Openapi,
    /// What a ceremony asks of the house; started by `chancery ceremony run`
    #[command(hide = true)]
    House(house::House),
    /// The process that starts the others for `serve`, which cannot
    #[command(hide = true)]
    Launcher,
    /// The process that loads the PKCS#11 module; started by `serve`
    #[command(hide = true)]
    HsmWorker,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config } => serve::run(&config),
        Command::HsmInit { config, so_pin_file } => setup::init_token(&config, &so_pin_file),
        Command::Openapi => setup::print_openapi(),
        Command::House(command) => house::run(&command),
        Command::Launcher => chancery_enclave::launcher(),
        Command::HsmWorker => chancery_enclave::hsm_worker(),
    }
}
