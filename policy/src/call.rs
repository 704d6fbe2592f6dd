//! Arguments of calls to registered contracts, as typed attributes: `context.call["vault.deposit(uint256,address)"].receiver`.
//! Numbers become `Long`, saturating at both ends; arrays and tuples are left out, because no rule could type them.

use std::collections::{BTreeMap, HashSet};

use alloy_json_abi::Function;
use cedar_policy::{EntityUid, RestrictedExpression};
use chancery_intent::model::Method;
use serde_json::Value;

use crate::registry::Registry;

/// LIMIT: methods of all registered contracts together.
pub const METHODS: usize = 4_096;
/// LIMIT: parameters of one method that a policy can read.
pub const PARAMETERS: usize = 32;

/// The Cedar type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Address,
    Bool,
    Long,
    String,
}

impl Type {
    fn of(solidity: &str) -> Option<Self> {
        if solidity.ends_with(']') || solidity.starts_with('(') || solidity.starts_with("tuple") {
            return None;
        }
        match solidity {
            "address" => Some(Self::Address),
            "bool" => Some(Self::Bool),
            _ if solidity.starts_with("uint") || solidity.starts_with("int") => Some(Self::Long),
            _ if solidity == "string" || solidity.starts_with("bytes") => Some(Self::String),
            _ => None,
        }
    }

    pub fn cedar(self) -> &'static str {
        match self {
            Self::Address => "Address",
            Self::Bool => "Bool",
            Self::Long => "Long",
            Self::String => "String",
        }
    }
}

/// A parameter that a policy can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub name: String,
    pub ty: Type,
    /// Its type as the ABI writes it.
    pub solidity: String,
    /// Where it stands among the arguments, from 0.
    pub position: usize,
}

/// Every readable method: `contract.signature` to its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods(BTreeMap<String, Vec<Parameter>>);

impl Methods {
    /// From the contracts of a bundle and their ABIs.
    pub fn of(registry: &Registry) -> Self {
        let mut methods = BTreeMap::new();
        for contract in registry.contracts.values() {
            let functions = registry.abis.get(&contract.abi).into_iter().flat_map(|abi| abi.functions());
            for function in functions {
                methods
                    .entry(format!("{}.{}", contract.name, function.signature()))
                    .or_insert_with(|| parameters(function));
            }
        }
        Self(methods)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Vec<Parameter>)> {
        self.0.iter()
    }

    /// The readable parameters of one method.
    pub fn parameters(&self, name: &str) -> Option<&Vec<Parameter>> {
        self.0.get(name)
    }

    /// The attribute of one call and its record; `None` when the method is not registered for this contract, or its
    /// arguments are not what the ABI says.
    pub fn read(
        &self,
        contract: &str,
        method: &Method,
        address: impl Fn(&str) -> EntityUid,
    ) -> Option<(String, RestrictedExpression)> {
        let name = format!("{contract}.{}", method.signature.as_deref()?);
        let mut pairs = Vec::new();
        for parameter in self.0.get(&name)? {
            let argument = method
                .arguments
                .get(parameter.position)
                .filter(|argument| argument.ty == parameter.solidity)?;
            let value = match (parameter.ty, &argument.value) {
                (Type::Address, Value::String(text)) => RestrictedExpression::new_entity_uid(address(text)),
                (Type::Bool, Value::Bool(value)) => RestrictedExpression::new_bool(*value),
                (Type::Long, Value::String(text)) => RestrictedExpression::new_long(long(text)?),
                (Type::String, Value::String(text)) => RestrictedExpression::new_string(text.clone()),
                _ => return None,
            };
            pairs.push((parameter.name.clone(), value));
        }
        Some((name, RestrictedExpression::new_record(pairs).ok()?))
    }
}

fn parameters(function: &Function) -> Vec<Parameter> {
    let mut taken = HashSet::new();
    let mut parameters = Vec::new();
    for (position, input) in function.inputs.iter().enumerate().take(PARAMETERS) {
        let word = |text: &str| {
            text.len() <= 64
                && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let name = if word(&input.name) && taken.insert(input.name.clone()) {
            input.name.clone()
        } else {
            // `#` cannot begin a Solidity name, so this one is free.
            format!("#{position}")
        };
        if let Some(ty) = Type::of(&input.ty) {
            parameters.push(Parameter { name, ty, solidity: input.ty.clone(), position });
        }
    }
    parameters
}

/// Decimal text as a `Long`, saturating; `None` when it is not decimal.
fn long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse::<i64>().unwrap_or(if negative { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Contract;
    use chancery_intent::model::Argument;

    const ABI: &str = r#"[{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],"inputs":[
        {"name":"assets","type":"uint256"},{"name":"","type":"address"},{"name":"path","type":"address[]"},
        {"name":"assets","type":"bool"}]}]"#;

    fn methods() -> Methods {
        let mut registry = Registry::default();
        registry.abis.insert("abi/v.json".into(), serde_json::from_str(ABI).unwrap());
        registry.contracts.insert("x".into(), Contract { name: "vault".into(), abi: "abi/v.json".into() });
        Methods::of(&registry)
    }

    #[test]
    fn unnamed_and_repeated_parameters_are_numbered() {
        let methods = methods();
        let (name, parameters) = methods.iter().next().unwrap();
        assert_eq!(name, "vault.deposit(uint256,address,address[],bool)");
        let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["assets", "#1", "#3"], "the array is left out and keeps its position");
    }

    #[test]
    fn arguments_that_do_not_fit_the_abi_are_not_readable() {
        let argument = |ty: &str, value: Value| Argument { name: String::new(), ty: ty.into(), value };
        let mut method = Method {
            selector: "0x00000000".into(),
            signature: Some("deposit(uint256,address,address[],bool)".into()),
            arguments: vec![
                argument("uint256", "5".into()),
                argument("address", "0x0".into()),
                argument("address[]", Value::Array(vec![])),
                argument("bool", true.into()),
            ],
        };
        let uid = |text: &str| format!("Address::\"{text}\"").parse::<EntityUid>().unwrap();
        assert!(methods().read("vault", &method, uid).is_some());
        assert!(methods().read("other", &method, uid).is_none(), "another contract's name");
        method.arguments[0].value = Value::from(5);
        assert!(methods().read("vault", &method, uid).is_none(), "a number that is not decimal text");
        method.arguments[0] = argument("uint8", "5".into());
        assert!(methods().read("vault", &method, uid).is_none(), "another type");
    }

    #[test]
    fn numbers_saturate() {
        assert_eq!(long("9223372036854775808"), Some(i64::MAX));
        assert_eq!(long("-9223372036854775809"), Some(i64::MIN));
        assert_eq!(long("42"), Some(42));
        assert_eq!(long("0x10"), None);
        assert_eq!(long("-"), None);
    }
}
