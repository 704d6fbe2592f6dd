//! What is true of every effect the house asks about, whatever the payload: amounts are not negative, a limit's total has
//! the request in it, an address of another chain does not appear. Proofs stand on these lines and on nothing else; a line
//! that were false of one real request would let a goal be believed that does not hold. `tests/model.rs` holds them against
//! random questions.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::{Tier, limit as bounds};
use chancery_intent::model::Kind;
use serde_json::Value;

use crate::bundle::Bundle;
use crate::limit::{Key, Limit, Measure};
use crate::registry::Asset;
use crate::units::PRICE_DECIMALS;

/// A set of entities of one type, in Cedar.
pub(crate) fn set<'a>(kind: &str, ids: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let ids: BTreeSet<&str> = ids.into_iter().collect();
    let uids: Vec<_> = ids.iter().map(|id| uid(kind, id)).collect();
    (!uids.is_empty()).then(|| format!("[{}]", uids.join(", ")))
}

/// An entity, in Cedar.
pub(crate) fn uid(kind: &str, id: &str) -> String {
    format!("{kind}::{}", text(id))
}

/// A string, in Cedar.
pub(crate) fn text(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// `item` is one of `set`; false of none.
pub(crate) fn within(item: &str, set: Option<&String>) -> String {
    set.map_or_else(|| "false".to_owned(), |set| format!("{set}.contains({item})"))
}

/// What a condition names.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// Ids of entities, by type.
    pub entities: BTreeMap<String, BTreeSet<String>>,
    /// Attributes, at any depth.
    pub attributes: BTreeSet<String>,
    /// Strings.
    pub strings: BTreeSet<String>,
}

impl Mentions {
    /// Everything that Cedar's JSON form of a condition names.
    pub fn of(&mut self, condition: &Value) {
        match condition {
            Value::Object(map) => {
                let part = |key: &str| map.get(key).and_then(Value::as_str);
                if let (Some(kind), Some(id)) = (part("type"), part("id")) {
                    self.entities.entry(kind.to_owned()).or_default().insert(id.to_owned());
                }
                self.attributes.extend(part("attr").map(str::to_owned));
                self.strings.extend(part("Value").map(str::to_owned));
                map.values().for_each(|value| self.of(value));
            }
            Value::Array(items) => items.iter().for_each(|item| self.of(item)),
            _ => {}
        }
    }
}

impl Bundle {
    /// The premises about effects of one kind, as far as a claim that mentions these things can need them.
    pub(crate) fn premises(&self, kind: Kind, mentions: &Mentions) -> Vec<String> {
        let mut premises = ranges(&self.declared.approvers);
        premises.extend(self.of_assets());
        // Multiplication is hard for solvers: only where somebody reads what follows from it.
        if self.values_matter(mentions) {
            premises.extend(self.of_prices());
        }
        premises.extend(self.limits().map(|limit| of_limit(limit, kind)));
        premises.extend(mentions.entities.get("Address").map(of_chains).unwrap_or_default());
        premises.extend(self.of_calls(&mentions.attributes));
        premises
    }

    fn of_assets(&self) -> Vec<String> {
        let assets = &self.registry.assets;
        let registered = set("Asset", assets.keys().map(String::as_str));
        let priced = assets.iter().filter(|(_, asset)| asset.price.is_some()).map(|(id, _)| id.as_str());
        let priced = set("Asset", priced);
        let most = i64::MAX;
        let is_registered = within("context.asset", registered.as_ref());
        vec![
            format!("context.asset_registered == (context has asset && {is_registered})"),
            format!("(context has asset || context.amount == 0 || context.amount == {most})"),
            format!(
                "(if context has asset && !context.asset_registered then context.amount == {most} else true)"
            ),
            format!("(!context.unlimited || context.amount == {most})"),
            "(if context has token_id then context has asset else true)".to_owned(),
            "(if context has method then context has selector else true)".to_owned(),
            format!(
                "(if context has value_usd_cents then context has asset && {} else true)",
                within("context.asset", priced.as_ref())
            ),
        ]
    }

    /// Whether anybody reads values, or a limit of them.
    pub(crate) fn values_matter(&self, mentions: &Mentions) -> bool {
        let read = |name: &str| mentions.attributes.contains(name);
        read("value_usd_cents")
            || self.limits().any(|limit| limit.measure == Measure::Usd && read(&limit.name))
    }

    fn of_prices(&self) -> Vec<String> {
        let most = i64::MAX;
        let premises = self.registry.assets.iter().filter_map(|(id, asset)| {
            let rate = Rate::of(asset)?.premise();
            let asset = uid("Asset", id);
            Some(format!(
                "(if context has value_usd_cents && context has asset && context.asset == {asset} \
                 then (if context.unlimited then context.value_usd_cents == {most} else {rate}) else true)"
            ))
        });
        premises.collect()
    }

    /// A call is readable only at its own contract and method.
    fn of_calls(&self, mentioned: &BTreeSet<String>) -> Vec<String> {
        let premise = |name: &str| {
            let (contract, signature) = name.split_once('.')?;
            let registered = self.registry.contracts.iter().filter(|(_, known)| known.name == contract);
            let accounts = set("Address", registered.map(|(account, _)| account.as_str()));
            let (name, signature) = (text(name), text(signature));
            Some(format!(
                "(if context.call has {name} then context has contract && {} && context has method && \
                 context.method == {signature} else true)",
                within("context.contract", accounts.as_ref())
            ))
        };
        let named = self.methods.iter().filter(|(name, _)| mentioned.contains(*name));
        named.filter_map(|(name, _)| premise(name)).collect()
    }
}

/// What an effect names is on the intent's chain: known addresses tell which one that is.
fn of_chains(addresses: &BTreeSet<String>) -> Vec<String> {
    let mut chains: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for account in addresses {
        if let Some((chain, _)) = account.rsplit_once(':') {
            chains.entry(chain).or_default().insert(account);
        }
    }
    let mut premises = Vec::new();
    for (chain, accounts) in chains {
        let Some(accounts) = set("Address", accounts) else { continue };
        let chain = text(chain);
        premises.push(format!("(!{accounts}.contains(context.account) || context.chain == {chain})"));
        premises.extend(["destination", "owner", "contract"].map(|name| {
            format!(
                "(if context has {name} && {accounts}.contains(context.{name}) then context.chain == {chain} else true)"
            )
        }));
    }
    premises
}

fn ranges(approvers: &[String]) -> Vec<String> {
    let mut premises: Vec<String> = [
        "context.amount >= 0".to_owned(),
        Tier::ALL.map(|tier| format!("context.tier == \"{tier}\"")).join(" || "),
        "context.fee >= 0".to_owned(),
        format!("context.effects >= 1 && context.effects <= {}", bounds::EFFECTS),
        "context.waited_s >= 0".to_owned(),
        "(if context has value_usd_cents then context.value_usd_cents >= 0 else true)".to_owned(),
        "(if context has fee_usd_cents then context.fee_usd_cents >= 0 else true)".to_owned(),
        "context.time.month >= 1 && context.time.month <= 12".to_owned(),
        "context.time.day >= 1 && context.time.day <= 31".to_owned(),
        "context.time.weekday >= 1 && context.time.weekday <= 7".to_owned(),
        "context.time.hour >= 0 && context.time.hour <= 23".to_owned(),
        "context.time.minute >= 0 && context.time.minute <= 59".to_owned(),
        "context.time.minute_of_day == context.time.hour * 60 + context.time.minute".to_owned(),
        // What the calendar can write, and its seconds since 1970, with a day more for the zone.
        "context.time.year >= -9999 && context.time.year <= 9999".to_owned(),
        "context.time.unix_s >= -377705203200 && context.time.unix_s <= 253402387200".to_owned(),
    ]
    .into();
    premises.extend(
        approvers.iter().map(|group| {
            format!("context.approvals.{group} >= 0 && context.approvals.{group} <= {}", u32::MAX)
        }),
    );
    premises
}

/// Where a limit measures an effect, its total has the effect in it; where it does not, it is not there.
fn of_limit(limit: &Limit, kind: Kind) -> String {
    let name = &limit.name;
    let least = match limit.measure {
        Measure::Count => format!("context.spent.{name} >= 1"),
        Measure::Sum => format!("context.spent.{name} >= context.amount"),
        // What nobody can value is worth the most; what moves nothing is worth nothing.
        Measure::Usd => format!(
            "(if context has value_usd_cents then context.spent.{name} >= context.value_usd_cents \
             else (if context has asset || context.amount > 0 then context.spent.{name} == {} \
             else context.spent.{name} >= 0))",
            i64::MAX
        ),
    };
    if limit.measures_everything() {
        return least;
    }
    if !limit.actions.is_empty() && !limit.actions.contains(&kind) {
        return format!("!(context.spent has {name})");
    }
    let mut measured = Vec::new();
    if limit.measure == Measure::Sum || limit.keys.contains(&Key::Asset) || !limit.assets.is_empty() {
        measured.push("context has asset".to_owned());
    }
    if let Some(assets) = set("Asset", limit.assets.iter().map(String::as_str)) {
        measured.push(format!("{assets}.contains(context.asset)"));
    }
    if limit.keys.contains(&Key::Destination) {
        measured.push("context has destination".to_owned());
    }
    let measured = if measured.is_empty() { "true".to_owned() } else { measured.join(" && ") };
    format!("(if {measured} then (context.spent has {name} && {least}) else !(context.spent has {name}))")
}

/// A registered price as `n / d` cents for each policy unit.
pub(crate) struct Rate {
    pub n: i64,
    pub d: i64,
    /// Up to so many units, and cents, nothing below overflows.
    pub most_units: i64,
    pub most_cents: i64,
}

impl Rate {
    /// `None` without a price, or where the numbers do not fit.
    pub fn of(asset: &Asset) -> Option<Self> {
        let price: u128 = asset.price.as_ref()?.usd.try_into().ok()?;
        let whole = 10_u128.checked_pow(u32::from(asset.unit_decimals) + u32::from(PRICE_DECIMALS) - 2)?;
        let common = gcd(price, whole);
        let n = i64::try_from(price.checked_div(common)?).ok()?;
        let d = i64::try_from(whole.checked_div(common)?).ok()?;
        let most_units = i64::MAX.checked_sub(d)?.checked_div(n)?;
        Some(Self { n, d, most_units, most_cents: i64::MAX.checked_div(d)? })
    }

    /// How a value follows from `u` units, both rounded up from the exact amount: `(u - 1) * n <= value * d < u * n + d`.
    /// Of more units than fit, the value is at least that of as many as fit.
    fn premise(&self) -> String {
        let Self { n, d, most_units, most_cents } = self;
        let least = (i128::from(*most_units) - 1) * i128::from(*n) / i128::from(*d).max(1);
        format!(
            "(if context.amount <= {most_units} then context.value_usd_cents <= {most_cents} && \
             context.value_usd_cents * {d} < context.amount * {n} + {d} && \
             context.value_usd_cents * {d} >= (context.amount - 1) * {n} \
             else context.value_usd_cents >= {least})"
        )
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}
