//! A program looked at in the midst of its work: strace stops it behind each call by which others could learn of something (a file
//! renamed or synced, a message sent), all its processes are seen with whatever they hold, and it goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xtask::run::Cmd;

use crate::Error;

const CALLS: &str = "rename,fsync,sendto";

/// The same program, stopped so; what strace says goes to `log`.
pub fn under(program: Cmd, log: &Path) -> Cmd {
    let strace = Cmd::new("strace").args(["-fqq", "-e", &format!("trace={CALLS}")]);
    let strace = strace.args(["-e", &format!("inject={CALLS}:signal=STOP"), "-o"]).arg(log).arg("--");
    program.under(strace)
}

/// Does `work`, which runs a program [`under`] the same `log`, and has `look` see each of its processes at each stop.
///
/// # Errors
/// Those of `work` and `look`.
pub fn watched<T: Send>(
    log: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send,
    mut look: impl FnMut(u32) -> Result<(), Error>,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let work = scope.spawn(work);
        let (mut known, mut outcome) = (0, Ok(()));
        loop {
            let over = work.is_finished();
            let text = fs::read_to_string(log).unwrap_or_default();
            let stops = text.lines().filter(|line| line.contains("--- SIGSTOP {"));
            let stops: Vec<u32> = stops.filter_map(thread_of).collect();
            for stopped in
                stops.get(known..).unwrap_or_default().iter().filter_map(|thread| process_of(*thread))
            {
                let all: BTreeSet<u32> = text.lines().filter_map(thread_of).filter_map(process_of).collect();
                // Those beside it go on, and may end while they are looked at.
                let there = |(pid, seen): (u32, Result<(), Error>)| {
                    seen.or_else(|error| process_of(pid).map_or(Ok(()), |_| Err(error)))
                };
                outcome = all
                    .into_iter()
                    .fold(outcome, |before, pid| before.and_then(|()| there((pid, look(pid)))));
                // It goes on whatever was seen: nobody waits for it for ever.
                Cmd::new("kill")
                    .args(["-CONT", &stopped.to_string()])
                    .quiet()
                    .or_else(|stop| if process_of(stopped).is_none() { Ok(()) } else { Err(stop) })?;
            }
            known = stops.len();
            if over {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let done = work.join().unwrap_or_else(|_| Err(Error::Tracer("the work panicked".into())));
        outcome.and(done)
    })
}

/// Whose line of the log it is.
fn thread_of(line: &str) -> Option<u32> {
    line.split_whitespace().next()?.parse().ok()
}

/// The process of a thread that is still there. One that ended and was not waited for yet has no memory any more.
fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let state = status.lines().find_map(|line| line.strip_prefix("State:"))?.trim();
    if state.starts_with(['Z', 'X']) {
        return None;
    }
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}
