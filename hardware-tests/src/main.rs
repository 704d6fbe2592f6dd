//! The conformance suite's front door: any PKCS#11 module by its path, one row for each check. Data on stdout, talk on
//! stderr. Exit code 0: nothing failed; 1: a check failed; 2: it could not be run.

mod report;
mod vectors;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use chancery_core::config::{self, SecretSource};
use chancery_core::{causes, limit};
use chancery_hsm::conformance::{Bench, Outcome, Rate};
use chancery_hsm::{Algorithm, NewToken, Token, init_token};
use chancery_secret::{Pin, harden_process};
use clap::{ArgGroup, Parser, Subcommand};

/// Checks whether a PKCS#11 module may hold keys for Chancery.
///
/// Makes session keys only, except for `bench`, which makes one token key and destroys it. Without a command it runs the
/// suite.
#[derive(Parser)]
#[command(version, group = ArgGroup::new("pin").required(true).args(["pin_file", "pin_fd"]))]
struct Arguments {
    /// The module's shared object
    #[arg(long, global = true, default_value = "/usr/lib/softhsm/libsofthsm2.so")]
    module: PathBuf,
    /// The token's label
    #[arg(long, value_name = "LABEL")]
    token: String,
    /// A file with the user PIN that only its owner may read
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// An inherited descriptor with the user PIN
    #[arg(long, value_name = "FD")]
    pin_fd: Option<i32>,
    /// What the module reads from its environment, such as SOFTHSM2_CONF=/etc/softhsm2.conf
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    environment: Vec<(String, String)>,
    /// A folder that the module writes to while a token is made; may be given several times
    #[arg(long, value_name = "DIR", global = true)]
    writable: Vec<PathBuf>,
    /// The reserved argument of C_Initialize, which NSS softokn wants
    #[arg(long, value_name = "TEXT")]
    init_argument: Option<String>,
    /// One JSON document instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Make the token first: label it and set both PINs
    Init {
        /// A file with the security officer's PIN that only its owner may read
        #[arg(long, value_name = "FILE")]
        so_pin_file: PathBuf,
    },
    /// Put Project Wycheproof's vectors to the module, and to the check that signatures pass before release
    Vectors,
    /// Measure the module's own C_Sign, with nothing around it
    Bench {
        /// What to sign with: secp256k1, p256 or ed25519
        #[arg(long, default_value = "secp256k1")]
        algorithm: Algorithm,
        /// Threads, each with a session of its own
        #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u8).range(1..))]
        threads: Vec<u8>,
        /// Time for each number of threads, in milliseconds
        #[arg(long, default_value_t = 2_000)]
        time_ms: u64,
    },
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}

fn main() -> ExitCode {
    // `init` works through a worker of its own, as the appliance does.
    if std::env::args_os().skip(1).eq(["hsm-worker"]) {
        return chancery_hsm::worker_main();
    }
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.environment.iter().any(|(name, value)| std::env::var_os(name) != Some(OsString::from(value)))
    {
        return Err(again(arguments).into());
    }
    harden_process()?;
    let source = match (&arguments.pin_file, arguments.pin_fd) {
        (Some(file), _) => SecretSource::File(file.clone()),
        (None, fd) => SecretSource::Fd(fd.unwrap_or(-1)),
    };
    let pin = Pin::read(&source).map_err(|error| causes(&error))?;
    if let Some(Task::Init { so_pin_file }) = &arguments.task {
        let so_pin = Pin::read(&SecretSource::File(so_pin_file.clone())).map_err(|error| causes(&error))?;
        let token = init(arguments, &so_pin, &pin)?;
        writeln!(io::stdout(), "token `{}`, serial number {}", token.label, token.serial)?;
        return Ok(true);
    }
    let bench = Bench::open(&arguments.module, arguments.init_argument.as_deref(), &arguments.token, &pin)?;
    drop(pin);
    let token = bench.token();
    writeln!(
        io::stderr(),
        "{}: token `{}`, {} {}",
        token.library,
        token.label,
        token.manufacturer,
        token.model
    )?;
    let mut out = io::stdout().lock();
    match &arguments.task {
        None | Some(Task::Init { .. }) => {
            let rows = bench.run();
            let good = rows.iter().all(|row| row.outcome != Outcome::Fail);
            report::conformance(&mut out, token, &bench.mechanisms()?, &rows, arguments.json)?;
            Ok(good)
        }
        Some(Task::Vectors) => {
            let tallies = vectors::run(&bench)?;
            report::vectors(&mut out, &tallies, arguments.json)?;
            Ok(tallies.iter().all(|tally| tally.failed.is_empty()))
        }
        Some(Task::Bench { algorithm, threads, time_ms }) => {
            let time = Duration::from_millis(*time_ms);
            let rates: Result<Vec<Rate>, _> = threads
                .iter()
                .map(|threads| bench.raw_sign_rate(*algorithm, usize::from(*threads), time))
                .collect();
            report::rates(&mut out, &rates?, arguments.json)?;
            Ok(true)
        }
    }
}

fn init(arguments: &Arguments, so_pin: &Pin, pin: &Pin) -> Result<Token, Failure> {
    let hsm = config::Hsm {
        module: arguments.module.clone(),
        token: arguments.token.clone(),
        pin: SecretSource::Fd(0),
        sessions: 1,
        queue: 1,
        call_ms: limit::HSM_CALL_MS,
        environment: arguments.environment.iter().cloned().collect(),
        writable: arguments.writable.clone(),
        init_argument: arguments.init_argument.clone(),
        recoverable: false,
    };
    let new = NewToken { worker: std::env::current_exe()?, hsm };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(init_token(&new, so_pin, pin))?)
}

/// Starts this program again with the environment that the module wants: a process cannot safely change its own.
fn again(arguments: &Arguments) -> io::Error {
    let environment = arguments.environment.iter().map(|(name, value)| (name, value));
    match std::env::current_exe() {
        Ok(me) => Command::new(me).args(std::env::args_os().skip(1)).envs(environment).exec(),
        Err(error) => error,
    }
}
