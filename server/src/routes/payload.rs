//! How payloads are written, for the OpenAPI document: another crate owns the type itself.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How a payload is written; a test holds it to `chancery_core::Payload`.
#[derive(Serialize, ToSchema)]
#[schema(as = Payload)]
#[serde(tag = "type")]
#[cfg_attr(not(test), expect(dead_code, reason = "describes another crate's type to the OpenAPI document"))]
pub(crate) enum PayloadSchema {
    /// An unsigned transaction: an EIP-2718 envelope, or the EIP-155 signing form of a legacy one.
    #[serde(rename = "ethereum.transaction")]
    Transaction {
        /// The bytes: `0x` and hexadecimal.
        data: String,
    },
    /// An EIP-7702 authorization: `0x05 || rlp([chain_id, address, nonce])`.
    #[serde(rename = "ethereum.authorization")]
    Authorization {
        /// The bytes: `0x` and hexadecimal.
        data: String,
    },
    /// An EIP-191 `personal_sign` message, without its prefix.
    #[serde(rename = "ethereum.message")]
    Message {
        /// The bytes: `0x` and hexadecimal.
        data: String,
    },
    /// An EIP-712 document.
    #[serde(rename = "ethereum.typed_data")]
    TypedData {
        /// `types`, `primaryType`, `domain` and `message`.
        document: Value,
    },
    /// A partially signed Bitcoin transaction of version 0 (BIP-174) or 2 (BIP-370).
    #[serde(rename = "bitcoin.psbt")]
    Psbt {
        /// The bytes: base64 with its padding.
        data: String,
    },
    /// A message to sign for the wallet's own script (BIP-322, format `simple`).
    #[serde(rename = "bitcoin.message")]
    BitcoinMessage {
        /// The bytes: `0x` and hexadecimal.
        data: String,
    },
    /// An unsigned Solana transaction: its message, legacy or of version 0.
    #[serde(rename = "solana.transaction")]
    SolanaTransaction {
        /// The bytes: base64 with its padding.
        data: String,
        /// Whose token accounts the message names; each proves itself, because the address is derived from both.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        token_accounts: Vec<TokenAccountSchema>,
    },
    /// A change of the appliance itself; nobody sends one, officers and receipts see it.
    #[serde(rename = "appliance.change")]
    Change {
        /// What shall be changed: its `kind` is `policy.apply`, `wallet.create`, `client.add` or `client.revoke`.
        change: Map<String, Value>,
    },
}

/// What an associated token account of Solana is derived from.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenAccount)]
pub(crate) struct TokenAccountSchema {
    /// Whose it is: base58.
    owner: String,
    /// The mint of what it holds: base58.
    mint: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::Payload;
    use serde_json::json;

    #[test]
    fn a_payload_is_what_its_schema_says() {
        let data = || "0x02".to_owned();
        let change = json!({ "kind": "wallet.create", "wallet": "hot", "design": {} });
        let change = change.as_object().unwrap().clone();
        for schema in [
            PayloadSchema::Transaction { data: data() },
            PayloadSchema::Authorization { data: data() },
            PayloadSchema::Message { data: data() },
            PayloadSchema::TypedData { document: Value::Null },
            PayloadSchema::Psbt { data: "cHNidP8=".to_owned() },
            PayloadSchema::BitcoinMessage { data: data() },
            PayloadSchema::SolanaTransaction { data: "AQAB".to_owned(), token_accounts: Vec::new() },
            PayloadSchema::SolanaTransaction {
                data: "AQAB".to_owned(),
                token_accounts: vec![TokenAccountSchema { owner: data(), mint: data() }],
            },
            PayloadSchema::Change { change },
        ] {
            let written = serde_json::to_value(&schema).unwrap();
            let payload: Payload = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&payload).unwrap(), written);
        }
    }
}
