//! Ethereum: the names of chains, assets and accounts, and what the parsers of each payload hand back.
//! Names follow CAIP-2, CAIP-19 and EIP-55. If a name is wrong, policy looks up the wrong asset or address.

mod abi;
pub(crate) mod authorization;
mod calldata;
mod finish;
pub(crate) mod message;
mod permits;
mod rlp;
mod tokens;
pub(crate) mod transaction;
pub(crate) mod typed_data;

use std::fmt::Write as _;

use alloy_primitives::{Address, U256, address, keccak256};
use chancery_core::limit;
use secp256k1::PublicKey;
use serde_json::Value;

use crate::contracts::Standard;
use crate::{Description, IntentError};

pub(crate) use abi::Method;

/// Uniswap's Permit2, at one address on every chain.
pub(crate) const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");

/// The account that a wallet's key controls, and where it may be used.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The address of the wallet's key.
    pub address: Address,
    /// The EIP-155 chain ids the wallet may sign for.
    pub chain_ids: &'a [u64],
}

/// What one of the parsers found.
pub(crate) struct Understood {
    pub description: Description,
    pub preimage: Vec<u8>,
    pub document: Document,
}

/// What is left to do once a signature exists.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Transaction(transaction::Transaction),
    Authorization(alloy_eips::eip7702::Authorization),
    /// EIP-191 and EIP-712: the signature stands alone.
    Message,
}

/// The Ethereum address of a public key: the last 20 bytes of Keccak-256 of its uncompressed point.
///
/// # Errors
/// Where `public_key_sec1` is not a point of secp256k1 in the 33 or 65 byte form of SEC1 (section 2.3.3).
pub fn address_of(public_key_sec1: &[u8]) -> Result<Address, IntentError> {
    // libsecp256k1 also reads the hybrid form (0x06, 0x07), which SEC1 has for no use of ours.
    if !matches!((public_key_sec1.len(), public_key_sec1.first()), (33, Some(2 | 3)) | (65, Some(4))) {
        return Err(IntentError::PublicKey(secp256k1::Error::InvalidPublicKey));
    }
    let key = PublicKey::from_slice(public_key_sec1).map_err(IntentError::PublicKey)?;
    Ok(address_of_point(&key))
}

pub(crate) fn address_of_point(key: &PublicKey) -> Address {
    let [_, point @ ..] = key.serialize_uncompressed();
    Address::from_word(keccak256(point))
}

/// CAIP-2 name of a chain.
pub(crate) fn chain(chain_id: u64) -> String {
    format!("eip155:{chain_id}")
}

/// CAIP-2 has no name for "any chain"; policy knows this one.
pub(crate) const ANY_CHAIN: &str = "eip155:*";

/// The chain's own coin. SLIP-44 has coin types for many chains, but 60 is what wallets use for every EVM chain, and
/// the CAIP-2 part tells them apart.
pub(crate) fn coin(chain: &str) -> String {
    format!("{chain}/slip44:60")
}

/// CAIP-19 name of a token, of one item of it where `id` is given. Without a registered standard the namespace is
/// `token`: the contract was called like one, and that is all that is known.
pub(crate) fn token(
    chain: &str,
    standard: Option<Standard>,
    contract: &Address,
    id: Option<&U256>,
) -> String {
    let namespace = standard.map_or("token", Standard::namespace);
    let mut name = format!("{chain}/{namespace}:{contract}");
    if let Some(id) = id {
        // Writing to a String cannot fail.
        let _ = write!(name, "/{id}");
    }
    name
}

/// `owner`, unless it is the wallet's own account.
pub(crate) fn other_owner(account: &Account<'_>, owner: &Address) -> Option<String> {
    (*owner != account.address).then(|| owner.to_string())
}

/// An amount, a gas figure or an id as it stands in `detail`: decimal text, since JSON numbers end at 2^53.
pub(crate) fn decimal(number: impl ToString) -> Value {
    Value::String(number.to_string())
}

pub(crate) fn prefixed_hex(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// The largest integer that every JSON reader keeps exactly (RFC 7493, RFC 8785): 2^53 - 1.
pub(crate) const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A nonce that its JSON number can carry.
pub(crate) fn checked_nonce(nonce: u64) -> Result<u64, IntentError> {
    if nonce <= JSON_INTEGER_MAX { Ok(nonce) } else { Err(IntentError::malformed("a nonce above 2^53 - 1")) }
}

/// Holds `chain_id` to the wallet's chains. Zero names no chain.
pub(crate) fn checked_chain(
    chain_id: &U256,
    account: &Account<'_>,
    where_zero: &'static str,
) -> Result<u64, IntentError> {
    if chain_id.is_zero() {
        return Err(IntentError::ChainIdMissing(where_zero));
    }
    u64::try_from(*chain_id)
        .ok()
        .filter(|id| account.chain_ids.contains(id))
        .ok_or_else(|| IntentError::ChainIdMismatch(chain_id.to_string()))
}

/// Holds a payload's bytes to `limit::PAYLOAD_BYTES`, and to there being any.
pub(crate) fn checked_size(data: &[u8]) -> Result<(), IntentError> {
    match data.len() {
        0 => Err(IntentError::Empty),
        bytes if bytes > limit::PAYLOAD_BYTES => {
            Err(IntentError::TooLarge { bytes, limit: limit::PAYLOAD_BYTES })
        }
        _ => Ok(()),
    }
}

/// INVARIANT: what is hashed is what was decoded, and it is what the client sent. The shapes of `rlp` and alloy's own checks
/// leave nothing for this to catch that is known; it is what stands if either has a gap.
pub(crate) fn checked_encoding(encoded: Vec<u8>, sent: &[u8]) -> Result<Vec<u8>, IntentError> {
    if encoded == sent { Ok(encoded) } else { Err(IntentError::not_canonical("it encodes to other bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_its_key_in_both_forms() {
        // The generator of secp256k1 (key 1) and its well-known address.
        let compressed =
            hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
        let key = PublicKey::from_slice(&compressed).unwrap();
        let expected = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
        assert_eq!(address_of(&compressed).unwrap().to_string(), expected);
        assert_eq!(address_of(&key.serialize_uncompressed()).unwrap().to_string(), expected);
    }

    #[test]
    fn an_encoding_of_other_bytes_is_not_canonical() {
        assert_eq!(checked_encoding(vec![1, 2], &[1, 2]).unwrap(), [1, 2]);
        for sent in [&[1][..], &[1, 2, 0], &[1, 3]] {
            let error = checked_encoding(vec![1, 2], sent).unwrap_err();
            assert_eq!(
                error.code(),
                chancery_core::Code::PayloadNotCanonical,
                "{sent:?} must not pass as [1, 2]"
            );
        }
    }

    #[test]
    fn keys_in_other_forms_are_refused() {
        let mut hybrid = PublicKey::from_slice(
            &hex::decode("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap(),
        )
        .unwrap()
        .serialize_uncompressed();
        hybrid[0] = 6;
        for bad in [&hybrid[..], &hybrid[1..], &[0xff; 33], &[]] {
            assert!(address_of(bad).is_err(), "{bad:02x?}");
        }
    }
}
