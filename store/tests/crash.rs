//! A process killed at any moment: what it answered is there, what is there is whole. A kill leaves the page cache, so
//! this shows atomicity and order, not power loss; that the sync comes before the answer is shown in `faults.rs`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use fixture::child;

/// Not a test by itself: the process that the others start.
#[test]
fn child_process() {
    child::run();
}

#[tokio::test]
async fn a_killed_process_leaves_every_answer_and_nothing_torn() {
    let directory = tempfile::tempdir().unwrap();
    let mut answers: Vec<String> = Vec::new();
    let mut found = 0;
    for round in 0..12_usize {
        let mut child = child::command("child_process", directory.path(), 16, 100_000)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // The moment is counted in answers, so that slow machines kill at the same places as fast ones; where in
        // the next commit it falls is up to the scheduler.
        let moment = answers.len() + [1, 3, 17, 60, 150, 400][round % 6];
        while answers.len() < moment {
            let line = lines.next().expect("the child ended by itself");
            answers.extend(child::said(&line).into_iter().map(str::to_owned));
        }
        child.kill().unwrap();
        answers.extend(
            lines.flat_map(|line| child::said(&line).into_iter().map(str::to_owned).collect::<Vec<_>>()),
        );
        child.wait().unwrap();
        assert!(!answers.iter().any(|answer| answer.starts_with("closed")), "{answers:?}");
        found = child::verify(directory.path(), answers.iter().map(String::as_str)).await;
    }
    assert!(found > 500, "the children did next to nothing: {found}");
}
