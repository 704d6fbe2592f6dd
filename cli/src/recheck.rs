//! Decodes a payload again and compares with what somebody says it does. A receipt carries no contract registry, so
//! what the policy bundle knew about contracts (standards, ABIs) is taken from the stated intent itself, and named as
//! an assumption. If this is wrong, a receipt convinces about a payload that does something else.

use std::collections::BTreeMap;

use chancery_core::Payload;
use chancery_intent::bitcoin::{Network, Wallet};
use chancery_intent::change::{NAMESPACE, Seal};
use chancery_intent::contracts::{Entry, Registry};
use chancery_intent::model::{Description, Effect, Kind};
use chancery_intent::solana::{self, Cluster, Pubkey};
use chancery_intent::{Account, Address, Signing, Standard, address_of, ethereum, understand};
use serde_json::{Value, json};

const STANDARDS: [Standard; 3] = [Standard::Erc20, Standard::Erc721, Standard::Erc1155];

/// What decoding again has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rechecked {
    /// What holds, a sentence each.
    pub checked: Vec<String>,
    /// What it rests on besides the payload: the policy bundle's word about contracts.
    pub assumed: Vec<String>,
    /// The key of each signature, where they are derived from the wallet's account.
    pub signers: Vec<Vec<u8>>,
    /// What is signed.
    pub signings: Vec<Signing>,
}

/// Decodes `payload` again, as of the wallet with this public key, and compares it with the stated intent and signing
/// digest. Without the key an Ethereum intent is taken at its word about whose account it is.
///
/// # Errors
/// A sentence about what differs.
pub fn recheck(
    payload: &Payload,
    stated: &Value,
    signing_digest: &[u8; 32],
    public_key: Option<&[u8]>,
) -> Result<Rechecked, String> {
    let stated: Description = serde_json::from_value(stated.clone())
        .map_err(|error| format!("the intent is not of format 1: {error}"))?;
    if is_change(payload) {
        return recheck_change(payload, &stated, signing_digest);
    }
    if is_bitcoin(payload) {
        let key = public_key.ok_or("without the wallet's public key a Bitcoin intent cannot be checked")?;
        return recheck_bitcoin(payload, &stated, signing_digest, key);
    }
    if is_solana(payload) {
        return recheck_solana(payload, &stated, signing_digest, public_key);
    }
    let account = public_key.map(address_of).transpose().map_err(|error| error.to_string())?;
    let named: Address =
        stated.account.parse().map_err(|_| "the intent's account is no address".to_owned())?;
    if account.is_some_and(|account| account != named) {
        return Err("the intent's account is not the one of the wallet's public key".to_owned());
    }
    let chain_ids: Vec<u64> = chain_id(&stated.chain).into_iter().collect();
    let account_of = Account::Ethereum(ethereum::Account { address: named, chain_ids: &chain_ids });
    let agrees = |told: &Told| -> Result<Vec<Signing>, String> {
        let intent = understand(payload, &account_of, &told.registry()?)
            .map_err(|error| format!("the payload does not decode: {error}"))?;
        if intent.signing_digest() != signing_digest {
            return Err("the signing digest is not the payload's".to_owned());
        }
        if *intent.description() == stated {
            return Ok(intent.signings().to_vec());
        }
        let found = serde_json::to_string(intent.description()).unwrap_or_default();
        Err(format!("the payload does not do what the intent says; it does {found}"))
    };
    let mut told = Told::by(&stated);
    let signings = match agrees(&told) {
        Ok(signings) => signings,
        Err(difference) => {
            // A contract of another standard than the selector's is told nowhere: its call is a call like any other.
            let supposed = STANDARDS.map(|standard| Told::by(&stated).supposing(&stated, standard));
            told = supposed.into_iter().find(|told| agrees(told).is_ok()).ok_or(difference)?;
            agrees(&told)?
        }
    };
    let mut checked = vec![
        "the payload decodes, and to exactly the stated intent".to_owned(),
        "the signing digest is the payload's".to_owned(),
    ];
    if account.is_some() {
        checked.push("the account is the one of the wallet's public key".to_owned());
    }
    Ok(Rechecked { checked, assumed: told.sentences(), signers: Vec::new(), signings })
}

/// Whether a payload is decoded for a descriptor and not for an address.
pub fn is_bitcoin(payload: &Payload) -> bool {
    matches!(payload, Payload::BitcoinPsbt { .. } | Payload::BitcoinMessage { .. })
}

/// Whether a payload is of Solana.
pub fn is_solana(payload: &Payload) -> bool {
    matches!(payload, Payload::SolanaTransaction { .. })
}

/// Whether a payload changes the appliance itself.
pub fn is_change(payload: &Payload) -> bool {
    matches!(payload, Payload::ApplianceChange { .. })
}

/// The seal that an intent says it was decoded for.
///
/// # Errors
/// A sentence about what it does not say.
pub fn stated_seal(stated: &Description) -> Result<Seal<'_>, String> {
    let tenant = stated.chain.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':'));
    let tenant = tenant.ok_or("the intent's chain is not that of changes")?;
    Ok(Seal { tenant, wallet: &stated.account })
}

/// A change names the tenant and the seal that it was decoded for; whether the key is that of the seal is in the log.
fn recheck_change(
    payload: &Payload,
    stated: &Description,
    signing_digest: &[u8; 32],
) -> Result<Rechecked, String> {
    let account = Account::Seal(stated_seal(stated)?);
    let intent = understand(payload, &account, &Registry::default())
        .map_err(|error| format!("the payload does not decode: {error}"))?;
    if intent.signing_digest() != signing_digest {
        return Err("the signing digest is not the payload's".to_owned());
    }
    if intent.description() != stated {
        return Err("the payload does not change what the intent says".to_owned());
    }
    Ok(Rechecked {
        checked: vec![
            "the payload decodes, and to exactly the stated change".to_owned(),
            "the signing digest is the payload's".to_owned(),
        ],
        signers: Vec::new(),
        signings: intent.signings().to_vec(),
        assumed: vec![format!("`{}` is the tenant's seal: the log's entry about it says so", stated.account)],
    })
}

/// The Bitcoin wallet that an intent says it was decoded for.
///
/// # Errors
/// A sentence about what it does not say.
pub fn stated_wallet(stated: &Description, public_key: &[u8]) -> Result<Wallet, String> {
    let network = Network::of_chain(&stated.chain).ok_or("the intent's chain is no Bitcoin network")?;
    let descriptor = stated.detail.get("descriptor").and_then(Value::as_str);
    let descriptor = descriptor.ok_or("the intent names no descriptor")?;
    Wallet::parse(network, descriptor, public_key).map_err(|error| error.to_string())
}

/// A Bitcoin intent names the descriptor it was decoded for; whether that is the wallet's is in the log.
fn recheck_bitcoin(
    payload: &Payload,
    stated: &Description,
    signing_digest: &[u8; 32],
    public_key: &[u8],
) -> Result<Rechecked, String> {
    let wallet = stated_wallet(stated, public_key)?;
    let open = stated.detail.get("open_to_more_inputs") == Some(&Value::Bool(true));
    let contracts = Registry::default().with_anyone_can_pay(open);
    let intent = understand(payload, &Account::Bitcoin(&wallet), &contracts)
        .map_err(|error| format!("the payload does not decode: {error}"))?;
    if intent.signing_digest() != signing_digest {
        return Err("the signing digest is not the payload's".to_owned());
    }
    if intent.description() != stated {
        let found = serde_json::to_string(intent.description()).unwrap_or_default();
        return Err(format!("the payload does not do what the intent says; it does {found}"));
    }
    let mut assumed =
        vec![format!("the wallet's descriptor is {}: the log's entry about it says so", wallet.descriptor())];
    if open {
        assumed.push("inputs may be signed so that others can add more: the policy bundle's word".to_owned());
    }
    let signers = intent.signings().iter().filter_map(|signing| signing.signer(public_key)).collect();
    Ok(Rechecked {
        signers,
        signings: intent.signings().to_vec(),
        checked: vec![
            "the payload decodes, and to exactly the stated intent".to_owned(),
            "the signing digest commits to every digest of the payload".to_owned(),
            "the wallet's public key stands in the descriptor".to_owned(),
        ],
        assumed,
    })
}

/// The Solana account that an intent says it was decoded for.
///
/// # Errors
/// A sentence about what it does not say.
pub fn stated_solana(stated: &Description) -> Result<solana::Account, String> {
    let cluster = Cluster::of_chain(&stated.chain).ok_or("the intent's chain is no cluster of Solana")?;
    let address = solana::address(&stated.account).map_err(|_| "the intent's account is no address")?;
    Ok(solana::Account { address, cluster })
}

/// Token accounts prove themselves; what lookup tables hold is the bundle's word, of which the intent tells what was read.
fn recheck_solana(
    payload: &Payload,
    stated: &Description,
    signing_digest: &[u8; 32],
    public_key: Option<&[u8]>,
) -> Result<Rechecked, String> {
    let account = stated_solana(stated)?;
    if public_key.is_some_and(|key| solana::address_of(key).ok() != Some(account.address)) {
        return Err("the intent's account is not the wallet's public key".to_owned());
    }
    let (tables, mut assumed) = stated_tables(stated)?;
    let tables = tables.into_iter().map(|(table, held)| ((account.cluster, table), held));
    let contracts = Registry::default().with_lookup_tables(tables);
    let intent = understand(payload, &Account::Solana(account), &contracts)
        .map_err(|error| format!("the payload does not decode: {error}"))?;
    if intent.signing_digest() != signing_digest {
        return Err("the signing digest is not the payload's".to_owned());
    }
    if intent.description() != stated {
        let found = serde_json::to_string(intent.description()).unwrap_or_default();
        return Err(format!("the payload does not do what the intent says; it does {found}"));
    }
    assumed.push(format!("the wallet is of {}: no Solana message names its cluster", stated.chain));
    let mut checked = vec![
        "the payload decodes, and to exactly the stated intent".to_owned(),
        "the signing digest is the payload's".to_owned(),
    ];
    if public_key.is_some() {
        checked.push("the account is the wallet's public key".to_owned());
    }
    Ok(Rechecked { checked, assumed, signers: Vec::new(), signings: intent.signings().to_vec() })
}

/// What an intent says that lookup tables hold; a place that it does not tell is filled with the table itself.
type Tables = Vec<(Pubkey, Vec<Pubkey>)>;

fn stated_tables(stated: &Description) -> Result<(Tables, Vec<String>), String> {
    let none = || "the intent tells of lookup tables in another way".to_owned();
    let (mut tables, mut assumed) = (Vec::new(), Vec::new());
    let told = stated.detail.get("lookup_tables").and_then(Value::as_object).into_iter().flatten();
    for (table, places) in told {
        let address = solana::address(table).map_err(|_| none())?;
        let mut held = vec![address; 256];
        for (index, account) in places.as_object().ok_or_else(none)? {
            let slot = index.parse().ok().and_then(|index: usize| held.get_mut(index)).ok_or_else(none)?;
            let account = account.as_str().ok_or_else(none)?;
            *slot = solana::address(account).map_err(|_| none())?;
            assumed.push(format!(
                "the lookup table {table} holds {account} at {index}: the policy bundle's word"
            ));
        }
        tables.push((address, held));
    }
    Ok((tables, assumed))
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

    /// The same, with every called contract of no told standard being of this one.
    fn supposing(mut self, stated: &Description, standard: Standard) -> Self {
        for effect in &stated.effects {
            let address = effect.contract.as_deref().and_then(|text| text.parse().ok());
            if let (Some(chain_id), Some(address)) = (chain_id(&stated.chain), address) {
                self.contracts.entry((chain_id, address)).or_default().0.get_or_insert(standard);
            }
        }
        self
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
    let standard = STANDARDS.into_iter().find(|standard| standard.namespace() == namespace)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `settle((uint256,(address,bool)[2])[],bytes)` of contract 0x5FbD...0aa3 on chain 31337.
    const SETTLE: &str = "0x02f9016f827a6901843b9aca00847735940082ea60945fbdb2315678afecb367f032d93f642f64180aa380b901447d481394000000000000000000000000000000000000000000000000000000000000004000000000000000000000000000000000000000000000000000000000000001000000000000000000000000000000000000000000000000000000000000000001000000000000000000000000000000000000000000000000000000000000000700000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8000000000000000000000000000000000000000000000000000000000000000100000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000002abcd000000000000000000000000000000000000000000000000000000000000c0";
    const SETTLE_ABI: &str = r#"[{"type":"function","name":"settle","stateMutability":"nonpayable","outputs":[],"inputs":[
        {"name":"legs","type":"tuple[]","components":[{"name":"amount","type":"uint256"},
            {"name":"sides","type":"tuple[2]","components":[{"name":"who","type":"address"},{"name":"pays","type":"bool"}]}]},
        {"name":"memo","type":"bytes"}]}]"#;
    /// `safeTransferFrom(address,address,uint256)`, which ERC-20 does not have, of the same contract.
    const SAFE_TRANSFER: &str = "0x02f88e827a6901843b9aca00847735940082ea60945fbdb2315678afecb367f032d93f642f64180aa380b86442842e0e00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c80000000000000000000000000000000000000000000000000000000000000007c0";
    const CONTRACT: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    /// The generator of secp256k1 and its double.
    const ONE: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const TWO: &str = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";

    fn key(digits: &str) -> Vec<u8> {
        hex::decode(digits).unwrap()
    }

    #[test]
    fn a_bitcoin_intent_is_checked_for_its_descriptor_and_key() {
        let payload: Payload =
            serde_json::from_value(json!({ "type": "bitcoin.message", "data": "0x6869" })).unwrap();
        let wallet = Wallet::parse(Network::Signet, "wpkh(@0)", &key(ONE)).unwrap();
        let intent = understand(&payload, &Account::Bitcoin(&wallet), &Registry::default()).unwrap();
        let (stated, digest) = (json!(intent.description()), *intent.signing_digest());
        let found = recheck(&payload, &stated, &digest, Some(&key(ONE))).unwrap();
        assert!(found.assumed[0].contains("wpkh("), "the descriptor is the log's word: {found:?}");
        assert!(recheck(&payload, &stated, &digest, Some(&key(TWO))).is_err(), "another wallet's key");
        assert!(recheck(&payload, &stated, &digest, None).is_err(), "nobody's key");
        assert!(recheck(&payload, &stated, &[0; 32], Some(&key(ONE))).is_err());
        for (pointer, value) in [
            ("/chain", json!("bip122:0f9188f13cb7b2c71f2a335e3a4fc328")),
            ("/detail/descriptor", json!(format!("pkh({ONE})"))),
            ("/detail/data", json!("0x6a6a")),
            ("/account", json!("tb1q")),
        ] {
            let mut changed = stated.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(recheck(&payload, &changed, &digest, Some(&key(ONE))).is_err(), "{pointer}");
        }
    }

    fn payload(data: &str) -> Payload {
        serde_json::from_value(json!({ "type": "ethereum.transaction", "data": data })).unwrap()
    }

    /// What an appliance whose bundle knows the contract so would state, and the digest.
    fn stated(payload: &Payload, standard: Option<Standard>, abi: Option<&str>) -> (Value, [u8; 32]) {
        let address = CONTRACT.parse().unwrap();
        let registry = Registry::build([Entry { chain_id: 31_337, address, standard, abi }]).unwrap();
        let account = Account::Ethereum(ethereum::Account {
            address: address_of(&key(ONE)).unwrap(),
            chain_ids: &[31_337],
        });
        let intent = understand(payload, &account, &registry).unwrap();
        (json!(intent.description()), *intent.signing_digest())
    }

    #[test]
    fn arguments_of_any_shape_are_decoded_again() {
        let payload = payload(SETTLE);
        let (intent, digest) = stated(&payload, None, Some(SETTLE_ABI));
        assert_eq!(intent["effects"][0]["method"]["arguments"][1]["value"], "0xabcd");
        let found = recheck(&payload, &intent, &digest, None).unwrap();
        assert!(found.assumed[0].contains("`settle`"), "{found:?}");
        for (pointer, lie) in [
            ("/effects/0/method/arguments/1/value", json!("0xabce")),
            ("/effects/0/method/arguments/0/value/0/0", json!("8")),
            ("/effects/0/method/arguments/0/type", json!("(uint256,(address,bool)[])[]")),
            ("/effects/0/method/arguments/0/type", json!("(((((")),
            ("/effects/0/method/signature", json!("settled((uint256,(address,bool)[2])[],bytes)")),
            ("/effects/0/method/signature", json!(null)),
            ("/effects/0/contract", json!(Address::ZERO)),
        ] {
            let mut changed = intent.clone();
            *changed.pointer_mut(pointer).unwrap() = lie;
            assert!(recheck(&payload, &changed, &digest, None).is_err(), "{pointer}");
        }
    }

    #[test]
    fn a_call_that_its_contracts_standard_does_not_have_is_understood() {
        let payload = payload(SAFE_TRANSFER);
        let (intent, digest) = stated(&payload, Some(Standard::Erc20), None);
        assert_eq!(intent["effects"][0]["kind"], "contract_call");
        let found = recheck(&payload, &intent, &digest, None).unwrap();
        assert!(found.assumed[0].contains("`erc20`"), "what was supposed must be named: {found:?}");
        let (other, _) = stated(&payload, Some(Standard::Erc721), None);
        assert_eq!(other["effects"][0]["kind"], "token_transfer");
        recheck(&payload, &other, &digest, None).unwrap();
    }

    #[test]
    fn digest_and_account_are_the_payloads_own() {
        let payload = payload(SETTLE);
        let (intent, mut digest) = stated(&payload, None, None);
        assert_eq!(
            recheck(&payload, &intent, &digest, Some(&key(ONE))).unwrap().assumed,
            Vec::<String>::new()
        );
        let other = key(TWO);
        assert!(recheck(&payload, &intent, &digest, Some(&other)).is_err());
        digest[0] ^= 1;
        assert!(recheck(&payload, &intent, &digest, Some(&key(ONE))).is_err());
    }
}
