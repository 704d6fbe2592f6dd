//! What an intent says, in the words of the schema: one set of facts for each effect, and what each effect adds to which
//! counter. Unknown things read as the largest amount, so a rule with an upper bound refuses them.
//! If a fact is wrong here, every rule that reads it is wrong.

use std::collections::{BTreeSet, HashMap};

use alloy_primitives::U256;
use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value};
use chancery_core::{ClientId, Tenant, Tier, UnixMillis, WalletId};
use chancery_intent::model::{Description, Effect, Kind};
use time::OffsetDateTime;

use crate::bundle::Bundle;
use crate::limit::{Counter, Key, Limit, Measure};
use crate::obligation::{Met, waited_s};
use crate::reads::{Attribute, Reads};
use crate::registry::{Asset, split_token};

/// A question to the policy: may this client do this with this wallet, now.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The tenant of client and wallet.
    pub tenant: &'a Tenant,
    /// Who asks.
    pub client: &'a ClientId,
    /// Whose key would sign.
    pub wallet: &'a WalletId,
    /// Where its key lives.
    pub tier: Tier,
    /// What the payload would do.
    pub description: &'a Description,
    /// The time of the decision.
    pub now: UnixMillis,
    /// What was done for the request so far.
    pub met: &'a Met,
}

/// What one effect adds to one counter.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The limit's position in the bundle.
    pub limit: usize,
    pub counter: Counter,
    pub amount: i64,
}

/// The facts of one effect.
pub(crate) struct Fact<'a> {
    pub effect: &'a Effect,
    asset: Option<&'a str>,
    token_id: Option<&'a str>,
    known: Option<&'a Asset>,
    pub amount: i64,
    value_usd_cents: Option<i64>,
    destination: Option<String>,
    pub measured: Vec<Measured>,
}

/// The entity types, parsed once.
#[derive(Debug)]
pub(crate) struct Types {
    client: EntityTypeName,
    wallet: EntityTypeName,
    address: EntityTypeName,
    asset: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    pub fn parse() -> Option<Self> {
        Some(Self {
            client: "Client".parse().ok()?,
            wallet: "Wallet".parse().ok()?,
            address: "Address".parse().ok()?,
            asset: "Asset".parse().ok()?,
            action: "Action".parse().ok()?,
        })
    }

    pub fn client(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.client.clone(), EntityId::new(id))
    }

    pub fn wallet(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.wallet.clone(), EntityId::new(id))
    }

    pub fn address(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.address.clone(), EntityId::new(id))
    }

    pub fn asset(&self, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.asset.clone(), EntityId::new(id))
    }

    pub fn action(&self, kind: Kind) -> EntityUid {
        EntityUid::from_type_name_and_id(self.action.clone(), EntityId::new(kind.as_str()))
    }
}

/// An address on a chain (CAIP-10).
fn account(chain: &str, address: &str) -> String {
    let mut account = String::with_capacity(chain.len() + 1 + address.len());
    account.push_str(chain);
    account.push(':');
    account.push_str(address);
    account
}

/// The amount in policy units; the largest where it is unbounded, or nobody registered what it is an amount of.
fn amount(effect: &Effect, known: Option<&Asset>) -> i64 {
    match (effect.amount, known) {
        _ if effect.unlimited => i64::MAX,
        (Some(exact), Some(asset)) => asset.policy_units(exact),
        (None, _) if effect.asset.is_none() => 0,
        _ => i64::MAX,
    }
}

/// The value in US cents, where it is known: an effect that moves nothing has none.
fn value_usd_cents(effect: &Effect, known: Option<&Asset>, now: UnixMillis) -> Option<i64> {
    // Asked first: an unlimited approval has a value only where the asset has a price.
    let value = known?.usd_cents(effect.amount.unwrap_or(U256::MAX), now)?;
    Some(if effect.unlimited { i64::MAX } else { value })
}

impl<'a> Fact<'a> {
    /// Reads one effect.
    pub fn read(bundle: &'a Bundle, question: &Question<'a>, effect: &'a Effect) -> Self {
        let (asset, token_id) = effect.asset.as_deref().map(split_token).unzip();
        let known = asset.and_then(|asset| bundle.registry.assets.get(asset));
        let chain = &question.description.chain;
        let mut fact = Self {
            effect,
            asset,
            token_id: token_id.flatten(),
            known,
            amount: amount(effect, known),
            value_usd_cents: value_usd_cents(effect, known, question.now),
            destination: effect.destination.as_deref().map(|address| account(chain, address)),
            measured: Vec::new(),
        };
        fact.measured = bundle
            .limits
            .iter()
            .enumerate()
            .filter_map(|(position, (limit, identity))| fact.measure(question, position, limit, identity))
            .collect();
        fact
    }

    /// What the effect adds to `limit`; `None` where the limit does not measure it.
    fn measure(
        &self,
        question: &Question<'_>,
        position: usize,
        limit: &Limit,
        identity: &[u8; 32],
    ) -> Option<Measured> {
        if !limit.actions.is_empty() && !limit.actions.contains(&self.effect.kind) {
            return None;
        }
        if !limit.assets.is_empty() && !limit.assets.contains(self.asset?) {
            return None;
        }
        let amount = match limit.measure {
            Measure::Count => 1,
            Measure::Sum => self.asset.map(|_| self.amount)?,
            // What nobody can value is worth the most; what moves nothing is worth nothing.
            Measure::Usd
                if self.asset.is_none() && self.effect.amount.is_none() && !self.effect.unlimited =>
            {
                0
            }
            Measure::Usd => self.value_usd_cents.unwrap_or(i64::MAX),
        };
        let mut parts = vec![question.tenant.as_str()];
        if limit.measure == Measure::Sum {
            // Amounts in different units must not be added: a change of the unit is another counter.
            parts.push(self.known.map_or("", |asset| asset.unit.as_str()));
        }
        for key in &limit.keys {
            parts.push(match key {
                Key::Wallet => question.wallet.as_str(),
                Key::Client => question.client.as_str(),
                Key::Asset => self.asset?,
                Key::Destination => self.destination.as_deref()?,
            });
        }
        Some(Measured { limit: position, counter: Counter::of(limit, identity, &parts), amount })
    }

    /// The context of the effect, with the attributes in `reads`. `spent` gives each measured counter's total with this
    /// request in it.
    ///
    /// # Errors
    /// Text for people, when a value cannot be written; the request is then refused.
    pub fn context(
        &self,
        bundle: &Bundle,
        question: &Question<'_>,
        spent: &HashMap<Counter, i64>,
        reads: Reads,
    ) -> Result<Context, String> {
        let mut pairs = Pairs { reads, pairs: Vec::with_capacity(12) };
        self.describe(bundle, question, &mut pairs);
        self.describe_asset(bundle, question, &mut pairs);
        if reads.has(Attribute::Call) {
            pairs.put(Attribute::Call, record(self.call(bundle, question))?);
        }
        if reads.has(Attribute::Spent) {
            let totals = self.measured.iter().map(|measured| {
                let total = spent.get(&measured.counter).copied().unwrap_or(i64::MAX);
                (measured.counter.limit.clone(), Value::new_long(total))
            });
            pairs.put(Attribute::Spent, record(totals)?);
        }
        if reads.has(Attribute::Time) {
            let time = time_of(question.now, bundle.utc_offset_s)?.into_iter();
            let time = time.map(|(name, value)| (name.to_owned(), Value::new_long(value)));
            pairs.put(Attribute::Time, record(time)?);
        }
        if reads.has(Attribute::Approvals) {
            let have = |group: &String| question.met.approvals.get(group).copied().unwrap_or(0);
            let approvals = bundle.declared.approvers.iter();
            pairs.put(
                Attribute::Approvals,
                record(approvals.map(|group| (group.clone(), Value::new_long(have(group).into()))))?,
            );
        }
        let set = |names: &BTreeSet<String>| {
            Value::new_set(names.iter().map(|name| Value::new_string(name.clone())))
        };
        pairs.with(Attribute::Factors, || Some(set(&question.met.factors)));
        pairs.with(Attribute::Vetoes, || Some(set(&question.met.vetoes)));
        pairs.with(Attribute::WaitedS, || Some(Value::new_long(waited_s(question.met))));
        Context::from_pairs(pairs.pairs).map_err(|error| error.to_string())
    }

    /// The payload, and whom and what the effect names.
    fn describe(&self, bundle: &Bundle, question: &Question<'_>, pairs: &mut Pairs) {
        let description = question.description;
        let address =
            |text: &str| Value::new_entity_uid(bundle.types.address(&account(&description.chain, text)));
        let text = |text: &str| Some(Value::new_string(text.to_owned()));
        pairs.with(Attribute::Payload, || text(&description.payload));
        pairs.with(Attribute::Chain, || text(&description.chain));
        pairs.with(Attribute::Form, || text(&description.form));
        pairs.with(Attribute::Account, || Some(address(&description.account)));
        pairs.with(Attribute::Tier, || text(question.tier.as_str()));
        pairs.with(Attribute::RequestSigned, || Some(Value::new_bool(question.met.request_signed)));
        pairs.with(Attribute::Effects, || Some(Value::new_long(long(description.effects.len()))));
        pairs.with(Attribute::Destination, || {
            self.destination.as_deref().map(|account| Value::new_entity_uid(bundle.types.address(account)))
        });
        pairs.with(Attribute::Owner, || self.effect.owner.as_deref().map(address));
        pairs.with(Attribute::Contract, || self.effect.contract.as_deref().map(address));
        let method = self.effect.method.as_ref();
        pairs.with(Attribute::Selector, || text(&method?.selector));
        pairs.with(Attribute::Method, || text(method?.signature.as_deref()?));
    }

    /// The asset, how much of it, and the fee.
    fn describe_asset(&self, bundle: &Bundle, question: &Question<'_>, pairs: &mut Pairs) {
        pairs.with(Attribute::Asset, || {
            self.asset.map(|asset| Value::new_entity_uid(bundle.types.asset(asset)))
        });
        pairs.with(Attribute::TokenId, || self.token_id.map(|id| Value::new_string(id.to_owned())));
        pairs.with(Attribute::AssetRegistered, || Some(Value::new_bool(self.known.is_some())));
        pairs.with(Attribute::Amount, || Some(Value::new_long(self.amount)));
        pairs.with(Attribute::Unlimited, || Some(Value::new_bool(self.effect.unlimited)));
        pairs.with(Attribute::ValueUsdCents, || self.value_usd_cents.map(Value::new_long));
        pairs.with(Attribute::Fee, || Some(Value::new_long(fee(bundle, question).0)));
        pairs.with(Attribute::FeeUsdCents, || fee(bundle, question).1.map(Value::new_long));
    }

    /// The call's arguments, where the contract and the method are registered.
    fn call(&self, bundle: &Bundle, question: &Question<'_>) -> Option<(String, Value)> {
        let chain = &question.description.chain;
        let contract = account(chain, self.effect.contract.as_deref()?);
        let registered = bundle.registry.contracts.get(&contract)?;
        let address = |text: &str| bundle.types.address(&account(chain, text));
        bundle.methods.read(&registered.name, self.effect.method.as_ref()?, address)
    }
}

/// The attributes of a context, as far as they are read.
struct Pairs {
    reads: Reads,
    pairs: Vec<(String, Value)>,
}

impl Pairs {
    fn put(&mut self, attribute: Attribute, value: Value) {
        self.pairs.push((attribute.name().to_owned(), value));
    }

    fn with(&mut self, attribute: Attribute, value: impl FnOnce() -> Option<Value>) {
        if self.reads.has(attribute)
            && let Some(value) = value()
        {
            self.put(attribute, value);
        }
    }
}

fn record(pairs: impl IntoIterator<Item = (String, Value)>) -> Result<Value, String> {
    Value::new_record(pairs).map_err(|error| error.to_string())
}

fn long(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The fee's upper bound in policy units of its asset, and in US cents.
fn fee(bundle: &Bundle, question: &Question<'_>) -> (i64, Option<i64>) {
    let Some(fee) = &question.description.fee else { return (0, None) };
    match bundle.registry.assets.get(&fee.asset) {
        Some(asset) => (asset.policy_units(fee.maximum), asset.usd_cents(fee.maximum, question.now)),
        None => (i64::MAX, None),
    }
}

/// The time in the bundle's zone: the attributes of `context.time`.
pub(crate) fn time_of(now: UnixMillis, offset_s: i64) -> Result<[(&'static str, i64); 8], String> {
    let unix_s = now.0.div_euclid(1_000);
    let local = unix_s.saturating_add(offset_s);
    let local =
        OffsetDateTime::from_unix_timestamp(local).map_err(|_| format!("the time {now} is out of range"))?;
    let minute_of_day = i64::from(local.hour()) * 60 + i64::from(local.minute());
    Ok([
        ("unix_s", unix_s),
        ("year", i64::from(local.year())),
        ("month", i64::from(u8::from(local.month()))),
        ("day", i64::from(local.day())),
        ("weekday", i64::from(local.weekday().number_from_monday())),
        ("hour", i64::from(local.hour())),
        ("minute", i64::from(local.minute())),
        ("minute_of_day", minute_of_day),
    ])
}
