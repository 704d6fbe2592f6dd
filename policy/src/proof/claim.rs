//! One claim: a condition over the schema that must never hold, or never fail, of any effect of one kind that the premises
//! let be. Groups are written out as their members, so that the address book of the bundle, and no other, is meant.

use std::fmt;
use std::sync::Arc;

use cedar_policy::{Policy, RequestEnv, Schema};
use chancery_intent::model::Kind;
use serde::Serialize;
use serde_json::{Value, json};

use super::condition::{all, constant, not, parse, permit};
use super::premise::{Mentions, set};
use crate::bundle::Bundle;

/// LIMIT: members of the groups that one claim mentions, each time it mentions one.
pub const MEMBERS: usize = 20_000;

/// What must never happen to the claim's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// It must never hold.
    Holds,
    /// It must never fail to evaluate.
    Fails,
}

/// What a claim is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "about", content = "name", rename_all = "lowercase")]
pub enum Subject {
    /// The goal of this name: nothing allowed breaks it.
    Goal(String),
    /// The rule of this name applies to nothing. Where this is proved of every kind, the rule is dead.
    Dead(String),
    /// The rule of this name never fails.
    Error(String),
    /// Nothing is allowed that another bundle does not allow.
    Against,
}

/// One thing to prove about effects of one kind.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    subject: Subject,
    kind: Kind,
    never: Never,
    pub(super) bundle: &'a Bundle,
    /// The bundle that must allow what this one allows.
    pub(super) old: Option<&'a Bundle>,
    pub(super) premise: Value,
    pub(super) condition: Value,
    pub(super) mentions: Arc<Mentions>,
    /// What makes an example easier to write.
    pub(super) likeness: Vec<String>,
    schema: Arc<Schema>,
    policy: Policy,
}

/// The parts of a claim before it is put together.
pub(super) struct Parts<'a> {
    pub subject: Subject,
    pub kind: Kind,
    pub never: Never,
    pub bundle: &'a Bundle,
    pub old: Option<&'a Bundle>,
    pub premise: Vec<Value>,
    pub condition: Value,
    pub mentions: Mentions,
    pub likeness: Vec<String>,
    pub schema: Arc<Schema>,
}

impl<'a> Claim<'a> {
    pub(super) fn of(parts: Parts<'a>) -> Result<Self, String> {
        let Parts { subject, kind, never, bundle, old, premise, condition, mentions, likeness, schema } =
            parts;
        let premise = all(premise);
        let policy = permit("claim", &all(vec![premise.clone(), condition.clone()]))?;
        let mentions = Arc::new(mentions);
        Ok(Self { subject, kind, never, bundle, old, premise, condition, mentions, likeness, schema, policy })
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The kind of effect it is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What must never happen to its policy.
    #[must_use]
    pub fn never(&self) -> Never {
        self.never
    }

    /// A permit whose condition is the claim's, behind the premises. The premises never fail.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The schema that requests are drawn from.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The types of principal, action and resource.
    #[must_use]
    pub fn environment(&self) -> RequestEnv {
        let types = &self.bundle.types;
        let of = |uid: cedar_policy::EntityUid| uid.type_name().clone();
        RequestEnv::new(of(types.client("")), types.action(self.kind), of(types.wallet("")))
    }
}

impl Bundle {
    /// A claim for each goal and each kind of effect that it is about.
    ///
    /// # Errors
    /// Says what cannot be written as a claim; then nothing is proved.
    pub fn goal_claims(&self) -> Result<Vec<Claim<'_>>, String> {
        let mut claims = Vec::new();
        for goal in &self.goals {
            for kind in &goal.kinds {
                let condition = all(vec![self.allows(*kind)?, goal.broken.clone()]);
                claims.push(self.claim(
                    Subject::Goal(goal.summary.name.clone()),
                    *kind,
                    Never::Holds,
                    condition,
                )?);
            }
        }
        Ok(claims)
    }

    /// Claims that each rule never applies, for each kind of effect that it is about.
    ///
    /// # Errors
    /// As [`Bundle::goal_claims`].
    pub fn dead_claims(&self) -> Result<Vec<Claim<'_>>, String> {
        self.rule_claims(Subject::Dead, Never::Holds)
    }

    /// Claims that each rule never fails, for each kind of effect that it is about.
    ///
    /// # Errors
    /// As [`Bundle::goal_claims`].
    pub fn error_claims(&self) -> Result<Vec<Claim<'_>>, String> {
        self.rule_claims(Subject::Error, Never::Fails)
    }

    fn rule_claims(&self, subject: fn(String) -> Subject, never: Never) -> Result<Vec<Claim<'_>>, String> {
        let mut claims = Vec::new();
        for kind in Kind::ALL {
            for rule in self.rules_about(*kind) {
                claims.push(self.claim(subject(rule.name.clone()), *kind, never, rule.condition()?)?);
            }
        }
        Ok(claims)
    }

    fn claim(
        &self,
        subject: Subject,
        kind: Kind,
        never: Never,
        mut condition: Value,
    ) -> Result<Claim<'_>, String> {
        self.spell_out(&mut condition)?;
        let mut mentions = Mentions::default();
        mentions.of(&condition);
        let premise: Result<_, _> =
            self.premises(kind, &mentions).iter().map(|premise| parse(premise)).collect();
        Claim::of(Parts {
            subject,
            kind,
            never,
            bundle: self,
            old: None,
            premise: premise?,
            condition,
            mentions,
            likeness: Vec::new(),
            schema: Arc::new(self.schema.clone()),
        })
    }

    /// Writes each `in` a group as `in` the set of its members: the same answer, for the entities of this bundle.
    pub(super) fn spell_out(&self, condition: &mut Value) -> Result<(), String> {
        match condition {
            Value::Object(map) => map.values_mut().try_for_each(|value| self.spell_out(value))?,
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.spell_out(item))?,
            _ => return Ok(()),
        }
        // An operator is an object of one key; the operand of `is` has an `in` beside others.
        let operator = condition.as_object().is_some_and(|map| map.len() == 1);
        if let Some(within) = condition.get("in").filter(|_| operator) {
            let part = |name| within.get(name).cloned().ok_or("an `in` that is not known here");
            let (left, right) = (part("left")?, part("right")?);
            *condition = self.is_in(left, &right)?;
        } else if let Some(is) = condition.get_mut("is").and_then(Value::as_object_mut)
            && let Some(group) = is.remove("in")
        {
            let left = is.get("left").cloned().ok_or("an `is` that is not known here")?;
            let within = self.is_in(left, &group)?;
            *condition = all(vec![condition.clone(), within]);
        }
        Ok(())
    }

    fn is_in(&self, left: Value, right: &Value) -> Result<Value, String> {
        let single = [right.clone()];
        let places = right.get("Set").and_then(Value::as_array).map_or(single.as_slice(), Vec::as_slice);
        let is_action =
            |place: &Value| place.pointer("/Value/__entity/type").and_then(Value::as_str) == Some("Action");
        if places.iter().any(is_action) {
            // Actions have their groups in the schema, which the solver is given.
            return Ok(json!({ "in": { "left": left, "right": right } }));
        }
        let mut parts = Vec::new();
        for place in places {
            let entity = place.get("Value").and_then(|value| value.get("__entity"));
            let name = |key| entity.and_then(|entity| entity.get(key)).and_then(Value::as_str);
            parts.push(match (name("type"), name("id")) {
                (Some(group), Some(id)) if group.ends_with("Group") => {
                    let (kind, members) = self.members(group, id);
                    match set(kind, members.iter().map(|member| member.as_str())) {
                        Some(set) if members.len() <= MEMBERS => {
                            json!({ "contains": { "left": parse(&set)?, "right": left.clone() } })
                        }
                        Some(_) => return Err(format!("{group}::\"{id}\" has more than {MEMBERS} members")),
                        None => return Err(format!("nothing is in {group}::\"{id}\"")),
                    }
                }
                // Only groups have members: in anything else there is that thing alone.
                (Some(_), Some(_)) => json!({ "==": { "left": left.clone(), "right": place } }),
                _ => return Err("`in` something that is not written out cannot be proved".to_owned()),
            });
        }
        Ok(if parts.is_empty() { not(constant(true)) } else { super::condition::any(parts) })
    }

    /// The type and the ids of a group's members.
    fn members(&self, group: &str, id: &str) -> (&'static str, Vec<&String>) {
        fn within<'a, V: 'a>(
            all: impl Iterator<Item = (&'a String, &'a V)>,
            groups: impl Fn(&V) -> &Vec<String>,
            id: &str,
        ) -> Vec<&'a String> {
            all.filter(|(_, value)| groups(value).iter().any(|group| group == id))
                .map(|(name, _)| name)
                .collect()
        }
        match group {
            "ClientGroup" => ("Client", within(self.clients.iter(), |groups| groups, id)),
            "WalletGroup" => ("Wallet", within(self.wallets.iter(), |groups| groups, id)),
            "AssetGroup" => ("Asset", within(self.registry.assets.iter(), |asset| &asset.groups, id)),
            _ => ("Address", within(self.registry.addresses.iter(), |known| &known.groups, id)),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goal(name) => write!(f, "goal `{name}`"),
            Self::Dead(name) => write!(f, "whether rule `{name}` applies"),
            Self::Error(name) => write!(f, "whether rule `{name}` can fail"),
            Self::Against => f.write_str("whether anything more is allowed"),
        }
    }
}
