//! What a payload would do, in one stable JSON form (`v` = 1) that policy reads, records keep and receipts carry.
//! Amounts are exact: decimal text of a 256-bit number. If an effect is missing here, policy cannot forbid it.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

/// The format version written into every [`Description`].
pub const VERSION: u8 = 1;

/// Everything one payload would do. Policy must allow each effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The format: 1.
    pub v: u8,
    /// The payload's wire name, such as `ethereum.transaction`.
    pub payload: String,
    /// CAIP-2 chain, such as `eip155:1` or `bip122:000000000019d6689c085ae165831e93`; `eip155:*` where the payload is
    /// valid on any EVM chain (messages).
    pub chain: String,
    /// The chain's own account of the payload's form: `legacy`, `eip2930`, `eip1559`, `eip4844`, `eip7702`,
    /// `eip191`, `eip712`, `authorization`; `psbt0`, `psbt2`, `bip322`; `legacy`, `v0`, and with `-nonce` where a durable nonce
    /// keeps it valid.
    pub form: String,
    /// The account the wallet's key controls on that chain: EIP-55 text, or the Bitcoin wallet's first address.
    pub account: String,
    /// One to 64 effects, in the order they happen.
    pub effects: Vec<Effect>,
    /// The most that the network may take for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fee: Option<Fee>,
    /// The account's nonce.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<u64>,
    /// What remains of the chain's own fields, for people and receipts (gas limit, access list, EIP-712 domain, ...).
    #[serde(skip_serializing_if = "serde_json::Map::is_empty", default)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// What sort of thing an effect is. The wire name is also the Cedar action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The chain's own coin moves. On Bitcoin one for each output that is not change; where all is change, one for each.
    Transfer,
    /// A token moves (ERC-20, ERC-721, ERC-1155, SPL).
    TokenTransfer,
    /// Somebody may move tokens from now on (approve, setApprovalForAll, permit).
    TokenApproval,
    /// A contract runs, and what it does is known by its ABI or not at all.
    ContractCall,
    /// A contract is made.
    Deployment,
    /// The account's code becomes another contract's (EIP-7702).
    Authorization,
    /// A message that no contract is known to act on (EIP-191).
    Message,
    /// An EIP-712 document that is not a known permit.
    TypedData,
    /// Data is written to the chain (Bitcoin's OP_RETURN, whose coins are burnt; Solana's memos).
    Data,
    /// The appliance itself becomes another: its policy, its wallets.
    Change,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Transfer,
        Self::TokenTransfer,
        Self::TokenApproval,
        Self::ContractCall,
        Self::Deployment,
        Self::Authorization,
        Self::Message,
        Self::TypedData,
        Self::Data,
        Self::Change,
    ];

    /// Whether it is of the Cedar group `sign`: what wallets are for. A rule or goal that names no action is about these,
    /// so that whoever lets a client do anything has not let it change who may.
    #[must_use]
    pub fn is_signing(self) -> bool {
        self != Self::Change
    }

    /// The wire name, such as `token_transfer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::TokenTransfer => "token_transfer",
            Self::TokenApproval => "token_approval",
            Self::ContractCall => "contract_call",
            Self::Deployment => "deployment",
            Self::Authorization => "authorization",
            Self::Message => "message",
            Self::TypedData => "typed_data",
            Self::Data => "data",
            Self::Change => "change",
        }
    }
}

/// One thing a payload would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// What sort of thing.
    pub kind: Kind,
    /// CAIP-19 asset, such as `eip155:1/slip44:60` (the chain's own coin, on every EVM chain),
    /// `eip155:1/erc20:0xA0b8...`, `eip155:1/erc721:0x.../42`, `bip122:000000000019d6689c085ae165831e93/slip44:0`. A contract that nobody registered is called as a token
    /// but not known to be one: `eip155:1/token:0x...`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asset: Option<String>,
    /// The amount in the asset's base units (wei, satoshi), exact. For `contract_call` and `deployment`: the coin sent along.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "decimal")]
    pub amount: Option<U256>,
    /// An approval without a bound: 2^255 or more (2^159 of Permit2's 160-bit amounts), `setApprovalForAll(true)`.
    /// An approval of amount 0 revokes.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unlimited: bool,
    /// Who gains: the recipient, the spender, the called or delegated contract. EIP-55 text; on Bitcoin the address, and
    /// `script-` with the output's script in hexadecimal where there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination: Option<String>,
    /// Whose tokens move, where that is not the wallet's account (`transferFrom`). EIP-55 text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// The contract that is called. EIP-55 text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contract: Option<String>,
    /// The method that is called.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub method: Option<Method>,
}

impl Effect {
    /// One that moves nothing and names nobody.
    #[must_use]
    pub fn bare(kind: Kind) -> Self {
        Self {
            kind,
            asset: None,
            amount: None,
            unlimited: false,
            destination: None,
            owner: None,
            contract: None,
            method: None,
        }
    }
}

/// A contract's method as it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// The first four bytes of the calldata: `0x` and 8 digits; `0x` alone where there are fewer than four.
    pub selector: String,
    /// The signature when an ABI is known, such as `transfer(address,uint256)`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<String>,
    /// The arguments when an ABI is known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub arguments: Vec<Argument>,
}

/// One decoded argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// The ABI's name for it; empty where it has none.
    pub name: String,
    /// The Solidity type, such as `uint256`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The value: numbers as decimal text, bytes and addresses as `0x` text, arrays and tuples as arrays.
    pub value: serde_json::Value,
}

/// The most that the network may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fee {
    /// CAIP-19 asset of the fee.
    pub asset: String,
    /// Upper bound in base units: gas limit times highest price, blobs included; on Bitcoin the fee itself.
    #[serde(with = "decimal_always")]
    pub maximum: U256,
}

mod decimal {
    use alloy_primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn parse(text: &str) -> Option<U256> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let canonical = digits && (text == "0" || !text.starts_with('0'));
        if canonical { U256::from_str_radix(text, 10).ok() } else { None }
    }

    #[expect(clippy::ref_option, reason = "the shape serde's `with` asks for")]
    pub fn serialize<S: Serializer>(value: &Option<U256>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<U256>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| parse(&text).ok_or_else(|| D::Error::custom("not a decimal number below 2^256")))
            .transpose()
    }
}

mod decimal_always {
    use alloy_primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::decimal::parse(&text).ok_or_else(|| D::Error::custom("not a decimal number below 2^256"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Result<Effect, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "kind": "transfer", "amount": text }))
    }

    #[test]
    fn amounts_have_one_spelling() {
        let largest = U256::MAX.to_string();
        for good in ["0", "7", "1000000000000000000", &largest] {
            let effect = amount(good).unwrap();
            assert_eq!(
                serde_json::to_value(&effect).unwrap()["amount"],
                good,
                "an amount must survive the round trip"
            );
        }
        let above = format!("{largest}0");
        for bad in ["", "00", "01", "-1", "+1", "1.0", "0x1", "1e3", " 1", "1_0", &above] {
            assert!(amount(bad).is_err(), "`{bad}` must not be read as an amount");
        }
    }

    #[test]
    fn a_fee_needs_its_maximum() {
        let fee = |maximum: &str| {
            serde_json::from_value::<Fee>(
                serde_json::json!({ "asset": "eip155:1/slip44:60", "maximum": maximum }),
            )
        };
        assert_eq!(fee("21000").unwrap().maximum, U256::from(21_000));
        assert!(fee("").is_err(), "an empty maximum must not read as zero");
    }

    #[test]
    fn kinds_are_named_as_on_the_wire() {
        for kind in Kind::ALL {
            assert_eq!(
                serde_json::to_value(kind).unwrap(),
                kind.as_str(),
                "wire name and Cedar action must agree"
            );
        }
    }
}
