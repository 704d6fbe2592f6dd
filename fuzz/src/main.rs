//! Runs every target, each in a process of its own with bounded memory, some at a time: by the plain loop, or by an engine
//! that was built with coverage. Prints rows for `cargo xtask assurance`; what breaks a target is kept as a file.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chancery_fuzz::{Campaign, TARGETS, Target, corpus_folder, target};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Map, Value, json};

/// LIMIT: the address space of a target's process, in bytes: an allocation that follows an announced length ends it.
const MEMORY_BYTES: u64 = 512 * 1024 * 1024;
const MEMORY_MIB: u64 = MEMORY_BYTES / 1024 / 1024;
/// LIMIT: one input may keep an engine this long, in seconds.
const HANG_S: u64 = 20;

/// Puts mutated bytes to every parser of outside bytes.
#[derive(Parser)]
struct Arguments {
    /// A second for each target
    #[arg(long)]
    quick: bool,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// This target only; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Targets at a time
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// A program built with libFuzzer to do it
    #[arg(long, value_name = "PROGRAM")]
    engine: Option<PathBuf>,
    /// Where inputs that were found are kept from run to run
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    work: PathBuf,
    #[command(subcommand)]
    one: Option<One>,
}

#[derive(Subcommand)]
enum One {
    /// The plain loop over one target in this process
    #[command(hide = true)]
    Loop {
        name: String,
        seconds: u64,
        seed: u64,
        /// Every input is written here first, for those that end the process
        trace: Option<PathBuf>,
    },
    /// Puts files to a target
    Replay { name: String, files: Vec<PathBuf> },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.one {
        Some(One::Loop { name, seconds, seed, trace }) => one_loop(name, *seconds, *seed, trace.as_deref()),
        Some(One::Replay { name, files }) => replay(name, files),
        None => all(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn named(name: &str) -> Result<&'static Target, Failure> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    target(name).ok_or_else(|| format!("no target `{name}`; there are: {}", names()).into())
}

fn one_loop(name: &str, seconds: u64, seed: u64, trace: Option<&Path>) -> Result<(), Failure> {
    let target = named(name)?;
    let limit = Some(MEMORY_BYTES);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit })?;
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "{panic}");
    }));
    let campaign = Campaign { seed, runs: u64::MAX, time: Duration::from_secs(seconds) };
    let ended = campaign.run(target, |input| {
        if let Some(trace) = trace {
            let _ = fs::write(trace, input);
        }
    });
    let broken =
        ended.broken.as_ref().map(|(input, what)| json!({"input": hex::encode(input), "what": what}));
    let told =
        json!({"runs": ended.runs, "accepted": ended.accepted, "kinds": ended.kinds, "broken": broken});
    Ok(writeln!(io::stdout(), "{told}")?)
}

fn replay(name: &str, files: &[PathBuf]) -> Result<(), Failure> {
    let target = named(name)?;
    for file in files {
        let seen = (target.check)(&fs::read(file)?);
        let word = if seen.accepted { "accepted" } else { "refused" };
        writeln!(io::stdout(), "{}: {word}", file.display())?;
    }
    Ok(())
}

/// What one target's run told.
struct Told {
    name: &'static str,
    runs: u64,
    /// In words, for the talk.
    figure: String,
    /// What broke it and where the input is.
    broken: Option<String>,
}

fn all(arguments: &Arguments) -> Result<(), Failure> {
    for name in &arguments.only {
        named(name)?;
    }
    fs::create_dir_all(&arguments.work)?;
    let chosen =
        |target: &&Target| arguments.only.is_empty() || arguments.only.iter().any(|name| name == target.name);
    let seconds = if arguments.quick { 1 } else { arguments.seconds };
    let waiting: Mutex<VecDeque<&Target>> = Mutex::new(TARGETS.iter().filter(chosen).collect());
    let told: Mutex<Vec<Result<Told, Failure>>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.parallel.max(1) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(target) = next else { break };
                    let run = match &arguments.engine {
                        Some(engine) => engined(engine, target, seconds, &arguments.work),
                        None => looped(target, seconds, &arguments.work),
                    };
                    if let Ok(told) = &run {
                        let _ = writeln!(io::stderr(), "{:<14} {}", told.name, told.figure);
                    }
                    told.lock().unwrap_or_else(PoisonError::into_inner).push(run);
                }
            });
        }
    });
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let told: Vec<Told> = told.into_iter().collect::<Result<_, _>>()?;
    let how = if arguments.engine.is_some() { "libFuzzer" } else { "the plain loop" };
    let row = |test: String, runs: u64, failures: usize, figure: String| {
        json!({
            "promise": "parsers hold: no bytes from outside crash one, take memory without bound or mean two things",
            "test": test, "runs": runs, "failures": failures, "figure": figure,
            "goal": "no input breaks a property", "met": failures == 0,
        })
    };
    let broken: Vec<&Told> = told.iter().filter(|told| told.broken.is_some()).collect();
    let runs = told.iter().map(|told| told.runs).sum();
    let fewest = told.iter().min_by_key(|told| told.runs);
    let figure = format!(
        "{} targets, {seconds} s each by {how}; fewest inputs: {}",
        told.len(),
        fewest.map_or_else(String::new, |told| format!("{} ({})", told.runs, told.name))
    );
    writeln!(io::stdout(), "{}", row("fuzz".to_owned(), runs, broken.len(), figure))?;
    for told in broken {
        let what = told.broken.clone().unwrap_or_default();
        writeln!(io::stdout(), "{}", row(format!("fuzz {}", told.name), told.runs, 1, what))?;
    }
    Ok(())
}

/// The plain loop in a process of its own; one that dies without a word is run again with a trace.
fn looped(target: &Target, seconds: u64, work: &Path) -> Result<Told, Failure> {
    // Another seed each day, and the same one again when a failure is looked into.
    let day = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() / 86_400;
    let me = std::env::current_exe()?;
    let run = |trace: Option<&Path>| {
        let mut command = Command::new(&me);
        command.args(["loop", target.name, &seconds.to_string(), &day.to_string()]).args(trace);
        command.stdin(Stdio::null()).output()
    };
    let output = run(None)?;
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let text =
        |of: &Map<String, Value>, key| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let file = work.join(format!("{}.crash", target.name));
    let broken = match (value.get("broken"), output.status.success()) {
        (Some(Value::Null), true) => None,
        (Some(Value::Object(broken)), true) => {
            fs::write(&file, hex::decode(text(broken, "input"))?)?;
            Some(format!("{}: {}", file.display(), text(broken, "what")))
        }
        _ => {
            run(Some(&file))?;
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!(
                "{}: {}: {}",
                file.display(),
                output.status,
                said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
            ))
        }
    };
    let figure =
        format!("{} inputs, {} accepted, {} kinds", number("runs"), number("accepted"), number("kinds"));
    let figure = broken.as_ref().map_or(figure, |broken| format!("BROKEN {broken}"));
    Ok(Told { name: target.name, runs: number("runs"), figure, broken })
}

/// libFuzzer, from the seeds, the kept inputs and what earlier runs found.
fn engined(engine: &Path, target: &Target, seconds: u64, work: &Path) -> Result<Told, Failure> {
    let found = work.join("corpus").join(target.name);
    let seeds = work.join("seeds").join(target.name);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&seeds)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(seeds.join(number.to_string()), seed)?;
    }
    let crash = work.join(format!("{}.crash", target.name));
    let mut command = Command::new(engine);
    command.env("CHANCERY_FUZZ", target.name).args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={HANG_S}"),
        format!("-exact_artifact_path={}", crash.display()),
        "-max_len=16384".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    command.args([&found, &seeds]);
    let kept = corpus_folder(target);
    if kept.is_dir() {
        command.arg(kept);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = |key: &str| {
        let after = said.rsplit_once(key).map(|(_, after)| after.trim_start());
        after.and_then(|after| after.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (runs, coverage) = (last("stat::number_of_executed_units:"), last("cov:"));
    let why = || {
        let mark = |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer");
        let lines: Vec<&str> = said.lines().skip_while(|line| !mark(line)).take(3).collect();
        format!("{}: {}: {}", crash.display(), output.status, lines.join(" "))
    };
    // An engine without coverage looks busy and finds nothing.
    let broken = match (output.status.success(), coverage) {
        (false, _) => Some(why()),
        (true, 0) => Some("the engine saw no coverage".to_owned()),
        (true, _) => None,
    };
    let figure = format!("{runs} inputs, {coverage} edges");
    let figure = broken.as_ref().map_or(figure, |broken| format!("BROKEN {broken}"));
    Ok(Told { name: target.name, runs, figure, broken })
}
