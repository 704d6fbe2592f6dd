//! The house on a simulated machine, from a seed: `chancery-sim` runs many seeds, each in a process of its own, and
//! `chancery-sim --seed N` replays one and shows its trace. The same seed is the same trace, to the byte.
//! If a simulation is kinder than the world, its silence means nothing.

mod account;
mod apart;
mod bundle;
mod errand;
mod life;
mod machine;
mod matrix;
mod parties;
mod people;
mod setback;
mod token;
mod transfer;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use xtask::talk;

/// Seeds of a full run.
const SEEDS: u64 = 10_000;
/// Seeds that fit a normal test run.
const QUICK_SEEDS: u64 = 150;
/// The same, of parties.
const QUICK_PARTIES: u64 = 60;

/// Why a simulation cannot be run.
#[derive(Debug, thiserror::Error)]
enum SimError {
    /// The machine below.
    #[error("the real machine: {0}")]
    Machine(#[from] std::io::Error),
    /// Somebody's certificate.
    #[error("a certificate: {0}")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] chancery_store::StoreError),
    /// The house.
    #[error("{0}")]
    Start(#[from] chancery_enclave::StartError),
    /// What it was asked.
    #[error("{0}")]
    Refused(#[from] chancery_enclave::Refusal),
    /// The PIN.
    #[error("the PIN: {0}")]
    Pin(#[from] chancery_secret::PinError),
    /// Its memory.
    #[error("the PIN: {0}")]
    Secret(#[from] chancery_secret::SecretError),
}

impl SimError {
    fn certificate(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Certificate(Box::new(error))
    }
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// The house: store, log, walk and worker
    House,
    /// Parties who hold a key's shares
    Parties,
}

/// Run the appliance on a simulated machine, and see whether it keeps its promises.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  chancery-sim --quick\n  chancery-sim --runs 100000 --first 10000\n  \
    chancery-sim --seed 4711        replay one seed and show what happened")]
struct Args {
    /// What is simulated
    #[arg(long, value_enum, default_value_t = Of::House)]
    of: Of,
    /// The size that fits a normal test run
    #[arg(long)]
    quick: bool,
    /// Seeds to run
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u64,
    /// Replay this seed and print its trace; ends with 1 where a promise is broken
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only the trace's hash and what is broken
    #[arg(long, requires = "seed")]
    brief: bool,
    /// An empty folder for its disk [default: a temporary one, in memory where that can be]
    #[arg(long, value_name = "DIR", requires = "seed")]
    disk: Option<PathBuf>,
    /// Something wrong on purpose: this must be found
    #[arg(long, value_name = "WHAT")]
    planted: Option<life::Planted>,
    /// The same, in a party
    #[arg(long, value_name = "WHAT")]
    plant: Option<parties::Planted>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (house, quick) = match args.of {
        Of::House => (true, QUICK_SEEDS),
        Of::Parties => (false, QUICK_PARTIES),
    };
    let runs = args.runs.unwrap_or(if args.quick { quick } else { SEEDS });
    match args.seed {
        Some(seed) if house => replay(seed, &args),
        Some(seed) => tell(seed, &parties::simulate(seed, args.plant), args.brief),
        None if !house => {
            let row = parties::run(args.first, runs, args.plant);
            talk::data(&serde_json::to_string(&row).unwrap_or_default());
            ExitCode::SUCCESS
        }
        None => match matrix::run(args.first, runs, args.planted) {
            Ok(row) => {
                talk::data(&serde_json::to_string(&row).unwrap_or_default());
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        },
    }
}

fn replay(seed: u64, args: &Args) -> ExitCode {
    let told = match &args.disk {
        Some(folder) => life::simulate(seed, folder, args.planted),
        None => matrix::scratch()
            .map_err(SimError::from)
            .and_then(|folder| life::simulate(seed, folder.path(), args.planted)),
    };
    match told {
        Ok(told) => tell(seed, &told, args.brief),
        Err(error) => failed(&error),
    }
}

fn tell(seed: u64, told: &life::Told, brief: bool) -> ExitCode {
    if !brief {
        told.lines.iter().for_each(|line| talk::data(line));
    }
    told.broken.iter().for_each(|what| talk::data(&format!("broken: {what}")));
    talk::data(&format!("seed {seed}: {} lines, {}", told.lines.len(), told.hash));
    if told.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(error: &SimError) -> ExitCode {
    talk::line(&format!("error: {error}"));
    ExitCode::from(2)
}
