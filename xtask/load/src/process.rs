//! What the kernel says of a process: time on a processor, resident memory, threads, children. Linux only.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Error;

/// Linux counts in hundredths of a second whatever its own tick (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// Time on a processor, user and system together, all threads.
///
/// # Errors
/// [`Error::Process`] when there is no such process.
pub fn cpu(pid: u32) -> Result<Duration, Error> {
    account(pid, 11)
}

/// As [`cpu`], of all processes that `pid` started and whose end it has seen.
///
/// # Errors
/// [`Error::Process`] when there is no such process.
pub fn ended_children_cpu(pid: u32) -> Result<Duration, Error> {
    account(pid, 13)
}

/// Resident memory, in bytes.
///
/// # Errors
/// [`Error::Process`] when there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64, Error> {
    field(&read(pid, "status")?, "VmRSS:")
        .map(|kilobytes| kilobytes * 1_024)
        .ok_or_else(|| Error::Process { pid, what: "its status has no VmRSS".into() })
}

/// The processes that `pid` started and that still are, in no order.
///
/// # Errors
/// [`Error::File`] when the process list cannot be read.
pub fn children(pid: u32) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(Error::file("/proc"))?.flatten() {
        let Some(other) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        if fs::read_to_string(format!("/proc/{other}/stat")).is_ok_and(|stat| parent(&stat) == Some(pid)) {
            found.push(other);
        }
    }
    Ok(found)
}

/// The HSM workers of a daemon, which its launcher started.
///
/// # Errors
/// As [`children`].
pub fn workers(daemon: u32) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    for launcher in children(daemon)? {
        found.extend(children(launcher)?);
    }
    Ok(found)
}

/// The threads of a process and their names.
///
/// # Errors
/// [`Error::File`] when there is no such process.
pub fn threads(pid: u32) -> Result<BTreeMap<u32, String>, Error> {
    let folder = format!("/proc/{pid}/task");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(Error::file(&folder))?.flatten() {
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(name) = fs::read_to_string(entry.path().join("comm")) {
            found.insert(thread, name.trim().to_owned());
        }
    }
    Ok(found)
}

fn account(pid: u32, first: usize) -> Result<Duration, Error> {
    ticks(&read(pid, "stat")?, first)
        .map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
        .ok_or_else(|| Error::Process { pid, what: "its stat is not understood".into() })
}

fn read(pid: u32, file: &str) -> Result<String, Error> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| Error::Process { pid, what: error.to_string() })
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold anything: the name ends at the last `)`.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

/// Two neighbouring fields together: `utime` and `stime` (14 and 15), or `cutime` and `cstime` (16 and 17).
/// `first` counts from the field after the name. Source: proc(5).
fn ticks(stat: &str, first: usize) -> Option<u64> {
    let mut fields = after_name(stat).skip(first);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// `ppid`, field 4.
fn parent(stat: &str) -> Option<u32> {
    after_name(stat).nth(1)?.parse().ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 7 42 42 0 -1 4194560 100 0 0 0 31 11 5 6 20 0 3 0 100 1 1";
        assert_eq!(ticks(stat, 11), Some(42));
        assert_eq!(ticks(stat, 13), Some(11));
        assert_eq!(parent(stat), Some(7));
        assert_eq!(ticks("nonsense", 11), None);
    }

    #[test]
    fn this_process_is_there() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(!threads(pid).unwrap().is_empty());
        assert!(cpu(pid).is_ok() && cpu(u32::MAX).is_err());
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(children(pid).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
