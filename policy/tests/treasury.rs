//! The example bundle, as the demo and the documentation use it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;

use alloy_primitives::Address;
use chancery_core::{ClientId, Payload, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::{Account, Intent, ethereum, understand};
use chancery_policy::{Answer, Asked, Decision, Met, Source, SupposedSpending, Tested, decide};

fn treasury() -> Tested {
    let source =
        Source::from_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/treasury")).unwrap();
    Tested::compile(&source).unwrap_or_else(|error| panic!("{error:#?}"))
}

/// 1 ETH from anyone to the exchange on chain 31337, as in the bundle's tests.
fn one_ether(policy: &Tested) -> Intent {
    let data = "02f1827a6980843b9aca0084773594008252089470997970c51812dc3a010c7d01b50e0d17dc79c8880de0b6b3a764000080c0";
    let payload = Payload::EthereumTransaction { data: hex::decode(data).unwrap() };
    let account =
        Account::Ethereum(ethereum::Account { address: Address::repeat_byte(1), chain_ids: &[31337] });
    understand(&payload, &account, policy.bundle().contracts()).unwrap()
}

fn ask(policy: &Tested, client: &str, intent: &Intent) -> Decision {
    let (tenant, met): (Tenant, Met) = Default::default();
    let (client, wallet): (ClientId, WalletId) = (client.parse().unwrap(), "treasury".parse().unwrap());
    let now = UnixMillis(1_767_614_400_000);
    let asked =
        Asked { tenant: &tenant, client: &client, wallet: &wallet, tier: Tier::Hsm, intent, now, met: &met };
    decide(policy, &asked, &SupposedSpending::default())
}

#[test]
fn every_rule_has_a_test() {
    let policy = treasury();
    let results = policy.bundle().test();
    assert!(results.len() >= 20);
    for rule in policy.bundle().rules() {
        let named = |result: &&chancery_policy::TestResult| {
            let Answer::Evaluation(said) = &result.answer else { return false };
            said.rules.iter().any(|decided| decided.as_str() == rule.name)
        };
        assert!(results.iter().any(|result| named(&result)), "no test is decided by `{}`", rule.name);
    }
}

#[test]
fn a_permit_is_bound_to_what_was_understood() {
    let policy = treasury();
    let intent = one_ether(&policy);
    let Decision::Permitted(permit) = ask(&policy, "backend", &intent) else { panic!("not permitted") };
    assert_eq!(permit.signing_digest(), intent.signing_digest());
    assert_eq!((permit.client().as_str(), permit.wallet().as_str()), ("backend", "treasury"));
    assert_eq!(permit.bundle(), policy.bundle().hash());
    assert_eq!(
        permit.rules().iter().map(chancery_policy::RuleName::as_str).collect::<Vec<_>>(),
        ["eth-to-payees"]
    );
    let daily = permit.reservations().iter().find(|held| held.counter.limit == "daily").unwrap();
    assert_eq!((daily.amount, daily.window_ms), (1_000_000_000, 86_400_000), "1 ETH in gwei for a day");
}

#[test]
fn a_stranger_gets_no_permit() {
    let policy = treasury();
    let decision = ask(&policy, "stranger", &one_ether(&policy));
    assert!(matches!(decision, Decision::Denied(_)), "{decision:?}");
}

#[test]
fn the_bundles_hash_is_that_of_its_text() {
    let policy = treasury();
    let source = policy.bundle().source();
    let again: Source = serde_json::from_slice(&source.canonical()).unwrap();
    assert_eq!(again.hash(), policy.bundle().hash(), "the canonical JSON must read back as the same bundle");
}
