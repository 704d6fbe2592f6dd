//! From a solver's answer to a test case that an officer can paste. A solver knows strings and numbers, not addresses and
//! calendars: it is asked again among requests that can be written down, and what it then says is written as a case of the
//! bundle, read back as any other case, and decided. Only what the bundle itself decides as claimed is an example.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use cedar_policy::{Policy, Request};
use chancery_core::UnixMillis;
use chancery_intent::model::{Argument, Kind, Method};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::claim::{Claim, Never, Subject};
use super::condition::{all, parse, permit};
use super::premise::{Rate, set, text, uid};
use crate::bundle::Bundle;
use crate::case::{self, Case};
use crate::evaluate::{Evaluation, Outcome};
use crate::fact;
use crate::registry::{self, Asset};

/// The time of an example that needs no other: a Monday noon.
const NOON_MS: i64 = 1_767_614_400_000;
const DAY_MS: i64 = 86_400_000;
/// LIMIT: addresses and assets of each chain that examples choose among, beside those that the claim names.
const CHOICE: usize = 8;
/// Addresses that no bundle should know.
const STRANGERS: [u8; 3] = [0xe1, 0xe2, 0xe3];
const SOMEBODY: &str = "default/somebody";
const SOMEWHERE: &str = "eip155:999999";

/// A request that breaks a claim, confirmed by the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The request as a test case: TOML that can be pasted into `tests/*.toml`, where it fails until the bundle is mended.
    pub case: String,
    /// What the bundle decides about it.
    pub decision: Evaluation,
    /// What the bundle it is compared with decides about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Evaluation>,
}

impl Claim<'_> {
    /// The claim's policy among requests that can be written as a case, the plainest first. `seen` is what the solver
    /// answered to the claim itself.
    #[must_use]
    pub fn writable(&self, seen: &Request) -> Vec<Policy> {
        let seen = seen.context().and_then(|context| context.to_json_value().ok());
        let mut policies = Vec::new();
        for now in self.times(seen.as_ref()) {
            let Some(plain) = self.conditions(now) else { continue };
            let plain: Result<Vec<_>, _> = plain.iter().map(|condition| parse(condition)).collect();
            let Ok(mut parts) = plain else { continue };
            parts.insert(0, self.premise.clone());
            parts.push(self.condition.clone());
            policies.extend(permit("example", &all(parts)));
        }
        policies
    }

    /// When an example could be: at a usual time, or at the one the solver chose.
    fn times(&self, seen: Option<&Value>) -> Vec<UnixMillis> {
        let number = |name: &str| seen?.get("time")?.get(name)?.as_i64();
        let offset_ms = self.bundle.utc_offset_s.saturating_mul(1_000);
        let prices = self.bundle.registry.assets.values().filter_map(|asset| asset.price.as_ref());
        let fresh = prices.map(|price| price.expires.0.saturating_sub(60_000)).min();
        let first = fresh.map_or(NOON_MS, |fresh| fresh.min(NOON_MS));
        let mut times = vec![first];
        if let (Some(weekday), Some(hour), Some(minute)) =
            (number("weekday"), number("hour"), number("minute"))
        {
            // The day of `first`'s week in the bundle's zone.
            let day = (first.saturating_add(offset_ms)).div_euclid(DAY_MS);
            let monday = day.saturating_sub((day.saturating_add(3)).rem_euclid(7));
            let minutes = hour.saturating_mul(60).saturating_add(minute).saturating_mul(60_000);
            let local = monday.saturating_add(weekday).saturating_sub(1).saturating_mul(DAY_MS);
            times.push(local.saturating_add(minutes).saturating_sub(offset_ms));
            let date = |name: &str| number(name).and_then(|value| u8::try_from(value).ok());
            let date = number("year").and_then(|year| {
                let month = time::Month::try_from(date("month")?).ok()?;
                time::Date::from_calendar_date(i32::try_from(year).ok()?, month, date("day")?).ok()
            });
            if let Some(date) = date {
                let local = date.midnight().assume_utc().unix_timestamp().saturating_mul(1_000);
                times.push(local.saturating_add(minutes).saturating_sub(offset_ms));
            }
        }
        times.extend(number("unix_s").map(|unix_s| unix_s.saturating_mul(1_000)));
        times.extend(fresh.map(|_| NOON_MS));
        times.into_iter().map(UnixMillis).collect()
    }

    /// What makes a request one that can be written.
    fn conditions(&self, now: UnixMillis) -> Option<Vec<String>> {
        let bundle = self.bundle;
        let time = fact::time_of(now, bundle.utc_offset_s).ok()?;
        let time: Vec<_> = time.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        // Examples are of EVM chains.
        let usual = case::usual(self.kind(), "eip155:");
        let mut conditions = vec![
            format!("context.time == {{ {} }}", time.join(", ")),
            "context.effects == 1".to_owned(),
            format!("context.payload == {} && context.form == {}", text(usual.0), text(usual.1)),
            "(if context has token_id then context.token_id == \"1\" else true)".to_owned(),
            format!("context.waited_s <= {}", 366 * 86_400),
            format!("(!context.unlimited || {})", self.kind() == Kind::TokenApproval),
            subset("factors", &bundle.declared.factors),
            subset("vetoes", &bundle.declared.approvers),
            self.parties()?,
            self.places(now),
        ];
        if self.bundle.values_matter(&self.mentions) {
            conditions.extend(self.values(now));
        }
        conditions.extend(self.likeness.iter().cloned());
        Some(conditions)
    }

    /// Client and wallet, of one tenant.
    fn parties(&self) -> Option<String> {
        let known = |kind: &str, groups: &std::collections::HashMap<String, Vec<String>>| {
            let named = self.mentions.entities.get(kind).into_iter().flatten();
            let mut ids: BTreeSet<String> = groups.keys().take(CHOICE).chain(named).cloned().collect();
            ids.insert(SOMEBODY.to_owned());
            ids
        };
        let (clients, wallets) =
            (known("Client", &self.bundle.clients), known("Wallet", &self.bundle.wallets));
        let tenants: BTreeSet<&str> =
            clients.iter().filter_map(|id| id.split_once('/')).map(|(tenant, _)| tenant).collect();
        let of = |kind: &str, ids: &BTreeSet<String>, tenant: &str| {
            set(
                kind,
                ids.iter()
                    .map(String::as_str)
                    .filter(|id| id.split_once('/').is_some_and(|(own, _)| own == tenant)),
            )
        };
        let pairs: Vec<_> = tenants
            .iter()
            .filter_map(|tenant| {
                let (clients, wallets) = (of("Client", &clients, tenant)?, of("Wallet", &wallets, tenant)?);
                Some(format!("({clients}.contains(principal) && {wallets}.contains(resource))"))
            })
            .collect();
        (!pairs.is_empty()).then(|| format!("({})", pairs.join(" || ")))
    }

    /// A chain, and on it everything that the effect names.
    fn places(&self, now: UnixMillis) -> String {
        let registry = &self.bundle.registry;
        let chain_of_asset = |id: &str| id.split_once('/').map(|(chain, _)| chain.to_owned());
        let named = |kind: &str| self.mentions.entities.get(kind).into_iter().flatten();
        let mut chains: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        chains.entry(SOMEWHERE.to_owned()).or_default();
        let accounts = registry.contracts.keys().chain(registry.addresses.keys());
        for (account, must) in named("Address").map(|id| (id, true)).chain(accounts.map(|id| (id, false))) {
            if let Some((chain, _)) = account.rsplit_once(':').filter(|_| registry::is_account(account)) {
                let (addresses, _) = chains.entry(chain.to_owned()).or_default();
                if must || addresses.len() < CHOICE {
                    addresses.insert(account.clone());
                }
            }
        }
        for (asset, must) in
            named("Asset").map(|id| (id, true)).chain(registry.assets.keys().map(|id| (id, false)))
        {
            if let Some(chain) = chain_of_asset(asset).filter(|_| registry::is_asset(asset)) {
                let (_, assets) = chains.entry(chain).or_default();
                if must || assets.len() < CHOICE {
                    assets.insert(asset.clone());
                }
            }
        }
        for literal in self.mentions.strings.iter().filter(|literal| registry::is_chain(literal)) {
            chains.entry(literal.clone()).or_default();
        }
        let alternatives: Vec<_> = chains
            .iter_mut()
            .filter_map(|(chain, (addresses, assets))| {
                addresses
                    .extend(STRANGERS.iter().map(|byte| format!("{chain}:{}", Address::repeat_byte(*byte))));
                // A contract that nobody registered.
                assets.insert(format!("{chain}/token:{}", Address::repeat_byte(0xee)));
                let addresses = set("Address", addresses.iter().map(String::as_str))?;
                let assets = set("Asset", assets.iter().map(String::as_str))?;
                let fee = if self.mentions.attributes.iter().any(|name| name.starts_with("fee")) {
                    fee(registry.assets.get(&coin(chain)), now)
                } else {
                    "context.fee == 0 && !(context has fee_usd_cents)".to_owned()
                };
                let optional = ["destination", "owner", "contract"].map(|name| {
                    format!("(if context has {name} then {addresses}.contains(context.{name}) else true)")
                });
                Some(format!(
                    "(context.chain == {} && {addresses}.contains(context.account) && {} && \
                     (if context has asset then {assets}.contains(context.asset) else true) && {fee})",
                    text(chain),
                    optional.join(" && ")
                ))
            })
            .collect();
        format!("({})", alternatives.join(" || "))
    }

    /// Values in US cents as they follow from amounts that are whole policy units.
    fn values(&self, now: UnixMillis) -> Vec<String> {
        let assets = &self.bundle.registry.assets;
        let priced =
            set("Asset", assets.iter().filter(|(_, asset)| is_fresh(asset, now)).map(|(id, _)| id.as_str()));
        let Some(priced) = priced else { return vec!["!(context has value_usd_cents)".to_owned()] };
        let mut conditions = vec![format!(
            "(if context has asset && {priced}.contains(context.asset) then context has value_usd_cents \
             else !(context has value_usd_cents))"
        )];
        for (id, asset) in assets {
            let Some(rate) = Rate::of(asset) else { continue };
            let asset = uid("Asset", id);
            conditions.push(format!(
                "(if context has value_usd_cents && context has asset && context.asset == {asset} && !context.unlimited \
                 then context.amount <= {} && context.value_usd_cents <= {} && \
                 context.value_usd_cents * {} >= context.amount * {} else true)",
                rate.most_units,
                rate.most_cents,
                rate.d,
                rate.n
            ));
        }
        conditions
    }

    /// Writes a request as a case, and has the bundle decide it.
    ///
    /// # Errors
    /// Says why the solver's answer is no example: then nothing is known.
    pub fn example(&self, request: &Request) -> Result<Example, String> {
        let context = request.context().ok_or("a request without context")?;
        let context = context.to_json_value().map_err(|error| error.to_string())?;
        let id = |uid: Option<&cedar_policy::EntityUid>| uid.map(|uid| uid.id().unescaped().to_owned());
        let client = id(request.principal()).ok_or("a request without principal")?;
        let wallet = id(request.resource()).ok_or("a request without resource")?;
        let written = Written { claim: self, context: &context, client, wallet };
        let text = written.case(self.bundle, context.get("spent"))?;
        let case = read(self.bundle, &text)?;
        let decision = case.decide(self.bundle);
        let before = match self.old {
            Some(old) => {
                let spent =
                    context.get("old").and_then(|own| own.get("spent")).or_else(|| context.get("spent"));
                Some(read(old, &written.case(old, spent)?)?.decide(old))
            }
            None => None,
        };
        if self.is_broken(&case, &decision, before.as_ref())? {
            Ok(Example { case: text, decision, before })
        } else {
            Err(format!("the solver's answer is decided otherwise:\n{text}"))
        }
    }

    /// Whether the bundle's own decision about a case breaks the claim.
    fn is_broken(
        &self,
        case: &Case,
        decision: &Evaluation,
        before: Option<&Evaluation>,
    ) -> Result<bool, String> {
        let allowed = decision.outcome == Outcome::Allowed;
        match (self.subject(), self.never()) {
            (Subject::Against, _) => {
                Ok(allowed && before.is_some_and(|before| before.outcome != Outcome::Allowed))
            }
            (Subject::Error(rule), _) => {
                Ok(decision.errors.iter().any(|fault| fault.rule.as_str() == rule.as_str()))
            }
            (Subject::Dead(_), Never::Fails) | (Subject::Goal(_), Never::Fails) => Ok(false),
            (Subject::Dead(_), Never::Holds) => case.holds(self.bundle, self.policy()),
            (Subject::Goal(_), Never::Holds) => Ok(allowed && case.holds(self.bundle, self.policy())?),
        }
    }
}

fn read(bundle: &Bundle, text: &str) -> Result<Case, String> {
    case::read_one(bundle, text).map_err(|reason| format!("the solver's answer is no case: {reason}\n{text}"))
}

fn subset(name: &str, declared: &[String]) -> String {
    let names: Vec<_> = declared.iter().map(|name| text(name)).collect();
    if names.is_empty() {
        format!("context.{name}.isEmpty()")
    } else {
        format!("[{}].containsAll(context.{name})", names.join(", "))
    }
}

fn is_fresh(asset: &Asset, now: UnixMillis) -> bool {
    asset.price.as_ref().is_some_and(|price| now < price.expires)
}

/// What a fee in this coin can be.
fn fee(coin: Option<&Asset>, now: UnixMillis) -> String {
    let unvalued = "!(context has fee_usd_cents)";
    match (coin, coin.filter(|coin| is_fresh(coin, now)).and_then(Rate::of)) {
        (None, _) => format!("(context.fee == 0 || context.fee == {}) && {unvalued}", i64::MAX),
        (Some(_), None) => unvalued.to_owned(),
        (Some(_), Some(Rate { n, d, most_units, most_cents })) => format!(
            "(if context has fee_usd_cents then context.fee > 0 && context.fee <= {most_units} && \
             context.fee_usd_cents <= {most_cents} && context.fee_usd_cents * {d} < context.fee * {n} + {d} && \
             context.fee_usd_cents * {d} >= context.fee * {n} else context.fee == 0)"
        ),
    }
}

fn coin(chain: &str) -> String {
    format!("{chain}/slip44:60")
}

/// A request to be written.
struct Written<'a> {
    claim: &'a Claim<'a>,
    context: &'a Value,
    client: String,
    wallet: String,
}

impl Written<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.context.get(name).and_then(Value::as_str)
    }

    /// The id of an entity, as Cedar's JSON writes it.
    fn entity(&self, name: &str) -> Option<&str> {
        let entity = self.context.get(name)?.get("__entity")?;
        entity.get("id").and_then(Value::as_str)
    }

    fn long(&self, name: &str) -> i64 {
        self.context.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// An address without its chain.
    fn address(&self, name: &str) -> Option<&str> {
        self.entity(name)?.rsplit_once(':').map(|(_, address)| address)
    }

    fn case(&self, bundle: &Bundle, spent: Option<&Value>) -> Result<String, String> {
        let chain = self.text("chain").ok_or("a request without chain")?;
        let seconds = self.context.get("time").and_then(|time| time.get("unix_s")).and_then(Value::as_i64);
        let now = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let now = now.and_then(|now| now.format(&Rfc3339).ok()).ok_or("a time that no calendar has")?;
        let mut lines = Lines::default();
        let subject = match self.claim.subject() {
            Subject::Goal(name) => format!("goal {name} is broken"),
            Subject::Dead(name) => format!("rule {name} applies"),
            Subject::Error(name) => format!("rule {name} fails"),
            Subject::Against => "allowed now and not before".to_owned(),
        };
        lines.push("name", &format!("{subject}: {}", self.claim.kind().as_str()));
        lines.push("client", &self.client);
        lines.push("wallet", &self.wallet);
        lines.push("chain", chain);
        lines.push("now", &now);
        lines.push("account", self.address("account").ok_or("a request without account")?);
        let (payload, form) = case::usual(self.claim.kind(), chain);
        for (key, name, usual) in [("payload_type", "payload", payload), ("form", "form", form)] {
            if let Some(text) = self.text(name).filter(|text| *text != usual) {
                lines.push(key, text);
            }
        }
        if self.long("waited_s") > 0 {
            lines.push("waited", &format!("{}s", self.long("waited_s")));
        }
        if self.context.get("request_signed").and_then(Value::as_bool) == Some(true) {
            lines.raw("request_signed", "true");
        }
        self.obligations(bundle, &mut lines);
        self.fee(bundle, chain, &mut lines)?;
        self.spent(bundle, spent, &mut lines);
        lines
            .push("expect", if matches!(self.claim.subject(), Subject::Error(_)) { "allow" } else { "deny" });
        let effect = self.effect(bundle)?;
        let effects =
            usize::try_from(self.long("effects")).unwrap_or(1).clamp(1, chancery_core::limit::EFFECTS);
        Ok(format!("[[case]]\n{}{}", lines.0, effect.repeat(effects)))
    }

    fn obligations(&self, bundle: &Bundle, lines: &mut Lines) {
        let approvals = self.context.get("approvals").and_then(Value::as_object).into_iter().flatten();
        let approvals: Vec<_> = approvals
            .filter(|(group, count)| count.as_i64() != Some(0) && bundle.declared.approvers.contains(group))
            .map(|(group, count)| format!("{group} = {count}"))
            .collect();
        if !approvals.is_empty() {
            lines.raw("approvals", &format!("{{ {} }}", approvals.join(", ")));
        }
        for (name, known) in [("factors", &bundle.declared.factors), ("vetoes", &bundle.declared.approvers)] {
            let names = self.context.get(name).and_then(Value::as_array).into_iter().flatten();
            let names: Vec<_> =
                names.filter_map(Value::as_str).filter(|name| known.iter().any(|one| one == name)).collect();
            if !names.is_empty() {
                lines.raw(name, &toml::Value::from(names).to_string());
            }
        }
    }

    fn fee(&self, bundle: &Bundle, chain: &str, lines: &mut Lines) -> Result<(), String> {
        let fee = self.long("fee");
        if fee > 0 {
            let asset = coin(chain);
            let amount = match bundle.registry.assets.get(&asset) {
                Some(coin) => units(coin, fee)?,
                None => U256::ONE, // of nothing that is known: reads as the most
            };
            lines.raw("fee", &format!("{{ asset = \"{asset}\", amount = \"{amount}\" }}"));
        }
        Ok(())
    }

    /// What each limit had used up before this request.
    fn spent(&self, bundle: &Bundle, spent: Option<&Value>, lines: &mut Lines) {
        let effects = self.long("effects").clamp(1, i64::MAX);
        let mut before = Vec::new();
        for (limit, total) in spent.and_then(Value::as_object).into_iter().flatten() {
            let Some(limit) = bundle.limits().find(|known| known.name == *limit) else { continue };
            let own = match limit.measure {
                crate::limit::Measure::Count => 1,
                crate::limit::Measure::Sum => self.long("amount").saturating_mul(effects),
                crate::limit::Measure::Usd => {
                    match self.context.get("value_usd_cents").and_then(Value::as_i64) {
                        Some(value) => value.saturating_mul(effects),
                        None => 0,
                    }
                }
            };
            let total = total.as_i64().unwrap_or(0).saturating_sub(own).max(0);
            if total > 0 {
                before.push(format!("{} = {total}", limit.name));
            }
        }
        if !before.is_empty() {
            lines.raw("spent", &format!("{{ {} }}", before.join(", ")));
        }
    }

    fn effect(&self, bundle: &Bundle) -> Result<String, String> {
        let mut lines = Lines::default();
        lines.push("kind", self.claim.kind().as_str());
        let asset = self.entity("asset");
        if let Some(asset) = asset {
            let token = self.text("token_id").map(|token| format!("{asset}/{token}"));
            lines.push("asset", token.as_deref().unwrap_or(asset));
        }
        let unlimited = self.context.get("unlimited").and_then(Value::as_bool).unwrap_or(false);
        if unlimited {
            lines.raw("unlimited", "true");
        } else {
            let amount = match asset.map(|asset| bundle.registry.assets.get(asset)) {
                Some(Some(known)) => Some(units(known, self.long("amount"))?),
                Some(None) => Some(U256::ONE), // of nothing that is registered: reads as the most
                None => (self.long("amount") > 0).then_some(U256::ONE),
            };
            if let Some(amount) = amount {
                lines.push("amount", &amount.to_string());
            }
        }
        for name in ["destination", "owner", "contract"] {
            if let Some(address) = self.address(name) {
                lines.push(name, address);
            }
        }
        if let Some(method) = self.method(bundle) {
            let method = serde_json::to_value(&method).map_err(|error| error.to_string())?;
            let method = toml::Value::try_from(method).map_err(|error| error.to_string())?;
            lines.raw("method", &method.to_string());
        }
        Ok(format!("[[case.effect]]\n{}", lines.0))
    }

    fn method(&self, bundle: &Bundle) -> Option<Method> {
        let selector = self.text("selector")?.to_owned();
        let signature = self.text("method").map(str::to_owned);
        let call = self.context.get("call").and_then(Value::as_object).and_then(|call| call.iter().next());
        let mut arguments = Vec::new();
        if let Some((name, values)) = call {
            for parameter in bundle.methods.parameters(name)? {
                let value = match values.get(&parameter.name)? {
                    Value::Number(number) => Value::String(number.to_string()),
                    Value::Object(entity) => {
                        let id = entity.get("__entity")?.get("id")?.as_str()?;
                        Value::String(id.rsplit_once(':').map_or(id, |(_, address)| address).to_owned())
                    }
                    other => other.clone(),
                };
                // Parameters that no rule can read stand between: anything does for them.
                let empty = || Argument {
                    name: String::new(),
                    ty: "bytes".to_owned(),
                    value: Value::String("0x".to_owned()),
                };
                arguments.resize_with(parameter.position.max(arguments.len()), empty);
                arguments.push(Argument {
                    name: parameter.name.clone(),
                    ty: parameter.solidity.clone(),
                    value,
                });
            }
        }
        Some(Method { selector, signature, arguments })
    }
}

/// An amount of policy units in base units.
fn units(asset: &Asset, units: i64) -> Result<U256, String> {
    let units = u64::try_from(units).map_err(|_| "a negative amount")?;
    let exponent = asset.decimals.saturating_sub(asset.unit_decimals);
    let scale = U256::from(10).checked_pow(U256::from(exponent)).ok_or("a unit without measure")?;
    U256::from(units).checked_mul(scale).ok_or_else(|| "an amount beyond 256 bits".to_owned())
}

/// Keys and values of a TOML table.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn push(&mut self, key: &str, value: &str) {
        self.raw(key, &toml::Value::from(value).to_string());
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.0 += &format!("{key} = {value}\n");
    }
}
