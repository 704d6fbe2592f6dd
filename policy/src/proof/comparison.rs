//! Two bundles asked about the same effects. Where they measure alike (assets, prices, limits, calls, the zone), both read
//! the same attributes; where they do not, the old one's are a record of their own, `context.old`, tied to the new one's as
//! far as they must agree. What is not tied may differ freely: an example is then looked for, never a proof believed.

use std::collections::BTreeSet;
use std::sync::Arc;

use chancery_intent::model::Kind;
use serde_json::{Value, json};

use super::claim::{Claim, Never, Parts, Subject};
use super::condition::{all, not, parse};
use super::premise::{Mentions, set};
use crate::bundle::Bundle;
use crate::limit::Measure;
use crate::registry::Asset;
use crate::schema;

const CONTEXT: &str = "type Effect = {";
/// What follows from the asset registry.
const AMOUNTS: [&str; 5] = ["asset_registered", "amount", "value_usd_cents", "fee", "fee_usd_cents"];

/// A new bundle beside an old one.
#[derive(Debug)]
pub struct Comparison<'a> {
    new: &'a Bundle,
    old: &'a Bundle,
    schema: Arc<cedar_policy::Schema>,
    /// Attributes that the old bundle has of its own.
    apart: BTreeSet<&'static str>,
    /// Assets that the two know differently.
    changed: BTreeSet<String>,
}

impl Bundle {
    /// Puts this bundle beside an old one.
    ///
    /// # Errors
    /// Says why the two cannot be asked together.
    pub fn compare<'a>(&'a self, old: &'a Self) -> Result<Comparison<'a>, String> {
        let (new_assets, old_assets) = (&self.registry.assets, &old.registry.assets);
        let alike = |id: &String| match (new_assets.get(id), old_assets.get(id)) {
            (Some(new), Some(old)) => measure_alike(new, old),
            _ => false,
        };
        let changed: BTreeSet<String> =
            new_assets.keys().chain(old_assets.keys()).filter(|id| !alike(id)).cloned().collect();
        let mut apart = BTreeSet::new();
        if !changed.is_empty() {
            apart.extend(AMOUNTS);
        }
        let limits = |bundle: &Self| bundle.limits().cloned().collect::<Vec<_>>();
        if !changed.is_empty() || limits(self) != limits(old) {
            apart.insert("spent");
        }
        let calls = |bundle: &Self| schema::call(&bundle.methods);
        let places = |bundle: &Self| {
            let registered = bundle.registry.contracts.iter();
            registered.map(|(account, known)| (account.clone(), known.name.clone())).collect::<BTreeSet<_>>()
        };
        if calls(self) != calls(old) || places(self) != places(old) {
            apart.insert("call");
        }
        if self.utc_offset_s != old.utc_offset_s {
            apart.insert("time");
        }
        let schema = Arc::new(schema::compile(&together(self, old, &apart))?);
        Ok(Comparison { new: self, old, schema, apart, changed })
    }
}

fn measure_alike(new: &Asset, old: &Asset) -> bool {
    let price = |asset: &Asset| asset.price.as_ref().map(|price| (price.usd, price.expires));
    new.unit == old.unit && price(new) == price(old)
}

/// One schema for both: every approver group, and `old` where the old bundle has attributes of its own.
fn together(new: &Bundle, old: &Bundle, apart: &BTreeSet<&'static str>) -> String {
    let mut approvers = new.declared.approvers.clone();
    approvers.extend(old.declared.approvers.iter().cloned());
    approvers.sort();
    approvers.dedup();
    let limits = |bundle: &Bundle| bundle.limits().cloned().collect::<Vec<_>>();
    let text = schema::text(&limits(new), &new.methods, &approvers);
    if apart.is_empty() {
        return text;
    }
    let types = apart.iter().map(|name| match *name {
        "asset_registered" => "asset_registered: Bool,",
        "value_usd_cents" => "value_usd_cents?: Long,",
        "fee_usd_cents" => "fee_usd_cents?: Long,",
        "amount" => "amount: Long,",
        "fee" => "fee: Long,",
        "spent" => "spent: OldSpent,",
        "call" => "call: OldCall,",
        _ => "time: Time,",
    });
    let types: Vec<_> = types.collect();
    let record = |name: &str, lines: &[String]| format!("type {name} = {{ {} }};\n", lines.join(" "));
    format!(
        "{}{}type Old = {{ {} }};\n{}",
        record("OldSpent", &schema::spent(&limits(old))),
        record("OldCall", &schema::call(&old.methods)),
        types.join(" "),
        text.replace(CONTEXT, &format!("{CONTEXT}\n    old: Old,"))
    )
}

impl<'a> Comparison<'a> {
    /// Claims that nothing is allowed that the old bundle does not allow, for each kind of effect.
    ///
    /// # Errors
    /// Says what cannot be written as a claim; then nothing is proved.
    pub fn claims(&self) -> Result<Vec<Claim<'a>>, String> {
        Kind::ALL.iter().map(|kind| self.claim(*kind)).collect()
    }

    fn claim(&self, kind: Kind) -> Result<Claim<'a>, String> {
        let mut allowed = self.new.allows(kind)?;
        self.new.spell_out(&mut allowed)?;
        let mut before = self.old.allows(kind)?;
        self.old.spell_out(&mut before)?;
        let mut mentions = Mentions::default();
        mentions.of(&allowed);
        mentions.of(&before);
        let mut premise = self
            .new
            .premises(kind, &mentions)
            .iter()
            .map(|text| parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        for text in self.old.premises(kind, &mentions) {
            let mut text = parse(&text)?;
            self.age(&mut text)?;
            premise.push(text);
        }
        for text in self.ties() {
            premise.push(parse(&text)?);
        }
        self.age(&mut before)?;
        Claim::of(Parts {
            subject: Subject::Against,
            kind,
            never: Never::Holds,
            bundle: self.new,
            old: Some(self.old),
            premise,
            condition: all(vec![allowed, not(before)]),
            mentions,
            likeness: self.likeness(),
            schema: Arc::clone(&self.schema),
        })
    }

    /// Reads the old bundle's own attributes where they are.
    fn age(&self, condition: &mut Value) -> Result<(), String> {
        match condition {
            Value::Object(map) => {
                if map.get("Var").and_then(Value::as_str) == Some("context") {
                    return Err("a rule reads `context` as a whole".to_owned());
                }
                for (operator, operand) in map.iter_mut() {
                    let attribute = operand.get("attr").and_then(Value::as_str);
                    let left = operand.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str);
                    if matches!(operator.as_str(), "." | "has") && left == Some("context") {
                        let apart = attribute.is_some_and(|name| self.apart.contains(name));
                        if let Some(operand) = operand.as_object_mut().filter(|_| apart) {
                            let old = json!({ ".": { "left": { "Var": "context" }, "attr": "old" } });
                            operand.insert("left".to_owned(), old);
                        }
                    } else {
                        self.age(operand)?;
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.age(item)),
            _ => Ok(()),
        }
    }

    /// What is not tied, but agrees in the plainest of examples.
    fn likeness(&self) -> Vec<String> {
        if self.apart.contains("fee") {
            vec!["context.old.fee == context.fee".to_owned()]
        } else {
            Vec::new()
        }
    }

    /// Where the two must agree although they do not agree everywhere.
    fn ties(&self) -> Vec<String> {
        let mut ties = Vec::new();
        let changed = set("Asset", self.changed.iter().map(String::as_str));
        // Of an asset that both know alike, or neither knows, both say the same.
        let mut tie = |same: String| {
            ties.push(match &changed {
                Some(changed) => {
                    format!(
                        "(if context has asset && {changed}.contains(context.asset) then true else ({same}))"
                    )
                }
                None => format!("({same})"),
            });
        };
        let optional = |name: &str| {
            format!(
                "if context has {name} then context.old has {name} && context.old.{name} == context.{name} \
                 else !(context.old has {name})"
            )
        };
        if self.apart.contains("amount") {
            tie("context.old.amount == context.amount && context.old.asset_registered == context.asset_registered"
                .to_owned());
            tie(optional("value_usd_cents"));
            // Fees are taken in the chain's own coin.
            if !self.changed.iter().any(|id| id.contains("/slip44:")) {
                tie("context.old.fee == context.fee".to_owned());
                tie(optional("fee_usd_cents"));
            }
        }
        if self.apart.contains("spent") {
            for limit in self.new.limits().filter(|limit| self.old.limits().any(|old| old == *limit)) {
                let mixes = limit.measure == Measure::Usd && !self.changed.is_empty();
                if !mixes {
                    let name = &limit.name;
                    tie(if limit.measures_everything() {
                        format!("context.old.spent.{name} == context.spent.{name}")
                    } else {
                        format!(
                            "if context.spent has {name} then context.old.spent has {name} && \
                             context.old.spent.{name} == context.spent.{name} else !(context.old.spent has {name})"
                        )
                    });
                }
            }
        }
        if self.apart.contains("time") {
            ties.push("context.old.time.unix_s == context.time.unix_s".to_owned());
        }
        ties
    }
}
