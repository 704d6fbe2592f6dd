//! The corpus and the seeds in an ordinary test: no libFuzzer, no other toolchain. What once broke a target stays here.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use chancery_fuzz::{Campaign, TARGETS, corpus};

/// Would catch a regression, and a target whose seeds no longer get past the first checks: it would test nothing.
#[test]
fn seeds_and_kept_inputs_hold_and_each_parser_takes_one() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let taken = seeds.iter().filter(|seed| (target.check)(seed).accepted).count();
        assert!(taken > 0, "{}: none of {} seeds is accepted", target.name, seeds.len());
        for (path, input) in corpus(target) {
            (target.check)(&input);
            assert!(input.len() < 4096, "{}: kept inputs are small", path.display());
        }
    }
}

/// A few inputs for each target, the same ones each time.
#[test]
fn a_few_mutations_hold() {
    for target in TARGETS {
        let ended = Campaign { seed: 1, runs: 300, time: Duration::from_secs(600) }.run(target, |_| ());
        if let Some((input, what)) = ended.broken {
            panic!("{}: {what}: {input:02x?}", target.name);
        }
    }
}

/// Would catch kept inputs that no target replays.
#[test]
fn every_folder_of_the_corpus_is_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{}", name.display());
    }
}
