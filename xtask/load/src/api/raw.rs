//! The machine alone: the same token's `C_Sign` with nothing around it, the same disk's append and fdatasync.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use xtask::Stop;
use xtask::run::Cmd;

use crate::{Error, process};

/// Appends that are timed.
const APPENDS: usize = 300;
/// Bytes of one append.
const APPEND_BYTES: usize = 512;

/// The token alone.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Signatures a second on one thread.
    pub one_thread: f64,
    /// Signatures a second on two.
    pub two_threads: f64,
    /// Processor time of one signature.
    pub cpu: Duration,
}

#[derive(Deserialize)]
struct Rate {
    threads: usize,
    signatures: u64,
    per_second: f64,
}

/// Measures the token of the appliance in `state`, which must not be running.
///
/// # Errors
/// [`Error::Drive`] with what the suite said.
pub fn token(hardware_tests: &Path, state: &Path, time: Duration) -> Result<Token, Error> {
    let measure = |threads: usize| -> Result<(Rate, Duration), Error> {
        let own = std::process::id();
        let before = process::ended_children_cpu(own)?;
        let conf = format!("SOFTHSM2_CONF={}", state.join("hsm/softhsm2.conf").display());
        let text = Cmd::new(hardware_tests)
            .args(["--json", "--token", "chancery", "--environment", &conf, "--pin-file"])
            .arg(state.join("hsm/pin"))
            .args(["bench", "--threads", &threads.to_string(), "--time-ms", &time.as_millis().to_string()])
            .asked()?;
        let rates: Vec<Rate> = serde_json::from_str(&text).map_err(|error| Stop::answer("rates", error))?;
        let rate = rates.into_iter().find(|rate| rate.threads == threads && rate.signatures > 0);
        let rate = rate.ok_or_else(|| Stop::answer("rates", text))?;
        Ok((rate, process::ended_children_cpu(own)?.saturating_sub(before)))
    };
    let (one, cpu) = measure(1)?;
    let (two, _) = measure(2)?;
    let cpu = cpu.div_f64(one.signatures as f64);
    Ok(Token { one_thread: one.per_second, two_threads: two.per_second, cpu })
}

/// The median time of one append with fdatasync in `folder`.
///
/// # Errors
/// [`Error::File`].
pub fn disk(folder: &Path) -> Result<Duration, Error> {
    let path = folder.join("append");
    let mut file = File::create(&path).map_err(Error::file(&path))?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let started = Instant::now();
        file.write_all(&[0x5a; APPEND_BYTES]).and_then(|()| file.sync_data()).map_err(Error::file(&path))?;
        times.push(started.elapsed());
    }
    fs::remove_file(&path).map_err(Error::file(&path))?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_takes_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disk(folder.path()).unwrap() > Duration::ZERO);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file is removed");
    }
}
