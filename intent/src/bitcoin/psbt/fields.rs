//! What the values of a PSBT's fields are (BIP-174, BIP-371), each read strictly: a value that would be written otherwise is
//! refused. A value read wrongly here would be described wrongly and signed rightly.

use bitcoin::bip32::Xpub;
use bitcoin::consensus::{Decodable, Encodable, deserialize, serialize};
use bitcoin::taproot::{ControlBlock, LeafVersion, TaprootBuilder};
use bitcoin::{
    PublicKey, ScriptBuf, Transaction, TxIn, TxOut, XOnlyPublicKey, absolute, ecdsa, taproot, transaction,
};

use super::pairs::Reader;
use crate::IntentError;

/// The last step of a key's derivation path, where it has one that is not hardened.
pub(super) type LastStep = Option<u32>;

pub(super) fn no_key(key: &[u8]) -> Result<(), IntentError> {
    if key.is_empty() { Ok(()) } else { Err(IntentError::malformed("a field's key holds what it may not")) }
}

pub(super) fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], IntentError> {
    value.try_into().map_err(|_| IntentError::malformed("a field has the wrong length"))
}

pub(super) fn number(value: &[u8]) -> Result<u32, IntentError> {
    array(value).map(u32::from_le_bytes)
}

/// A count as BIP-370 writes it.
pub(super) fn count(value: &[u8]) -> Result<u64, IntentError> {
    let mut reader = Reader(value);
    let count = reader.compact_size()?;
    reader.ended()?;
    Ok(count)
}

pub(super) fn script(value: &[u8]) -> ScriptBuf {
    ScriptBuf::from_bytes(value.to_vec())
}

fn exact<T>(value: T, again: &[u8], sent: &[u8]) -> Result<T, IntentError> {
    if again == sent { Ok(value) } else { Err(IntentError::not_canonical("a field encodes to other bytes")) }
}

/// Bitcoin's own encoding.
fn encoded<T: Decodable + Encodable>(value: &[u8], what: &'static str) -> Result<T, IntentError> {
    let decoded: T =
        deserialize(value).map_err(|error| IntentError::malformed(format!("{what}: {error}")))?;
    let again = serialize(&decoded);
    exact(decoded, &again, value)
}

pub(super) fn transaction(value: &[u8]) -> Result<Transaction, IntentError> {
    encoded(value, "a spent transaction does not decode")
}

pub(super) fn output(value: &[u8]) -> Result<TxOut, IntentError> {
    encoded(value, "a spent output does not decode")
}

/// The transaction to sign: in the form without witnesses, which also knows how to have no inputs.
pub(super) fn unsigned_transaction(value: &[u8]) -> Result<Transaction, IntentError> {
    let mut rest = value;
    let broken = |error| IntentError::malformed(format!("the unsigned transaction does not decode: {error}"));
    let read = &mut rest;
    let transaction = Transaction {
        version: transaction::Version::consensus_decode(read).map_err(broken)?,
        input: Vec::<TxIn>::consensus_decode(read).map_err(broken)?,
        output: Vec::<TxOut>::consensus_decode(read).map_err(broken)?,
        lock_time: absolute::LockTime::consensus_decode(read).map_err(broken)?,
    };
    if !rest.is_empty() {
        return Err(IntentError::malformed("bytes follow the unsigned transaction"));
    }
    if transaction.input.iter().any(|input| !input.script_sig.is_empty()) {
        return Err(IntentError::malformed("the unsigned transaction holds a script signature"));
    }
    let again = [
        serialize(&transaction.version),
        serialize(&transaction.input),
        serialize(&transaction.output),
        serialize(&transaction.lock_time),
    ]
    .concat();
    exact(transaction, &again, value)
}

pub(super) fn public_key(key: &[u8]) -> Result<PublicKey, IntentError> {
    let read = PublicKey::from_slice(key).map_err(|_| IntentError::malformed("not a public key"))?;
    exact(read, &read.to_bytes(), key)
}

pub(super) fn x_only_key(key: &[u8]) -> Result<XOnlyPublicKey, IntentError> {
    XOnlyPublicKey::from_slice(key).map_err(|_| IntentError::malformed("not an x-only public key"))
}

pub(super) fn ecdsa_signature(value: &[u8]) -> Result<ecdsa::Signature, IntentError> {
    let read =
        ecdsa::Signature::from_slice(value).map_err(|_| IntentError::malformed("not an ECDSA signature"))?;
    exact(read, &read.to_vec(), value)
}

pub(super) fn schnorr_signature(value: &[u8]) -> Result<(), IntentError> {
    let read = taproot::Signature::from_slice(value)
        .map_err(|_| IntentError::malformed("not a Schnorr signature"))?;
    exact((), &read.to_vec(), value)
}

/// An x-only key and the hash of the leaf it signs for.
pub(super) fn leaf_key(key: &[u8]) -> Result<(), IntentError> {
    let (owner, _leaf) = key
        .split_first_chunk::<32>()
        .filter(|(_, leaf)| leaf.len() == 32)
        .ok_or_else(|| IntentError::malformed("not an x-only key with a leaf's hash"))?;
    x_only_key(owner).map(|_| ())
}

/// A key's origin: the master key's fingerprint and the path from there.
pub(super) fn origin(value: &[u8]) -> Result<LastStep, IntentError> {
    let (_fingerprint, path) = value
        .split_first_chunk::<4>()
        .ok_or_else(|| IntentError::malformed("a key's origin is too short"))?;
    let (steps, rest) = path.as_chunks::<4>();
    if !rest.is_empty() || steps.len() > 255 {
        return Err(IntentError::malformed("a key's origin has no whole number of steps, or too many"));
    }
    Ok(steps.last().map(|step| u32::from_le_bytes(*step)).filter(|step| *step < 1 << 31))
}

/// An origin after the hashes of the leaves that its key is in.
pub(super) fn taproot_origin(value: &[u8]) -> Result<LastStep, IntentError> {
    let mut reader = Reader(value);
    let leaves = reader.compact_size()?;
    reader.take(leaves.checked_mul(32).ok_or_else(|| IntentError::malformed("too many leaves"))?)?;
    origin(reader.0)
}

/// An extended key and where it comes from: the path is as long as the key is deep.
pub(super) fn extended_key(key: &[u8], value: &[u8]) -> Result<Xpub, IntentError> {
    let read = Xpub::decode(key).map_err(|_| IntentError::malformed("not an extended public key"))?;
    origin(value)?;
    if value.len() / 4 != usize::from(read.depth).saturating_add(1) {
        return Err(IntentError::malformed("an extended key is not as deep as its path is long"));
    }
    exact(read, &read.encode(), key)
}

/// A leaf of the script tree with the way to its root.
pub(super) fn leaf(key: &[u8], value: &[u8]) -> Result<(ControlBlock, ScriptBuf), IntentError> {
    let block = ControlBlock::decode(key).map_err(|_| IntentError::malformed("not a control block"))?;
    let (version, leaf) =
        value.split_last().ok_or_else(|| IntentError::malformed("a leaf without its version"))?;
    if LeafVersion::from_consensus(*version).ok() != Some(block.leaf_version) {
        return Err(IntentError::malformed("a leaf's version is not its control block's"));
    }
    let again = block.serialize();
    exact((block, script(leaf)), &again, key)
}

/// A whole script tree, in depth-first order.
pub(super) fn tree(value: &[u8]) -> Result<(), IntentError> {
    let broken = || IntentError::malformed("not a tree of scripts");
    let mut reader = Reader(value);
    let mut tree = TaprootBuilder::new();
    while !reader.0.is_empty() {
        let [depth, version] = reader.array()?;
        let version = LeafVersion::from_consensus(version).map_err(|_| broken())?;
        let length = reader.compact_size()?;
        let leaf = script(reader.take(length)?);
        tree = tree.add_leaf_with_ver(depth, leaf, version).map_err(|_| broken())?;
    }
    tree.try_into_taptree().map(|_| ()).map_err(|_| broken())
}
