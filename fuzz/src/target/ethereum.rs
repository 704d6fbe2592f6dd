//! Ethereum payloads. What is understood must be what a second reader of RLP and alloy's own EIP-712 find in the bytes.

use std::sync::LazyLock;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxEip4844, TxLegacy};
use alloy_dyn_abi::TypedData;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, TxKind, U256, keccak256};
use chancery_core::{Payload, limit};
use chancery_intent::contracts::{Abi, Entry, Registry};
use chancery_intent::{Account, Description, Intent, IntentError, Signature, Standard, ethereum, understand};
use serde_json::Value;

use crate::Seen;
use crate::rlp::{self, Item};

const CHAINS: &[u64] = &[1, 10];
const ACCOUNT: Account<'static> =
    Account::Ethereum(ethereum::Account { address: Address::repeat_byte(0xf3), chain_ids: CHAINS });
const CONTRACTS: [Address; 4] = [
    Address::repeat_byte(0x20),
    Address::repeat_byte(0x72),
    Address::repeat_byte(0x11),
    Address::repeat_byte(0xaa),
];
const VAULT: &str = r#"[{"type":"function","name":"deposit","stateMutability":"payable","outputs":[],
    "inputs":[{"name":"amount","type":"uint256"},{"name":"notes","type":"string[]"},
    {"name":"order","type":"tuple","components":[{"name":"a","type":"address"},{"name":"b","type":"bytes4[2]"}]}]},
    {"type":"function","name":"stop","stateMutability":"nonpayable","outputs":[],"inputs":[]}]"#;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let token = |address, standard| Entry { chain_id: 1, address, standard: Some(standard), abi: None };
    Registry::build([
        token(CONTRACTS[0], Standard::Erc20),
        token(CONTRACTS[1], Standard::Erc721),
        token(CONTRACTS[2], Standard::Erc1155),
        Entry { chain_id: 1, address: CONTRACTS[3], standard: None, abi: Some(VAULT) },
    ])
    .unwrap()
});

fn ask(payload: &Payload) -> Result<Intent, IntentError> {
    understand(payload, &ACCOUNT, &*REGISTRY)
}

/// What holds of everything that is understood.
pub(super) fn holds(intent: &Intent) -> Seen {
    let description = intent.description();
    assert!((1..=limit::EFFECTS).contains(&description.effects.len()));
    let text = serde_json::to_string(description).unwrap();
    let back: Description = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, description, "the stable form survives its own JSON");
    let any = Signature { r: [1; 32], s: [1; 32], y_parity: Some(true) };
    let finished = intent.finish(&vec![any; intent.signings().len()]);
    let shape = |effect: &chancery_intent::model::Effect| (effect.kind.as_str(), effect.unlimited);
    let shapes: Vec<_> = description.effects.iter().map(shape).collect();
    Seen::accepted(&(&description.form, shapes, finished.is_ok()))
}

fn signed(intent: &Intent, preimage: &[u8]) {
    assert_eq!(intent.preimage(), preimage, "what is signed is what was sent");
    assert_eq!(*intent.signing_digest(), keccak256(preimage).0);
}

pub(super) fn transaction(data: &[u8]) -> Seen {
    let intent = match ask(&Payload::EthereumTransaction { data: data.to_vec() }) {
        Ok(intent) => intent,
        Err(error) => return Seen::refused(&error),
    };
    signed(&intent, data);
    let (kind, body) = if data[0] >= 0xc0 { (0, data) } else { (data[0], &data[1..]) };
    let Some(Item::List(fields)) = rlp::read(body) else { panic!("understood, and no canonical RLP") };
    let (fields_wanted, chain, nonce, to) = match kind {
        0 => (9, 6, 0, 3),
        1 => (8, 0, 1, 4),
        2 => (9, 0, 1, 5),
        3 => (11, 0, 1, 5),
        4 => (10, 0, 1, 5),
        other => panic!("understood a transaction of type {other}"),
    };
    assert_eq!(fields.len(), fields_wanted);
    let description = intent.description();
    let chain_id = fields[chain].number().unwrap();
    assert_eq!(description.chain, format!("eip155:{chain_id}"));
    assert!(CHAINS.iter().any(|known| u128::from(*known) == chain_id));
    assert_eq!(description.nonce.map(u128::from), fields[nonce].number());
    let text = serde_json::to_string(description).unwrap();
    match fields[to] {
        Item::Bytes([]) => assert!(text.contains("deployment"), "{text}"),
        Item::Bytes(to) => {
            let to = Address::from_slice(to).to_string();
            assert!(text.contains(&to), "nothing is said of {to}: {text}");
        }
        Item::List(_) => panic!("understood a list for a recipient"),
    }
    holds(&intent)
}

/// The first byte chooses the contract and the coin sent; the rest is calldata.
pub(super) fn calldata(input: &[u8]) -> Seen {
    let (first, calldata) = input.split_first().unwrap_or((&0, &[]));
    let value = u64::from(first >> 4);
    let call = TxEip1559 {
        chain_id: 1,
        gas_limit: 100_000,
        max_fee_per_gas: 9,
        to: TxKind::Call(CONTRACTS[usize::from(first & 3)]),
        value: U256::from(value),
        input: calldata.to_vec().into(),
        ..TxEip1559::default()
    };
    match ask(&Payload::EthereumTransaction { data: call.encoded_for_signing() }) {
        Err(error) => Seen::refused(&error),
        Ok(intent) => {
            let coin: U256 = intent
                .description()
                .effects
                .iter()
                .filter(|effect| effect.asset.as_deref() == Some("eip155:1/slip44:60"))
                .filter_map(|effect| effect.amount)
                .fold(U256::ZERO, |sum, amount| sum + amount);
            assert_eq!(coin, U256::from(value), "every wei is told once");
            holds(&intent)
        }
    }
}

pub(super) fn authorization(data: &[u8]) -> Seen {
    match ask(&Payload::EthereumAuthorization { data: data.to_vec() }) {
        Err(error) => Seen::refused(&error),
        Ok(intent) => {
            signed(&intent, data);
            let Some(Item::List(fields)) = rlp::read(&data[1..]) else { panic!("no canonical RLP") };
            let [chain, Item::Bytes(to), nonce] = &fields[..] else { panic!("{fields:?}") };
            assert_eq!(to.len(), 20);
            assert_eq!(intent.description().nonce.map(u128::from), nonce.number());
            assert!(chain.number().is_some_and(|id| id == 0 || id == 1 || id == 10));
            holds(&intent)
        }
    }
}

pub(super) fn typed_data(text: &[u8]) -> Seen {
    let document: Value = match serde_json::from_slice(text) {
        Ok(document) => document,
        Err(error) => return Seen::refused(&error),
    };
    let intent = match ask(&Payload::EthereumTypedData { document: document.clone() }) {
        Ok(intent) => intent,
        Err(error) => return Seen::refused(&error),
    };
    assert_eq!(intent.preimage()[..2], [0x19, 0x01]);
    signed(&intent, intent.preimage());
    // Another implementation of EIP-712, where it reads the document at all.
    if let Some(digest) = serde_json::from_value(document.clone())
        .ok()
        .and_then(|document: TypedData| document.eip712_signing_hash().ok())
    {
        assert_eq!(*intent.signing_digest(), digest.0, "alloy signs another digest for {document}");
    }
    let again: Value = serde_json::from_str(&serde_json::to_string_pretty(&document).unwrap()).unwrap();
    let again = ask(&Payload::EthereumTypedData { document: again }).unwrap();
    assert_eq!(again.signing_digest(), intent.signing_digest(), "white space changes nothing");
    holds(&intent)
}

pub(super) fn abi(text: &[u8]) -> Seen {
    let Ok(text) = std::str::from_utf8(text) else { return Seen::refused(&"not text") };
    match Abi::parse(text) {
        Err(error) => Seen::refused(&error),
        Ok(abi) => {
            // What was registered must bear any call.
            let entry = Entry { chain_id: 1, address: CONTRACTS[0], standard: None, abi: Some(text) };
            assert!(Registry::build([entry]).is_ok());
            Seen::accepted(&abi.len().min(3))
        }
    }
}

pub(super) fn transactions() -> Vec<Vec<u8>> {
    let bob = Address::repeat_byte(0xb0);
    let list = || {
        let item = AccessListItem { address: bob, storage_keys: vec![[7; 32].into(); 2] };
        AccessList(vec![item])
    };
    let legacy = TxLegacy {
        chain_id: Some(1),
        nonce: 9,
        gas_price: 7,
        gas_limit: 21_000,
        to: TxKind::Call(bob),
        ..TxLegacy::default()
    };
    let listed = TxEip2930 {
        chain_id: 10,
        to: TxKind::Call(bob),
        gas_limit: 21_000,
        access_list: list(),
        ..TxEip2930::default()
    };
    let dynamic = |to, input: Vec<u8>| TxEip1559 {
        chain_id: 1,
        nonce: 7,
        gas_limit: 100_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        value: U256::from(5),
        access_list: list(),
        input: input.into(),
    };
    let blobs = TxEip4844 {
        chain_id: 1,
        to: bob,
        blob_versioned_hashes: vec![[1; 32].into(); 2],
        ..TxEip4844::default()
    };
    let mut transactions = vec![
        legacy.encoded_for_signing(),
        listed.encoded_for_signing(),
        dynamic(TxKind::Call(bob), Vec::new()).encoded_for_signing(),
        dynamic(TxKind::Call(CONTRACTS[3]), calls()[0][1..].to_vec()).encoded_for_signing(),
        dynamic(TxKind::Create, vec![0x60, 0x80]).encoded_for_signing(),
        blobs.encoded_for_signing(),
    ];
    // Type 4 has what type 2 has, and authorizations for the list that type 2 ends with.
    transactions.push(hex::decode("04f8480107843b9aca008506fc23ac00830186a094b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00580c0dcdb0194cacacacacacacacacacacacacacacacacacacaca05800102").unwrap());
    transactions
}

pub(super) fn calls() -> Vec<Vec<u8>> {
    let call = |contract: u8, method: &str, words: &[u64]| {
        let words = words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>());
        let selector = keccak256(method)[..4].to_vec();
        [vec![contract], selector, words.collect()].concat()
    };
    vec![
        call(3, "deposit(uint256,string[],(address,bytes4[2]))", &[9, 160, 7, 0, 0, 1, 32, 2, 0]),
        call(3, "stop()", &[]),
        call(0, "transfer(address,uint256)", &[7, 9]),
        call(0, "approve(address,uint256)", &[7, u64::MAX]),
        call(1, "safeTransferFrom(address,address,uint256)", &[1, 2, 3]),
        call(1, "setApprovalForAll(address,bool)", &[7, 1]),
        call(
            2,
            "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)",
            &[1, 2, 160, 224, 288, 1, 5, 1, 6, 0],
        ),
        vec![0x50],
    ]
}

pub(super) fn authorizations() -> Vec<Vec<u8>> {
    [
        "05d70194fba3912ca04dd458c843e2ee08967fc04f3579c280",
        "05d78094fba3912ca04dd458c843e2ee08967fc04f3579c27f",
    ]
    .map(|text| hex::decode(text).unwrap())
    .into()
}

pub(super) fn documents() -> Vec<Vec<u8>> {
    let mail: Value = serde_json::from_str(include_str!("../../../intent/tests/vectors/mail.json")).unwrap();
    let permit = r#"{"types":{"EIP712Domain":[{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],
        "Permit":[{"name":"owner","type":"address"},{"name":"spender","type":"address"},{"name":"value","type":"uint256"},
        {"name":"nonce","type":"uint256"},{"name":"deadline","type":"uint256"}]},"primaryType":"Permit",
        "domain":{"chainId":1,"verifyingContract":"0x2020202020202020202020202020202020202020"},
        "message":{"owner":"0xf3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3","spender":"0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
        "value":"115792089237316195423570985008687907853269984665640564039457584007913129639935","nonce":0,"deadline":"0x10"}}"#;
    let shapes = r#"{"types":{"T":[{"name":"a","type":"int8[2][]"},{"name":"b","type":"bytes"},{"name":"c","type":"U[]"},
        {"name":"d","type":"bool"},{"name":"e","type":"bytes3"},{"name":"f","type":"string"}],"U":[{"name":"x","type":"uint40"}]},
        "primaryType":"T","domain":{},"message":{"a":[[1,"-2"]],"b":"0x01","c":[{"x":5}],"d":true,"e":"0x010203","f":"\u00fc"}}"#;
    vec![mail["document"].to_string().into_bytes(), permit.into(), shapes.into()]
}

pub(super) fn abis() -> Vec<Vec<u8>> {
    vec![VAULT.into(), format!(r#"{{"abi":{VAULT}}}"#).into()]
}
