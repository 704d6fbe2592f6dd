//! The policy of the simulated house, in a few editions that come into force one after the other: small transfers within
//! limits that the workload reaches, messages that wait for people and expire, everything else denied.

use std::collections::BTreeMap;

use chancery_policy::Source;

/// Editions there are.
pub const EDITIONS: u64 = 3;
/// The limit that counts requests of a wallet in a day.
pub const COUNT: &str = "requests_day";
/// The limit that adds up ether of a wallet in a day, in gwei.
pub const SUM: &str = "ether_day";
/// The limit that counts requests of a wallet in a short time.
pub const BURST: &str = "requests_burst";
/// Transfers of a wallet that a day allows, in gwei together.
pub const SUM_MOST: i64 = 60;
/// Requests of a wallet that a day allows.
pub const COUNT_MOST: i64 = 14;

/// One edition.
#[must_use]
pub fn edition(number: u64) -> Source {
    // The second edition measures the short time otherwise, so that coming into force counts what went before.
    let burst_most = 9 + number;
    let window = if number.is_multiple_of(2) { "20s" } else { "25s" };
    let manifest = format!(
        r#"version = 1
name = "simulation-{number}"
approvers = ["treasury"]
[[asset]]
id = "eip155:31337/slip44:60"
name = "ether"
decimals = 18
[[limit]]
name = "{COUNT}"
measure = "count"
window = "24h"
keys = ["wallet"]
[[limit]]
name = "{SUM}"
measure = "sum"
window = "24h"
keys = ["wallet", "asset"]
actions = ["transfer"]
assets = ["eip155:31337/slip44:60"]
[[limit]]
name = "{BURST}"
measure = "count"
window = "{window}"
keys = ["wallet"]
"#
    );
    let policies = format!(
        r#"@id("small-{number}")
permit (principal, action == Action::"transfer", resource)
when {{
  context.asset_registered && context.amount <= 20 && context.spent.{COUNT} <= {COUNT_MOST} &&
  context.spent.{BURST} <= {burst_most} && context.spent has {SUM} && context.spent.{SUM} <= {SUM_MOST}
}};
@id("messages-{number}") @quorum("treasury, 2") @expires("8s")
permit (principal, action == Action::"message", resource);
"#
    );
    let files = [("bundle.toml", manifest), ("policies/simulation.cedar", policies)];
    Source {
        files: files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect::<BTreeMap<_, _>>(),
    }
}
