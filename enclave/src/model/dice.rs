//! Random runs: a bundle, its changes, and steps that keep close to what could go wrong: amounts beside the bounds that
//! rules compare with, times at the edges of windows and buckets, keys used twice, clocks that step back.
//! A seed says everything.

use std::collections::BTreeSet;

use alloy_primitives::U256;

use super::world::{
    Ask, Asset, Atom, Body, Bundle, CLIENTS, COLD, Case, End, Key, Kind, Limit, Measure, PEOPLE, Rule, Step,
    WALLETS, Who,
};

/// 2026-01-05T12:00:00Z, an hour after a bucket's edge or not.
pub const START: i64 = 1_767_614_400_000;
const WINDOWS_S: [i64; 7] = [1, 45, 64, 90, 600, 3_600, 86_400];
/// Bounds that rules compare with; amounts are made to fall beside them.
const BOUNDS: [i64; 8] = [0, 1, 2, 3, 100, 101, i64::MAX - 1, i64::MAX];

/// SplitMix64: enough for choosing.
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn some<T: Copy + Ord>(&mut self, all: &[T], one_in: usize) -> BTreeSet<T> {
        all.iter().copied().filter(|_| self.one_in(one_in)).collect()
    }
}

/// The run of a seed.
pub fn case(seed: u64) -> Case {
    let mut dice = Dice(seed);
    let mut bundles = vec![bundle(&mut dice)];
    let changes = [0, 0, 1, 2][dice.below(4)];
    for _ in 0..changes {
        let changed = change(&mut dice, &bundles[bundles.len() - 1]);
        bundles.push(changed);
    }
    let start = START + i64::try_from(dice.next() % 86_400_000).unwrap();
    let mut steps =
        Steps { dice, now: start, asked: Vec::new(), at: Vec::new(), steps: vec![Step::Apply(0)] };
    let many = 6 + steps.dice.below(24);
    for _ in 0..many {
        steps.one(&bundles);
    }
    Case { start, bundles, steps: steps.steps }
}

fn bundle(dice: &mut Dice) -> Bundle {
    let mut assets = [None; 3];
    for (asset, (decimals, units)) in assets.iter_mut().zip([(18, &[9, 18, 6][..]), (6, &[6, 2]), (0, &[0])])
    {
        let price = dice.one_in(2).then(|| {
            let cents = dice.of(&[1, 99, 100, 300_025]);
            (cents, START.div_euclid(1_000) * 1_000 + i64::try_from(dice.next() % 172_800).unwrap() * 1_000)
        });
        *asset = (!dice.one_in(5)).then(|| Asset { decimals, unit: dice.of(units), price });
    }
    let limits: Vec<_> = (0..dice.below(4)).map(|name| limit(dice, name, &assets)).collect();
    let mut rules: Vec<_> = (0..1 + dice.below(4)).map(|_| rule(dice, &limits)).collect();
    // A run in which nothing is ever allowed finds little: a plain rule about one limit, or about nothing.
    if !dice.one_in(4) {
        let atoms =
            rule(dice, &limits).atoms.into_iter().filter(|atom| matches!(atom, Atom::SpentAtMost(..)));
        let atoms = atoms.take(1).collect();
        rules.push(Rule { atoms, ..Rule::PLAIN });
    }
    Bundle { assets, limits, rules }
}

fn limit(dice: &mut Dice, name: usize, assets: &[Option<Asset>; 3]) -> Limit {
    let measure = dice.of(&[Measure::Sum, Measure::Sum, Measure::Usd, Measure::Count]);
    let registered: Vec<_> = (0..3).filter(|asset| assets[*asset].is_some()).collect();
    let mut keys = dice.some(&[Key::Wallet, Key::Client, Key::Asset, Key::Destination], 3);
    let assets = if dice.one_in(4) { dice.some(&registered, 2) } else { BTreeSet::new() };
    if measure == Measure::Sum && assets.len() != 1 {
        keys.insert(Key::Asset);
    }
    let actions = if dice.one_in(3) { dice.some(&Kind::ALL, 2) } else { BTreeSet::new() };
    Limit { name, measure, keys, window_s: dice.of(&WINDOWS_S), actions, assets }
}

fn rule(dice: &mut Dice, limits: &[Limit]) -> Rule {
    let forbids = dice.one_in(6);
    let mut who = |ones| match dice.below(6) {
        0..=2 => Who::Any,
        3 => Who::One(dice.below(ones)),
        _ => Who::Group,
    };
    let (client, wallet) = (who(CLIENTS.len()), who(WALLETS.len()));
    let kind = dice.one_in(3).then(|| dice.of(&Kind::ALL));
    let atoms = (0..dice.below(3)).map(|_| match dice.below(11) {
        0..=5 if !limits.is_empty() => {
            let (limit, bound) = (dice.below(limits.len()), dice.of(&BOUNDS));
            if dice.one_in(4) { Atom::SpentOver(limit, bound) } else { Atom::SpentAtMost(limit, bound) }
        }
        0 | 1 | 6 => Atom::AmountAtMost(dice.of(&BOUNDS)),
        2 | 7 => Atom::Payee,
        3 => Atom::Unlimited,
        4 => Atom::FeeAtMost(dice.of(&[0, 21_000, 21_001, i64::MAX])),
        5 | 8 => Atom::WorthAtMost(dice.of(&BOUNDS)),
        9 => Atom::RequestSigned,
        _ => Atom::Sum(dice.of(&[1, i64::MAX, i64::MAX - 2])),
    });
    let atoms = atoms.collect();
    let mut obliged = |n| !forbids && dice.one_in(n);
    let (quorum, delay, veto) = (obliged(4), obliged(8), obliged(6));
    let expires = (quorum || delay || veto) && dice.one_in(2);
    Rule {
        forbids,
        client,
        wallet,
        kind,
        atoms,
        quorum: quorum.then(|| u32::try_from(1 + dice.below(2)).unwrap()),
        delay_s: delay.then(|| dice.of(&[1, 60])),
        veto,
        expires_s: expires.then(|| dice.of(&[1, 60, 600, 90_000])),
    }
}

/// A bundle that differs a little.
fn change(dice: &mut Dice, old: &Bundle) -> Bundle {
    let other = bundle(dice);
    let mut new = old.clone();
    match dice.below(6) {
        0 => new.rules = other.rules,
        1 if !new.limits.is_empty() => {
            let at = dice.below(new.limits.len());
            new.limits[at].window_s = dice.of(&WINDOWS_S);
        }
        2 => {
            let name = new.limits.len();
            new.limits.push(limit(dice, name, &new.assets));
        }
        3 => {
            let at = dice.below(3);
            let named = new.limits.iter().any(|limit| limit.assets.contains(&at));
            if !named || other.assets[at].is_some() {
                new.assets[at] = other.assets[at];
            }
        }
        4 if new.limits.len() > 1 => {
            // The last one goes, so that rules name what is there.
            let gone = new.limits.len() - 1;
            new.limits.pop();
            let names = |atom: &Atom| matches!(atom, Atom::SpentAtMost(limit, _) | Atom::SpentOver(limit, _) if *limit == gone);
            new.rules.iter_mut().for_each(|rule| rule.atoms.retain(|atom| !names(atom)));
        }
        _ => return other,
    }
    let known = |atom: &Atom| match atom {
        Atom::SpentAtMost(limit, _) | Atom::SpentOver(limit, _) => *limit < new.limits.len(),
        _ => true,
    };
    new.rules.iter_mut().for_each(|rule| rule.atoms.retain(known));
    new
}

struct Steps {
    dice: Dice,
    now: i64,
    asked: Vec<Ask>,
    /// When something was asked.
    at: Vec<i64>,
    steps: Vec<Step>,
}

impl Steps {
    fn one(&mut self, bundles: &[Bundle]) {
        let dice = &mut self.dice;
        let step = match dice.below(24) {
            0..=10 => {
                let ask = self.fresh(bundles);
                return self.ask(ask);
            }
            11 | 12 if !self.asked.is_empty() => {
                // Sent again as it was, or signed again under a fresh nonce.
                let again = dice.of(&self.asked);
                let signed = if dice.one_in(3) { Some(self.asked.len() as u64) } else { again.signed };
                return self.ask(Ask { signed, ..again });
            }
            13 if !self.asked.is_empty() => {
                let first = dice.of(&self.asked);
                let fresh = self.fresh(bundles);
                let ask = match self.dice.below(4) {
                    0 => Ask { body: fresh.body, ..first },
                    1 => Ask { wallet: fresh.wallet, ..first },
                    2 => Ask { client: fresh.client, ..first },
                    // Another request under a used nonce: a client that draws them badly.
                    _ => Ask { signed: first.signed, ..fresh },
                };
                return self.ask(ask);
            }
            11..=17 => {
                self.now = self.moment(bundles);
                Step::Clock(self.now)
            }
            18 => {
                let back = dice.of(&[1, 999, 1_000, 1_001, 60_000]);
                self.steps.push(Step::Clock(self.now - back));
                if self.dice.one_in(2) {
                    let ask = self.fresh(bundles);
                    self.ask(ask);
                }
                self.steps.push(self.dice.of(&[
                    Step::Settle(End::Released),
                    Step::Settle(End::Failed),
                    Step::Sweep,
                    Step::Restart,
                ]));
                Step::Clock(self.now)
            }
            19 => Step::Settle(dice.of(&[End::Released, End::Failed])),
            // Mostly what waits for it; now and then another.
            20 | 21 if !self.asked.is_empty() => {
                let cold: Vec<_> =
                    (0..self.asked.len()).filter(|at| self.asked[*at].wallet == COLD).collect();
                let any = cold.is_empty() || dice.one_in(8);
                let which = if any { dice.below(self.asked.len()) } else { dice.of(&cold) };
                Step::Bring(which, dice.of(&[End::Released, End::Released, End::Failed, End::Open]))
            }
            22 => Step::Apply(dice.below(bundles.len())),
            _ if dice.one_in(4) => Step::Restart,
            _ => Step::Sweep,
        };
        self.steps.push(step);
    }

    fn ask(&mut self, ask: Ask) {
        let end = self.dice.of(&[End::Released, End::Released, End::Released, End::Failed, End::Open]);
        self.at.push(self.now);
        self.asked.push(ask.clone());
        self.steps.push(Step::Ask(ask, end));
    }

    fn fresh(&mut self, bundles: &[Bundle]) -> Ask {
        let dice = &mut self.dice;
        let number = self.asked.len() as u64;
        let to = dice.below(PEOPLE.len());
        let mut amount = |asset: usize| {
            let bundle = &bundles[dice.below(bundles.len())];
            let size = bundle.assets[asset].map_or(0, |asset| asset.decimals - asset.unit);
            let near = U256::from(dice.of(&BOUNDS)) * U256::from(10).pow(U256::from(size));
            match dice.below(16) {
                0 => near.saturating_add(U256::ONE),
                1 => near.saturating_sub(U256::ONE),
                2 => U256::MAX >> dice.below(128),
                3..=12 => {
                    U256::from(dice.of(&[0, 1, 1, 2, 2, 3, 49, 50, 51]))
                        * U256::from(10).pow(U256::from(size))
                }
                _ => near,
            }
        };
        let (coin, token, item, other) = (amount(0), amount(1), amount(2), amount(2));
        let body = match dice.below(10) {
            0 => Body::Message,
            1..=4 => Body::Coin { to, wei: coin },
            5 => Body::Token { to, amount: token, wei: coin },
            6 => Body::Token { to, amount: token, wei: U256::ZERO },
            7 => Body::Approve { to, amount: token },
            8 => Body::Items { to, amounts: vec![item, other] },
            _ => Body::Items { to, amounts: vec![item] },
        };
        // Few clients and wallets, so that they meet in the same counters.
        let few = |dice: &mut Dice, n| if dice.one_in(3) { dice.below(n) } else { 0 };
        let wallet = if dice.one_in(4) { COLD } else { few(dice, COLD) };
        Ask {
            client: few(dice, CLIENTS.len()),
            wallet,
            key: number,
            nonce: number,
            body,
            signed: dice.one_in(2).then_some(number),
        }
    }

    /// A time from now on: soon, or where something ends: a window over what was asked, a wait, a price.
    fn moment(&mut self, bundles: &[Bundle]) -> i64 {
        let dice = &mut self.dice;
        let windows: Vec<i64> =
            bundles.iter().flat_map(|bundle| &bundle.limits).map(|limit| limit.window_s * 1_000).collect();
        let waits: Vec<i64> =
            bundles.iter().flat_map(|bundle| &bundle.rules).filter_map(|rule| rule.expires_s).collect();
        let prices: Vec<i64> = bundles
            .iter()
            .flat_map(|bundle| bundle.assets.into_iter().flatten())
            .filter_map(|asset| asset.price.map(|(_, until)| until))
            .collect();
        let edge = match dice.below(6) {
            0..=2 if !self.at.is_empty() && !windows.is_empty() => {
                let (at, window) = (dice.of(&self.at), dice.of(&windows));
                let bucket = ((window + 63) / 64).max(1_000);
                let last = at - at.rem_euclid(bucket) + bucket - 1;
                dice.of(&[at, last]) + window
            }
            3 if !self.at.is_empty() && !waits.is_empty() => dice.of(&self.at) + dice.of(&waits) * 1_000,
            // Far ahead, most of the time; then little is left to happen.
            4 if !prices.is_empty() && dice.one_in(4) => dice.of(&prices),
            _ => return self.now + dice.of(&[0, 1, 500, 1_000, 60_000, 600_000, 7_200_000]),
        };
        (edge + dice.of(&[-1, 0, 1])).max(self.now)
    }
}
