//! Which attributes of `context` a policy can read. Most read a handful, and building the others costs more than deciding;
//! so a question is written with only what the policies it reaches can see. A use of `context` that is not a plain
//! attribute counts as reading everything. If this missed a `.`, the policy would fail, which denies; if it missed a `has`,
//! the policy would take the attribute for absent.

use serde_json::Value;

macro_rules! attributes {
    ($($variant:ident = $name:literal,)+) => {
        /// A top-level attribute of `context`, in the schema's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Attribute { $($variant,)+ }

        impl Attribute {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

attributes! {
    Payload = "payload",
    Chain = "chain",
    Form = "form",
    Account = "account",
    Tier = "tier",
    RequestSigned = "request_signed",
    Effects = "effects",
    Asset = "asset",
    TokenId = "token_id",
    AssetRegistered = "asset_registered",
    Amount = "amount",
    Unlimited = "unlimited",
    ValueUsdCents = "value_usd_cents",
    Destination = "destination",
    Owner = "owner",
    Contract = "contract",
    Selector = "selector",
    Method = "method",
    Call = "call",
    Fee = "fee",
    FeeUsdCents = "fee_usd_cents",
    Spent = "spent",
    Time = "time",
    Approvals = "approvals",
    Factors = "factors",
    Vetoes = "vetoes",
    WaitedS = "waited_s",
}

/// A set of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads(u32);

impl Reads {
    /// Every attribute.
    pub const ALL: Self = Self(u32::MAX);

    pub fn has(self, attribute: Attribute) -> bool {
        self.0 & (1 << attribute as u8) != 0
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What a policy can read, from Cedar's JSON form of it.
    pub fn of(json: &Value) -> Self {
        match json {
            Value::Object(map) => {
                if map.get("Var").and_then(Value::as_str) == Some("context") {
                    return Self::ALL; // not under `.` or `has`: the whole record
                }
                let parts = map.iter().map(|(operator, operand)| match operator.as_str() {
                    "." | "has" => Self::access(operand),
                    _ => Self::of(operand),
                });
                parts.fold(Self::default(), Self::and)
            }
            Value::Array(items) => items.iter().map(Self::of).fold(Self::default(), Self::and),
            _ => Self::default(),
        }
    }

    /// The operand of `.` or `has`: `{"left": ..., "attr": "..."}`.
    fn access(operand: &Value) -> Self {
        let on_context =
            operand.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str) == Some("context");
        if !on_context {
            return Self::of(operand);
        }
        let name = operand.get("attr").and_then(Value::as_str);
        let known = Attribute::ALL.iter().find(|attribute| Some(attribute.name()) == name);
        known.map_or(Self::ALL, |attribute| Self(1 << *attribute as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn reads(condition: &str) -> Reads {
        let policy =
            Policy::parse(None, format!("permit(principal, action, resource) when {{ {condition} }};"))
                .unwrap();
        Reads::of(&policy.to_json().unwrap())
    }

    #[test]
    fn plain_accesses_are_told_apart() {
        let seen = reads(
            "context.amount > 1 && (context has spent && context.spent.daily < 2 || context[\"fee\"] == 3)",
        );
        let names: Vec<_> =
            Attribute::ALL.iter().filter(|one| seen.has(**one)).map(|one| one.name()).collect();
        assert_eq!(names, ["amount", "fee", "spent"]);
        assert_eq!(reads("true"), Reads::default());
        assert!(reads("context has destination.x").has(Attribute::Destination), "an extended `has`");
    }

    #[test]
    fn anything_else_reads_everything() {
        for condition in [
            "context == context",
            "(if principal == resource then context else context).amount > 1",
            "[context].contains({})",
            "{a: context}.a.amount > 1",
            "context.unheard_of",
            "context is Client",
        ] {
            assert_eq!(reads(condition), Reads::ALL, "{condition}");
        }
    }

    #[test]
    fn attributes_are_those_of_the_schema() {
        let text = include_str!("schema.cedarschema");
        let (_, effect) = text.split_once("type Effect = {\n").unwrap();
        let (effect, _) = effect.split_once("};").unwrap();
        let names: Vec<_> = effect.lines().filter_map(|line| line.trim().split([':', '?']).next()).collect();
        let ours: Vec<_> = Attribute::ALL.iter().map(|attribute| attribute.name()).collect();
        assert_eq!(names.iter().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>(), ours);
    }
}
