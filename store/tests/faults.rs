//! A disk that fails, by strace: the syncs, then the writes of a run are failed one at a time. An injected fsync error leaves
//! the rows in the file (failed, but persisted); an injected write error does not (failed and not persisted).
//! Skipped, loudly, where strace is not installed or may not trace.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod fixture;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use fixture::child;

const SIGABRT: i32 = 6;
/// SQLite syncs its files with the second; folders are synced with the first. Strace counts each call apart.
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];

/// Not a test by itself: the process that the others start.
#[test]
fn child_process() {
    child::run();
}

fn strace() -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: strace is not installed or may not trace; no fault was injected");
    }
    works
}

/// Each sync is failed. Of the writes each fifth is: an odd step, so that frame headers and pages both come up.
/// `CHANCERY_STORE_EVERY_WRITE=1` fails them all.
fn step(of: &str) -> usize {
    let every = SYNCS.contains(&of) || std::env::var_os("CHANCERY_STORE_EVERY_WRITE").is_some();
    if every { 1 } else { 5 }
}

/// A place for a store: new, or opened and closed once, so that opening it again writes next to nothing.
async fn place(new: bool) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    if !new {
        fixture::open(directory.path()).close().await;
    }
    directory
}

/// Which of these calls of a clean run are to fail, counted from 1: those of the thread that opens the store, and of the
/// one that makes the most. Strace counts, and injects, by thread.
async fn calls(of: &str, new: bool) -> (Vec<usize>, Vec<usize>) {
    let directory = place(new).await;
    let log = directory.path().join("log");
    let trace = format!("trace={of}");
    let arguments = ["-y", "-e", &trace, "-o", log.to_str().unwrap()];
    let output = child::traced(&arguments, "child_process", directory.path(), 1, 4).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = std::fs::read_to_string(log).unwrap();
    let thread = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let Some(opener) = log.lines().next().map(thread) else { return Default::default() };
    let mut threads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in log.lines() {
        // SQLite syncs the WAL's name too, and ignores an error: opening has synced it before.
        let counts = of != "fdatasync" || line.contains("store.sqlite");
        threads.entry(thread(line)).or_default().push(counts);
    }
    let nth = |calls: &Vec<bool>| (1..=calls.len()).filter(|nth| calls[nth - 1]).collect();
    (nth(&threads[&opener]), nth(threads.values().max_by_key(|calls| calls.len()).unwrap()))
}

/// One run in which call number `nth` of each thread fails so. Returns the signal that ended it and what it said.
fn fail(directory: &Path, of: &str, errno: &str, nth: usize) -> (Option<i32>, String) {
    let inject = format!("inject={of}:error={errno}:when={nth}");
    let trace = format!("trace={of}");
    let arguments = ["-e", &trace, "-e", &inject, "-o", "/dev/null"];
    let output = child::traced(&arguments, "child_process", directory, 1, 4).output().unwrap();
    (output.status.signal(), String::from_utf8(output.stdout).unwrap())
}

async fn every_failure_ends_the_process(of: &[&str]) {
    if !strace() {
        return;
    }
    let mut ended = 0;
    for (of, new) in of.iter().flat_map(|of| [(*of, true), (*of, false)]) {
        let (opening, most) = calls(of, new).await;
        // Of a new store the calls of the opening, of one that is there those of the writer.
        let calls = if new { opening } else { most };
        for nth in calls.iter().copied().step_by(step(of)) {
            let directory = place(new).await;
            let (signal, output) = fail(directory.path(), of, "EIO", nth);
            let said = child::said(&output);
            let case = format!("{of} {nth} of {calls:?}, new store {new}: {said:?}");
            assert!(!said.contains(&"done"), "the process went on: {case}");
            assert!(
                !said.iter().any(|line| line.starts_with("refused")),
                "answered after an I/O error: {case}"
            );
            let opened = said.contains(&"opened");
            if opened {
                assert_eq!(signal, Some(SIGABRT), "{case}");
                ended += 1;
            } else {
                assert!(said.iter().any(|line| line.starts_with("closed")), "{case}");
            }
            child::verify(directory.path(), said).await;
        }
    }
    assert!(ended >= 6, "only {ended} faults met a running writer");
}

#[tokio::test]
async fn every_failed_sync_ends_the_process_unanswered() {
    every_failure_ends_the_process(&SYNCS).await;
}

#[tokio::test]
async fn every_failed_write_ends_the_process_unanswered() {
    every_failure_ends_the_process(&["pwrite64"]).await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_next_write_goes_on() {
    if !strace() {
        return;
    }
    let (_, writes) = calls("pwrite64", false).await;
    let total = writes.len();
    let mut refused = 0;
    for nth in writes.into_iter().step_by(step("pwrite64")) {
        let directory = place(false).await;
        let (signal, output) = fail(directory.path(), "pwrite64", "ENOSPC", nth);
        let said = child::said(&output);
        assert_eq!(signal, None, "write {nth} of {total}: {said:?}");
        let refusals = said.iter().filter(|line| **line == "refused store-unavailable").count();
        assert!(refusals <= 1, "one full write refused {refusals} jobs");
        refused += refusals;
        if said.contains(&"opened") {
            assert!(said.contains(&"done"), "write {nth} of {total}: {said:?}");
            let permits = said.iter().filter(|line| line.starts_with("permitted")).count();
            assert!(permits + refusals >= 4, "the writer did not go on after {refusals} refusals: {said:?}");
        }
        child::verify(directory.path(), said).await;
    }
    assert!(refused >= 4, "only {refused} of {total} faults met a commit");
}

#[test]
fn an_answer_follows_the_sync_of_its_rows() {
    if !strace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let arguments =
        ["-y", "-e", "trace=pwrite64,fsync,fdatasync,write", "-s", "32", "-o", log.to_str().unwrap()];
    let store = directory.path().join("s");
    let output = child::traced(&arguments, "child_process", &store, 1, 8).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = std::fs::read_to_string(log).unwrap();
    let (mut synced, mut written, mut answers) = (true, false, 0);
    for line in log.lines() {
        // An unfinished call names its file at the start; a sync counts when it is named and known to have worked.
        let wal = line.contains("store.sqlite-wal>");
        if line.contains("pwrite64(") && wal {
            (synced, written) = (false, true);
        } else if (line.contains("fsync(") || line.contains("fdatasync(")) && wal {
            synced = true;
        } else if line.contains("sync resumed>") {
            assert!(line.ends_with("= 0"), "{line}");
        } else if line.contains("child: permitted") || line.contains("child: released") {
            assert!(written && synced, "answered before the sync: {line}");
            (answers, written) = (answers + 1, false);
        }
    }
    assert!(answers >= 12, "the trace shows only {answers} answers:\n{log}");
}

/// Would catch a checkpoint whose errors nobody hears of, because it runs beside the writer.
#[tokio::test]
async fn a_failed_checkpoint_ends_the_process() {
    if !strace() {
        return;
    }
    // Only a checkpoint touches the database itself: the first of these syncs is SQLite's or ours.
    for (of, errno) in [("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")] {
        let directory = place(false).await;
        let database = directory.path().join("store.sqlite");
        let inject = format!("inject={of}:error={errno}:when=1");
        let arguments = ["-P", database.to_str().unwrap(), "-e", &inject, "-o", "/dev/null"];
        // Each commit is a thousand frames of the WAL.
        let mut child = child::traced(&arguments, "child_process", directory.path(), 1, 4);
        let output = child.env(child::RECORD, "4000000").output().unwrap();
        let (signal, output) = (output.status.signal(), String::from_utf8(output.stdout).unwrap());
        let said = child::said(&output);
        let ends = errno == "EIO";
        assert_eq!(signal, ends.then_some(SIGABRT), "{of} {errno}: {said:?}");
        assert_eq!(said.contains(&"done"), !ends, "{of} {errno}: {said:?}");
        assert!(said.iter().any(|line| line.starts_with("permitted")), "{of} {errno}: {said:?}");
        child::verify(directory.path(), said).await;
    }
}
