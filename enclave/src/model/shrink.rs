//! A shorter run that still differs: whatever can be left out is left out, until nothing can.

use super::world::{Bundle, Case};

/// LIMIT: runs tried for one shrinking.
const TRIES: usize = 2_000;

/// The smallest run found that still differs, and how it does.
pub fn shrink(
    mut case: Case,
    mut difference: String,
    differs: impl Fn(&Case) -> Option<String>,
) -> (Case, String) {
    let mut tries = 0;
    loop {
        let smaller = candidates(&case).into_iter().find_map(|candidate| {
            tries += 1;
            if tries > TRIES {
                return None;
            }
            differs(&candidate).map(|difference| (candidate, difference))
        });
        match smaller {
            Some(smaller) => (case, difference) = smaller,
            None => return (case, difference),
        }
    }
}

/// Each run with one thing left out, the large things first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut length = case.steps.len().div_ceil(2);
    while length > 0 {
        for from in (0..case.steps.len()).step_by(length) {
            let mut steps = case.steps.clone();
            steps.drain(from..(from + length).min(case.steps.len()));
            all.push(Case { steps, ..case.clone() });
        }
        length /= 2;
    }
    for (number, bundle) in case.bundles.iter().enumerate() {
        let mut with = |change: &dyn Fn(&mut Bundle)| {
            let mut case = case.clone();
            change(&mut case.bundles[number]);
            all.push(case);
        };
        (0..bundle.rules.len()).for_each(|rule| with(&|bundle| drop(bundle.rules.remove(rule))));
        (0..bundle.limits.len()).for_each(|limit| with(&|bundle| drop(bundle.limits.remove(limit))));
        for (rule, one) in bundle.rules.iter().enumerate() {
            for atom in 0..one.atoms.len() {
                with(&|bundle| {
                    bundle.rules[rule].atoms.remove(atom);
                });
            }
        }
        for asset in 0..3 {
            if bundle.assets[asset].is_some_and(|asset| asset.price.is_some()) {
                with(&|bundle| bundle.assets[asset].iter_mut().for_each(|asset| asset.price = None));
            }
        }
    }
    all
}
