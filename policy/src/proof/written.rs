//! A solver's request written down as a test case of the bundle, as an officer would write it.

use alloy_primitives::U256;
use chancery_core::Tier;
use chancery_intent::model::{Argument, Method};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::claim::{Claim, Subject};
use super::example::coin;
use crate::bundle::Bundle;
use crate::chain;
use crate::registry::Asset;

/// A request to be written.
pub(super) struct Written<'a> {
    pub claim: &'a Claim<'a>,
    pub context: &'a Value,
    pub client: String,
    pub wallet: String,
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

    /// The request as a test case: TOML.
    ///
    /// # Errors
    /// Says what of it cannot be written.
    pub fn case(&self, bundle: &Bundle, spent: Option<&Value>) -> Result<String, String> {
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
        let usual = chain::usual(self.claim.kind(), chain);
        let payload = self.text("payload").unwrap_or(usual);
        let form = chain::forms(payload).first().copied();
        for (key, text, usual) in
            [("payload_type", Some(payload), Some(usual)), ("form", self.text("form"), form)]
        {
            if let Some(text) = text.filter(|_| text != usual) {
                lines.push(key, text);
            }
        }
        if let Some(tier) = self.text("tier").filter(|tier| *tier != Tier::default().as_str()) {
            lines.push("tier", tier);
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
