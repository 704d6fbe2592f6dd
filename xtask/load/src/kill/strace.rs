//! strace, attached to a running process: once to count the calls of a sign, then to deliver a fault at one of them.
//! A signal is delivered on entering the call, so the call itself does not happen any more.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::point::{CALLS, Counted, Point, Threads};
use crate::{Error, process};

const ATTACH: Duration = Duration::from_secs(10);
const DETACH: Duration = Duration::from_millis(500);

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the process.
    Kill,
    /// The call does nothing and answers this error.
    Errno(&'static str),
    /// A write takes nothing of what it was given, and says so. (Part of it is the simulation's to take.)
    Short,
}

impl FromStr for Fault {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "KILL" => Ok(Self::Kill),
            "EIO" => Ok(Self::Errno("EIO")),
            "ENOSPC" => Ok(Self::Errno("ENOSPC")),
            "SHORT" => Ok(Self::Short),
            other => Err(Error::Option(other.to_owned())),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("SIGKILL"),
            Self::Errno(name) => f.write_str(name),
            Self::Short => f.write_str("short writes"),
        }
    }
}

/// strace at work. Dropping it lets the process go on alone.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    said: Receiver<String>,
}

impl Strace {
    /// Counts calls of all threads of `pid`, into one file a thread below `folder`.
    ///
    /// # Errors
    /// [`Error::Tracer`] when it cannot attach.
    pub fn counting(pid: u32, folder: &Path) -> Result<Self, Error> {
        let mut command = Command::new("strace");
        command.args(["-ff", "-e", &format!("trace={}", CALLS.join(",")), "-o"]).arg(folder.join("calls"));
        command.args(["-p", &pid.to_string()]);
        Self::attach(command)
    }

    /// Delivers `fault` at `point` of the process `pid`; [`injected`] reads from the file `log` what it hit.
    ///
    /// # Errors
    /// [`Error::Tracer`] when it cannot attach, or when the point's thread is not there.
    pub fn injecting(pid: u32, point: &Point, fault: Fault, log: &Path) -> Result<Self, Error> {
        let what = match fault {
            Fault::Kill => "signal=KILL".to_owned(),
            Fault::Errno(name) => format!("error={name}"),
            Fault::Short => "retval=0".to_owned(),
        };
        let mut command = Command::new("strace");
        command.arg("-yo").arg(log).args(["-e", &format!("trace={}", point.call)]);
        command.args(["-e", &format!("inject={}:{what}:when={}", point.call, point.occurrence)]);
        match &point.threads {
            Threads::Any => command.args(["-f", "-p", &pid.to_string()]),
            Threads::Named(name) => {
                let threads = process::threads(pid)?;
                let thread = threads.iter().find(|(_, other)| *other == name);
                let (thread, _) =
                    thread.ok_or_else(|| Error::Tracer(format!("no thread `{name}` in {pid}")))?;
                command.args(["-p", &thread.to_string()])
            }
        };
        Self::attach(command)
    }

    fn attach(mut command: Command) -> Result<Self, Error> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Tracer(format!("cannot be started: {error}")))?;
        let said = child.stderr.take().map(lines).ok_or_else(|| Error::Tracer("has no stderr".into()))?;
        let strace = Self { child, said };
        strace.wait_for("attached")?;
        Ok(strace)
    }

    fn wait_for(&self, word: &str) -> Result<(), Error> {
        let mut last = String::new();
        loop {
            match self.said.recv_timeout(ATTACH) {
                Ok(line) if line.contains(word) => return Ok(()),
                Ok(line) => last = line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Tracer(format!("is silent; last: {last}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Tracer(format!("has ended: {last}")));
                }
            }
        }
    }

    /// Lets the process go and waits until that is done.
    pub fn detach(self) {
        drop(self);
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It ends by itself with its tracee, and detaches in order on SIGINT. One that does neither is ended: a process
        // without its tracer goes on.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        }
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > DETACH {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What [`Strace::counting`] wrote: one file a thread, named by its id.
///
/// # Errors
/// [`Error::File`].
pub fn counted(folder: &Path, names: &BTreeMap<u32, String>) -> Result<Vec<Counted>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file(folder))?.flatten() {
        let path = entry.path();
        let thread =
            path.extension().and_then(|id| id.to_str()).and_then(|id| id.parse().ok()).unwrap_or_default();
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let name = names.get(&thread).cloned().unwrap_or_else(|| "started meanwhile".into());
        found.push(Counted { name, calls: calls(&text) });
    }
    Ok(found)
}

/// The call that [`Strace::injecting`] broke, with the names of its descriptors' files; `None` where none came to that.
///
/// # Errors
/// [`Error::File`].
pub fn injected(log: &Path) -> Result<Option<String>, Error> {
    let text = fs::read_to_string(log).map_err(Error::file(log))?;
    Ok(text.lines().find(|line| line.contains("(INJECTED)")).map(str::to_owned))
}

/// Calls by name in one thread's trace.
fn calls(trace: &str) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for line in trace.lines() {
        let call = line.split('(').next().unwrap_or_default();
        if CALLS.contains(&call) {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_name() {
        let trace = "read(5, \"write(\", 6) = 6\nwrite(4, \"\", 0) = 0\nread(5, \"\", 6) = 0\nfutex(0x1, FUTEX_WAKE) = 0\n\
                     +++ exited with 0 +++\n";
        assert_eq!(calls(trace), BTreeMap::from([("read".into(), 2), ("write".into(), 1)]));
    }

    #[test]
    fn faults_have_names() {
        assert_eq!("KILL".parse::<Fault>().unwrap(), Fault::Kill);
        assert_eq!("EIO".parse::<Fault>().unwrap(), Fault::Errno("EIO"));
        assert_eq!("SHORT".parse::<Fault>().unwrap(), Fault::Short);
        assert!("sleep".parse::<Fault>().is_err());
    }
}
