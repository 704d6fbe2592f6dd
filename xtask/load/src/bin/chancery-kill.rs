//! The kill matrix as a producer of `cargo xtask assurance`: one row on stdout, talk on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use chancery_load::kill::{self, Plan, ceremony, lane::Act, strace::Fault};
use chancery_load::{Error, scratch};
use clap::{Parser, ValueEnum};
use xtask::appliance::Programs;
use xtask::figures::row::Promise;
use xtask::talk;

/// Runs of a full matrix, a fifth of them each during approvals, changes and submissions of what a cold wallet signed.
const RUNS: u64 = 4_000;
/// Runs that fit a normal test run.
const QUICK_RUNS: u64 = 300;
/// The same of a ceremony, each run of which makes a token and its keys.
const CEREMONY_RUNS: [u64; 2] = [12, 400];

/// Kill a real daemon at the file and socket calls of a sign, an approval, a change and a cold wallet's signature, and see whether it kept its promise.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  chancery-kill --quick\n  chancery-kill --runs 20000 --lanes 8\n  \
    chancery-kill --fault EIO,ENOSPC,SHORT --runs 500\n  \
    chancery-kill --of approval --runs 100\n  \
    chancery-kill --of ceremony --runs 50")]
struct Args {
    /// The size that fits a normal test run
    #[arg(long)]
    quick: bool,
    /// Runs in which the fault was delivered
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// During what: each but a ceremony, one after the other, unless it is said
    #[arg(long, value_name = "ACT")]
    of: Option<Of>,
    /// Appliances side by side
    #[arg(long, value_name = "N", default_value_t = 2)]
    lanes: usize,
    /// What happens at the call: KILL, EIO, ENOSPC or SHORT; several in turns
    #[arg(long, default_value = "KILL", value_delimiter = ',')]
    fault: Vec<Fault>,
    /// Where the appliances live; kept afterwards [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    /// A signature.
    Sign,
    /// An officer's last word.
    Approval,
    /// An administrator's last word.
    Change,
    /// What a cold wallet signed is brought.
    Cold,
    /// A ceremony that replaces keys; SIGKILL alone, one appliance.
    Ceremony,
}

fn main() -> ExitCode {
    match work(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            talk::line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn work(args: &Args) -> Result<(), Error> {
    let runs = |[quick, full]: [u64; 2]| args.runs.unwrap_or(if args.quick { quick } else { full });
    let of_ceremony = runs(CEREMONY_RUNS);
    let runs = runs([QUICK_RUNS, RUNS]);
    let mut folder = scratch::Folder::new(args.dir.as_deref())?;
    let acts = match args.of {
        None => vec![
            (Act::Sign, runs - 3 * (runs / 5)),
            (Act::Approval, runs / 5),
            (Act::Change, runs / 5),
            (Act::Cold, runs / 5),
        ],
        Some(Of::Sign) => vec![(Act::Sign, runs)],
        Some(Of::Approval) => vec![(Act::Approval, runs)],
        Some(Of::Change) => vec![(Act::Change, runs)],
        Some(Of::Cold) => vec![(Act::Cold, runs)],
        Some(Of::Ceremony) => {
            let row = ceremony::run(&Programs::beside_this()?, &folder.path().join("ceremony"), of_ceremony)?;
            tell(&row, &mut folder);
            return Ok(());
        }
    };
    for (act, runs) in acts {
        let plan = Plan { act, runs, lanes: args.lanes, faults: args.fault.clone() };
        let row = kill::run(&Programs::beside_this()?, &folder.path().join(act.name()), &plan)?;
        tell(&row, &mut folder);
    }
    Ok(())
}

fn tell(row: &Promise, folder: &mut scratch::Folder) {
    if !row.met {
        talk::line(&format!("kill: what was left is in {}", folder.keep().display()));
    }
    talk::data(&serde_json::to_string(row).unwrap_or_default());
}
