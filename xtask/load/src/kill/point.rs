//! Where a process dies: at the n-th occurrence of one system call on one of its threads, counted from the moment before
//! the request is sent.

use std::collections::BTreeMap;
use std::fmt;

/// The calls that touch files and sockets: between two of them nothing that another process could see can change.
pub const CALLS: &[&str] = &[
    "openat",
    "read",
    "pread64",
    "readv",
    "preadv",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "fcntl",
    "close",
    "accept4",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "shutdown",
];

/// Those of them that reach a disk.
pub const FILE_CALLS: &[&str] = &[
    "openat",
    "pread64",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
];

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `chanceryd` itself.
    Daemon,
    /// Its HSM worker.
    Worker,
}

/// Which of its threads. strace counts on each thread apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threads {
    /// Whichever comes to that count first.
    Any,
    /// The only thread of this name.
    Named(String),
}

/// One place to die.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The process.
    pub target: Target,
    /// The threads.
    pub threads: Threads,
    /// The system call.
    pub call: String,
    /// Its occurrence, from 1.
    pub occurrence: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            Target::Daemon => "daemon",
            Target::Worker => "worker",
        };
        let threads = match &self.threads {
            Threads::Any => "any thread",
            Threads::Named(name) => name,
        };
        write!(f, "{target}, {threads}, {} {}", self.call, self.occurrence)
    }
}

/// What one thread did during one sign: its name, and how often it made each call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The thread's name.
    pub name: String,
    /// Calls by name.
    pub calls: BTreeMap<String, u32>,
}

/// The points of one process, from what was counted in several dry runs: a point for each occurrence on a thread with a
/// name of its own, and one for each occurrence on any thread.
#[must_use]
pub fn points(target: Target, dry_runs: &[Vec<Counted>]) -> Vec<Point> {
    let mut most: BTreeMap<(Threads, String), u32> = BTreeMap::new();
    for threads in dry_runs {
        for thread in threads {
            let alone = threads.iter().filter(|other| other.name == thread.name).count() == 1;
            for (call, count) in &thread.calls {
                let mut raise = |threads: Threads| {
                    let known = most.entry((threads, call.clone())).or_default();
                    *known = (*known).max(*count);
                };
                raise(Threads::Any);
                if alone {
                    raise(Threads::Named(thread.name.clone()));
                }
            }
        }
    }
    most.into_iter()
        .flat_map(|((threads, call), count)| {
            (1..=count).map(move |occurrence| Point {
                target,
                threads: threads.clone(),
                call: call.clone(),
                occurrence,
            })
        })
        .collect()
}

/// The points in a fixed order that spreads every prefix over the whole: a short run sees a bit of everything.
#[must_use]
pub fn shuffled(points: &[Point]) -> Vec<&Point> {
    // A step that shares no divisor with the length visits each place once.
    let length = points.len().max(1);
    let step =
        (1..).map(|more| length * 5 / 8 + more).find(|step| common_divisor(*step, length) == 1).unwrap_or(1);
    (0..points.len()).filter_map(|number| points.get(number * step % length)).collect()
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, calls: &[(&str, u32)]) -> Counted {
        Counted {
            name: name.into(),
            calls: calls.iter().map(|(call, count)| ((*call).into(), *count)).collect(),
        }
    }

    #[test]
    fn threads_with_a_name_of_their_own_get_their_own_points() {
        let first = vec![
            counted("writer", &[("fdatasync", 2)]),
            counted("pool", &[("read", 1)]),
            counted("pool", &[]),
        ];
        let second = vec![
            counted("writer", &[("fdatasync", 1)]),
            counted("pool", &[("read", 2)]),
            counted("pool", &[]),
        ];
        let texts: Vec<String> =
            points(Target::Daemon, &[first, second]).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "daemon, any thread, fdatasync 1",
                "daemon, any thread, fdatasync 2",
                "daemon, any thread, read 1",
                "daemon, any thread, read 2",
                "daemon, writer, fdatasync 1",
                "daemon, writer, fdatasync 2",
            ]
        );
    }

    #[test]
    fn the_order_visits_every_point_once() {
        for length in [0, 1, 2, 7, 8, 100] {
            let calls = [("read", length)];
            let points = points(Target::Worker, &[vec![counted("a", &calls), counted("a", &[])]]);
            let mut order = shuffled(&points);
            order.sort();
            assert_eq!(order, points.iter().collect::<Vec<_>>(), "length {length}");
        }
    }
}
