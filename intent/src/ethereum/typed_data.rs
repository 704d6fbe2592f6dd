//! EIP-712 documents. Every value is coerced once, strictly; the digest and the description both come from what was coerced,
//! never from the JSON, so nothing is shown that is not signed or signed that is not shown. Of duplicate JSON keys only
//! the last reaches this room, and that one is shown. Type strings are alloy's; identifiers are checked before.

use std::collections::BTreeMap;
use std::io;

use alloy_dyn_abi::eip712::{PropertyDef, Resolver, TypeDef};
use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, B256, I256, U256, keccak256};
use chancery_core::limit;
use serde_json::{Map, Value};

use super::Account;
use super::abi::shown;
use super::permits::{self, Signed};
use super::{ANY_CHAIN, Document, JSON_INTEGER_MAX, Understood, chain, checked_chain};
use crate::IntentError;
use crate::contracts::Contracts;
use crate::model::{self, Description, Effect, Kind};

/// LIMIT: struct types of one document, and members of one struct.
const TYPES: usize = 64;
const DOMAIN: &str = "EIP712Domain";
/// EIP-712, "Definition of domainSeparator": each may be left out.
const DOMAIN_MEMBERS: [(&str, DynSolType); 5] = [
    ("name", DynSolType::String),
    ("version", DynSolType::String),
    ("chainId", DynSolType::Uint(256)),
    ("verifyingContract", DynSolType::Address),
    ("salt", DynSolType::FixedBytes(32)),
];

/// The type of a member.
#[derive(Debug)]
enum Type {
    Atom(DynSolType),
    Struct(String),
    Array(Box<Type>, Option<usize>),
}

/// The struct types of a document.
struct Types {
    members: BTreeMap<String, Vec<(String, Type)>>,
    resolver: Resolver,
    /// Type hashes already computed: a long array of structs needs each but once.
    hashes: BTreeMap<String, B256>,
}

pub(crate) fn understand(
    document: &Value,
    account: &Account<'_>,
    contracts: &dyn Contracts,
) -> Result<Understood, IntentError> {
    check_size(document)?;
    let [domain, message, primary, types] =
        members(document, ["domain", "message", "primaryType", "types"], "the document")?;
    let primary = primary.as_str().ok_or_else(|| IntentError::malformed("`primaryType` is not a text"))?;
    if primary == DOMAIN {
        return Err(IntentError::malformed("a domain alone is nothing to sign"));
    }
    let mut types = Types::parse(types)?;
    types.check_domain()?;

    let domain = types.coerce_struct(DOMAIN, domain)?;
    let message = types.coerce_struct(primary, message)?;
    let type_text = types.resolver.encode_type(primary).map_err(unresolved)?;
    let preimage =
        [&[0x19, 0x01], types.hash(&domain)?.as_slice(), types.hash(&message)?.as_slice()].concat();

    let chain_id = match member(&domain, "chainId") {
        Some(DynSolValue::Uint(id, _)) => Some(checked_chain(id, account, "chain id 0 in the domain")?),
        _ => None,
    };
    let contract = match member(&domain, "verifyingContract") {
        Some(DynSolValue::Address(contract)) => Some(*contract),
        _ => None,
    };
    let chain = chain_id.map_or_else(|| ANY_CHAIN.to_owned(), chain);
    let signed = Signed { chain_id, chain: &chain, contract, type_text: &type_text, message: &message };
    let effects = match permits::recognise(&signed, account, contracts)? {
        Some(effects) => effects,
        None => vec![unrecognised(contract)],
    };

    let mut detail = Map::new();
    detail.insert("domain".into(), shown(&domain));
    detail.insert("message".into(), shown(&message));
    detail.insert("primary_type".into(), Value::String(primary.to_owned()));
    detail.insert("type".into(), Value::String(type_text));
    let description = Description {
        v: model::VERSION,
        payload: "ethereum.typed_data".into(),
        chain,
        form: "eip712".into(),
        account: account.address.to_string(),
        effects,
        fee: None,
        nonce: None,
        detail,
    };
    Ok(Understood { description, preimage, document: Document::Message })
}

fn unrecognised(contract: Option<Address>) -> Effect {
    let contract = contract.map(|contract| contract.to_string());
    Effect {
        kind: Kind::TypedData,
        asset: None,
        amount: None,
        unlimited: false,
        destination: contract.clone(),
        owner: None,
        contract,
        method: None,
    }
}

impl Types {
    fn parse(json: &Value) -> Result<Self, IntentError> {
        let object = json.as_object().ok_or_else(|| IntentError::malformed("`types` is not an object"))?;
        if object.len() > TYPES
            || object.values().any(|members| members.as_array().is_some_and(|m| m.len() > TYPES))
        {
            return Err(IntentError::TooComplex { what: "types, or members of one type", limit: TYPES });
        }
        let mut types =
            Self { members: BTreeMap::new(), resolver: Resolver::default(), hashes: BTreeMap::new() };
        for (name, list) in object {
            if !is_identifier(name, true) || atom(name).is_some() {
                return Err(IntentError::malformed(format!("`{}` cannot name a type", brief(name))));
            }
            let list = list
                .as_array()
                .ok_or_else(|| IntentError::malformed(format!("type `{name}` is not a list")))?;
            let mut parsed: Vec<(String, Type)> = Vec::with_capacity(list.len());
            let mut properties = Vec::with_capacity(list.len());
            for entry in list {
                let [member, ty] = members(entry, ["name", "type"], "a member of a type")?;
                let (Some(member), Some(ty)) = (member.as_str(), ty.as_str()) else {
                    return Err(IntentError::malformed(format!(
                        "a member of `{name}` is not named by texts"
                    )));
                };
                if !is_identifier(member, false) || parsed.iter().any(|(other, _)| other == member) {
                    return Err(IntentError::malformed(format!("`{}` cannot name a member", brief(member))));
                }
                parsed.push((member.to_owned(), parse_type(ty, object)?));
                properties.push(PropertyDef::new(ty, member).map_err(unresolved)?);
            }
            types.resolver.ingest(TypeDef::new(name.clone(), properties).map_err(unresolved)?);
            types.members.insert(name.clone(), parsed);
        }
        Ok(types)
    }

    /// Holds the domain to the members EIP-712 knows, so that none of them hides under another type.
    fn check_domain(&self) -> Result<(), IntentError> {
        let domain =
            self.members.get(DOMAIN).ok_or_else(|| IntentError::malformed("`types` lacks `EIP712Domain`"))?;
        for (name, ty) in domain {
            let known =
                DOMAIN_MEMBERS.iter().any(|(n, t)| n == name && matches!(ty, Type::Atom(ty) if ty == t));
            if !known {
                return Err(IntentError::malformed(format!("`EIP712Domain` has no such `{}`", brief(name))));
            }
        }
        Ok(())
    }

    fn coerce_struct(&self, name: &str, json: &Value) -> Result<DynSolValue, IntentError> {
        let members = self
            .members
            .get(name)
            .ok_or_else(|| IntentError::malformed(format!("no type `{}`", brief(name))))?;
        let object =
            json.as_object().ok_or_else(|| IntentError::malformed(format!("a `{name}` is not an object")))?;
        if let Some(unknown) = object.keys().find(|key| !members.iter().any(|(name, _)| name == *key)) {
            return Err(IntentError::malformed(format!("`{name}` has no member `{}`", brief(unknown))));
        }
        let tuple = members
            .iter()
            .map(|(member, ty)| {
                let value = object
                    .get(member)
                    .ok_or_else(|| IntentError::malformed(format!("`{name}` lacks its member `{member}`")))?;
                self.coerce(ty, value)
            })
            .collect::<Result<_, _>>()?;
        let prop_names = members.iter().map(|(member, _)| member.clone()).collect();
        Ok(DynSolValue::CustomStruct { name: name.to_owned(), prop_names, tuple })
    }

    // Recursion is bounded by the nesting of the JSON, which `check_size` holds to limit::NESTING.
    fn coerce(&self, ty: &Type, json: &Value) -> Result<DynSolValue, IntentError> {
        match ty {
            Type::Struct(name) => self.coerce_struct(name, json),
            Type::Atom(ty) => coerce_atom(ty, json)
                .ok_or_else(|| IntentError::malformed(format!("a value is not exactly a `{ty}`"))),
            Type::Array(inner, size) => {
                let items = json
                    .as_array()
                    .filter(|items| size.is_none_or(|size| items.len() == size))
                    .ok_or_else(|| IntentError::malformed("a value is not a list of the size of its type"))?;
                items
                    .iter()
                    .map(|item| self.coerce(inner, item))
                    .collect::<Result<_, _>>()
                    .map(DynSolValue::Array)
            }
        }
    }

    /// The word that stands for a value inside another (EIP-712 `encodeData`); for a struct, `hashStruct`.
    fn hash(&mut self, value: &DynSolValue) -> Result<B256, IntentError> {
        if let Some(word) = value.as_word() {
            return Ok(word);
        }
        let (mut words, values) = match value {
            DynSolValue::CustomStruct { name, tuple, .. } => (self.type_hash(name)?.to_vec(), tuple),
            DynSolValue::Array(values) => (Vec::new(), values),
            DynSolValue::Bytes(bytes) => return Ok(keccak256(bytes)),
            DynSolValue::String(text) => return Ok(keccak256(text)),
            _ => return Err(IntentError::malformed("a value that EIP-712 does not know")),
        };
        for value in values {
            words.extend_from_slice(self.hash(value)?.as_slice());
        }
        Ok(keccak256(words))
    }

    fn type_hash(&mut self, name: &str) -> Result<B256, IntentError> {
        if let Some(hash) = self.hashes.get(name) {
            return Ok(*hash);
        }
        let hash = self.resolver.type_hash(name).map_err(unresolved)?;
        self.hashes.insert(name.to_owned(), hash);
        Ok(hash)
    }
}

fn unresolved(error: alloy_dyn_abi::Error) -> IntentError {
    IntentError::malformed(format!("the types do not resolve: {}", brief(&error.to_string())))
}

/// The start of a text from outside, for an error message.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// Exactly these members of a JSON object, in this order.
fn members<'a, const N: usize>(
    json: &'a Value,
    names: [&'static str; N],
    what: &'static str,
) -> Result<[&'a Value; N], IntentError> {
    let refused = || IntentError::malformed(format!("{what} must be an object of {}", names.join(", ")));
    let object = json.as_object().filter(|object| object.len() == N).ok_or_else(refused)?;
    let values: Vec<_> = names.iter().filter_map(|name| object.get(*name)).collect();
    values.try_into().map_err(|_| refused())
}

fn member<'a>(value: &'a DynSolValue, name: &str) -> Option<&'a DynSolValue> {
    let (_, names, values) = value.as_custom_struct()?;
    names.iter().zip(values).find_map(|(n, value)| (n == name).then_some(value))
}

/// An identifier of Solidity; type names may carry a namespace before a colon, as some protocols do. Anything else could
/// forge parts of the type string.
fn is_identifier(text: &str, namespaced: bool) -> bool {
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'$'));
    starts
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || (namespaced && b == b':'))
}

fn parse_type(text: &str, structs: &Map<String, Value>) -> Result<Type, IntentError> {
    let unknown = || IntentError::malformed(format!("`{}` is not a type", brief(text)));
    let (stem, suffix) = text.split_at(text.find('[').unwrap_or(text.len()));
    let mut ty = match atom(stem) {
        Some(atom) => Type::Atom(atom),
        None if structs.contains_key(stem) => Type::Struct(stem.to_owned()),
        None => return Err(unknown()),
    };
    let mut rest = suffix;
    let mut depth = 0;
    while !rest.is_empty() {
        let (size, after) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(unknown)?;
        let size = match size {
            "" => None,
            digits => Some(canonical_number(digits).filter(|size| *size > 0).ok_or_else(unknown)?),
        };
        depth += 1;
        if depth > limit::NESTING {
            return Err(IntentError::TooComplex { what: "nested arrays", limit: limit::NESTING });
        }
        ty = Type::Array(Box::new(ty), size);
        rest = after;
    }
    Ok(ty)
}

/// The elementary types of EIP-712, under their one name each: no `uint`, no `function`.
fn atom(text: &str) -> Option<DynSolType> {
    let sized = |prefix: &str| canonical_number(text.strip_prefix(prefix)?);
    let bits = |prefix: &str| sized(prefix).filter(|bits| (8..=256).contains(bits) && bits % 8 == 0);
    match text {
        "bool" => Some(DynSolType::Bool),
        "address" => Some(DynSolType::Address),
        "string" => Some(DynSolType::String),
        "bytes" => Some(DynSolType::Bytes),
        _ => bits("uint")
            .map(DynSolType::Uint)
            .or_else(|| bits("int").map(DynSolType::Int))
            .or_else(|| sized("bytes").filter(|size| (1..=32).contains(size)).map(DynSolType::FixedBytes)),
    }
}

fn canonical_number(digits: &str) -> Option<usize> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if canonical { digits.parse().ok() } else { None }
}

/// A value of an elementary type, where the JSON says it in one way only: booleans as such, numbers as integers up to
/// 2^53 - 1 or as text, bytes as `0x` text of the right length, addresses with their checksum where it is there.
fn coerce_atom(ty: &DynSolType, json: &Value) -> Option<DynSolValue> {
    match ty {
        DynSolType::Bool => json.as_bool().map(DynSolValue::Bool),
        DynSolType::String => json.as_str().map(|text| DynSolValue::String(text.to_owned())),
        DynSolType::Bytes => {
            digits_of(json).and_then(|digits| hex::decode(digits).ok()).map(DynSolValue::Bytes)
        }
        DynSolType::FixedBytes(size) => {
            let bytes = hex::decode(digits_of(json)?).ok().filter(|bytes| bytes.len() == *size)?;
            Some(DynSolValue::FixedBytes(B256::right_padding_from(&bytes), *size))
        }
        DynSolType::Address => address(json.as_str()?).map(DynSolValue::Address),
        DynSolType::Uint(bits) => {
            let number = match json {
                Value::Number(number) => U256::from(number.as_u64().filter(|n| *n <= JSON_INTEGER_MAX)?),
                Value::String(text) => unsigned(text)?,
                _ => return None,
            };
            (number.bit_len() <= *bits).then_some(DynSolValue::Uint(number, *bits))
        }
        DynSolType::Int(bits) => {
            let number = match json {
                Value::Number(number) => {
                    I256::try_from(number.as_i64().filter(|n| n.unsigned_abs() <= JSON_INTEGER_MAX)?).ok()?
                }
                Value::String(text) => signed(text)?,
                _ => return None,
            };
            (usize::try_from(number.bits()).is_ok_and(|used| used <= *bits))
                .then_some(DynSolValue::Int(number, *bits))
        }
        _ => None,
    }
}

fn digits_of(json: &Value) -> Option<&str> {
    json.as_str()?.strip_prefix("0x")
}

fn unsigned(text: &str) -> Option<U256> {
    if let Some(digits) = text.strip_prefix("0x") {
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        return if hexadecimal { U256::from_str_radix(digits, 16).ok() } else { None };
    }
    let decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = decimal && (text == "0" || !text.starts_with('0'));
    if canonical { U256::from_str_radix(text, 10).ok() } else { None }
}

fn signed(text: &str) -> Option<I256> {
    match text.strip_prefix('-') {
        // Negative hexadecimal could mean a sign or two's complement.
        Some(digits) if !digits.starts_with('0') => {
            I256::checked_from_sign_and_abs(alloy_primitives::Sign::Negative, unsigned(digits)?)
        }
        Some(_) => None,
        None => I256::checked_from_sign_and_abs(alloy_primitives::Sign::Positive, unsigned(text)?),
    }
}

fn address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40)?;
    let one_case =
        !digits.bytes().any(|b| b.is_ascii_uppercase()) || !digits.bytes().any(|b| b.is_ascii_lowercase());
    if one_case { text.parse().ok() } else { Address::parse_checksummed(text, None).ok() }
}

fn check_size(document: &Value) -> Result<(), IntentError> {
    if document.is_null() || document.as_object().is_some_and(Map::is_empty) {
        return Err(IntentError::Empty);
    }
    if !nests_at_most(document, limit::NESTING) {
        return Err(IntentError::TooComplex { what: "levels of nesting", limit: limit::NESTING });
    }
    let mut size = Size(0);
    serde_json::to_writer(&mut size, document)
        .map_err(|_| IntentError::malformed("the document is not JSON"))?;
    if size.0 > limit::TYPED_DATA_BYTES {
        return Err(IntentError::TooLarge { bytes: size.0, limit: limit::TYPED_DATA_BYTES });
    }
    Ok(())
}

fn nests_at_most(json: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return false;
    };
    match json {
        Value::Array(items) => items.iter().all(|item| nests_at_most(item, below)),
        Value::Object(object) => object.values().all(|item| nests_at_most(item, below)),
        _ => true,
    }
}

/// Counts what is written.
struct Size(usize);

impl io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
