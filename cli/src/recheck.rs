//! Decodes a payload again and compares with what somebody says it does. A receipt carries no contract registry, so
//! what the policy bundle knew about contracts (standards, ABIs) is taken from the stated intent itself, and named as
//! an assumption. If this is wrong, a receipt convinces about a payload that does something else.

use std::collections::BTreeMap;

use chancery_core::Payload;
use chancery_intent::contracts::{Entry, Registry};
use chancery_intent::model::{Description, Effect, Kind};
use chancery_intent::{Account, Address, Standard, understand};
use serde_json::{Value, json};

/// What decoding again has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rechecked {
    /// What holds, a sentence each.
    pub checked: Vec<String>,
    /// What it rests on besides the payload: the policy bundle's word about contracts.
    pub assumed: Vec<String>,
}

/// Decodes `payload` again as of `account` and compares it with the stated intent and signing digest.
///
/// # Errors
/// A sentence about what differs.
pub fn recheck(
    payload: &Payload,
    stated: &Value,
    signing_digest: &[u8; 32],
    account: Option<Address>,
) -> Result<Rechecked, String> {
    let stated: Description = serde_json::from_value(stated.clone())
        .map_err(|error| format!("the intent is not of format 1: {error}"))?;
    let named: Address =
        stated.account.parse().map_err(|_| "the intent's account is no address".to_owned())?;
    if account.is_some_and(|account| account != named) {
        return Err("the intent's account is not the one of the wallet's public key".to_owned());
    }
    let chain_ids: Vec<u64> = chain_id(&stated.chain).into_iter().collect();
    let told = Told::by(&stated);
    let registry = told.registry()?;
    let intent = understand(payload, &Account { address: named, chain_ids: &chain_ids }, &registry)
        .map_err(|error| format!("the payload does not decode: {error}"))?;
    if intent.signing_digest() != signing_digest {
        return Err("the signing digest is not the payload's".to_owned());
    }
    if *intent.description() != stated {
        return Err(format!(
            "the payload does not do what the intent says; it is {}",
            serde_json::to_string(intent.description()).unwrap_or_default()
        ));
    }
    let mut checked = vec![
        "the payload decodes, and to exactly the stated intent".to_owned(),
        "the signing digest is the payload's".to_owned(),
    ];
    if account.is_some() {
        checked.push("the account is the one of the wallet's public key".to_owned());
    }
    Ok(Rechecked { checked, assumed: told.sentences() })
}

fn chain_id(chain: &str) -> Option<u64> {
    chain.strip_prefix("eip155:")?.parse().ok()
}

/// What an intent tells about contracts that a payload cannot: standards and methods, by chain and address.
#[derive(Default)]
struct Told {
    contracts: BTreeMap<(u64, Address), (Option<Standard>, Vec<Value>)>,
}

impl Told {
    fn by(stated: &Description) -> Self {
        let mut told = Self::default();
        for effect in &stated.effects {
            if let Some((place, standard)) = effect.asset.as_deref().and_then(token) {
                told.contracts.entry(place).or_default().0 = Some(standard);
            }
            if let Some((place, function)) = method(&stated.chain, effect) {
                let functions = &mut told.contracts.entry(place).or_default().1;
                if !functions.contains(&function) {
                    functions.push(function);
                }
            }
        }
        told
    }

    fn registry(&self) -> Result<Registry, String> {
        let abis: Vec<Option<String>> = self
            .contracts
            .values()
            .map(|(_, functions)| (!functions.is_empty()).then(|| Value::from(functions.clone()).to_string()))
            .collect();
        let entries = self.contracts.iter().zip(&abis).map(|((place, (standard, _)), abi)| Entry {
            chain_id: place.0,
            address: place.1,
            standard: *standard,
            abi: abi.as_deref(),
        });
        Registry::build(entries).map_err(|error| format!("the intent's methods cannot be: {error}"))
    }

    fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for ((chain_id, address), (standard, functions)) in &self.contracts {
            if let Some(standard) = standard {
                let name = standard.namespace();
                sentences.push(format!(
                    "contract {address} on chain {chain_id} is `{name}`: the policy bundle's word"
                ));
            }
            for function in functions {
                let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
                sentences.push(format!(
                    "contract {address} on chain {chain_id} has `{name}` with those arguments: the policy bundle's word"
                ));
            }
        }
        sentences
    }
}

/// Chain, address and standard of a CAIP-19 token such as `eip155:1/erc721:0x.../42`.
fn token(asset: &str) -> Option<((u64, Address), Standard)> {
    let (chain, token) = asset.split_once('/')?;
    let (namespace, rest) = token.split_once(':')?;
    let address = rest.split('/').next()?.parse().ok()?;
    let standard = [Standard::Erc20, Standard::Erc721, Standard::Erc1155]
        .into_iter()
        .find(|standard| standard.namespace() == namespace)?;
    Some(((chain_id(chain)?, address), standard))
}

/// A call's method as an item of a JSON ABI, where the intent names its signature.
fn method(chain: &str, effect: &Effect) -> Option<((u64, Address), Value)> {
    if effect.kind != Kind::ContractCall {
        return None;
    }
    let method = effect.method.as_ref()?;
    let name = method.signature.as_ref()?.split('(').next()?;
    let inputs: Option<Vec<Value>> =
        method.arguments.iter().map(|argument| parameter(&argument.name, &argument.ty)).collect();
    let function = json!({
        "type": "function",
        "name": name,
        "inputs": inputs?,
        "outputs": [],
        "stateMutability": "payable",
    });
    Some(((chain_id(chain)?, effect.contract.as_ref()?.parse().ok()?), function))
}

/// One parameter of a JSON ABI; `(uint256,address)[]` becomes a tuple with components.
fn parameter(name: &str, ty: &str) -> Option<Value> {
    let Some(inner) = ty.strip_prefix('(') else { return Some(json!({ "name": name, "type": ty })) };
    let (inner, array) = inner.rsplit_once(')')?;
    let components: Option<Vec<Value>> = split(inner)?.into_iter().map(|ty| parameter("", ty)).collect();
    Some(json!({ "name": name, "type": format!("tuple{array}"), "components": components? }))
}

/// Splits `uint256,(a,b)[],bool` at the commas of the outermost level.
fn split(types: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in types.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(types.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(types.get(start..)?);
    Some(parts)
}
