//! Conditions in Cedar's JSON form, put together: a rule as one condition, and the house's whole decision about an effect
//! as one condition. What is proved is this condition, so it must hold exactly where `Bundle::evaluate` allows: the model
//! test asks both.

use cedar_policy::{Policy, PolicyId};
use chancery_intent::model::Kind;
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::rule::Rule;
use crate::shelf;

/// `true` or `false`.
pub(crate) fn constant(value: bool) -> Value {
    json!({ "Value": value })
}

/// All of them, in their order; true of none.
pub(crate) fn all(conditions: Vec<Value>) -> Value {
    fold(conditions, "&&").unwrap_or_else(|| constant(true))
}

/// Any of them; false of none.
pub(crate) fn any(conditions: Vec<Value>) -> Value {
    fold(conditions, "||").unwrap_or_else(|| constant(false))
}

/// As a balanced tree: whoever walks it does so on a stack.
fn fold(mut conditions: Vec<Value>, operator: &str) -> Option<Value> {
    match conditions.len() {
        0 | 1 => conditions.pop(),
        several => {
            let right = conditions.split_off(several / 2);
            let (left, right) = (fold(conditions, operator)?, fold(right, operator)?);
            Some(json!({ operator: { "left": left, "right": right } }))
        }
    }
}

/// What a condition joins by `and`, in its order.
pub(crate) fn parts(condition: Value) -> Vec<Value> {
    let (mut parts, mut rest) = (Vec::new(), vec![condition]);
    while let Some(one) = rest.pop() {
        match one.get("&&").map(|and| (and.get("left").cloned(), and.get("right").cloned())) {
            Some((Some(left), Some(right))) => rest.extend([right, left]),
            _ => parts.push(one),
        }
    }
    parts
}

/// A permit's one condition as Cedar writes it, in one line.
pub(crate) fn text(policy: &Policy) -> String {
    let text = policy.to_cedar().unwrap_or_default();
    let inside = text.split_once("when {").map_or(text.as_str(), |(_, inside)| inside);
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    compared(&inside.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Cedar keeps `a > b` as `!(a <= b)`; people wrote, and read, the former.
fn compared(text: &str) -> String {
    let inside = text.strip_prefix("!(").and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.filter(|inside| !inside.contains(['(', '"', '&', '|']));
    for (kept, written) in [(" <= ", " > "), (" < ", " >= ")] {
        if let Some((left, right)) = inside.and_then(|inside| inside.split_once(kept)) {
            return format!("{left}{written}{right}");
        }
    }
    text.to_owned()
}

/// Its contrary.
pub(crate) fn not(condition: Value) -> Value {
    json!({ "!": { "arg": condition } })
}

/// Holds where `condition` can be evaluated at all, and fails where that fails.
pub(crate) fn evaluates(condition: Value) -> Value {
    any(vec![condition, constant(true)])
}

/// A condition from its text. The line feed ends a comment that the text may end with.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let policy = Policy::parse(None, format!("permit(principal, action, resource) when {{ {text}\n}};"));
    let policy = policy.map_err(|error| error.to_string())?.to_json().map_err(|error| error.to_string())?;
    match policy.get("conditions").and_then(Value::as_array).map(Vec::len) {
        Some(1) => of_policy(&policy),
        _ => Err("it is not one condition".to_owned()),
    }
}

/// A permit for what `condition` says.
pub(crate) fn permit(name: &str, condition: &Value) -> Result<Policy, String> {
    let scope = json!({ "op": "All" });
    let policy = json!({
        "effect": "permit", "principal": scope, "action": scope, "resource": scope,
        "conditions": [{ "kind": "when", "body": condition }],
    });
    Policy::from_json(Some(PolicyId::new(name)), policy).map_err(|error| error.to_string())
}

/// Scope and conditions of a policy as one condition, its action apart.
pub(crate) fn of_policy(policy: &Value) -> Result<Value, String> {
    let mut parts = vec![scope(policy, "principal")?, scope(policy, "resource")?];
    for clause in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let body = clause.get("body").cloned().ok_or("a condition without a body")?;
        match clause.get("kind").and_then(Value::as_str) {
            Some("when") => parts.push(body),
            Some("unless") => parts.push(not(body)),
            other => return Err(format!("a condition of the kind {other:?}")),
        }
    }
    Ok(all(parts.into_iter().filter(|part| *part != constant(true)).collect()))
}

/// `principal` or `resource` of a scope as a condition.
fn scope(policy: &Value, variable: &str) -> Result<Value, String> {
    let malformed = || format!("a scope's `{variable}` that is not known here");
    let scope = policy.get(variable).ok_or_else(malformed)?;
    let var = json!({ "Var": variable });
    let entity = |of: &Value| Some(json!({ "Value": { "__entity": of.get("entity")? } }));
    let condition = match scope.get("op").and_then(Value::as_str) {
        Some("All") => Some(constant(true)),
        Some(operator @ ("==" | "in")) => {
            entity(scope).map(|entity| json!({ operator: { "left": var, "right": entity } }))
        }
        Some("is") => scope.get("entity_type").and_then(|kind| {
            let mut is = json!({ "left": var, "entity_type": kind });
            if let Some(within) = scope.get("in") {
                is.as_object_mut()?.insert("in".to_owned(), entity(within)?);
            }
            Some(json!({ "is": is }))
        }),
        _ => None,
    };
    condition.ok_or_else(malformed)
}

impl Rule {
    /// Scope and conditions, with the obligations, but for the action.
    pub(crate) fn condition(&self) -> Result<Value, String> {
        of_policy(&self.policy.to_json().map_err(|error| error.to_string())?)
    }

    /// Whether the scope takes in effects of this kind.
    pub(crate) fn is_about(&self, kind: Kind) -> bool {
        shelf::actions(&self.policy)
            .iter()
            .any(|action| action.map_or(kind.is_signing(), |action| action == kind))
    }
}

impl Bundle {
    /// The rules about effects of one kind, by name.
    pub(crate) fn rules_about(&self, kind: Kind) -> Vec<&Rule> {
        let mut rules: Vec<_> = self.rules.values().filter(|rule| rule.is_about(kind)).collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules
    }

    /// Holds where, and only where, an effect of this kind is allowed: no rule fails, a permit applies and no forbid does.
    /// Never fails itself: every rule is seen to evaluate before any is asked what it says.
    pub(crate) fn allows(&self, kind: Kind) -> Result<Value, String> {
        let (mut sound, mut permits, mut forbids) = (Vec::new(), Vec::new(), Vec::new());
        for rule in self.rules_about(kind) {
            let condition = rule.condition()?;
            sound.push(evaluates(condition.clone()));
            if rule.forbids { forbids.push(condition) } else { permits.push(condition) }
        }
        Ok(all(vec![all(sound), any(permits), not(any(forbids))]))
    }
}
