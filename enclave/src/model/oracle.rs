//! The model: what `docs/policy.md` says, in the simplest words there are. It keeps every request that was ever made in a
//! list and counts the list again for each question. It knows nothing of Cedar, of SQLite or of the code it is held against.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{U256, U512};
use serde_json::{Value, json};

use super::world::{
    Ask, Atom, Body, Bundle, COIN, CONTRACTS, Effect, End, FEE, Key, Kind, Limit, Measure, PEOPLE, Rule,
    Step, Who,
};

const MOST: i128 = i64::MAX as i128;
const DAY_MS: i64 = 24 * 3_600_000;

/// What is answered to a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Nothing,
    Permitted(usize),
    Pending(usize, Value, i64),
    /// And whether the client's own signature would have spared it.
    Denied(usize, BTreeSet<String>, bool),
    /// The first request under this key, and how it stands.
    Before(usize, State),
    Conflict(usize),
    Refused(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Permitted,
    Released,
    Denied,
    Pending(i64),
    Expired,
    Failed,
}

/// What one counter is called: the whole limit, the asset's unit where amounts are added, and the keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counter {
    limit: Limit,
    unit: Option<(u32, u32)>,
    keys: Vec<String>,
}

struct Request {
    ask: Ask,
    /// The idempotency key still stands for it.
    named: bool,
    at: i64,
    state: State,
    holds: BTreeMap<Counter, i128>,
    /// A walk of this process goes on with it.
    walking: bool,
}

/// The appliance as it should be.
#[derive(Default)]
pub struct Oracle {
    requests: Vec<Request>,
    /// The nonces that clients signed decided requests under.
    nonces: BTreeSet<(usize, u64)>,
    in_force: Option<Bundle>,
    wall: i64,
    /// The latest time this process has seen, and the latest on record.
    seen: i64,
    recorded: i64,
    /// Entries of the log.
    pub entries: u64,
    pub looked_back: u64,
}

impl Oracle {
    pub fn at(start: i64) -> Self {
        Self { wall: start, seen: start, ..Self::default() }
    }

    pub fn take(&mut self, step: &Step, bundles: &[Bundle]) -> Said {
        match step {
            Step::Clock(at) => {
                self.wall = *at;
                self.seen = self.seen.max(*at);
                Said::Nothing
            }
            Step::Ask(ask, end) => self.ask(ask, *end),
            Step::Settle(end) => {
                if let Some(oldest) = self.requests.iter().position(|request| request.walking) {
                    self.settle(oldest, *end);
                }
                Said::Nothing
            }
            Step::Sweep => {
                self.sweep();
                Said::Nothing
            }
            Step::Apply(bundle) => self.apply(&bundles[*bundle]),
            Step::Restart => {
                self.seen = self.wall.max(self.recorded);
                self.requests.iter_mut().for_each(|request| request.walking = false);
                self.sweep();
                Said::Nothing
            }
        }
    }

    pub fn states(&self) -> Vec<State> {
        self.requests.iter().map(|request| request.state).collect()
    }

    /// The time; none while the clock is more than a second behind the latest time seen.
    fn now(&self) -> Option<i64> {
        (self.seen - self.wall <= 1_000).then_some(self.seen.max(self.wall))
    }

    fn ask(&mut self, ask: &Ask, end: End) -> Said {
        let Some(bundle) = self.in_force.clone() else { return Said::Refused("no-policy") };
        let named = |one: &Request| one.named && one.ask.client == ask.client && one.ask.key == ask.key;
        if let Some(first) = self.requests.iter().position(named) {
            let request = &self.requests[first];
            return if (Ask { signed: None, ..request.ask.clone() }) == (Ask { signed: None, ..ask.clone() }) {
                Said::Before(first, request.state)
            } else {
                Said::Conflict(first)
            };
        }
        let Some(now) = self.now() else { return Said::Refused("clock-behind") };
        if ask.signed.is_some_and(|nonce| !self.nonces.insert((ask.client, nonce))) {
            return Said::Refused("request-signature-invalid");
        }
        let number = self.requests.len();
        let (state, mut said) = self.decide(&bundle, ask, now, number);
        if let Said::Denied(_, _, lacks_signature) = &mut said {
            let signed = Ask { signed: Some(0), ..ask.clone() };
            *lacks_signature = self.decide(&bundle, &signed, now, number).0 != State::Denied;
        }
        let holds = if state == State::Denied { BTreeMap::new() } else { measured(&bundle, ask, now) };
        let walking = state == State::Permitted;
        self.requests.push(Request { ask: ask.clone(), named: true, at: now, state, holds, walking });
        self.recorded = self.recorded.max(now);
        self.entries += 1;
        if walking {
            self.settle(number, end);
        }
        said
    }

    fn settle(&mut self, number: usize, end: End) {
        if end == End::Open {
            return;
        }
        self.requests[number].walking = false;
        // Without a time nothing can be recorded: it is left to the resolver.
        if self.now().is_some() {
            self.end(number, if end == End::Released { State::Released } else { State::Failed });
        }
    }

    fn end(&mut self, number: usize, state: State) {
        self.entries += 1;
        let request = &mut self.requests[number];
        request.state = state;
        if state != State::Released {
            request.holds.clear();
        }
        request.named = state != State::Failed;
    }

    fn sweep(&mut self) {
        let Some(now) = self.now() else { return };
        for number in 0..self.requests.len() {
            match self.requests[number].state {
                State::Permitted if !self.requests[number].walking => self.end(number, State::Failed),
                State::Pending(until) if until <= now => self.end(number, State::Expired),
                _ => {}
            }
        }
    }

    fn apply(&mut self, bundle: &Bundle) -> Said {
        let Some(now) = self.now() else { return Said::Refused("clock-behind") };
        if let Some(old) = &self.in_force {
            let unit = |bundle: &Bundle, asset: usize| {
                bundle.assets[asset].map(|asset| (asset.decimals, asset.unit))
            };
            let news = bundle.limits.iter().any(|limit| !old.limits.contains(limit))
                || (0..3)
                    .any(|asset| bundle.assets[asset].is_some() && unit(bundle, asset) != unit(old, asset));
            let longest = bundle.limits.iter().map(|limit| limit.window_s * 1_000).max();
            if let (true, Some(longest)) = (news, longest) {
                let still = |one: &&mut Request| {
                    one.at >= now - longest
                        && matches!(one.state, State::Permitted | State::Released | State::Pending(_))
                };
                for request in self.requests.iter_mut().filter(still) {
                    for (counter, amount) in measured(bundle, &request.ask, request.at) {
                        self.looked_back += u64::from(!request.holds.contains_key(&counter));
                        request.holds.entry(counter).or_insert(amount);
                    }
                }
            }
        }
        self.in_force = Some(bundle.clone());
        self.recorded = self.recorded.max(now);
        self.entries += 1;
        Said::Nothing
    }

    /// What the counters that `ask` touches hold before it: the limit's number, the total, what it would add.
    pub fn totals(&self, ask: &Ask) -> Vec<(usize, i128, i128)> {
        let (Some(bundle), Some(now)) = (&self.in_force, self.now()) else { return Vec::new() };
        let mut totals: Vec<_> = measured(bundle, ask, now)
            .into_iter()
            .map(|(counter, amount)| (counter.limit.name, self.before(&counter, now), amount))
            .collect();
        totals.sort_unstable();
        totals
    }

    /// Every request whose bucket has not wholly left the window.
    fn before(&self, counter: &Counter, now: i64) -> i128 {
        let window = counter.limit.window_s * 1_000;
        let bucket = ((window + 63) / 64).max(1_000);
        let counts = |at: i64| at.div_euclid(bucket) * bucket + bucket > now - window;
        let held = self.requests.iter().filter(|one| counts(one.at)).filter_map(|one| one.holds.get(counter));
        held.sum::<i128>().min(MOST)
    }

    fn decide(&self, bundle: &Bundle, ask: &Ask, now: i64, number: usize) -> (State, Said) {
        let effects = ask.body.effects();
        let verdicts: Vec<_> = effects.iter().map(|effect| self.judge(bundle, ask, effect, now)).collect();
        let any = |worst: fn(&Verdict) -> bool| verdicts.iter().any(worst);
        if any(|verdict| matches!(verdict, Verdict::Denied(_))) {
            let rules = verdicts.into_iter().filter_map(|verdict| match verdict {
                Verdict::Denied(rules) => Some(rules),
                _ => None,
            });
            return (State::Denied, Said::Denied(number, rules.flatten().collect(), false));
        }
        if any(|verdict| matches!(verdict, Verdict::Waits(_))) {
            let (mut missing, mut until) = (Vec::new(), i64::MAX);
            for (effect, verdict) in verdicts.iter().enumerate() {
                let Verdict::Waits(rules) = verdict else { continue };
                let patient =
                    |rule: usize| bundle.rules[rule].expires_s.map_or(DAY_MS, |seconds| seconds * 1_000);
                // Of the rules for one effect the most patient; of the effects the least.
                until = until.min(rules.iter().map(|rule| patient(*rule)).max().unwrap_or(0));
                let mut named: Vec<_> =
                    rules.iter().map(|rule| (format!("r{rule}"), needs(&bundle.rules[*rule]))).collect();
                named.sort_by(|one, other| one.0.cmp(&other.0));
                missing.extend(
                    named
                        .into_iter()
                        .map(|(rule, needs)| json!({"rule": rule, "effect": effect, "needs": needs})),
                );
            }
            return (State::Pending(now + until), Said::Pending(number, missing.into(), now + until));
        }
        (State::Permitted, Said::Permitted(number))
    }

    fn judge(&self, bundle: &Bundle, ask: &Ask, effect: &Effect, now: i64) -> Verdict {
        let mut denied = BTreeSet::new();
        let (mut allowed, mut waits) = (false, Vec::new());
        for (number, rule) in bundle.rules.iter().enumerate() {
            match self.holds(bundle, rule, ask, effect, now) {
                // Any error denies.
                None => drop(denied.insert(format!("r{number}"))),
                Some(false) => {}
                Some(true) if rule.forbids => drop(denied.insert(format!("r{number}"))),
                Some(true) if needs(rule).is_empty() => allowed = true,
                Some(true) => waits.push(number),
            }
        }
        if !denied.is_empty() {
            Verdict::Denied(denied)
        } else if allowed {
            Verdict::Allowed
        } else if !waits.is_empty() {
            Verdict::Waits(waits)
        } else {
            Verdict::Denied(["default-deny".to_owned()].into())
        }
    }

    /// Whether a rule applies; none where it fails.
    fn holds(&self, bundle: &Bundle, rule: &Rule, ask: &Ask, effect: &Effect, now: i64) -> Option<bool> {
        let is = |who, one, group: &[usize]| match who {
            Who::Any => true,
            Who::One(other) => one == other,
            Who::Group => group.contains(&one),
        };
        if !is(rule.client, ask.client, &[0, 1])
            || !is(rule.wallet, ask.wallet, &[0])
            || rule.kind.is_some_and(|kind| kind != effect.kind)
        {
            return Some(false);
        }
        let spent = |name: usize| {
            let limit = bundle.limits.iter().find(|limit| limit.name == name)?;
            let (counter, _) = measure(bundle, limit, ask, effect, now)?;
            let own = measured(bundle, ask, now)[&counter];
            Some((self.before(&counter, now) + own).min(MOST))
        };
        for atom in &rule.atoms {
            let holds = match *atom {
                Atom::AmountAtMost(n) => units(bundle, effect) <= n.into(),
                Atom::SpentAtMost(limit, n) => spent(limit).is_some_and(|spent| spent <= n.into()),
                Atom::SpentOver(limit, n) => spent(limit).is_some_and(|spent| spent > n.into()),
                Atom::Payee => effect.to.is_some_and(|to| PEOPLE[..2].contains(&to)),
                Atom::Unlimited => effect.unlimited,
                Atom::RequestSigned => ask.signed.is_some(),
                Atom::WorthAtMost(n) => cents(bundle, effect, now).is_some_and(|cents| cents <= n.into()),
                Atom::FeeAtMost(n) => fee(bundle, &ask.body) <= n.into(),
                Atom::Sum(n) if units(bundle, effect) + i128::from(n) > MOST => return None,
                Atom::Sum(_) => true,
            };
            if !holds {
                return Some(false);
            }
        }
        Some(true)
    }
}

enum Verdict {
    Allowed,
    Waits(Vec<usize>),
    Denied(BTreeSet<String>),
}

/// What a rule still needs of a request that nobody did anything for.
fn needs(rule: &Rule) -> Vec<Value> {
    let quorum =
        rule.quorum.map(|count| json!({"need": "quorum", "group": "treasury", "needed": count, "have": 0}));
    let delay = rule.delay_s.map(|seconds| json!({"need": "delay", "wait_ms": seconds * 1_000}));
    quorum.into_iter().chain(delay).collect()
}

/// The smallest number of which `size` times as much is no less than `amount`, or the largest there is.
fn covering(amount: U512, size: U512) -> i128 {
    let (mut low, mut high) = (0_i64, i64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if U512::from(middle) * size >= amount { high = middle } else { low = middle + 1 }
    }
    low.into()
}

fn wide(amount: U256) -> U512 {
    U512::from_be_slice(&amount.to_be_bytes::<32>())
}

fn ten_to(exponent: u32) -> U512 {
    (0..exponent).fold(U512::ONE, |power, _| power * U512::from(10))
}

/// The amount in policy units.
fn units(bundle: &Bundle, effect: &Effect) -> i128 {
    let Some(asset) = effect.asset else { return 0 };
    match (bundle.assets[asset], effect.amount) {
        (Some(asset), Some(amount)) if !effect.unlimited => {
            covering(wide(amount), ten_to(asset.decimals - asset.unit))
        }
        _ => MOST,
    }
}

/// The value in US cents, with a price that is fresh.
fn cents(bundle: &Bundle, effect: &Effect, now: i64) -> Option<i128> {
    let asset = bundle.assets[effect.asset?]?;
    let (price, _) = asset.price.filter(|(_, until)| now < *until)?;
    match effect.amount {
        Some(amount) if !effect.unlimited => {
            Some(covering(wide(amount) * U512::from(price), ten_to(asset.decimals)))
        }
        _ => Some(MOST),
    }
}

fn fee(bundle: &Bundle, body: &Body) -> i128 {
    let fee = Effect {
        kind: Kind::Transfer,
        asset: Some(COIN),
        amount: Some(U256::from(FEE)),
        unlimited: false,
        to: None,
    };
    if *body == Body::Message { 0 } else { units(bundle, &fee) }
}

/// The counter of a limit that one effect adds to, and how much; none where the limit passes over it.
fn measure(bundle: &Bundle, limit: &Limit, ask: &Ask, effect: &Effect, now: i64) -> Option<(Counter, i128)> {
    let registered = effect.asset.filter(|asset| bundle.assets[*asset].is_some());
    if !limit.actions.is_empty() && !limit.actions.contains(&effect.kind) {
        return None;
    }
    if !limit.assets.is_empty() && !registered.is_some_and(|asset| limit.assets.contains(&asset)) {
        return None;
    }
    let amount = match limit.measure {
        Measure::Count => 1,
        Measure::Sum => effect.asset.map(|_| units(bundle, effect))?,
        Measure::Usd if effect.asset.is_none() => 0,
        Measure::Usd => cents(bundle, effect, now).unwrap_or(MOST),
    };
    let mut keys = Vec::new();
    for key in &limit.keys {
        keys.push(match key {
            Key::Wallet => ask.wallet.to_string(),
            Key::Client => ask.client.to_string(),
            // A token that nobody registered has another name than the same token registered.
            Key::Asset => match effect.asset? {
                COIN => "coin".to_owned(),
                asset => format!("{} {}", CONTRACTS[asset], registered.is_some()),
            },
            Key::Destination => effect.to?.to_string(),
        });
    }
    let unit = registered.and_then(|asset| bundle.assets[asset]).map(|asset| (asset.decimals, asset.unit));
    let unit = unit.filter(|_| limit.measure == Measure::Sum);
    Some((Counter { limit: limit.clone(), unit, keys }, amount))
}

/// What the whole request adds to each counter.
fn measured(bundle: &Bundle, ask: &Ask, now: i64) -> BTreeMap<Counter, i128> {
    let mut all = BTreeMap::new();
    for limit in &bundle.limits {
        for (counter, amount) in
            ask.body.effects().iter().filter_map(|effect| measure(bundle, limit, ask, effect, now))
        {
            let held = all.entry(counter).or_insert(0);
            // A count is of requests, however many effects they have.
            *held = if limit.measure == Measure::Count { 1 } else { (*held + amount).min(MOST) };
        }
    }
    all
}
