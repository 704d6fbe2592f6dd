//! What is decided, through the public door: one test for each promise of the policy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod scene;

use alloy_primitives::U256;
use chancery_core::{Tenant, Tier, UnixMillis, limit};
use chancery_intent::model::{Argument, Effect, Kind, Method};
use chancery_policy::{
    Counter, DEFAULT_DENY, EFFECTS_OUT_OF_RANGE, MemorySpending, Met, Need, Outcome, SPENDING_UNREADABLE,
    Said, Spending, SpendingError, SupposedSpending,
};
use scene::{
    ALICE, Ask, BOB, COIN, MALLORY, MANIFEST, OPEN, TOKEN, bundle, codes, compile, describe, effect, names,
    source,
};
use scene::{supposed, token_transfer, transfer, with_fee, with_manifest};

#[test]
fn nothing_is_allowed_unless_a_rule_permits_it() {
    let empty = bundle("");
    for kind in Kind::ALL {
        let answer = Ask::of(vec![effect(*kind)]).put(&empty);
        assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec![DEFAULT_DENY]), "{kind:?}");
    }
}

#[test]
fn a_forbid_wins_and_is_named() {
    let policies = format!(
        "{OPEN}@id(\"no-mallory\") forbid (principal, action, resource) when {{ context has destination && context.destination == Address::\"eip155:1:{MALLORY}\" }};"
    );
    let bundle = bundle(&policies);
    assert_eq!(Ask::of(vec![transfer(1, ALICE)]).put(&bundle).outcome, Outcome::Allowed);
    let answer = Ask::of(vec![transfer(1, MALLORY)]).put(&bundle);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec!["no-mallory"]));
    assert!(answer.reservations.is_empty(), "a denied request must hold nothing");
}

#[test]
fn any_error_denies_even_where_cedar_would_skip_it() {
    for effect in ["permit", "forbid"] {
        let policies = format!(
            "{OPEN}@id(\"broken\") {effect} (principal, action, resource) when {{ context.amount + 9223372036854775807 < 0 }};"
        );
        let bundle = bundle(&policies);
        assert_eq!(
            Ask::of(vec![transfer(0, ALICE)]).put(&bundle).outcome,
            Outcome::Allowed,
            "0 does not overflow"
        );
        let answer = Ask::of(vec![transfer(1, ALICE)]).put(&bundle);
        assert_eq!(
            (answer.outcome, names(&answer)),
            (Outcome::Denied, vec!["broken"]),
            "an erroring {effect}"
        );
        assert_eq!(answer.errors[0].rule.as_str(), "broken");
        assert_eq!(answer.errors[0].effect, Some(0));
        assert!(answer.errors[0].message.contains("overflow"), "{}", answer.errors[0].message);
    }
}

#[test]
fn a_policy_for_another_wallet_cannot_fail_here() {
    let broken = "@id(\"broken\") forbid (principal, action, resource == Wallet::\"default/other\") when { context.amount + 9223372036854775807 < 0 };";
    let bundle = bundle(&format!("{OPEN}{broken}"));
    let mut ask = Ask::of(vec![transfer(1, ALICE)]);
    assert_eq!(ask.put(&bundle).outcome, Outcome::Allowed, "its scope does not match");
    ask.wallet = "other".parse().unwrap();
    assert_eq!(ask.put(&bundle).outcome, Outcome::Denied);
}

#[test]
fn an_error_in_a_waiting_rule_denies_instead_of_pending() {
    let policies = "@id(\"w\") @quorum(\"treasury, 1\") permit (principal, action, resource) when { context.amount + 9223372036854775807 < 0 };";
    let answer = Ask::of(vec![transfer(1, ALICE)]).put(&bundle(policies));
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec!["w"]));
}

#[test]
fn strict_validation_refuses_optional_attributes_without_has() {
    let error = compile(&source(
        "@id(\"x\") permit (principal, action, resource) when { context.destination == context.account };",
    ));
    assert_eq!(codes(&error.unwrap_err()), [chancery_policy::FindingCode::Type]);
}

#[test]
fn an_attribute_that_is_only_asked_for_is_there() {
    let policies =
        format!("{OPEN}@id(\"own\") forbid (principal, action, resource) when {{ context has owner }};");
    let bundle = bundle(&policies);
    assert_eq!(Ask::of(vec![token_transfer(1, ALICE)]).put(&bundle).outcome, Outcome::Allowed);
    let others = Effect { owner: Some(BOB.into()), ..token_transfer(1, ALICE) };
    assert_eq!(Ask::of(vec![others]).put(&bundle).outcome, Outcome::Denied);
}

const WAITING: &str = r#"@id("wait")
@quorum("treasury, 2; risk, 1")
@factor("face")
@delay("1h")
@veto("risk")
permit (principal, action == Action::"transfer", resource) when { context.amount <= 100 };
"#;

fn meet(ask: &mut Ask) {
    ask.met.approvals = [("treasury".to_owned(), 2), ("risk".to_owned(), 1)].into();
    ask.met.factors = ["face".to_owned()].into();
    ask.met.waited_ms = 3_600_000;
}

#[test]
fn each_obligation_is_needed_and_together_they_are_enough() {
    let bundle = bundle(WAITING);
    let mut ask = Ask::of(vec![transfer(100, ALICE)]);
    let answer = ask.put(&bundle);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Pending, vec!["wait"]));
    assert_eq!(
        answer.missing[0].needs,
        [
            Need::Quorum { group: "treasury".into(), needed: 2, have: 0 },
            Need::Quorum { group: "risk".into(), needed: 1, have: 0 },
            Need::Factor { factor: "face".into() },
            Need::Delay { wait_ms: 3_600_000 },
        ]
    );
    meet(&mut ask);
    assert_eq!(ask.put(&bundle).outcome, Outcome::Allowed);
    type Lack = (&'static str, fn(&mut Ask));
    let lacks: [Lack; 4] = [
        ("one approval of treasury", |ask| {
            ask.met.approvals.insert("treasury".into(), 1);
        }),
        ("every approval of risk", |ask| {
            ask.met.approvals.remove("risk");
        }),
        ("the factor", |ask| ask.met.factors.clear()),
        ("a millisecond", |ask| ask.met.waited_ms -= 1),
    ];
    for (what, lack) in lacks {
        meet(&mut ask);
        lack(&mut ask);
        let answer = ask.put(&bundle);
        assert_eq!((answer.outcome, answer.missing.len()), (Outcome::Pending, 1), "without {what}");
        assert_eq!(answer.missing[0].needs.len(), 1, "only {what} is missing");
    }
    meet(&mut ask);
    ask.met.vetoes.insert("risk".into());
    let answer = ask.put(&bundle);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec!["wait"]), "a veto ends it");
}

#[test]
fn obligations_do_not_help_where_the_condition_does_not_hold() {
    let mut ask = Ask::of(vec![transfer(101, ALICE)]);
    assert_eq!(ask.put(&bundle(WAITING)).outcome, Outcome::Denied);
    meet(&mut ask);
    assert_eq!(ask.put(&bundle(WAITING)).outcome, Outcome::Denied);
}

#[test]
fn a_forbid_denies_what_would_otherwise_be_pending() {
    let policies = format!(
        "{WAITING}@id(\"stop\") forbid (principal, action, resource) when {{ context.amount > 50 }};"
    );
    let answer = Ask::of(vec![transfer(51, ALICE)]).put(&bundle(&policies));
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec!["stop"]));
    assert!(answer.missing.is_empty());
}

#[test]
fn a_permit_without_obligations_spares_the_waiting() {
    let answer = Ask::of(vec![transfer(1, ALICE)]).put(&bundle(&format!("{WAITING}{OPEN}")));
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Allowed, vec!["open"]));
}

#[test]
fn a_pending_request_expires_from_when_it_was_asked() {
    let policies = "@id(\"a\") @quorum(\"treasury, 1\") @expires(\"2h\") permit (principal, action == Action::\"transfer\", resource);
        @id(\"b\") @quorum(\"treasury, 1\") permit (principal, action == Action::\"token_transfer\", resource);";
    let bundle = bundle(policies);
    let mut ask = Ask::of(vec![transfer(1, ALICE)]);
    assert_eq!(ask.put(&bundle).expires_ms, Some(scene::NOON.plus_ms(7_200_000)));
    ask.met.waited_ms = 3_600_000;
    assert_eq!(
        ask.put(&bundle).expires_ms,
        Some(scene::NOON.plus_ms(3_600_000)),
        "asking again does not prolong it"
    );
    let both = Ask::of(vec![transfer(1, ALICE), token_transfer(1, ALICE)]).put(&bundle);
    assert_eq!(both.expires_ms, Some(scene::NOON.plus_ms(7_200_000)), "the least patient effect counts");
    let default = Ask::of(vec![token_transfer(1, ALICE)]).put(&bundle);
    assert_eq!(default.expires_ms, Some(scene::NOON.plus_ms(limit::PENDING_MS)));
}

#[test]
fn the_outcome_is_that_of_the_worst_effect() {
    let policies = "@id(\"coin\") permit (principal, action == Action::\"transfer\", resource);
        @id(\"token\") @quorum(\"treasury, 1\") permit (principal, action == Action::\"token_transfer\", resource);";
    let bundle = bundle(policies);
    let answer = Ask::of(vec![transfer(1, ALICE), token_transfer(1, ALICE)]).put(&bundle);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Pending, vec!["token"]));
    assert_eq!(answer.missing[0].effect, 1);
    let outcomes: Vec<_> = answer.effects.iter().map(|effect| effect.outcome).collect();
    assert_eq!(outcomes, [Outcome::Allowed, Outcome::Pending]);
    let answer =
        Ask::of(vec![transfer(1, ALICE), token_transfer(1, ALICE), effect(Kind::Message)]).put(&bundle);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec![DEFAULT_DENY]));
    assert!(answer.missing.is_empty() && answer.expires_ms.is_none(), "a denied request waits for nothing");
}

#[test]
fn an_intent_without_effects_or_with_too_many_is_denied() {
    let bundle = bundle(OPEN);
    for count in [0, limit::EFFECTS + 1] {
        let answer = Ask::of(vec![effect(Kind::Message); count]).put(&bundle);
        assert_eq!(
            (answer.outcome, names(&answer)),
            (Outcome::Denied, vec![EFFECTS_OUT_OF_RANGE]),
            "{count}"
        );
    }
    assert_eq!(Ask::of(vec![effect(Kind::Message); limit::EFFECTS]).put(&bundle).outcome, Outcome::Allowed);
}

fn at_most(amount: i64) -> String {
    format!("@id(\"most\") permit (principal, action, resource) when {{ context.amount <= {amount} }};")
}

#[test]
fn amounts_at_the_boundary_round_up() {
    let bundle = bundle(&at_most(10_000_000_000));
    let wei = |text: &str| Effect { amount: Some(text.parse().unwrap()), ..transfer(0, ALICE) };
    for (amount, outcome) in [
        ("9999999999999999999", Outcome::Allowed),
        ("10000000000000000000", Outcome::Allowed),
        ("10000000000000000001", Outcome::Denied),
    ] {
        assert_eq!(Ask::of(vec![wei(amount)]).put(&bundle).outcome, outcome, "{amount} wei");
    }
}

#[test]
fn what_is_unknown_or_unbounded_is_the_largest_amount() {
    let bundle = bundle(&at_most(i64::MAX - 1));
    let unregistered = "eip155:1/token:0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let cases = [
        ("unlimited", Effect { unlimited: true, ..token_transfer(0, ALICE) }),
        ("unregistered", Effect { asset: Some(unregistered.into()), ..token_transfer(0, ALICE) }),
        ("an amount of nothing known", Effect { asset: None, ..token_transfer(1, ALICE) }),
        ("an asset without its amount", Effect { amount: None, ..token_transfer(1, ALICE) }),
        ("more than 64 bits", Effect { amount: Some(U256::MAX), ..token_transfer(1, ALICE) }),
    ];
    for (what, effect) in cases {
        assert_eq!(Ask::of(vec![effect]).put(&bundle).outcome, Outcome::Denied, "{what}");
    }
    assert_eq!(Ask::of(vec![token_transfer(u64::MAX >> 2, ALICE)]).put(&bundle).outcome, Outcome::Allowed);
    assert_eq!(
        Ask::of(vec![effect(Kind::Message)]).put(&bundle).outcome,
        Outcome::Allowed,
        "a message moves nothing"
    );
}

#[test]
fn a_fee_of_an_unregistered_asset_is_the_largest_fee() {
    let bundle = bundle("@id(\"fee\") permit (principal, action, resource) when { context.fee <= 100 };");
    let fee = |asset: &str, maximum| {
        Ask::about(with_fee(describe(vec![transfer(1, ALICE)]), asset, maximum)).put(&bundle)
    };
    assert_eq!(fee(COIN, 100_000_000_000).outcome, Outcome::Allowed);
    assert_eq!(fee(COIN, 100_000_000_001).outcome, Outcome::Denied, "a wei more is a unit more");
    assert_eq!(fee("eip155:5/slip44:60", 1).outcome, Outcome::Denied);
}

#[test]
fn a_price_counts_until_it_expires() {
    let bundle = bundle(
        "@id(\"usd\") permit (principal, action, resource) when { context has value_usd_cents && context.value_usd_cents <= 300000 };",
    );
    let one_ether = transfer(1_000_000_000, ALICE);
    let mut ask = Ask::of(vec![one_ether.clone()]);
    assert_eq!(ask.put(&bundle).outcome, Outcome::Allowed, "1 ETH is exactly 3,000 USD");
    let more = Effect { amount: one_ether.amount.map(|wei| wei + U256::ONE), ..one_ether };
    assert_eq!(Ask::of(vec![more]).put(&bundle).outcome, Outcome::Denied, "a wei more is a cent more");
    ask.now = scene::NOON.plus_ms(3_600_000 - 1);
    assert_eq!(ask.put(&bundle).outcome, Outcome::Allowed, "the last fresh millisecond");
    ask.now = scene::NOON.plus_ms(3_600_000);
    assert_eq!(ask.put(&bundle).outcome, Outcome::Denied, "an expired price is no price");
    assert_eq!(
        Ask::of(vec![token_transfer(1, ALICE)]).put(&bundle).outcome,
        Outcome::Denied,
        "no price at all"
    );
}

const DAILY: &str = "@id(\"daily\") permit (principal, action, resource) when { context.spent has daily && context.spent.daily <= 1000 };";

#[test]
fn a_limit_counts_this_request_and_what_was_spent() {
    let bundle = bundle(DAILY);
    let ask = |gwei| Ask::of(vec![transfer(gwei, ALICE)]);
    assert_eq!(ask(1_000).put(&bundle).outcome, Outcome::Allowed);
    assert_eq!(ask(1_001).put(&bundle).outcome, Outcome::Denied);
    assert_eq!(ask(400).put_with(&bundle, &supposed("daily", 600)).outcome, Outcome::Allowed);
    assert_eq!(ask(400).put_with(&bundle, &supposed("daily", 601)).outcome, Outcome::Denied);
    assert_eq!(
        ask(1).put_with(&bundle, &supposed("daily", i64::MAX)).outcome,
        Outcome::Denied,
        "sums saturate"
    );
    let negative = ask(1_001).put_with(&bundle, &supposed("daily", -500));
    assert_eq!(negative.outcome, Outcome::Denied, "a negative total must not make room");
    assert_eq!(
        Ask::of(vec![effect(Kind::Message)]).put(&bundle).outcome,
        Outcome::Denied,
        "what is not measured has no total"
    );
}

#[test]
fn effects_of_one_request_count_together_in_any_order() {
    let bundle = bundle(DAILY);
    for pair in [[400, 601], [601, 400]] {
        let answer = Ask::of(pair.map(|gwei| transfer(gwei, ALICE)).to_vec()).put(&bundle);
        assert_eq!(answer.outcome, Outcome::Denied, "{pair:?} sum to 1,001");
        let outcomes: Vec<_> = answer.effects.iter().map(|effect| effect.outcome).collect();
        assert_eq!(outcomes, [Outcome::Denied; 2], "each effect sees the whole request");
    }
    let answer = Ask::of(vec![transfer(400, ALICE), transfer(600, BOB)]).put(&bundle);
    assert_eq!(answer.outcome, Outcome::Allowed);
    let daily: Vec<_> = answer.reservations.iter().filter(|held| held.counter.limit == "daily").collect();
    assert_eq!((daily.len(), daily[0].amount), (1, 1_000), "one counter is reserved once");
    let answer = Ask::of(vec![transfer(1_000, ALICE), token_transfer(1_000, ALICE)]).put(&bundle);
    assert_eq!(answer.outcome, Outcome::Allowed, "another asset is another counter");
}

#[test]
fn requests_are_counted_once_however_many_effects_they_have() {
    let bundle =
        bundle("@id(\"r\") permit (principal, action, resource) when { context.spent.requests <= 2 };");
    let mut memory = MemorySpending::default();
    let ask = Ask::of(vec![transfer(1, ALICE), transfer(1, BOB), effect(Kind::Message)]);
    for round in 0..3 {
        let answer = ask.put_with(&bundle, &memory);
        let expected = if round < 2 { Outcome::Allowed } else { Outcome::Denied };
        assert_eq!(answer.outcome, expected, "request {round}");
        answer.reservations.iter().for_each(|held| memory.reserve(held, ask.now));
    }
    let later = Ask { now: ask.now.plus_ms(3_600_000 + chancery_policy::bucket_ms(3_600_000)), ..ask };
    assert_eq!(later.put_with(&bundle, &memory).outcome, Outcome::Allowed, "the window has moved on");
}

#[test]
fn counters_are_told_apart_by_their_keys_and_the_unit() {
    let manifest = |more: &str| {
        format!("{MANIFEST}\n[[limit]]\nname = \"x\"\nmeasure = \"sum\"\nwindow = \"1h\"\n{more}")
    };
    let counter = |manifest: &str, ask: &Ask| -> Counter {
        let answer = ask.put(&compile(&with_manifest(manifest, OPEN)).unwrap());
        answer.reservations.into_iter().find(|held| held.counter.limit == "x").unwrap().counter
    };
    let base = || Ask::of(vec![transfer(1, ALICE)]);
    let other_client = Ask { client: "other".parse().unwrap(), ..base() };
    let other_wallet = Ask { wallet: "other".parse().unwrap(), ..base() };
    let (other_asset, other_destination) =
        (Ask::of(vec![token_transfer(1, ALICE)]), Ask::of(vec![transfer(1, BOB)]));
    for (key, other) in [
        ("client", &other_client),
        ("wallet", &other_wallet),
        ("asset", &other_asset),
        ("destination", &other_destination),
    ] {
        let keyed = manifest(&format!("keys = [\"asset\", \"{key}\"]"));
        assert_ne!(counter(&keyed, &base()), counter(&keyed, other), "keyed by {key}");
        if key != "asset" {
            let plain = manifest("keys = [\"asset\"]");
            assert_eq!(counter(&plain, &base()), counter(&plain, other), "not keyed by {key}");
        }
    }
    let plain = manifest("keys = [\"asset\"]");
    let finer = plain.replace("decimals = 18\n", "decimals = 18\nunit_decimals = 6\n");
    assert_ne!(counter(&plain, &base()), counter(&finer, &base()), "another unit is another counter");
    let unrelated =
        plain.replace("name = \"scene\"", "name = \"changed\"").replace("usd = \"3000\"", "usd = \"1\"");
    assert_eq!(
        counter(&plain, &base()),
        counter(&unrelated, &base()),
        "counters survive other changes of the bundle"
    );
}

#[test]
fn limits_measure_only_what_they_name() {
    let manifest = format!(
        "{MANIFEST}\n[[limit]]\nname = \"x\"\nmeasure = \"sum\"\nwindow = \"1h\"\nassets = [\"{COIN}\"]\nactions = [\"transfer\"]\n"
    );
    let bundle = compile(&with_manifest(&manifest, OPEN)).unwrap();
    let measured = |effect: Effect| {
        let answer = Ask::of(vec![effect]).put(&bundle);
        answer.reservations.iter().any(|held| held.counter.limit == "x")
    };
    assert!(measured(transfer(1, ALICE)));
    assert!(!measured(token_transfer(1, ALICE)), "another asset");
    assert!(!measured(Effect { kind: Kind::ContractCall, ..transfer(1, ALICE) }), "another action");
}

#[test]
fn value_limits_take_the_unpriced_for_the_most() {
    let manifest = format!(
        "{MANIFEST}\n[[limit]]\nname = \"usd\"\nmeasure = \"usd\"\nkeys = [\"wallet\"]\nwindow = \"1h\"\n"
    );
    let policies = "@id(\"usd\") permit (principal, action, resource) when { context.spent.usd <= 600000 };";
    let bundle = compile(&with_manifest(&manifest, policies)).unwrap();
    let ether = |count: u64| transfer(count * 1_000_000_000, ALICE);
    assert_eq!(
        Ask::of(vec![ether(1), ether(1), effect(Kind::Message)]).put(&bundle).outcome,
        Outcome::Allowed
    );
    assert_eq!(Ask::of(vec![ether(1), ether(1), transfer(1, ALICE)]).put(&bundle).outcome, Outcome::Denied);
    assert_eq!(Ask::of(vec![token_transfer(1, ALICE)]).put(&bundle).outcome, Outcome::Denied, "no price");
}

#[test]
fn spending_that_cannot_be_read_denies() {
    struct Broken;
    impl Spending for Broken {
        fn spent(&self, _: &Counter, _: i64, _: UnixMillis) -> Result<i64, SpendingError> {
            Err(SpendingError("the disk is gone".into()))
        }
    }
    let answer = Ask::of(vec![transfer(1, ALICE)]).put_with(&bundle(OPEN), &Broken);
    assert_eq!((answer.outcome, names(&answer)), (Outcome::Denied, vec![SPENDING_UNREADABLE]));
    assert!(answer.errors[0].message.contains("the disk is gone"));
}

#[test]
fn time_is_read_in_the_bundles_zone() {
    let policies = "@id(\"office\") permit (principal, action, resource) when { context.time.weekday <= 5 && context.time.hour >= 9 && context.time.hour < 17 };";
    let manifest = MANIFEST.replacen("name = \"scene\"", "name = \"scene\"\nutc_offset = \"+05:30\"", 1);
    let bundle = compile(&with_manifest(&manifest, policies)).unwrap();
    let at = |ms: i64| Ask { now: UnixMillis(ms), ..Ask::of(vec![transfer(1, ALICE)]) }.put(&bundle).outcome;
    let half_past_three = scene::NOON.0 - 8 * 3_600_000 - 30 * 60_000; // 03:30 UTC, 09:00 at +05:30
    assert_eq!(at(half_past_three - 1), Outcome::Denied);
    assert_eq!(at(half_past_three), Outcome::Allowed);
    assert_eq!(at(half_past_three + 8 * 3_600_000 - 1), Outcome::Allowed);
    assert_eq!(at(half_past_three + 8 * 3_600_000), Outcome::Denied);
    assert_eq!(at(half_past_three - 86_400_000), Outcome::Denied, "a Sunday");
    assert_eq!(at(i64::MAX), Outcome::Denied, "a time that is no date");
}

const ABI: &str = r#"[{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],"inputs":[
    {"name":"assets","type":"uint256"},{"name":"receiver","type":"address"}]}]"#;

#[test]
fn arguments_of_registered_calls_can_be_read() {
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let manifest = format!(
        "{MANIFEST}\n[[contract]]\nname = \"vault\"\naddress = \"{contract}\"\nchains = [\"eip155:1\"]\nabi = \"abi/vault.json\"\n"
    );
    let call = "context.call[\"vault.deposit(uint256,address)\"]";
    let policies = format!(
        "@id(\"vault\") permit (principal, action == Action::\"contract_call\", resource) when {{ context.call has \"vault.deposit(uint256,address)\" && {call}.assets <= 500 && {call}.receiver in AddressGroup::\"payees\" }};"
    );
    let mut source = with_manifest(&manifest, &policies);
    source.files.insert("abi/vault.json".into(), ABI.into());
    let bundle = compile(&source).unwrap();
    assert!(
        bundle
            .schema()
            .contains("\"vault.deposit(uint256,address)\"?: { \"assets\": Long, \"receiver\": Address },")
    );
    let call = |to: &str, assets: &str, receiver: &str| {
        let argument = |name: &str, ty: &str, value: &str| Argument {
            name: name.into(),
            ty: ty.into(),
            value: value.into(),
        };
        let method = Method {
            selector: "0x6e553f65".into(),
            signature: Some("deposit(uint256,address)".into()),
            arguments: vec![argument("assets", "uint256", assets), argument("receiver", "address", receiver)],
        };
        let effect = Effect { contract: Some(to.into()), method: Some(method), ..effect(Kind::ContractCall) };
        Ask::of(vec![effect]).put(&bundle).outcome
    };
    assert_eq!(call(contract, "500", ALICE), Outcome::Allowed);
    assert_eq!(call(contract, "501", ALICE), Outcome::Denied);
    assert_eq!(call(contract, "99999999999999999999999", ALICE), Outcome::Denied, "a number beyond 64 bits");
    assert_eq!(call(contract, "1", MALLORY), Outcome::Denied);
    assert_eq!(call(MALLORY, "1", ALICE), Outcome::Denied, "the same method of another contract");
}

#[test]
fn tokens_of_a_collection_share_its_asset() {
    let policies = format!(
        "@id(\"t\") permit (principal, action, resource) when {{ context has asset && context.asset == Asset::\"{TOKEN}\" && context has token_id && context.token_id == \"42\" && context.asset_registered }};"
    );
    let bundle = bundle(&policies);
    let token = |id: &str| Effect { asset: Some(format!("{TOKEN}/{id}")), ..token_transfer(1, ALICE) };
    assert_eq!(Ask::of(vec![token("42")]).put(&bundle).outcome, Outcome::Allowed);
    assert_eq!(Ask::of(vec![token("43")]).put(&bundle).outcome, Outcome::Denied);
}

#[test]
fn another_tenant_is_another_client_and_another_wallet() {
    let policies = "@id(\"mine\") permit (principal == Client::\"default/backend\", action, resource == Wallet::\"default/main\");";
    let bundle = bundle(policies);
    let ask = Ask::of(vec![transfer(1, ALICE)]);
    let outcome = |tenant: &str| {
        let tenant: Tenant = tenant.parse().unwrap();
        bundle.evaluate(&ask.question(&tenant), &SupposedSpending::default()).outcome
    };
    assert_eq!(outcome("default"), Outcome::Allowed);
    assert_eq!(outcome("other"), Outcome::Denied);
}

#[test]
fn an_explanation_agrees_with_the_decision_and_shows_why() {
    let policies = format!(
        "{WAITING}@id(\"stop\") forbid (principal, action, resource) when {{ context.amount > 50 }};"
    );
    let bundle = bundle(&policies);
    let tenant = Tenant::default();
    let ask = Ask::of(vec![transfer(51, ALICE)]);
    let question = ask.question(&tenant);
    let explanation = bundle.explain(&question, &SupposedSpending::default());
    assert_eq!(explanation.evaluation, ask.put(&bundle));
    let effect = &explanation.effects[0];
    assert_eq!(effect.context["amount"], 51);
    assert_eq!(effect.limits[0].total, 51);
    let said: Vec<_> = effect.candidates.iter().map(|one| (one.rule.as_str(), one.determining)).collect();
    assert_eq!(said, [("stop", true), ("wait", false)]);
    assert_eq!(effect.candidates[0].said, Said::Satisfied);
    assert!(matches!(&effect.candidates[1].said, Said::Waiting { needs } if needs.len() == 4));
    let text = explanation.to_string();
    for part in [
        "denied by stop",
        "*forbid stop (policies/main.cedar:",
        "waits for 0 of 2 approvals by `treasury`",
        "amount = 51",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(serde_json::to_string(&explanation).unwrap().contains("\"result\":\"waiting\""));
}

/// Would catch a permit for a cold wallet that nobody has signed for, and one that waits for its signature before its approvals.
#[test]
fn a_cold_wallet_waits_for_its_signature_last() {
    let bundle = bundle(
        "@id(\"cold\")\n@quorum(\"treasury, 1\")\n@expires(\"2h\")\npermit (principal, action == Action::\"transfer\", resource) \
         when { context.tier == \"cold\" };\n@id(\"free\")\npermit (principal, action == Action::\"message\", resource);",
    );
    let mut ask = Ask { tier: Tier::Cold, ..Ask::of(vec![transfer(1, ALICE)]) };
    let needs = |ask: &Ask| {
        let answer = ask.put(&bundle);
        (
            answer.outcome,
            answer.missing.into_iter().flat_map(|missing| missing.needs).collect::<Vec<_>>(),
            answer.expires_ms,
        )
    };
    let until = Some(scene::NOON.plus_ms(2 * 3_600_000));
    let quorum = vec![Need::Quorum { group: "treasury".into(), needed: 1, have: 0 }];
    ask.met.cold_signed = true;
    assert_eq!(needs(&ask), (Outcome::Pending, quorum, until), "a signature stands for no approval");
    ask.met = Met { approvals: [("treasury".to_owned(), 1)].into(), ..Met::default() };
    assert_eq!(needs(&ask), (Outcome::Pending, vec![Need::Signature], until));
    ask.met.cold_signed = true;
    assert_eq!(needs(&ask), (Outcome::Allowed, vec![], None));
    ask.met.cold_signed = false;
    ask.tier = Tier::Hd;
    assert_eq!(ask.put(&bundle).outcome, Outcome::Denied, "policy sees the tier");
}
