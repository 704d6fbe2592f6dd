//! Unsigned transactions: legacy in the EIP-155 signing form, EIP-2930, 1559, 4844 and 7702. Shape first, then alloy
//! decodes, then the re-encoding must be the very bytes that came in. Trusts neither the bytes nor alloy's leniency.
//! If it is wrong, the key signs something that was never shown.

use alloy_consensus::transaction::RlpEcdsaEncodableTx as _;
use alloy_consensus::{
    SignableTransaction as _, Transaction as _, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
};
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{Signature, U256, keccak256};
use alloy_rlp::Decodable;
use chancery_core::limit;
use serde_json::{Map, Value, json};

use super::Account;
use super::calldata::{self, Outer};
use super::rlp::{self, Item, Shape};
use super::{
    Document, Understood, authorization, chain, checked_chain, checked_encoding, checked_nonce, checked_size,
    coin, decimal,
};
use crate::IntentError;
use crate::contracts::Contracts;
use crate::model::{self, Description, Fee};

/// LIMIT: addresses and storage keys of one access list together.
const ACCESS_LIST_ITEMS: usize = 1_024;
/// The one version of blob commitments (EIP-4844 `VERSIONED_HASH_VERSION_KZG`).
const BLOB_HASH_VERSION: u8 = 1;
/// Signature fields that follow the others in a signed typed transaction: y parity, r, s.
const SIGNATURE_FIELDS: usize = 3;

const CHAIN_ID: Shape = Shape::Integer(8);
const NONCE: Shape = Shape::Integer(8);
const PRICE: Shape = Shape::Integer(16);
const GAS: Shape = Shape::Integer(8);
const VALUE: Shape = Shape::Integer(32);
const ADDRESS: Shape = Shape::Fixed(20);
const ACCESS_LIST: Shape = Shape::Each(&Shape::List(&[ADDRESS, Shape::Each(&Shape::Fixed(32))]));
const BLOB_HASHES: Shape = Shape::Each(&Shape::Fixed(32));
const AUTHORIZATIONS: Shape = Shape::Each(&Shape::List(&[
    Shape::Integer(32),
    ADDRESS,
    NONCE,
    Shape::Integer(1),
    Shape::Integer(32),
    Shape::Integer(32),
]));

/// `nonce, gasPrice, gas, to, value, data, chainId, 0, 0` (EIP-155).
const LEGACY: &[Shape] = &[
    NONCE,
    PRICE,
    GAS,
    Shape::Recipient,
    VALUE,
    Shape::Bytes,
    CHAIN_ID,
    Shape::Integer(0),
    Shape::Integer(0),
];
const EIP2930: &[Shape] = &[CHAIN_ID, NONCE, PRICE, GAS, Shape::Recipient, VALUE, Shape::Bytes, ACCESS_LIST];
const EIP1559: &[Shape] =
    &[CHAIN_ID, NONCE, PRICE, PRICE, GAS, Shape::Recipient, VALUE, Shape::Bytes, ACCESS_LIST];
const EIP4844: &[Shape] =
    &[CHAIN_ID, NONCE, PRICE, PRICE, GAS, ADDRESS, VALUE, Shape::Bytes, ACCESS_LIST, PRICE, BLOB_HASHES];
const EIP7702: &[Shape] =
    &[CHAIN_ID, NONCE, PRICE, PRICE, GAS, ADDRESS, VALUE, Shape::Bytes, ACCESS_LIST, AUTHORIZATIONS];

/// A decoded transaction without signature.
#[derive(Clone, Debug)]
pub(crate) enum Transaction {
    Legacy(TxLegacy),
    Eip2930(TxEip2930),
    Eip1559(TxEip1559),
    Eip4844(TxEip4844),
    Eip7702(TxEip7702),
}

/// Runs an expression over whichever transaction it is.
macro_rules! each {
    ($transaction:expr, $tx:ident => $do:expr) => {
        match $transaction {
            Transaction::Legacy($tx) => $do,
            Transaction::Eip2930($tx) => $do,
            Transaction::Eip1559($tx) => $do,
            Transaction::Eip4844($tx) => $do,
            Transaction::Eip7702($tx) => $do,
        }
    };
}

impl Transaction {
    fn decode(data: &[u8]) -> Result<Self, IntentError> {
        let (first, body) = data.split_first().ok_or(IntentError::Empty)?;
        match first {
            0xc0..=0xff => legacy(data).map(Self::Legacy),
            1 => typed(body, EIP2930).map(Self::Eip2930),
            2 => typed(body, EIP1559).map(Self::Eip1559),
            3 => typed(body, EIP4844).map(Self::Eip4844),
            4 => typed(body, EIP7702).map(Self::Eip7702),
            0x80..=0xbf => Err(IntentError::malformed("an RLP string where a transaction belongs")),
            unknown => Err(IntentError::TypeUnknown(*unknown)),
        }
    }

    fn form(&self) -> &'static str {
        match self {
            Self::Legacy(_) => "legacy",
            Self::Eip2930(_) => "eip2930",
            Self::Eip1559(_) => "eip1559",
            Self::Eip4844(_) => "eip4844",
            Self::Eip7702(_) => "eip7702",
        }
    }

    /// The bytes that are hashed for signing.
    fn preimage(&self) -> Vec<u8> {
        each!(self, tx => tx.encoded_for_signing())
    }

    /// The signed transaction (EIP-2718, without blobs) and its hash.
    pub(super) fn signed(&self, signature: &Signature) -> (Vec<u8>, [u8; 32]) {
        let mut raw = Vec::new();
        each!(self, tx => tx.eip2718_encode(signature, &mut raw));
        let hash = keccak256(&raw).0;
        (raw, hash)
    }

    /// What no chain would accept though the encoding stands.
    fn check(&self) -> Result<(), IntentError> {
        let (tip, cap) = each!(self, tx => (tx.max_priority_fee_per_gas(), tx.max_fee_per_gas()));
        if tip.is_some_and(|tip| tip > cap) {
            return Err(IntentError::malformed("a priority fee above the highest fee"));
        }
        if let Some(list) = each!(self, tx => tx.access_list()) {
            let items = list.len().saturating_add(list.storage_keys_count());
            if items > ACCESS_LIST_ITEMS {
                return Err(IntentError::TooComplex { what: "access list items", limit: ACCESS_LIST_ITEMS });
            }
        }
        match self {
            Self::Eip4844(tx) => {
                if tx.blob_versioned_hashes.is_empty() {
                    return Err(IntentError::malformed("a blob transaction without blobs"));
                }
                if tx.blob_versioned_hashes.len() > limit::EFFECTS {
                    return Err(IntentError::TooComplex { what: "blobs", limit: limit::EFFECTS });
                }
                if tx.blob_versioned_hashes.iter().any(|hash| hash.first() != Some(&BLOB_HASH_VERSION)) {
                    return Err(IntentError::malformed("a blob hash of an unknown version"));
                }
            }
            Self::Eip7702(tx) if tx.authorization_list.is_empty() => {
                return Err(IntentError::malformed("a set-code transaction without authorizations"));
            }
            _ => {}
        }
        Ok(())
    }

    fn maximum_fee(&self) -> U256 {
        let gas =
            each!(self, tx => U256::from(tx.gas_limit()).saturating_mul(U256::from(tx.max_fee_per_gas())));
        let Self::Eip4844(tx) = self else {
            return gas;
        };
        let blob_gas =
            U256::from(DATA_GAS_PER_BLOB).saturating_mul(U256::from(tx.blob_versioned_hashes.len()));
        gas.saturating_add(blob_gas.saturating_mul(U256::from(tx.max_fee_per_blob_gas)))
    }

    fn detail(&self) -> Map<String, Value> {
        let mut detail = Map::new();
        each!(self, tx => {
            detail.insert("gas_limit".into(), decimal(tx.gas_limit()));
            detail.insert("data_bytes".into(), decimal(tx.input().len()));
            if let Some(tip) = tx.max_priority_fee_per_gas() {
                detail.insert("max_fee_per_gas".into(), decimal(tx.max_fee_per_gas()));
                detail.insert("max_priority_fee_per_gas".into(), decimal(tip));
            } else {
                detail.insert("gas_price".into(), decimal(tx.max_fee_per_gas()));
            }
            if let Some(list) = tx.access_list().filter(|list| !list.is_empty()) {
                detail.insert("access_list".into(), access_list(list));
            }
            if tx.kind().is_create() {
                detail.insert("initcode_keccak256".into(), Value::String(keccak256(tx.input()).to_string()));
            }
        });
        if let Self::Eip4844(tx) = self {
            let hashes =
                tx.blob_versioned_hashes.iter().map(|hash| Value::String(hash.to_string())).collect();
            detail.insert("blob_versioned_hashes".into(), Value::Array(hashes));
            detail.insert("max_fee_per_blob_gas".into(), decimal(tx.max_fee_per_blob_gas));
        }
        detail
    }
}

fn legacy(data: &[u8]) -> Result<TxLegacy, IntentError> {
    let items = rlp::fields(data, LEGACY.len())?;
    match items.as_slice() {
        // Before EIP-155 the chain was not named.
        [_, _, _, _, _, _] => Err(IntentError::ChainIdMissing("a legacy transaction needs the EIP-155 form")),
        [.., v, r, s] if items.len() == LEGACY.len() && is_signature(&[*v, *r, *s]) => {
            Err(IntentError::AlreadySigned)
        }
        _ => decode(data, &items, LEGACY),
    }
}

fn typed<T: Decodable>(list: &[u8], shapes: &'static [Shape]) -> Result<T, IntentError> {
    let signed = shapes.len().saturating_add(SIGNATURE_FIELDS);
    let items = rlp::fields(list, signed)?;
    if items.len() == signed && items.last_chunk().is_some_and(is_signature) {
        return Err(IntentError::AlreadySigned);
    }
    // The network form of a blob transaction: a list of the signed transaction and its blobs.
    if let [Item { list: true, body }, ..] = items.as_slice()
        && rlp::items(body, signed).is_ok_and(|inner| inner.len() == signed)
    {
        return Err(IntentError::AlreadySigned);
    }
    decode(list, &items, shapes)
}

/// True where three fields can be `v`, `r` and `s`. No valid signature has a zero in the latter two, and EIP-155 puts
/// zeros there to say that there is none.
fn is_signature([v, r, s]: &[Item<'_>; SIGNATURE_FIELDS]) -> bool {
    let scalar = |item: &Item<'_>| (1..=32).contains(&item.body.len()) && item.body.first() != Some(&0);
    [v, r, s].iter().all(|item| !item.list) && scalar(r) && scalar(s)
}

fn decode<T: Decodable>(list: &[u8], items: &[Item<'_>], shapes: &[Shape]) -> Result<T, IntentError> {
    rlp::check(items, shapes)?;
    let mut rest = list;
    let decoded = T::decode(&mut rest).map_err(IntentError::Field)?;
    if rest.is_empty() { Ok(decoded) } else { Err(IntentError::Trailing { bytes: rest.len() }) }
}

fn access_list(list: &AccessList) -> Value {
    list.iter()
        .map(|item| {
            let keys: Vec<_> = item.storage_keys.iter().map(ToString::to_string).collect();
            json!({ "address": item.address.to_string(), "storage_keys": keys })
        })
        .collect()
}

pub(crate) fn understand(
    data: &[u8],
    account: &Account<'_>,
    contracts: &dyn Contracts,
) -> Result<Understood, IntentError> {
    checked_size(data)?;
    let transaction = Transaction::decode(data)?;
    let preimage = checked_encoding(transaction.preimage(), data)?;
    let (named, nonce) = each!(&transaction, tx => (tx.chain_id(), tx.nonce()));
    let chain_id = checked_chain(&U256::from(named.unwrap_or(0)), account, "chain id 0")?;
    let nonce = checked_nonce(nonce)?;
    transaction.check()?;

    let mut detail = transaction.detail();
    let mut effects = Vec::new();
    if let Transaction::Eip7702(tx) = &transaction {
        // They take effect before the call and stand even if it fails.
        let listed = authorization::effects(&tx.authorization_list, chain_id, account)?;
        effects = listed.effects;
        detail.insert("authorizations".into(), listed.detail);
    }
    effects.extend(each!(&transaction, tx => {
        let outer = Outer { chain_id, nonce, to: tx.kind(), value: tx.value(), input: tx.input() };
        calldata::effects(&outer, account, contracts)
    })?);
    if effects.len() > limit::EFFECTS {
        return Err(IntentError::TooComplex { what: "effects", limit: limit::EFFECTS });
    }
    let chain = chain(chain_id);
    let fee = Fee { asset: coin(&chain), maximum: transaction.maximum_fee() };
    let description = Description {
        v: model::VERSION,
        payload: "ethereum.transaction".into(),
        chain,
        form: transaction.form().into(),
        account: account.address.to_string(),
        effects,
        fee: Some(fee),
        nonce: Some(nonce),
        detail,
    };
    Ok(Understood { description, preimage, document: Document::Transaction(transaction) })
}
