//! A simulation is worth something only if it is the same each time, and if it can fail.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chancery-sim")).args(arguments).output().unwrap()
}

/// Would catch time, randomness or an order of things that does not come from the seed.
#[test]
fn a_seed_replays_to_the_byte() {
    for seed in ["1", "7", "37", "84"] {
        let [first, second] = [(); 2].map(|()| simulate(&["--seed", seed]));
        assert!(first.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&first.stdout));
        assert!(first.stdout.len() > 1_000, "seed {seed}: a trace without a line");
        assert_eq!(first.stdout, second.stdout, "seed {seed} replays otherwise");
    }
    assert_ne!(simulate(&["--seed", "1"]).stdout, simulate(&["--seed", "2"]).stdout);
}

/// Would catch a simulation that looks away: on a disk that only says that it syncs, promises cannot be kept; and a log that
/// does not know its head any more opens on an older store.
#[test]
fn what_is_planted_is_found() {
    for planted in ["lying-disk", "forgotten-head"] {
        let broken = |seed: u32| {
            !simulate(&["--brief", "--planted", planted, "--seed", &seed.to_string()]).status.success()
        };
        assert!((1..=40).any(broken), "forty houses with a {planted}, and nobody missed anything");
    }
}

/// The same of parties: weather from anywhere but the seed, and looking away from parties that go on with a session after a restart,
/// make the same nonces again, or confirm what they have not written.
#[test]
fn parties_replay_and_what_is_planted_in_them_is_found() {
    let of = |seed: u32, more: &[&str]| {
        simulate(&[&["--of", "parties", "--seed", &seed.to_string()], more].concat())
    };
    for seed in [1, 14, 113] {
        let [first, second] = [(); 2].map(|()| of(seed, &[]));
        assert!(first.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&first.stdout));
        assert_eq!(first.stdout, second.stdout, "seed {seed} replays otherwise");
    }
    for planted in ["goes-on", "same-dice", "says-first"] {
        let broken = |seed: u32| !of(seed, &["--brief", "--plant", planted]).status.success();
        assert!((1..=60).any(broken), "sixty lives with {planted}, and nobody missed anything");
    }
}
