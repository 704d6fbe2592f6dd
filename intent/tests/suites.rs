//! Whole published suites, too large to be kept here: `ethereum/tests` and the cases of ethers. Every vector is put to this
//! crate and counted once: passed, or skipped for a reason that must be true of it. Would catch an encoding that is taken for
//! another, a fact that is shown wrong, and a digest that is of something else. `cargo xtask setup` fetches the files;
//! without them these tests say so and pass, and `cargo xtask assurance --only vectors` does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod fixture;

use std::collections::BTreeMap;
use std::path::Path;

use alloy_consensus::TxEnvelope;
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{Address, Signature, U256, keccak256};
use chancery_core::Payload;
use chancery_intent::contracts::Registry;
use chancery_intent::{Account, Artifact, Intent, IntentError, ethereum, understand};
use fixture::recovered;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// EIP-2681, and the bounds of a transaction's numbers here: none of these can be on a chain.
const TOO_LARGE: &str = "a number that no chain takes";
const NO_CHAIN: &str = "names no chain, refused as such";

/// One file of a suite, or nothing where set-up did not fetch it.
fn suite<T: DeserializeOwned>(file: &str) -> Option<T> {
    // The target folder, whatever it is called: cargo puts `tmp` and set-up `tools` into it.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let path = target.join("tools/vectors").join(file);
    let Ok(text) = std::fs::read(&path) else {
        println!("skipped: no `{file}`; `cargo xtask setup` fetches it");
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

/// What `cargo xtask assurance --only vectors` reads.
#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn count(&mut self, verdict: Option<&'static str>) {
        match verdict {
            None => self.passed += 1,
            Some(reason) => *self.skipped.entry(reason).or_default() += 1,
        }
    }

    fn tell(&self, file: &str, by: &str, total: usize) {
        let tally = json!({"file": file, "by": by, "total": total, "passed": self.passed,
            "skipped": self.skipped, "failed": []});
        println!("\nassurance vectors {tally}");
    }
}

fn ask(payload: &Payload, address: Address, chain_id: Option<u64>) -> Result<Intent, IntentError> {
    let chains: Vec<u64> = chain_id.into_iter().collect();
    let account = Account::Ethereum(ethereum::Account { address, chain_ids: &chains });
    understand(payload, &account, &Registry::default())
}

fn transaction(data: Vec<u8>) -> Payload {
    Payload::EthereumTransaction { data }
}

/// `0x` and digits, as a number; what the suites write for none is nothing.
fn number(value: Option<&Value>) -> U256 {
    match value {
        Some(Value::String(text)) if text.trim_start_matches("0x").is_empty() => U256::ZERO,
        Some(Value::String(text)) => text.parse().unwrap(),
        Some(Value::Number(number)) => U256::from(number.as_u64().unwrap()),
        _ => U256::ZERO,
    }
}

/// One case of `ethereum/tests` writes zeros of an odd number of digits.
fn bytes(value: Option<&Value>) -> Vec<u8> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let whole = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    hex::decode(whole).unwrap()
}

/// Whether a refusal is for a number that the vector has and no chain takes.
fn too_large(transaction: &Map<String, Value>) -> bool {
    let more = |names: &[&str], bits: usize| {
        names.iter().any(|name| number(transaction.get(*name)).bit_len() > bits)
    };
    // A nonce travels in JSON too.
    more(&["nonce"], 53) || more(&["gasLimit"], 64) || more(PRICES, 128)
}

const PRICES: &[&str] = &["gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"];

/// What the intent shows is what the vector says of the transaction.
fn agrees(name: &str, intent: &Intent, vector: &Map<String, Value>) {
    let shown = intent.description();
    let detail = |name: &str| shown.detail.get(name).and_then(Value::as_str).unwrap_or("0").to_owned();
    assert_eq!(U256::from(shown.nonce.unwrap()), number(vector.get("nonce")), "{name}: nonce");
    assert_eq!(detail("gas_limit"), number(vector.get("gasLimit")).to_string(), "{name}: gas");
    let data = bytes(vector.get("data"));
    assert_eq!(detail("data_bytes"), data.len().to_string(), "{name}: data");
    for (shown, published) in [
        ("gas_price", "gasPrice"),
        ("max_fee_per_gas", "maxFeePerGas"),
        ("max_priority_fee_per_gas", "maxPriorityFeePerGas"),
    ] {
        // EIP-2930 has a gas price, and ethers calls it so; what a form has not, neither shows.
        if vector.contains_key(published) && intent.description().detail.contains_key(shown) {
            assert_eq!(detail(shown), number(vector.get(published)).to_string(), "{name}: {published}");
        }
    }
    let effect = &shown.effects[0];
    let to = bytes(vector.get("to"));
    if to.is_empty() {
        let code = keccak256(&data).to_string();
        assert_eq!(detail("initcode_keccak256"), code, "{name}: the code of a new contract");
    } else if data.is_empty() {
        let destination = Address::from_slice(&to).to_string();
        assert_eq!(effect.destination.as_deref(), Some(destination.as_str()), "{name}: to");
    }
    if to.is_empty() || data.is_empty() {
        let amount = effect.amount.unwrap_or(U256::ZERO);
        assert_eq!(amount, number(vector.get("value")), "{name}: value");
    }
}

/// The published signature of the same transaction recovers its sender, and finishing with it gives the published bytes.
fn finishes(name: &str, intent: &Intent, signed: &[u8], sender: Address) {
    let envelope = TxEnvelope::decode_2718(&mut &signed[..]).unwrap();
    let signature: &Signature = envelope.signature();
    let (r, s) = (signature.r().to_be_bytes(), signature.s().to_be_bytes());
    assert_eq!(recovered(intent.signing_digest(), &r, &s, signature.v()), sender, "{name}: sender");
    let signature = chancery_intent::Signature { r, s, y_parity: Some(signature.v()) };
    let Artifact::Transaction { raw, hash } = intent.finish(&[signature]).unwrap() else {
        panic!("{name}: no transaction")
    };
    assert_eq!((hex::encode(&raw), hash), (hex::encode(signed), keccak256(signed).0), "{name}: signed bytes");
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Legacy {
    name: String,
    account_address: Address,
    unsigned_transaction: String,
    unsigned_transaction_chain_id5: String,
    signed_transaction_chain_id5: String,
    #[serde(flatten)]
    transaction: Map<String, Value>,
}

#[test]
fn published_legacy_transactions_of_ethers() {
    let Some(vectors) = suite::<Vec<Legacy>>("ethers/transactions.json") else { return };
    let mut tally = Tally::default();
    for vector in &vectors {
        let (name, sender) = (&vector.name, vector.account_address);
        let read = |text: &str| hex::decode(&text[2..]).unwrap();
        let old = ask(&transaction(read(&vector.unsigned_transaction)), sender, Some(5));
        assert!(matches!(old, Err(IntentError::ChainIdMissing(_))), "{name}: without a chain: {old:?}");
        let data = read(&vector.unsigned_transaction_chain_id5);
        tally.count(match ask(&transaction(data.clone()), sender, Some(5)) {
            Ok(intent) => {
                assert_eq!(intent.preimage(), data, "{name}");
                agrees(name, &intent, &vector.transaction);
                finishes(name, &intent, &read(&vector.signed_transaction_chain_id5), sender);
                None
            }
            Err(_) if too_large(&vector.transaction) => Some(TOO_LARGE),
            Err(error) => panic!("{name}: {error}"),
        });
    }
    tally.tell("ethers: transactions", "ethers", vectors.len());
}

#[derive(Deserialize)]
struct Typed {
    name: String,
    address: Address,
    tx: Map<String, Value>,
    unsigned: String,
    signed: String,
}

#[test]
fn published_typed_transactions_of_ethers() {
    let Some(vectors) = suite::<Vec<Typed>>("ethers/typed-transactions.json") else { return };
    let mut tally = Tally::default();
    for Typed { name, address, tx, unsigned, signed } in &vectors {
        let read = |text: &str| hex::decode(&text[2..]).unwrap();
        let data = read(unsigned);
        let chain_id = number(tx.get("chainId")).to::<u64>();
        tally.count(match ask(&transaction(data.clone()), *address, Some(chain_id)) {
            Ok(intent) => {
                assert_eq!(intent.preimage(), data, "{name}");
                agrees(name, &intent, tx);
                finishes(name, &intent, &read(signed), *address);
                None
            }
            Err(IntentError::ChainIdMissing(_)) if chain_id == 0 => Some(NO_CHAIN),
            Err(_) if too_large(tx) => Some(TOO_LARGE),
            Err(_) if number(tx.get("maxPriorityFeePerGas")) > number(tx.get("maxFeePerGas")) => {
                Some("a tip above the highest fee, which EIP-1559 forbids")
            }
            Err(error) => panic!("{name}: {error}"),
        });
        let again = ask(&transaction(read(signed)), *address, Some(chain_id));
        assert!(matches!(again, Err(IntentError::AlreadySigned)), "{name}: signed already: {again:?}");
    }
    tally.tell("ethers: typed-transactions", "ethers", vectors.len());
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: String,
    domain: Map<String, Value>,
    primary_type: String,
    types: Map<String, Value>,
    data: Value,
    digest: String,
}

/// The members of a domain, in the order of EIP-712.
const DOMAIN: [(&str, &str); 5] = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
];

#[test]
fn published_typed_data_of_ethers() {
    let Some(vectors) = suite::<Vec<Document>>("ethers/eip712.json") else { return };
    let total = vectors.len();
    let mut tally = Tally::default();
    for Document { name, domain, primary_type, mut types, data, digest } in vectors {
        let chain_id = domain.get("chainId").and_then(Value::as_u64);
        let members = DOMAIN.iter().filter(|(member, _)| domain.contains_key(*member));
        let members = members.map(|(name, ty)| json!({"name": name, "type": ty})).collect();
        types.insert("EIP712Domain".into(), Value::Array(members));
        let document =
            json!({"types": types, "primaryType": primary_type, "domain": domain, "message": data});
        let intent = ask(&Payload::EthereumTypedData { document }, Address::ZERO, chain_id)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("0x{}", hex::encode(intent.signing_digest())), digest, "{name}");
        tally.count(None);
    }
    tally.tell("ethers: eip712", "ethers", total);
}

#[derive(Deserialize)]
struct Case {
    rlp: Option<String>,
    sender: Option<Address>,
    transaction: Option<Map<String, Value>>,
}

const SIGNATURE: &str = "what is wrong is the signature, which is made here";
const GAS: &str = "what is wrong is too little gas, which a node judges by the rules of its time";

/// Where `ethereum/tests` finds fault with something else than what would be signed. Any other must be refused, and these
/// must not: a name that stands here for nothing is a failure too.
const ELSEWHERE: &[(&str, &str)] = &[
    ("DataTestNotEnoughGAS", GAS),
    ("EmptyTransaction", GAS),
    ("NotEnoughGasLimit", GAS),
    ("RSsecp256k1", SIGNATURE),
    ("TransactionWithRvalueHigh", SIGNATURE),
    ("TransactionWithRvalueTooHigh", SIGNATURE),
    ("TransactionWithSvalueHigh", SIGNATURE),
    ("TransactionWithSvalueLargerThan_c_secp256k1n_x05", SIGNATURE),
    ("TransactionWithSvalueTooHigh", SIGNATURE),
    ("V_overflow32bit", SIGNATURE),
    ("V_overflow32bitSigned", SIGNATURE),
    ("V_overflow64bitPlus27", SIGNATURE),
    ("V_overflow64bitPlus28", SIGNATURE),
    ("V_overflow64bitSigned", SIGNATURE),
    ("WrongVRSTestVEqual26", SIGNATURE),
    ("WrongVRSTestVEqual29", SIGNATURE),
    ("WrongVRSTestVEqual31", SIGNATURE),
    ("WrongVRSTestVOverflow", SIGNATURE),
    ("invalidSignature", SIGNATURE),
    ("TRANSCT_rvalue_TooShort", SIGNATURE),
    ("TransactionTest", SIGNATURE),
];

/// The first six fields as a transaction for chain 1, ready to sign: heads are read leniently, so that what is wrong in a field
/// is still wrong in it. Nothing where there are no nine fields.
fn for_chain_1(signed: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = head(signed)?;
    let mut rest = signed.get(head..head + body)?;
    let mut fields: Vec<&[u8]> = Vec::new();
    while !rest.is_empty() {
        let (head, body) = self::head(rest)?;
        fields.push(rest.get(..head + body)?);
        rest = rest.get(head + body..)?;
    }
    let [unsigned @ .., _, _, _] = fields.as_slice() else { return None };
    if unsigned.len() != 6 {
        return None;
    }
    let body = [unsigned.concat(), vec![1, 0x80, 0x80]].concat();
    let mut list = Vec::new();
    alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut list);
    Some([list, body].concat())
}

/// Bytes of an item's head and of its body, whatever they should be.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*bytes.first()?);
    let long = |of_length: usize| {
        let length = bytes.get(1..1 + of_length)?;
        Some((
            1 + of_length,
            length.iter().try_fold(0_usize, |all, byte| all.checked_mul(256)?.checked_add((*byte).into()))?,
        ))
    };
    match first {
        0..=0x7f => Some((0, 1)),
        0x80..=0xb7 => Some((1, first - 0x80)),
        0xb8..=0xbf => long(first - 0xb7),
        0xc0..=0xf7 => Some((1, first - 0xc0)),
        _ => long(first - 0xf7),
    }
}

/// What becomes of one case of `TransactionTests`.
fn case(name: &str, case: &Case) -> Option<&'static str> {
    let text = case.rlp.as_deref().unwrap_or("0x");
    let Ok(Payload::EthereumTransaction { data: signed }) =
        serde_json::from_value(json!({"type": "ethereum.transaction", "data": text}))
    else {
        assert!(case.sender.is_none(), "{name}: not read from the wire");
        return None;
    };
    let asked = |data: Vec<u8>| ask(&transaction(data), case.sender.unwrap_or_default(), Some(1));
    let as_sent = asked(signed.clone()).map(drop).unwrap_err();
    let unsigned = for_chain_1(&signed);
    if let Some(published) = &case.transaction {
        return match (asked(unsigned.unwrap()), as_sent) {
            (Ok(intent), IntentError::AlreadySigned) => {
                agrees(name, &intent, published);
                None
            }
            (Err(_), _) if too_large(published) => Some(TOO_LARGE),
            (Err(IntentError::TooLarge { .. }), _) => Some("larger than a payload may be"),
            (asked, as_sent) => panic!("{name}: {asked:?}, {as_sent:?}"),
        };
    }
    let understood = matches!(as_sent, IntentError::AlreadySigned)
        && unsigned.is_none_or(|unsigned| asked(unsigned).is_ok());
    let elsewhere =
        ELSEWHERE.iter().find(|(known, _)| name.rsplit('/').next() == Some(known)).map(|(_, reason)| *reason);
    assert_eq!(understood, elsewhere.is_some(), "{name}: {as_sent}");
    elsewhere
}

#[test]
fn published_transaction_tests_of_ethereum() {
    for file in [
        "ttTransactionTest",
        "ttWrongRLPTransaction",
        "tt10mbDataField",
        "Homestead/ttTransactionTest",
        "Homestead/ttWrongRLPTransaction",
        "Homestead/tt10mbDataField",
        "RandomTests/tr201506052141PYTHON",
    ] {
        let path = format!("ethereum-tests/TransactionTests/{file}.json");
        let Some(cases) = suite::<BTreeMap<String, Case>>(&path) else { return };
        let mut tally = Tally::default();
        for (name, one) in &cases {
            tally.count(case(&format!("{file}/{name}"), one));
        }
        tally.tell(&format!("ethereum/tests: {file}"), "TransactionTests", cases.len());
    }
}
