//! The model: what `docs/policy.md` says, in the simplest words there are. It keeps every request that was ever made in a
//! list and counts the list again for each question. It knows nothing of Cedar, of SQLite or of the code it is held against.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{U256, U512};
use serde_json::{Value, json};

use super::world::{
    Ask, Atom, Body, Bundle, COIN, COLD, CONTRACTS, Effect, End, FEE, ITEMS, Key, Kind, Limit, Measure,
    PEOPLE, Rule, Step, TOKEN, Who,
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
    /// Whether its token was registered when it was asked.
    registered: bool,
    /// The idempotency key still stands for it.
    named: bool,
    at: i64,
    state: State,
    /// How much, and since when.
    holds: BTreeMap<Counter, (i128, i64)>,
    /// The bundles under which it is on record that nothing but a cold wallet's signature is missing.
    ready: Vec<String>,
}

/// The appliance as it should be.
#[derive(Default)]
pub struct Oracle {
    requests: Vec<Request>,
    /// With which a walk of this process goes on, the oldest walk first.
    walking: Vec<usize>,
    /// The nonces that clients signed decided requests under.
    nonces: BTreeSet<(usize, u64)>,
    in_force: Option<Bundle>,
    /// What tells it from every other.
    bundle: String,
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
            Step::Bring(number, end) => self.bring(*number, *end),
            Step::Settle(end) => {
                if let Some(oldest) = self.walking.first() {
                    self.settle(*oldest, *end);
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
                self.walking.clear();
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
        let (state, mut said) = self.decide(&bundle, ask, now, number, Met::default());
        if let Said::Denied(_, _, lacks_signature) = &mut said {
            let signed = Ask { signed: Some(0), ..ask.clone() };
            *lacks_signature = self.decide(&bundle, &signed, now, number, Met::default()).0 != State::Denied;
        }
        let holds = if state == State::Denied { BTreeMap::new() } else { held(&bundle, ask, now) };
        let ready = if waits_for_signature(&said) { vec![self.bundle.clone()] } else { Vec::new() };
        let registered = self.is_registered(ask);
        self.requests.push(Request {
            ask: ask.clone(),
            registered,
            named: true,
            at: now,
            state,
            holds,
            ready,
        });
        self.recorded = self.recorded.max(now);
        self.entries += 1;
        if state == State::Permitted {
            self.walking.push(number);
            self.settle(number, end);
        }
        said
    }

    /// Decided again until nothing but the signature is missing, and then with it.
    fn bring(&mut self, number: usize, end: End) -> Said {
        let Some(request) = self.requests.get(number) else { return Said::Nothing };
        match request.state {
            State::Pending(_) if request.registered != self.is_registered(&request.ask) => {
                return Said::Refused("approval-stale");
            }
            State::Pending(_) if request.ask.wallet != COLD => return Said::Refused("cold-not-ready"),
            State::Pending(_) => {}
            State::Expired => return Said::Refused("request-expired"),
            _ => return Said::Refused("request-not-pending"),
        }
        if !request.ready.contains(&self.bundle) {
            match self.again(number, false) {
                Said::Pending(..) if self.requests[number].ready.contains(&self.bundle) => {}
                Said::Pending(..) => return Said::Refused("cold-not-ready"),
                other => return other,
            }
        }
        let said = self.again(number, true);
        if said == Said::Permitted(number) {
            self.walking.push(number);
            self.settle(number, end);
        }
        said
    }

    /// Whether the token of a request is registered now: its intent names a registered one otherwise.
    fn is_registered(&self, ask: &Ask) -> bool {
        let asset = match ask.body {
            Body::Token { .. } | Body::Approve { .. } => TOKEN,
            Body::Items { .. } => ITEMS,
            Body::Message | Body::Coin { .. } => return false,
        };
        self.in_force.as_ref().is_some_and(|bundle| bundle.assets[asset].is_some())
    }

    /// A pending request, decided again as of now: what it holds is measured anew.
    fn again(&mut self, number: usize, cold_signed: bool) -> Said {
        let Some(bundle) = self.in_force.clone() else { return Said::Refused("no-policy") };
        let Some(now) = self.now() else { return Said::Refused("clock-behind") };
        let (ask, asked) = (self.requests[number].ask.clone(), self.requests[number].at);
        let State::Pending(until) = self.requests[number].state else { return Said::Nothing };
        if until <= now {
            return Said::Refused("request-expired");
        }
        let before = std::mem::take(&mut self.requests[number].holds);
        let (state, said) = self.decide(&bundle, &ask, now, number, Met { waited: now - asked, cold_signed });
        if cold_signed && matches!(state, State::Pending(_)) {
            self.requests[number].holds = before;
            return Said::Refused("cold-not-ready");
        }
        let (ready, under) = (waits_for_signature(&said), self.bundle.clone());
        let request = &mut self.requests[number];
        request.holds = if state == State::Denied { BTreeMap::new() } else { held(&bundle, &ask, now) };
        if let State::Pending(_) = state {
            // What it holds is on record as of now.
            if !request.holds.is_empty() {
                self.recorded = self.recorded.max(now);
            }
            if ready && !request.ready.contains(&under) {
                request.ready.push(under);
                self.entries += 1;
                self.recorded = self.recorded.max(now);
            }
        } else {
            (request.state, request.at) = (state, now);
            self.entries += 1;
            self.recorded = self.recorded.max(now);
        }
        said
    }

    fn settle(&mut self, number: usize, end: End) {
        if end == End::Open {
            return;
        }
        self.walking.retain(|walking| *walking != number);
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
                State::Permitted if !self.walking.contains(&number) => self.end(number, State::Failed),
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
                    for (counter, amount) in held(bundle, &request.ask, request.at) {
                        self.looked_back += u64::from(!request.holds.contains_key(&counter));
                        request.holds.entry(counter).or_insert(amount);
                    }
                }
            }
        }
        self.in_force = Some(bundle.clone());
        self.bundle = format!("{bundle:?}");
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
        let held = self.requests.iter().filter_map(|one| one.holds.get(counter));
        held.filter(|(_, at)| counts(*at)).map(|(amount, _)| amount).sum::<i128>().min(MOST)
    }

    fn decide(&self, bundle: &Bundle, ask: &Ask, now: i64, number: usize, met: Met) -> (State, Said) {
        let effects = ask.body.effects();
        let verdicts: Vec<_> =
            effects.iter().map(|effect| self.judge(bundle, ask, effect, now, met)).collect();
        let patient = |rule: usize| bundle.rules[rule].expires_s.map_or(DAY_MS, |seconds| seconds * 1_000);
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
                // Of the rules for one effect the most patient; of the effects the least.
                until = until.min(rules.iter().map(|rule| patient(*rule)).max().unwrap_or(0));
                let mut named: Vec<_> = rules
                    .iter()
                    .map(|rule| (format!("r{rule}"), needs(&bundle.rules[*rule], met.waited)))
                    .collect();
                named.sort_by(|one, other| one.0.cmp(&other.0));
                missing.extend(
                    named
                        .into_iter()
                        .map(|(rule, needs)| json!({"rule": rule, "effect": effect, "needs": needs})),
                );
            }
            return self.waits(number, missing.into(), now - met.waited + until);
        }
        if ask.wallet == COLD && !met.cold_signed {
            // Whatever permits it waits for the signature.
            let (mut missing, mut until) = (Vec::new(), i64::MAX);
            for (effect, verdict) in verdicts.iter().enumerate() {
                let Verdict::Allowed(rules) = verdict else { continue };
                until = until.min(rules.iter().map(|rule| patient(*rule)).max().unwrap_or(0));
                missing.extend(rules.iter().map(
                    |rule| json!({"rule": format!("r{rule}"), "effect": effect, "needs": [{"need": "signature"}]}),
                ));
            }
            return self.waits(number, missing.into(), now - met.waited + until);
        }
        (State::Permitted, Said::Permitted(number))
    }

    /// Pending, until the time that was said first.
    fn waits(&self, number: usize, missing: Value, until: i64) -> (State, Said) {
        let until = match self.requests.get(number).map(|request| request.state) {
            Some(State::Pending(first)) => first,
            _ => until,
        };
        (State::Pending(until), Said::Pending(number, missing, until))
    }

    fn judge(&self, bundle: &Bundle, ask: &Ask, effect: &Effect, now: i64, met: Met) -> Verdict {
        let mut denied = BTreeSet::new();
        let (mut allows, mut waits) = (Vec::new(), Vec::new());
        for (number, rule) in bundle.rules.iter().enumerate() {
            match self.holds(bundle, rule, ask, effect, now) {
                // Any error denies.
                None => drop(denied.insert(format!("r{number}"))),
                Some(false) => {}
                Some(true) if rule.forbids => drop(denied.insert(format!("r{number}"))),
                Some(true) if needs(rule, met.waited).is_empty() => allows.push(number),
                Some(true) => waits.push(number),
            }
        }
        if !denied.is_empty() {
            Verdict::Denied(denied)
        } else if !allows.is_empty() {
            Verdict::Allowed(allows)
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

/// What was done for a request since it was asked.
#[derive(Clone, Copy, Default)]
struct Met {
    waited: i64,
    cold_signed: bool,
}

enum Verdict {
    Allowed(Vec<usize>),
    Waits(Vec<usize>),
    Denied(BTreeSet<String>),
}

/// Whether nothing is missing but the signature of a cold wallet.
fn waits_for_signature(said: &Said) -> bool {
    let Said::Pending(_, missing, _) = said else { return false };
    missing.as_array().is_some_and(|all| all.iter().all(|one| one["needs"][0]["need"] == "signature"))
}

/// What a rule still needs of a request that nobody spoke for.
fn needs(rule: &Rule, waited: i64) -> Vec<Value> {
    let quorum =
        rule.quorum.map(|count| json!({"need": "quorum", "group": "treasury", "needed": count, "have": 0}));
    let left = rule.delay_s.map(|seconds| seconds * 1_000 - waited).filter(|left| *left > 0);
    let delay = left.map(|left| json!({"need": "delay", "wait_ms": left}));
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

/// What the whole request holds of each counter from a time on.
fn held(bundle: &Bundle, ask: &Ask, at: i64) -> BTreeMap<Counter, (i128, i64)> {
    measured(bundle, ask, at).into_iter().map(|(counter, amount)| (counter, (amount, at))).collect()
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
