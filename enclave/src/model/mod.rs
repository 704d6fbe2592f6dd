//! Assurance 7: the books decide as an independent model does. Random bundles and random runs of requests, retries, failures,
//! clocks, bundle changes and restarts go to the model (`oracle`) and to the real thing (`real`), and every answer, every
//! state and every counter is compared. `CHANCERY_MODEL_RUNS` says how many runs, `CHANCERY_MODEL_FIRST` from which, `CHANCERY_MODEL_SEED` asks for one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "test code"
)]

mod dice;
mod oracle;
mod real;
mod shrink;
mod world;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use oracle::{Oracle, Said};
use real::{Real, Written};
use world::{Ask, Body, Bundle, Case, End, Rule, Step, Who};

use crate::walk::Recorded;

/// Runs of a normal test.
const RUNS: u64 = 300;

/// What happened in runs, so that one sees that they tried something.
#[derive(Default)]
struct Seen {
    bundles: AtomicU64,
    asked: AtomicU64,
    allowed: AtomicU64,
    pending: AtomicU64,
    denied: AtomicU64,
    again: AtomicU64,
    conflicts: AtomicU64,
    /// Denied for want of the client's own signature, and refused because its nonce was used.
    unsigned: AtomicU64,
    replayed: AtomicU64,
    ended: AtomicU64,
    /// Signatures of a cold wallet that were brought and taken, and those that came too soon, too late or for nothing.
    brought: AtomicU64,
    unwanted: AtomicU64,
    looked_back: AtomicU64,
    compared: AtomicU64,
}

fn count(what: &AtomicU64, n: u64) {
    what.fetch_add(n, Ordering::Relaxed);
}

/// Runs a case on both sides; says where they differ.
fn run(case: &Case, bundles: &[Written], seen: &Seen) -> Result<(), String> {
    let (mut oracle, mut real) = (Oracle::at(case.start), Real::at(case.start));
    for (number, step) in case.steps.iter().enumerate() {
        let (expected, found) = (oracle.take(step, &case.bundles), real.take(step, bundles));
        let differ = |what: &str, expected: String, found: String| {
            Err(format!("step {number}: {what}\n  model: {expected}\n  found: {found}"))
        };
        if expected != found {
            return differ("the answer", format!("{expected:?}"), format!("{found:?}"));
        }
        if oracle.states() != real.states() {
            return differ("the states", format!("{:?}", oracle.states()), format!("{:?}", real.states()));
        }
        if oracle.entries != real.entries() {
            return differ("the log's entries", oracle.entries.to_string(), real.entries().to_string());
        }
        // What would the next request see? Asked for one that was asked before, whose counters are not empty.
        let asked = case.steps.iter().filter_map(|step| match step {
            Step::Ask(ask, _) => Some(ask),
            _ => None,
        });
        if let Some(ask) = asked.cycle().nth(number * 7 % case.steps.len()) {
            let (expected, found) = (oracle.totals(ask), real.totals(ask));
            count(&seen.compared, expected.len() as u64);
            if expected != found {
                return differ(
                    &format!("the totals for {ask:?}"),
                    format!("{expected:?}"),
                    format!("{found:?}"),
                );
            }
        }
        if let Step::Bring(..) = step {
            match expected {
                Said::Permitted(_) => count(&seen.brought, 1),
                Said::Refused(_) => count(&seen.unwanted, 1),
                _ => {}
            }
        }
        match expected {
            Said::Permitted(_) => count(&seen.allowed, 1),
            Said::Pending(..) => count(&seen.pending, 1),
            Said::Denied(_, _, lacks_signature) => {
                count(&seen.denied, 1);
                count(&seen.unsigned, u64::from(lacks_signature));
            }
            Said::Refused("request-signature-invalid") => count(&seen.replayed, 1),
            Said::Before(..) => count(&seen.again, 1),
            Said::Conflict(_) => count(&seen.conflicts, 1),
            Said::Nothing | Said::Refused(_) => {}
        }
        count(&seen.asked, u64::from(matches!(step, Step::Ask(..))));
        count(&seen.bundles, u64::from(matches!(step, Step::Apply(_))));
    }
    let over = |state: &&oracle::State| matches!(state, oracle::State::Failed | oracle::State::Expired);
    count(&seen.ended, oracle.states().iter().filter(over).count() as u64);
    count(&seen.looked_back, oracle.looked_back);
    Ok(())
}

/// What a person needs to see the disagreement: the bundles as text, and the steps.
fn told(case: &Case) -> String {
    let mut text = String::new();
    for (number, bundle) in case.bundles.iter().enumerate() {
        let source = bundle.source();
        let _ = writeln!(text, "--- bundle {number}\n{}", source.files["bundle.toml"]);
        let _ = writeln!(text, "{}", source.files["policies/main.cedar"]);
    }
    let _ = writeln!(text, "--- from {}", case.start);
    for step in &case.steps {
        let _ = writeln!(text, "{step:?}");
    }
    text
}

/// Walks that a rule permitted and that go on: a message with this number, for this wallet.
pub fn permitted<const N: usize>(asked: [(u64, usize); N]) -> [Recorded; N] {
    let plain = Rule {
        forbids: false,
        client: Who::Any,
        wallet: Who::Any,
        kind: None,
        atoms: Vec::new(),
        quorum: None,
        delay_s: None,
        veto: false,
        expires_s: None,
    };
    let bundle = Bundle { assets: [None; 3], limits: Vec::new(), rules: vec![plain] };
    let bundles = [Written::of(&bundle).unwrap()];
    let mut real = Real::at(dice::START);
    real.take(&Step::Apply(0), &bundles);
    for (key, (nonce, wallet)) in (0..).zip(asked) {
        let ask = Ask { client: 0, wallet, key, nonce, body: Body::Message, signed: None };
        assert_eq!(real.take(&Step::Ask(ask, End::Open), &bundles), Said::Permitted(key as usize));
    }
    real.walks().try_into().ok().unwrap()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_books_decide_as_the_model_does() {
    let first = number("CHANCERY_MODEL_FIRST").unwrap_or(0);
    let many = first..first + number("CHANCERY_MODEL_RUNS").unwrap_or(RUNS);
    let only = number("CHANCERY_MODEL_SEED");
    let seeds = only.map_or(many, |seed| seed..seed + 1);
    let (next, seen) = (AtomicU64::new(seeds.start), Seen::default());
    let disagreements = AtomicU64::new(0);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let case = dice::case(seed);
        let bundles = case.bundles.iter().map(Written::of).collect::<Result<Vec<_>, _>>();
        let bundles = bundles.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", told(&case)));
        // One disagreement is told in full; the others are counted.
        if let Err(difference) = run(&case, &bundles, &seen)
            && disagreements.fetch_add(1, Ordering::Relaxed) == 0
        {
            println!("seed {seed}: {difference}");
            let (case, difference) = shrink::shrink(case, difference, |case| {
                // What does not compile is no disagreement.
                let bundles = case.bundles.iter().map(Written::of).collect::<Result<Vec<_>, _>>().ok()?;
                run(case, &bundles, &Seen::default()).err()
            });
            println!("shrunk to {} steps: {difference}\n{}", case.steps.len(), told(&case));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
    let of = |what: &AtomicU64| what.load(Ordering::Relaxed);
    let failures = of(&disagreements);
    println!(
        "assurance model sequences runs={} failures={failures} bundles={} requests={} allowed={} pending={} denied={} \
         retries={} conflicts={} unsigned={} replayed={} ended={} brought={} unwanted={} looked_back={} totals={}",
        seeds.end - seeds.start,
        of(&seen.bundles),
        of(&seen.asked),
        of(&seen.allowed),
        of(&seen.pending),
        of(&seen.denied),
        of(&seen.again),
        of(&seen.conflicts),
        of(&seen.unsigned),
        of(&seen.replayed),
        of(&seen.ended),
        of(&seen.brought),
        of(&seen.unwanted),
        of(&seen.looked_back),
        of(&seen.compared),
    );
    assert_eq!(failures, 0, "the books and the model disagree; CHANCERY_MODEL_SEED=<seed> runs one again");
    let tried = [
        &seen.allowed,
        &seen.pending,
        &seen.denied,
        &seen.again,
        &seen.conflicts,
        &seen.unsigned,
        &seen.replayed,
        &seen.ended,
        &seen.brought,
        &seen.unwanted,
        &seen.looked_back,
    ];
    let hardly = |what: &&AtomicU64| of(what) < (seeds.end - seeds.start) / 50;
    assert!(
        only.is_some() || !tried.iter().any(hardly),
        "something hardly ever happens: its defects would pass unseen"
    );
}
