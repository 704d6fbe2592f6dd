//! A small world for tests: one tenant, two assets, an address book, and shorthand for bundles and questions.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "shared by several test programs; a broken scene should stop the test"
)]

use alloy_primitives::U256;
use chancery_core::{ClientId, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::model::{Description, Effect, Fee, Kind};
use chancery_policy::{
    Bundle, BundleError, Evaluation, FindingCode, Met, Question, Source, Spending, SupposedSpending,
};

pub const COIN: &str = "eip155:1/slip44:60";
pub const TOKEN: &str = "eip155:1/erc20:0x5FbDB2315678afecb367f032d93F642f64180aa3";
pub const ALICE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub const BOB: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
pub const MALLORY: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
/// Monday, 2026-01-05T12:00:00Z.
pub const NOON: UnixMillis = UnixMillis(1_767_614_400_000);

pub const MANIFEST: &str = r#"version = 1
name = "scene"
approvers = ["treasury", "risk"]
factors = ["face"]

[groups.clients]
backends = ["default/backend"]

[groups.wallets]
hot = ["default/main"]

[[asset]]
id = "eip155:1/slip44:60"
name = "ETH"
decimals = 18
groups = ["ether"]

[[asset]]
id = "eip155:1/erc20:0x5FbDB2315678afecb367f032d93F642f64180aa3"
name = "USDX"
decimals = 6

[[price]]
asset = "eip155:1/slip44:60"
usd = "3000"
expires = "2026-01-05T13:00:00Z"

[[address]]
name = "alice"
address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
chains = ["eip155:1"]
groups = ["payees"]

[[limit]]
name = "daily"
measure = "sum"
keys = ["wallet", "asset"]
window = "24h"

[[limit]]
name = "requests"
measure = "count"
keys = ["client"]
window = "1h"
"#;

/// A permit for everything, so that a test is about what it adds.
pub const OPEN: &str = "@id(\"open\") permit (principal, action, resource);\n";

pub fn source(policies: &str) -> Source {
    with_manifest(MANIFEST, policies)
}

pub fn with_manifest(manifest: &str, policies: &str) -> Source {
    let files = [("bundle.toml", manifest), ("policies/main.cedar", policies)];
    Source { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() }
}

pub fn bundle(policies: &str) -> Bundle {
    compile(&source(policies)).unwrap()
}

/// Compiles, and shows the findings as a person would see them.
pub fn compile(source: &Source) -> Result<Bundle, BundleError> {
    Bundle::compile(source).inspect_err(|error| println!("{error}"))
}

pub fn codes(error: &BundleError) -> Vec<FindingCode> {
    error.findings.iter().map(|finding| finding.code).collect()
}

pub fn effect(kind: Kind) -> Effect {
    Effect::bare(kind)
}

/// A transfer of `gwei` to `destination`.
pub fn transfer(gwei: u64, destination: &str) -> Effect {
    Effect {
        asset: Some(COIN.into()),
        amount: Some(U256::from(gwei) * U256::from(1_000_000_000_u64)),
        destination: Some(destination.into()),
        ..effect(Kind::Transfer)
    }
}

/// A transfer of `units` base units of the token to `destination`.
pub fn token_transfer(units: u64, destination: &str) -> Effect {
    Effect {
        asset: Some(TOKEN.into()),
        amount: Some(U256::from(units)),
        destination: Some(destination.into()),
        ..effect(Kind::TokenTransfer)
    }
}

pub fn describe(effects: Vec<Effect>) -> Description {
    Description {
        v: 1,
        payload: "ethereum.transaction".into(),
        chain: "eip155:1".into(),
        form: "eip1559".into(),
        account: BOB.into(),
        effects,
        fee: None,
        nonce: None,
        detail: serde_json::Map::new(),
    }
}

pub fn with_fee(mut description: Description, asset: &str, maximum: u64) -> Description {
    description.fee = Some(Fee { asset: asset.into(), maximum: U256::from(maximum) });
    description
}

/// A question with everything in its place; change what the test is about.
pub struct Ask {
    pub client: ClientId,
    pub wallet: WalletId,
    pub tier: Tier,
    pub description: Description,
    pub now: UnixMillis,
    pub met: Met,
}

impl Ask {
    pub fn of(effects: Vec<Effect>) -> Self {
        Self::about(describe(effects))
    }

    pub fn about(description: Description) -> Self {
        Self {
            client: "backend".parse().unwrap(),
            wallet: "main".parse().unwrap(),
            tier: Tier::Hsm,
            description,
            now: NOON,
            met: Met::default(),
        }
    }

    pub fn put(&self, bundle: &Bundle) -> Evaluation {
        self.put_with(bundle, &SupposedSpending::default())
    }

    pub fn put_with(&self, bundle: &Bundle, spending: &dyn Spending) -> Evaluation {
        let tenant = Tenant::default();
        bundle.evaluate(&self.question(&tenant), spending)
    }

    pub fn question<'a>(&'a self, tenant: &'a Tenant) -> Question<'a> {
        Question {
            tenant,
            client: &self.client,
            wallet: &self.wallet,
            tier: self.tier,
            description: &self.description,
            now: self.now,
            met: &self.met,
        }
    }
}

pub fn supposed(limit: &str, total: i64) -> SupposedSpending {
    SupposedSpending([(limit.to_owned(), total)].into())
}

pub fn names(evaluation: &Evaluation) -> Vec<&str> {
    evaluation.rules.iter().map(chancery_policy::RuleName::as_str).collect()
}
