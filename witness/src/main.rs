//! `chancery-witness`: makes a witness's folder, prints its key, serves; prints its own man page and completions.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chancery_witness::{Ended, Folder, Witness, serve};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "Examples:
  chancery-witness init --folder witness --name witness.example/w1
  cp trust.json witness/logs/
  chancery-witness serve --folder witness --listen 127.0.0.1:7070

The log on standard error is JSON lines. Exit codes: 0 stopped or done, 1 failed (one line says why), 2 wrong usage.";

#[derive(Parser)]
#[command(name = "chancery-witness", version, about = "A witness of transparency logs (C2SP tlog-witness)", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a folder with a new key, and print the key that others verify its cosignatures under
    Init {
        /// The folder; must not exist
        #[arg(long)]
        folder: PathBuf,
        /// The witness's name: a URL without its scheme
        #[arg(long)]
        name: String,
    },
    /// Print the key that others verify its cosignatures under
    Key {
        /// The folder
        #[arg(long)]
        folder: PathBuf,
    },
    /// Serve until SIGTERM or SIGINT, in plain HTTP: keep it on loopback or behind a proxy
    Serve {
        /// The folder
        #[arg(long)]
        folder: PathBuf,
        /// The address
        #[arg(long, default_value = "127.0.0.1:7070")]
        listen: SocketAddr,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages, one for each command
    Man {
        /// The folder to write them to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    // Whoever reads the log may go away: no reason to stop witnessing.
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "failed");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Init { folder, name } => {
            let key = Folder::init(&folder, &name)?;
            writeln!(std::io::stdout(), "{}", key.public())?;
        }
        Command::Key { folder } => {
            let key = Folder::key(&folder)?;
            writeln!(std::io::stdout(), "{}", key.public())?;
        }
        Command::Serve { folder, listen } => {
            let witness = Arc::new(Witness::open(Folder::open(&folder)?)?);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(attend(witness, listen))?;
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "chancery-witness", &mut text);
            std::io::stdout().write_all(&text)?;
        }
        Command::Man { out } => {
            std::fs::create_dir_all(&out)?;
            clap_mangen::generate_to(Arguments::command(), &out)?;
        }
    }
    Ok(())
}

async fn attend(witness: Arc<Witness>, listen: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    for (log, size) in witness.watched() {
        tracing::info!(log, size, "watched");
    }
    tracing::info!(address = %listener.local_addr()?, key = %witness.key().public(), "ready");
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    match serve(listener, witness, stop).await {
        Ended::Stopped => Ok(()),
        Ended::Failed(error) => Err(error.into()),
    }
}
