//! Measures decisions: nanoseconds each at 10, 1,000 and 10,000 rules, and what it takes to compile such a bundle.
//! Prints one JSON row {name, value, unit} a line. Run with `cargo run --release -p chancery-policy --example decisions`;
//! `--quick` takes fewer samples.
#![allow(clippy::print_stdout, reason = "figures go to standard output")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use alloy_primitives::U256;
use chancery_core::{ClientId, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::model::{Description, Effect, Kind};
use chancery_policy::{Bundle, Met, Outcome, Question, Source, SupposedSpending};

const MANIFEST: &str = r#"version = 1
name = "measured"
approvers = ["treasury"]
[groups.clients]
backends = ["default/backend"]
[[asset]]
id = "eip155:1/slip44:60"
name = "ETH"
decimals = 18
[[address]]
name = "exchange"
address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
chains = ["eip155:1"]
groups = ["payees"]
[[limit]]
name = "daily"
measure = "sum"
keys = ["wallet", "asset"]
window = "24h"
"#;

/// Two rules for every wallet, and two for each wallet of its own.
fn source(rules: usize) -> Source {
    let mut text = String::from(
        "@id(\"unlimited\") forbid (principal, action == Action::\"token_approval\", resource) when { context.unlimited };\n\
         @id(\"fee\") forbid (principal, action, resource) when { context.fee > 50000000 };\n",
    );
    for wallet in 0..rules.saturating_sub(2) / 2 {
        let scope = format!(
            "principal in ClientGroup::\"backends\", action == Action::\"transfer\", resource == Wallet::\"default/w{wallet}\""
        );
        let payee = "context has destination && context.destination in AddressGroup::\"payees\"";
        let _ = writeln!(
            text,
            "@id(\"small-{wallet}\") permit ({scope}) when {{ {payee} && context.spent has daily && context.spent.daily <= 10000000000 }};\n\
             @id(\"large-{wallet}\") @quorum(\"treasury, 2\") permit ({scope}) when {{ {payee} && context.amount <= 100000000000 }};",
        );
    }
    let files = [("bundle.toml", MANIFEST), ("policies/main.cedar", text.as_str())];
    Source { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() }
}

fn description(wei: u64) -> Description {
    let effect = Effect {
        kind: Kind::Transfer,
        asset: Some("eip155:1/slip44:60".into()),
        amount: Some(U256::from(wei) * U256::from(1_000_000_000_u64)),
        unlimited: false,
        destination: Some("0x70997970C51812dc3A010C7d01b50e0d17dc79C8".into()),
        owner: None,
        contract: None,
        method: None,
    };
    Description {
        v: 1,
        payload: "ethereum.transaction".into(),
        chain: "eip155:1".into(),
        form: "eip1559".into(),
        account: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".into(),
        effects: vec![effect],
        fee: None,
        nonce: None,
        detail: serde_json::Map::new(),
    }
}

/// Processor time of this thread in nanoseconds: what a decision costs, also when the machine is busy with other things.
fn clock_ns(start: Instant) -> f64 {
    let scheduled = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ran = scheduled.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    ran.unwrap_or_else(|| start.elapsed().as_secs_f64() * 1e9)
}

fn row(name: &str, value: f64, unit: &str) {
    println!("{}", serde_json::json!({ "name": name, "value": (value * 10.0).round() / 10.0, "unit": unit }));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: u32 = if std::env::args().any(|argument| argument == "--quick") { 2_000 } else { 20_000 };
    let (tenant, client, met): (Tenant, ClientId, _) =
        (Tenant::default(), "backend".parse()?, Met::default());
    let spending = SupposedSpending::default();
    let begin = Instant::now();
    for rules in [10_usize, 1_000, 10_000] {
        let source = source(rules);
        let start = clock_ns(begin);
        let bundle = Bundle::compile(&source)?;
        row(&format!("compile at {rules} rules"), (clock_ns(begin) - start) / 1e6, "ms");
        let wallets: Vec<WalletId> =
            (0..(rules - 2) / 2).map(|wallet| format!("w{wallet}").parse()).collect::<Result<_, _>>()?;
        // Four wallets in turn keep their rules in the processor's cache, whatever stands beside them in the bundle; all
        // wallets in turn find them in memory.
        for (what, gwei, expected, few) in [
            ("allowed", 1_000_000_000, Outcome::Allowed, true),
            ("pending", 50_000_000_000, Outcome::Pending, true),
            ("allowed, every wallet in turn", 1_000_000_000, Outcome::Allowed, false),
            ("pending, every wallet in turn", 50_000_000_000, Outcome::Pending, false),
        ] {
            let description = description(gwei);
            let wallets = wallets.get(..if few { 4 } else { wallets.len() }).unwrap_or(&wallets);
            // The best of five rounds: the others were disturbed.
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                let start = clock_ns(begin);
                for wallet in wallets.iter().cycle().take(rounds as usize) {
                    let question = Question {
                        tenant: &tenant,
                        client: &client,
                        wallet,
                        tier: Tier::Hsm,
                        description: &description,
                        now: UnixMillis(1_767_614_400_000),
                        met: &met,
                    };
                    let answer = black_box(bundle.evaluate(black_box(&question), &spending));
                    if answer.outcome != expected {
                        return Err(format!("expected {what}: {answer:?}").into());
                    }
                }
                best = best.min((clock_ns(begin) - start) / f64::from(rounds));
            }
            row(&format!("decision at {rules} rules, {what}"), best, "ns");
        }
    }
    Ok(())
}
