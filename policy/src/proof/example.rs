//! From a solver's answer to a test case that an officer can paste. A solver knows strings and numbers, not addresses and
//! calendars: it is asked again among requests that can be written down, and what it then says is written as a case of the
//! bundle, read back as any other case, and decided. Only what the bundle itself decides as claimed is an example.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use cedar_policy::{Policy, Request};
use chancery_core::UnixMillis;
use chancery_intent::bitcoin::Network;
use chancery_intent::change::{NAMESPACE, SEAL};
use chancery_intent::model::Kind;
use chancery_intent::solana::{Cluster, Pubkey};
use serde::Serialize;
use serde_json::Value;

use super::claim::{Claim, Never, Subject};
use super::condition::{all, parse, permit};
use super::premise::{Rate, set, text, uid};
use super::written::Written;
use crate::bundle::Bundle;
use crate::case::{self, Case};
use crate::chain;
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
/// People of an approver group that examples need at most.
const PEOPLE: u32 = 16;
const SOMEBODY: &str = "default/somebody";
const SOMEWHERE: &str = "eip155:999999";
/// Scripts that write data: OP_RETURN with nothing, and with a byte.
const DATA: [&str; 2] = ["script-6a", "script-6a01e1"];

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
        let read = |name: &str| self.mentions.attributes.contains(name);
        let mut conditions = vec![
            format!("context.time == {{ {} }}", time.join(", ")),
            "context.effects == 1".to_owned(),
            "(if context has token_id then context.token_id == \"1\" else true)".to_owned(),
            format!("context.waited_s <= {}", if read("waited_s") { 366 * 86_400 } else { 0 }),
            "(context has asset || context.amount == 0)".to_owned(),
            if ["selector", "method", "call"].iter().any(|name| read(name)) {
                without(&[])
            } else {
                without(&["selector", "method"])
            },
            format!(
                "(!context.unlimited || {})",
                matches!(self.kind(), Kind::TokenApproval | Kind::ContractCall)
            ),
            subset("factors", &bundle.declared.factors),
            subset("vetoes", &bundle.declared.approvers),
            self.parties()?,
            self.places(now),
        ];
        if self.bundle.values_matter(&self.mentions) {
            conditions.extend(self.values(now));
        }
        conditions.extend(self.likeness.iter().cloned());
        let approvers = bundle.declared.approvers.iter();
        conditions.extend(approvers.map(|group| format!("context.approvals.{group} <= {PEOPLE}")));
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
        let of_bitcoin =
            |literal: &String| ["bitcoin.", "psbt", "bip322"].iter().any(|start| literal.starts_with(start));
        if self.kind() == Kind::Change {
            chains.entry(format!("{NAMESPACE}:default")).or_default();
        }
        if self.kind() == Kind::Data || self.mentions.strings.iter().any(of_bitcoin) {
            chains.entry(Network::Mainnet.chain().to_owned()).or_default();
        }
        if self.mentions.strings.iter().any(|literal| literal.starts_with("solana.")) {
            chains.entry(Cluster::Mainnet.chain().to_owned()).or_default();
        }
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
            .filter(|(chain, _)| chain::occurs(self.kind(), chain))
            .filter_map(|(chain, (addresses, assets))| {
                let effect = if chain::is_appliance(chain) {
                    self.on_appliance(chain)
                } else if chain::is_bitcoin(chain) {
                    self.on_bitcoin(Network::of_chain(chain)?, addresses)?
                } else if chain::is_solana(chain) {
                    self.on_solana(Cluster::of_chain(chain)?, addresses, assets)?
                } else {
                    self.on_evm(chain, addresses, assets)?
                };
                let fee = if self.mentions.attributes.iter().any(|name| name.starts_with("fee")) {
                    fee(registry.assets.get(&coin(chain)), now)
                } else {
                    "context.fee == 0 && !(context has fee_usd_cents)".to_owned()
                };
                let payload = chain::usual(self.kind(), chain);
                let forms = chain::forms(payload).iter().enumerate();
                let forms: Vec<_> = forms
                    .filter(|(at, form)| *at == 0 || self.mentions.strings.contains(**form))
                    .map(|(_, form)| text(form))
                    .collect();
                Some(format!(
                    "(context.chain == {} && context.payload == {} && [{}].contains(context.form) && {effect} && {fee})",
                    text(chain),
                    text(payload),
                    forms.join(", "),
                ))
            })
            .collect();
        format!("({})", alternatives.join(" || "))
    }

    /// What an effect on a Bitcoin network names.
    fn on_bitcoin(&self, network: Network, addresses: &mut BTreeSet<String>) -> Option<String> {
        let chain = network.chain();
        addresses.extend(STRANGERS.iter().map(|byte| format!("{chain}:{}", network.nobody(*byte))));
        let addresses = set("Address", addresses.iter().map(String::as_str))?;
        let scripts = DATA.map(|script| format!("{chain}:{script}"));
        let scripts = set("Address", scripts.iter().map(String::as_str))?;
        let coin = network.coin();
        let moves = format!("context.asset == {}", uid("Asset", &coin));
        let most = self
            .bundle
            .registry
            .assets
            .get(&coin)
            .map_or(i64::MAX, |coin| coin.policy_units(U256::from(chain::MOST_SATOSHI)));
        let effect = match self.kind() {
            Kind::Transfer => {
                format!(
                    "context has destination && {addresses}.contains(context.destination) && context has asset && {moves}"
                )
            }
            Kind::Data => format!(
                "context has destination && {scripts}.contains(context.destination) && \
                 (if context has asset then {moves} else true)"
            ),
            _ => "!(context has destination) && !(context has asset)".to_owned(),
        };
        let without = without(&["owner", "contract", "selector", "method", "token_id"]);
        Some(format!(
            "{addresses}.contains(context.account) && {effect} && {without} && \
             (context.amount <= {most} || !context.asset_registered)"
        ))
    }

    /// What an effect on a Solana cluster can name.
    fn on_solana(
        &self,
        cluster: Cluster,
        addresses: &mut BTreeSet<String>,
        assets: &mut BTreeSet<String>,
    ) -> Option<String> {
        let key = |byte: &u8| Pubkey::new_from_array([*byte; 32]);
        addresses.extend(STRANGERS.iter().map(|byte| format!("{}:{}", cluster.chain(), key(byte))));
        // A token that nobody registered.
        assets.insert(cluster.token(&key(&0xee)));
        let addresses = set("Address", addresses.iter().map(String::as_str))?;
        let assets = set("Asset", assets.iter().map(String::as_str))?;
        let none = without(match self.kind() {
            Kind::Data => &["asset", "destination", "owner", "contract", "selector", "method", "token_id"],
            Kind::Transfer => &["contract", "selector", "method", "token_id"],
            Kind::TokenTransfer | Kind::TokenApproval => &["selector", "method", "token_id"],
            _ => &["owner", "token_id"],
        });
        let optional = ["destination", "owner", "contract"].map(|name| {
            format!("(if context has {name} then {addresses}.contains(context.{name}) else true)")
        });
        Some(format!(
            "{addresses}.contains(context.account) && {none} && {} && \
             (if context has asset then {assets}.contains(context.asset) else true)",
            optional.join(" && ")
        ))
    }

    /// What a change names.
    fn on_appliance(&self, chain: &str) -> String {
        let seal = uid("Address", &format!("{chain}:{SEAL}"));
        let nothing = ["asset", "destination", "owner", "contract", "selector", "method", "token_id"];
        format!("context.account == {seal} && context.amount == 0 && {}", without(&nothing))
    }

    /// What an effect on an EVM chain can name.
    fn on_evm(
        &self,
        chain: &str,
        addresses: &mut BTreeSet<String>,
        assets: &mut BTreeSet<String>,
    ) -> Option<String> {
        addresses.extend(STRANGERS.iter().map(|byte| format!("{chain}:{}", Address::repeat_byte(*byte))));
        // A contract that nobody registered.
        assets.insert(format!("{chain}/token:{}", Address::repeat_byte(0xee)));
        let addresses = set("Address", addresses.iter().map(String::as_str))?;
        let assets = set("Asset", assets.iter().map(String::as_str))?;
        let none = without(match self.kind() {
            Kind::Message => &["asset", "destination", "owner", "contract", "selector", "method"],
            Kind::TypedData | Kind::Deployment | Kind::Authorization => &["selector", "method"],
            _ => &[],
        });
        let optional = ["destination", "owner", "contract"].map(|name| {
            format!("(if context has {name} then {addresses}.contains(context.{name}) else true)")
        });
        Some(format!(
            "{addresses}.contains(context.account) && {none} && {} && (!context.unlimited || {}) && \
             (if context has asset then {assets}.contains(context.asset) else true)",
            optional.join(" && "),
            self.kind() == Kind::TokenApproval
        ))
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
        let decision = decided(&case, self.bundle)?;
        let before = match self.old {
            Some(old) => {
                let spent =
                    context.get("old").and_then(|own| own.get("spent")).or_else(|| context.get("spent"));
                Some(decided(&read(old, &written.case(old, spent)?)?, old)?)
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

fn decided(case: &Case, bundle: &Bundle) -> Result<Evaluation, String> {
    case.decide(bundle).map_err(|code| code.to_string())
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

/// The chain's own coin.
pub(super) fn coin(chain: &str) -> String {
    let bitcoin = Network::of_chain(chain).map(Network::coin);
    let solana = || Cluster::of_chain(chain).map(Cluster::coin);
    bitcoin.or_else(solana).unwrap_or_else(|| format!("{chain}/slip44:60"))
}

/// None of these attributes is there.
fn without(names: &[&str]) -> String {
    let mut absent: Vec<_> = names.iter().map(|name| format!("!(context has {name})")).collect();
    absent.push("true".to_owned());
    absent.join(" && ")
}
