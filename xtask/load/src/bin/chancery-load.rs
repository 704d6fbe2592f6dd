//! The load generator: a producer of `cargo xtask bench`, and a maker of unsigned transactions for the demonstration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_load::api::{self, crowds, growth};
use chancery_load::transaction::{self, Moves};
use chancery_load::{Error, approvals, coins, logins, scratch, secrets};
use clap::{Args as Group, Parser, Subcommand};
use serde::Serialize;
use xtask::appliance::Programs;
use xtask::talk;

/// Load a real appliance, or write what a wallet backend would send it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure signatures through the API against the token and the disk alone
    #[command(after_help = "Examples:\n  chancery-load api --quick\n  chancery-load api --runs 50000")]
    Api(Api),
    /// Measure crowds from one client to many, and wallets from one to many
    #[command(
        after_help = "Examples:\n  chancery-load crowds --quick\n  chancery-load crowds --wallets 1000"
    )]
    Crowds(Crowds),
    /// Measure again and again while the appliance grows old; 1,000,000 decisions take about 8 minutes and 5 GB
    #[command(
        after_help = "Examples:\n  chancery-load growth --quick\n  chancery-load growth --runs 10000000"
    )]
    Growth(Growth),
    /// Measure logins of officers against OPAQUE, assertions and the disk alone
    #[command(after_help = "Examples:\n  chancery-load logins --quick\n  chancery-load logins")]
    Logins {
        /// The size that fits a short look
        #[arg(long)]
        quick: bool,
        /// Where the appliance lives; kept afterwards [default: a temporary folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Measure from an officer's last word to the release, against token, assertion and disk alone
    #[command(after_help = "Examples:\n  chancery-load approvals --quick\n  chancery-load approvals")]
    Approvals {
        /// The size that fits a short look
        #[arg(long)]
        quick: bool,
        /// Where the appliance lives; kept afterwards [default: a temporary folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Look for PINs, passwords, secrets of one-time codes, identities, seeds and shares in memory, command lines, cores and files of a real
    /// appliance, of ceremonies and of a cold wallet's programs
    #[command(
        after_help = "Examples:\n  chancery-load secrets\n  chancery-load secrets --dir /var/tmp/looked-at"
    )]
    Secrets {
        /// Where the appliance lives; kept afterwards [default: a temporary folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print an unsigned EIP-1559 transaction in hexadecimal
    #[command(after_help = "Examples:\n  \
        chancery-load unsigned --chain-id 1 --nonce 0 --to 0x1111111111111111111111111111111111111111 --amount 1000\n  \
        chancery-load unsigned --chain-id 1 --nonce 0 --to 0x1111111111111111111111111111111111111111 --amount 1000 \
        --token 0x2222222222222222222222222222222222222222")]
    Unsigned(Unsigned),
    /// Print a PSBT that spends from a wallet on regtest, with change, in base64
    #[command(after_help = "Examples:\n  \
        chancery-load psbt --from bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080 \
        --to bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080 --amount 20000000")]
    Psbt(Payment),
    /// Say whether Bitcoin's consensus code accepts a signed transaction as the one of a PSBT, and print its txid
    #[command(after_help = "Examples:\n  chancery-load accepted --psbt cHNidP8... --transaction 0x0200...")]
    Accepted(Accepted),
}

#[derive(Debug, Group)]
struct Payment {
    /// The wallet's address
    #[arg(long)]
    from: String,
    /// To whom
    #[arg(long)]
    to: String,
    /// How much, in satoshi
    #[arg(long)]
    amount: u64,
}

#[derive(Debug, Group)]
struct Accepted {
    /// What was asked for, in base64
    #[arg(long)]
    psbt: String,
    /// What came of it, in hexadecimal
    #[arg(long)]
    transaction: String,
}

#[derive(Debug, Group)]
struct Api {
    /// The size that fits a short look
    #[arg(long)]
    quick: bool,
    /// Requests of the measured crowd
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// Where the appliance lives; kept afterwards [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Group)]
struct Crowds {
    /// The size that fits a short look
    #[arg(long)]
    quick: bool,
    /// The largest crowd
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: Option<u64>,
    /// The most wallets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    wallets: Option<u64>,
    /// Where the appliance lives; kept afterwards [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Group)]
struct Growth {
    /// The size that fits a short look
    #[arg(long)]
    quick: bool,
    /// Decisions at the last measurement
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2_000..))]
    runs: Option<u64>,
    /// Where the appliance lives; kept afterwards [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Group)]
struct Unsigned {
    /// The EIP-155 chain
    #[arg(long)]
    chain_id: u64,
    /// The account's next nonce
    #[arg(long)]
    nonce: u64,
    /// To whom
    #[arg(long)]
    to: Address,
    /// How much, in the smallest unit
    #[arg(long)]
    amount: U256,
    /// The ERC-20 token to move; without, the chain's own asset
    #[arg(long)]
    token: Option<Address>,
}

fn main() -> ExitCode {
    let done = match &Args::parse().task {
        Task::Api(api) => measure(api),
        Task::Crowds(crowds) => gather(crowds),
        Task::Growth(growth) => grow(growth),
        Task::Logins { quick, dir } => enter(*quick, dir.as_deref()),
        Task::Approvals { quick, dir } => approve(*quick, dir.as_deref()),
        Task::Secrets { dir } => search(dir.as_deref()),
        Task::Unsigned(unsigned) => {
            write(unsigned);
            Ok(())
        }
        Task::Psbt(Payment { from, to, amount }) => {
            coins::payment(from, to, *amount).map(|psbt| talk::data(&STANDARD.encode(psbt)))
        }
        Task::Accepted(accepted) => judge(accepted),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            talk::line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn judge(args: &Accepted) -> Result<(), Error> {
    let psbt = STANDARD.decode(&args.psbt).map_err(|_| Error::Option(args.psbt.clone()))?;
    let digits = args.transaction.trim_start_matches("0x");
    let raw = hex::decode(digits).map_err(|_| Error::Option(args.transaction.clone()))?;
    talk::data(&coins::accepted(&psbt, &raw)?.to_string());
    Ok(())
}

fn measure(args: &Api) -> Result<(), Error> {
    let plan = if args.quick {
        api::Plan { requests: args.runs.unwrap_or(8_000), lasting: 10_000, raw: Duration::from_secs(2) }
    } else {
        api::Plan { requests: args.runs.unwrap_or(40_000), lasting: 100_000, raw: Duration::from_secs(5) }
    };
    let programs = Programs::beside_this()?;
    let folder = scratch::Folder::new(args.dir.as_deref())?;
    print(api::run(&programs, &suite(&programs), folder.path(), &plan)?);
    Ok(())
}

fn gather(args: &Crowds) -> Result<(), Error> {
    let (plan, clients, wallets) = if args.quick {
        (api::Plan { requests: 2_000, lasting: 0, raw: Duration::from_secs(2) }, 256, 100)
    } else {
        (api::Plan { requests: 10_000, lasting: 0, raw: Duration::from_secs(5) }, 1_024, 10_000)
    };
    let span =
        crowds::Span { clients: args.clients.unwrap_or(clients), wallets: args.wallets.unwrap_or(wallets) };
    let programs = Programs::beside_this()?;
    let folder = scratch::Folder::new(args.dir.as_deref())?;
    print(crowds::run(&programs, &suite(&programs), folder.path(), &plan, span)?);
    Ok(())
}

fn grow(args: &Growth) -> Result<(), Error> {
    let mut span = if args.quick {
        growth::Span { from: 2_000, to: 20_000, requests: 1_000 }
    } else {
        growth::Span { from: 10_000, to: 1_000_000, requests: 4_000 }
    };
    span.to = args.runs.unwrap_or(span.to);
    span.from = span.from.min(span.to);
    let folder = scratch::Folder::new(args.dir.as_deref())?;
    print(growth::run(&Programs::beside_this()?, folder.path(), span)?);
    Ok(())
}

fn enter(quick: bool, dir: Option<&Path>) -> Result<(), Error> {
    let time = Duration::from_secs(if quick { 3 } else { 15 });
    let folder = scratch::Folder::new(dir)?;
    print(logins::run(&Programs::beside_this()?, folder.path(), time)?);
    Ok(())
}

fn approve(quick: bool, dir: Option<&Path>) -> Result<(), Error> {
    let programs = Programs::beside_this()?;
    let folder = scratch::Folder::new(dir)?;
    let runs = if quick { 50 } else { 1_000 };
    print(approvals::run(&programs, &suite(&programs), folder.path(), runs)?);
    Ok(())
}

fn search(dir: Option<&Path>) -> Result<(), Error> {
    let folder = scratch::Folder::new(dir)?;
    print(secrets::run(&Programs::beside_this()?, folder.path())?);
    Ok(())
}

/// The suite that measures the token alone.
fn suite(programs: &Programs) -> PathBuf {
    programs.chanceryd.parent().unwrap_or(Path::new(".")).join("chancery-hardware-tests")
}

fn print(rows: Vec<impl Serialize>) {
    for row in rows {
        talk::data(&serde_json::to_string(&row).unwrap_or_default());
    }
}

fn write(unsigned: &Unsigned) {
    let (to, amount) = (unsigned.to, unsigned.amount);
    let moves = match unsigned.token {
        Some(token) => Moves::Token { token, to, amount },
        None => Moves::Ether { to, wei: amount },
    };
    let bytes = transaction::unsigned(unsigned.chain_id, unsigned.nonce, &moves);
    talk::data(&format!("0x{}", hex::encode(bytes)));
}
