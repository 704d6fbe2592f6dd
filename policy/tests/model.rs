//! Assurance 7: the policy decides as an independent model does. The model below knows nothing of Cedar, of the index or of
//! counters: it walks a list of abstract rules and a list of past spends, in plain arithmetic. Random bundles and random
//! requests go to both. `CHANCERY_POLICY_PAIRS` sets how many (default 20,000).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "test code")]

use std::collections::BTreeSet;

use alloy_primitives::U256;
use chancery_core::{ClientId, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::model::{Description, Effect, Kind};
use chancery_policy::{Bundle, MemorySpending, Met, Outcome, Question, Reservation, Said, Source};

const CLIENTS: [&str; 3] = ["c0", "c1", "c2"];
const WALLETS: [&str; 4] = ["w0", "w1", "w2", "w3"];
const KINDS: [Kind; 4] = [Kind::Transfer, Kind::TokenTransfer, Kind::TokenApproval, Kind::Message];
const ADDRESSES: [&str; 3] = [
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
];
type Registered = (u32, u32, Option<u128>);

/// Decimals, policy unit decimals and price in USD of each asset; the last one is not registered.
const ASSETS: [(&str, Option<Registered>); 3] = [
    ("eip155:1/slip44:60", Some((18, 9, Some(3_000)))),
    ("eip155:1/erc20:0x5FbDB2315678afecb367f032d93F642f64180aa3", Some((6, 2, None))),
    ("eip155:1/token:0x90F79bf6EB2c4f870365E785982E1f101E93b906", None),
];
const START: i64 = 1_767_614_400_000;

const MANIFEST: &str = include_str!("model/bundle.toml");

/// SplitMix64: enough for choosing, and a seed says everything.
struct Dice(u64);

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
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Any,
    Typed,
    One(usize),
    Within(usize),
    Group(usize),
}

#[derive(Clone, Debug)]
enum What {
    Any,
    Sign,
    One(usize),
    Some(Vec<usize>),
}

#[derive(Clone, Copy, Debug)]
enum Atom {
    AmountAtMost(i64),
    SpentAtMost(usize, i64),
    SpentOver(usize, i64),
    To(bool),
    Unlimited,
    Registered,
    WorthAtMost(i64),
    /// `context.amount + n >= 0`: fails when it overflows.
    Sum(i64),
    /// `action in Action::"sign"`, which is always so.
    Signs,
    /// The client signed its request itself.
    RequestSigned,
    /// The wallet's key lives there.
    Tier(Tier),
}

#[derive(Clone, Debug)]
struct Rule {
    forbids: bool,
    client: Who,
    kind: What,
    wallet: Who,
    atoms: Vec<Atom>,
    quorum: Option<u32>,
    face: bool,
    delay_s: Option<i64>,
    veto: bool,
}

struct Asked {
    client: usize,
    wallet: usize,
    tier: Tier,
    now: i64,
    effects: Vec<Move>,
    met: Met,
}

#[derive(Clone, Copy)]
struct Move {
    kind: usize,
    asset: Option<usize>,
    amount: Option<u128>,
    unlimited: bool,
    to: Option<usize>,
}

// ---- generation ----

fn who(dice: &mut Dice, ones: usize, groups: usize) -> Who {
    match dice.below(6) {
        0 => Who::Any,
        1 => Who::Typed,
        2 | 3 => Who::One(dice.below(ones)),
        4 => Who::Within(dice.below(ones)),
        _ => Who::Group(dice.below(groups)),
    }
}

fn amount(dice: &mut Dice) -> i64 {
    [0, 1, 50, 99, 100, 101, 200, 1_000, 5_000_000_000, i64::MAX - 1, i64::MAX][dice.below(11)]
}

fn rule(dice: &mut Dice) -> Rule {
    let forbids = dice.one_in(4);
    let kind = match dice.below(5) {
        0 => What::Any,
        1 => What::Sign,
        2 | 3 => What::One(dice.below(KINDS.len())),
        _ => What::Some((0..KINDS.len()).filter(|_| dice.one_in(2)).collect()),
    };
    let atoms = (0..dice.below(4)).map(|_| match dice.below(13) {
        0..=2 => Atom::AmountAtMost(amount(dice)),
        3..=5 => Atom::SpentAtMost(dice.below(4), amount(dice)),
        6 => Atom::SpentOver(dice.below(4), amount(dice)),
        7 | 8 => Atom::To(dice.one_in(2)),
        9 => Atom::Unlimited,
        10 => [Atom::Registered, Atom::WorthAtMost(amount(dice)), Atom::Signs][dice.below(3)],
        11 => [Atom::RequestSigned, Atom::Tier(Tier::ALL[dice.below(3)])][dice.below(2)],
        _ => Atom::Sum([1, i64::MAX, i64::MAX - 100][dice.below(3)]),
    });
    let atoms = atoms.collect();
    let (client, wallet) = (who(dice, CLIENTS.len(), 1), who(dice, WALLETS.len(), 2));
    let mut obliged = |n| !forbids && dice.one_in(n);
    let (has_quorum, face, has_delay, veto) = (obliged(4), obliged(8), obliged(8), obliged(6));
    Rule {
        forbids,
        client,
        kind,
        wallet,
        atoms,
        quorum: has_quorum.then(|| u32::try_from(1 + dice.below(2)).unwrap()),
        face,
        delay_s: has_delay.then_some(60),
        veto,
    }
}

fn asked(dice: &mut Dice, now: i64) -> Asked {
    let effects = (0..1 + dice.below(3)).map(|_| {
        let message = dice.one_in(8);
        // What is unknown or unbounded fills a counter for its whole window, so it is rare: most of a test's rounds should
        // pass near the bounds that rules compare with.
        let known = !message && !dice.one_in(40);
        let asset = if dice.one_in(40) { 2 } else { dice.below(2) };
        let unit = ASSETS[asset].1.map_or(1, |(decimals, unit, _)| pow10(decimals - unit));
        Move {
            kind: if message { 3 } else { dice.below(3) },
            asset: known.then_some(asset),
            amount: (!message && !dice.one_in(40)).then(|| match dice.below(30) {
                0 => u128::from(dice.next()) << dice.below(60),
                1 => 100_000_000_000 + u128::from(dice.next() % 3),
                _ => {
                    let units = [0, 1, 2, 49, 50, 51, 99, 100, 101][dice.below(9)];
                    (units * unit).saturating_add_signed([-1, 0, 0, 1][dice.below(4)])
                }
            }),
            unlimited: !message && dice.one_in(40),
            to: (!message && !dice.one_in(10)).then(|| dice.below(ADDRESSES.len())),
        }
    });
    let effects = effects.collect();
    let mut met = Met::default();
    for group in ["treasury", "risk"] {
        let approvals = u32::try_from(dice.below(3)).unwrap();
        met.approvals.insert(group.into(), approvals);
    }
    if dice.one_in(2) {
        met.factors.insert("face".into());
    }
    if dice.one_in(6) {
        met.vetoes.insert("risk".into());
    }
    met.waited_ms = [0, 59_999, 60_000][dice.below(3)];
    met.request_signed = dice.one_in(2);
    let tier = Tier::ALL[dice.below(3)];
    met.cold_signed = dice.one_in(2);
    Asked { client: dice.below(CLIENTS.len()), wallet: dice.below(WALLETS.len()), tier, now, effects, met }
}

// ---- the bundle, in words ----

fn scope(variable: &str, kind: &str, who: Who, ones: &[&str], groups: &[&str]) -> String {
    match who {
        Who::Any => variable.to_owned(),
        Who::Typed => format!("{variable} is {kind}"),
        Who::One(one) => format!("{variable} == {kind}::\"default/{}\"", ones[one]),
        Who::Within(one) => format!("{variable} in {kind}::\"default/{}\"", ones[one]),
        Who::Group(group) => format!("{variable} is {kind} in {kind}Group::\"{}\"", groups[group]),
    }
}

fn write(number: usize, rule: &Rule) -> String {
    let action = match &rule.kind {
        What::Any => "action".to_owned(),
        What::Sign => "action in Action::\"sign\"".to_owned(),
        What::One(kind) => format!("action == Action::\"{}\"", KINDS[*kind].as_str()),
        What::Some(kinds) => {
            let kinds: Vec<_> =
                kinds.iter().map(|kind| format!("Action::\"{}\"", KINDS[*kind].as_str())).collect();
            format!("action in [{}]", kinds.join(", "))
        }
    };
    let atoms: Vec<_> = rule
        .atoms
        .iter()
        .map(|atom| match atom {
            Atom::AmountAtMost(n) => format!("context.amount <= {n}"),
            Atom::SpentAtMost(limit, n) => {
                format!("context.spent has l{limit} && context.spent.l{limit} <= {n}")
            }
            Atom::SpentOver(limit, n) => {
                format!("context.spent has l{limit} && context.spent.l{limit} > {n}")
            }
            Atom::To(payees) => {
                let group = if *payees { "payees" } else { "friends" };
                format!("context has destination && context.destination in AddressGroup::\"{group}\"")
            }
            Atom::Unlimited => "context.unlimited".to_owned(),
            Atom::Registered => "context.asset_registered".to_owned(),
            Atom::WorthAtMost(n) => format!("context has value_usd_cents && context.value_usd_cents <= {n}"),
            Atom::Sum(n) => format!("context.amount + {n} >= 0"),
            Atom::Signs => "action in Action::\"sign\"".to_owned(),
            Atom::RequestSigned => "context.request_signed".to_owned(),
            Atom::Tier(tier) => format!("context.tier == \"{tier}\""),
        })
        .collect();
    let mut text = format!("@id(\"r{number}\") ");
    if let Some(count) = rule.quorum {
        text += &format!("@quorum(\"treasury, {count}\") ");
    }
    if rule.face {
        text += "@factor(\"face\") ";
    }
    if let Some(delay_s) = rule.delay_s {
        text += &format!("@delay(\"{delay_s}s\") ");
    }
    if rule.veto {
        text += "@veto(\"risk\") ";
    }
    text += if rule.forbids { "forbid" } else { "permit" };
    text += &format!(
        " ({}, {action}, {})",
        scope("principal", "Client", rule.client, &CLIENTS, &["cg"]),
        scope("resource", "Wallet", rule.wallet, &WALLETS, &["wg0", "wg1"])
    );
    if !atoms.is_empty() {
        text += &format!(" when {{ {} }}", atoms.join(" && "));
    }
    text + ";\n"
}

// ---- the model ----

/// A past spend: limit, the key's values, time, amount.
type Spend = (usize, Vec<usize>, i64, i128);

const MOST: i128 = i64::MAX as i128;

fn pow10(exponent: u32) -> u128 {
    10_u128.pow(exponent)
}

fn units(one: &Move) -> i128 {
    let Some(asset) = one.asset else { return if one.amount.is_none() && !one.unlimited { 0 } else { MOST } };
    match (ASSETS[asset].1, one.amount) {
        (Some((decimals, unit, _)), Some(amount)) if !one.unlimited => {
            i128::try_from(amount.div_ceil(pow10(decimals - unit))).unwrap().min(MOST)
        }
        _ => MOST,
    }
}

fn cents(one: &Move, now: i64) -> Option<i128> {
    let (decimals, _, price) = ASSETS[one.asset?].1?;
    let price = price.filter(|_| now < START + 6 * 3_600_000)?;
    match one.amount {
        Some(amount) if !one.unlimited => match amount.checked_mul(price * 100) {
            Some(product) => Some(i128::try_from(product.div_ceil(pow10(decimals))).unwrap().min(MOST)),
            None => Some(MOST), // more than 2^128 / 10^18 cents is more than 2^63
        },
        _ => Some(MOST),
    }
}

const WINDOWS: [i64; 4] = [3_600_000, 600_000, 7_200_000, 3_600_000];

/// Which counter an effect adds to, and how much.
fn measure(limit: usize, asked: &Asked, one: &Move) -> Option<(Vec<usize>, i128)> {
    match limit {
        0 => Some((vec![asked.wallet, one.asset?], units(one))),
        1 => Some((vec![asked.client], 1)),
        2 if matches!(one.kind, 0 | 2) && one.asset == Some(0) => Some((vec![one.to?], units(one))),
        2 => None,
        _ => {
            let nothing = one.asset.is_none() && one.amount.is_none() && !one.unlimited;
            Some((
                vec![asked.wallet, asked.client],
                if nothing { 0 } else { cents(one, asked.now).unwrap_or(MOST) },
            ))
        }
    }
}

/// What the whole request adds to a counter.
fn adds(limit: usize, key: &[usize], asked: &Asked) -> i128 {
    let own =
        asked.effects.iter().filter_map(|one| measure(limit, asked, one)).filter(|(other, _)| other == key);
    let amounts: Vec<_> = own.map(|(_, amount)| amount).collect();
    if limit == 1 { i128::from(!amounts.is_empty()) } else { amounts.iter().sum::<i128>().min(MOST) }
}

fn total(limit: usize, key: &[usize], asked: &Asked, past: &[Spend]) -> i128 {
    let bucket = (WINDOWS[limit] + 63) / 64;
    let oldest = (asked.now - WINDOWS[limit]).div_euclid(bucket);
    let counts =
        |(other, keys, at, _): &&Spend| *other == limit && keys == key && at.div_euclid(bucket) >= oldest;
    let before: i128 = past.iter().filter(counts).map(|(_, _, _, amount)| amount).sum();
    (before.min(MOST) + adds(limit, key, asked)).min(MOST)
}

fn stands(who: Who, one: usize, groups: &[&[usize]]) -> bool {
    match who {
        Who::Any | Who::Typed => true,
        Who::One(other) | Who::Within(other) => other == one,
        Who::Group(group) => groups[group].contains(&one),
    }
}

/// Whether a rule's scope and condition hold; `Err` where it overflows.
fn holds(rule: &Rule, asked: &Asked, one: &Move, past: &[Spend]) -> Result<bool, ()> {
    let kind = match &rule.kind {
        What::Any | What::Sign => true,
        What::One(kind) => *kind == one.kind,
        What::Some(kinds) => kinds.contains(&one.kind),
    };
    if !kind
        || !stands(rule.client, asked.client, &[&[0, 1]])
        || !stands(rule.wallet, asked.wallet, &[&[0, 1], &[1, 2]])
    {
        return Ok(false);
    }
    for atom in &rule.atoms {
        let spent = |limit: usize| measure(limit, asked, one).map(|(key, _)| total(limit, &key, asked, past));
        let holds = match *atom {
            Atom::AmountAtMost(n) => units(one) <= i128::from(n),
            Atom::SpentAtMost(limit, n) => spent(limit).is_some_and(|spent| spent <= i128::from(n)),
            Atom::SpentOver(limit, n) => spent(limit).is_some_and(|spent| spent > i128::from(n)),
            Atom::To(true) => matches!(one.to, Some(0 | 1)),
            Atom::To(false) => one.to == Some(1),
            Atom::Unlimited => one.unlimited,
            Atom::Signs => true,
            Atom::RequestSigned => asked.met.request_signed,
            Atom::Tier(tier) => asked.tier == tier,
            Atom::Registered => one.asset.is_some_and(|asset| ASSETS[asset].1.is_some()),
            Atom::WorthAtMost(n) => cents(one, asked.now).is_some_and(|cents| cents <= i128::from(n)),
            Atom::Sum(n) => {
                if units(one) + i128::from(n) > MOST {
                    return Err(());
                }
                true
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `None`: met. `Some(true)`: can still be met. `Some(false)`: vetoed.
fn lacks(rule: &Rule, met: &Met) -> Option<bool> {
    let quorum = rule.quorum.is_none_or(|count| met.approvals["treasury"] >= count);
    let face = !rule.face || !met.factors.is_empty();
    let waited = rule.delay_s.is_none_or(|delay_s| met.waited_ms >= delay_s * 1_000);
    let vetoed = rule.veto && !met.vetoes.is_empty();
    if quorum && face && waited && !vetoed { None } else { Some(!vetoed) }
}

/// The outcome and the rules behind it.
fn model(rules: &[Rule], asked: &Asked, past: &[Spend]) -> (Outcome, BTreeSet<String>) {
    let mut answers = Vec::new();
    for one in &asked.effects {
        let (mut permits, mut stops, mut waiting, mut vetoed) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (number, rule) in rules.iter().enumerate() {
            let name = format!("r{number}");
            match holds(rule, asked, one, past) {
                Err(()) => drop(stops.insert(name)),
                Ok(false) => {}
                Ok(true) if rule.forbids => drop(stops.insert(name)),
                Ok(true) => drop(match lacks(rule, &asked.met) {
                    None => permits.insert(name),
                    Some(true) => waiting.insert(name),
                    Some(false) => vetoed.insert(name),
                }),
            }
        }
        answers.push(if !stops.is_empty() {
            (Outcome::Denied, stops)
        } else if !permits.is_empty() {
            (Outcome::Allowed, permits)
        } else if !waiting.is_empty() {
            (Outcome::Pending, waiting)
        } else if !vetoed.is_empty() {
            (Outcome::Denied, vetoed)
        } else {
            (Outcome::Denied, ["default-deny".to_owned()].into())
        });
    }
    let mut worst = answers.iter().map(|(outcome, _)| *outcome).max().unwrap();
    let rules =
        answers.into_iter().filter(|(outcome, _)| *outcome == worst).flat_map(|(_, rules)| rules).collect();
    if worst == Outcome::Allowed && asked.tier == Tier::Cold && !asked.met.cold_signed {
        worst = Outcome::Pending;
    }
    (worst, rules)
}

// ---- both, side by side ----

fn describe(asked: &Asked) -> Description {
    let effects = asked.effects.iter().map(|one| Effect {
        kind: KINDS[one.kind],
        asset: one.asset.map(|asset| ASSETS[asset].0.to_owned()),
        amount: one.amount.map(U256::from),
        unlimited: one.unlimited,
        destination: one.to.map(|to| ADDRESSES[to].to_owned()),
        owner: None,
        contract: None,
        method: None,
    });
    Description {
        v: 1,
        payload: "ethereum.transaction".into(),
        chain: "eip155:1".into(),
        form: "eip1559".into(),
        account: ADDRESSES[2].into(),
        effects: effects.collect(),
        fee: None,
        nonce: None,
        detail: serde_json::Map::new(),
    }
}

#[test]
fn decides_as_the_model_does() {
    let wanted: usize =
        std::env::var("CHANCERY_POLICY_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let per_bundle = 200;
    let tenant = Tenant::default();
    let clients: Vec<ClientId> = CLIENTS.iter().map(|name| name.parse().unwrap()).collect();
    let wallets: Vec<WalletId> = WALLETS.iter().map(|name| name.parse().unwrap()).collect();
    let mut seen = [0_usize; 3];
    let mut pairs = 0;
    for seed in 0..wanted.div_ceil(per_bundle) as u64 {
        let mut dice = Dice(seed);
        let rules: Vec<_> = (0..1 + dice.below(14)).map(|_| rule(&mut dice)).collect();
        // Cedar's validator finds rules that can never apply (`action in []`); a bundle may not have them.
        let rules: Vec<_> = rules
            .into_iter()
            .filter(|rule| !matches!(&rule.kind, What::Some(some) if some.is_empty()))
            .collect();
        let text: String = rules.iter().enumerate().map(|(number, rule)| write(number, rule)).collect();
        let files = [("bundle.toml", MANIFEST), ("policies/main.cedar", text.as_str())];
        let source = Source { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() };
        let bundle = Bundle::compile(&source).unwrap_or_else(|error| panic!("seed {seed}\n{text}\n{error}"));
        let (mut memory, mut past, mut now): (_, Vec<Spend>, _) =
            (MemorySpending::default(), Vec::new(), START);
        let mut held: Vec<(Vec<Reservation>, usize, i64)> = Vec::new();
        for round in 0..per_bundle {
            now += i64::try_from(dice.next() % 1_500_000).unwrap();
            let asked = asked(&mut dice, now);
            let description = describe(&asked);
            let question = Question {
                tenant: &tenant,
                client: &clients[asked.client],
                wallet: &wallets[asked.wallet],
                tier: asked.tier,
                description: &description,
                now: UnixMillis(now),
                met: &asked.met,
            };
            let answer = bundle.evaluate(&question, &memory);
            let names: BTreeSet<_> = answer.rules.iter().map(ToString::to_string).collect();
            let expected = model(&rules, &asked, &past);
            assert_eq!(
                (answer.outcome, names),
                expected,
                "seed {seed}, round {round}\n{text}\n{description:?}\n{:?}",
                asked.met
            );
            pairs += 1;
            seen[answer.outcome as usize] += 1;
            if round % 40 == 7 {
                // What is proved of a bundle is proved of this condition, under these premises.
                let modelled = bundle.modelled(&question, &memory).unwrap();
                for (said, effect) in modelled.iter().zip(&answer.effects) {
                    assert!(said.premised, "a premise is false: seed {seed}, round {round}\n{description:?}");
                    let allowed = effect.outcome == Outcome::Allowed;
                    assert_eq!(said.allowed, allowed, "seed {seed}, round {round}\n{text}\n{description:?}");
                }
            }
            if round % 20 == 0 {
                // The same policies one by one, with the whole context held against the schema, say the same.
                let explained = bundle.explain(&question, &memory);
                assert_eq!(explained.evaluation, answer);
                for effect in &explained.effects {
                    assert_ne!(effect.context, serde_json::Value::Null);
                    for one in effect.candidates.iter().filter(|one| one.determining) {
                        assert_ne!(one.said, Said::Unsatisfied, "seed {seed}, round {round}: {one:?}");
                    }
                }
            }
            if answer.outcome != Outcome::Denied {
                for limit in 0..4 {
                    let key = |one| measure(limit, &asked, one).map(|(key, _)| key);
                    let keys: BTreeSet<_> = asked.effects.iter().filter_map(key).collect();
                    past.extend(keys.into_iter().map(|key| {
                        let amount = adds(limit, &key, &asked);
                        (limit, key, now, amount)
                    }));
                }
                let first = past.len();
                answer.reservations.iter().for_each(|one| memory.reserve(one, question.now));
                held.push((answer.reservations, first, now));
            }
            // Sometimes the newest request is given up, and its reservations return.
            if dice.one_in(5)
                && let Some((reservations, end, at)) = held.pop()
            {
                reservations.iter().for_each(|one| memory.release(one, UnixMillis(at)));
                past.truncate(end);
                past.retain(|(_, _, when, _)| *when != at);
            }
        }
    }
    println!("{pairs} pairs: {} allowed, {} pending, {} denied", seen[0], seen[1], seen[2]);
    assert!(
        seen.iter().all(|count| *count > pairs / 50),
        "one outcome hardly occurs: the test would not notice a defect in it"
    );
}
