//! What is asked of the appliance: one wallet, one payload, one idempotency key.

use serde::{Deserialize, Serialize};

use crate::{Change, IdempotencyKey, Tenant, WalletId};

/// A parsed and bounded request for one signature. Who asks is established apart from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest {
    /// The tenant the wallet belongs to.
    pub tenant: Tenant,
    /// The wallet whose key shall sign.
    pub wallet: WalletId,
    /// The client's name for this intended effect.
    pub idempotency_key: IdempotencyKey,
    /// What shall be signed, as bytes still to be understood.
    pub payload: Payload,
}

/// What shall be signed. The wire form is `{"type": "...", "data": "0x..."}`; typed data carries JSON instead, and a PSBT
/// or a Solana message the base64 that it is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Payload {
    /// An unsigned Ethereum transaction: an EIP-2718 envelope without signature fields, or a legacy transaction in
    /// its EIP-155 signing form `rlp([nonce, gasPrice, gas, to, value, data, chainId, 0, 0])`.
    #[serde(rename = "ethereum.transaction")]
    EthereumTransaction {
        /// The bytes.
        #[serde(with = "prefixed_hex")]
        data: Vec<u8>,
    },
    /// An EIP-7702 authorization to sign: `0x05 || rlp([chain_id, address, nonce])`.
    #[serde(rename = "ethereum.authorization")]
    EthereumAuthorization {
        /// The bytes.
        #[serde(with = "prefixed_hex")]
        data: Vec<u8>,
    },
    /// An EIP-191 `personal_sign` message (version `0x45`), without its prefix.
    #[serde(rename = "ethereum.message")]
    EthereumMessage {
        /// The message's bytes.
        #[serde(with = "prefixed_hex")]
        data: Vec<u8>,
    },
    /// An EIP-712 document: `types`, `primaryType`, `domain`, `message`.
    #[serde(rename = "ethereum.typed_data")]
    EthereumTypedData {
        /// The document.
        document: serde_json::Value,
    },
    /// A partially signed Bitcoin transaction of version 0 (BIP-174) or 2 (BIP-370).
    #[serde(rename = "bitcoin.psbt")]
    BitcoinPsbt {
        /// The bytes; on the wire base64 with its padding (RFC 4648 section 4), not a character more.
        #[serde(with = "padded_base64")]
        data: Vec<u8>,
    },
    /// A message to sign for the wallet's own script (BIP-322, format `simple`).
    #[serde(rename = "bitcoin.message")]
    BitcoinMessage {
        /// The message's bytes.
        #[serde(with = "prefixed_hex")]
        data: Vec<u8>,
    },
    /// An unsigned Solana transaction: its message, legacy or of version 0.
    #[serde(rename = "solana.transaction")]
    SolanaTransaction {
        /// The bytes that are signed; on the wire base64 with its padding.
        #[serde(with = "padded_base64")]
        data: Vec<u8>,
        /// Whose token accounts the message names. An account's address is derived from its owner and mint, so this is no
        /// word to be taken: it proves itself, or the payload is refused.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        token_accounts: Vec<TokenAccount>,
    },
    /// A change of the appliance itself. Only the appliance makes one, for an operator who asked.
    #[serde(rename = "appliance.change")]
    ApplianceChange {
        /// The change.
        change: Change,
    },
}

/// Of which an associated token account of Solana is derived. Base58.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAccount {
    /// Whose it is.
    pub owner: String,
    /// What it holds.
    pub mint: String,
}

impl Payload {
    /// The wire name, such as `ethereum.transaction`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EthereumTransaction { .. } => "ethereum.transaction",
            Self::EthereumAuthorization { .. } => "ethereum.authorization",
            Self::EthereumMessage { .. } => "ethereum.message",
            Self::EthereumTypedData { .. } => "ethereum.typed_data",
            Self::BitcoinPsbt { .. } => "bitcoin.psbt",
            Self::BitcoinMessage { .. } => "bitcoin.message",
            Self::SolanaTransaction { .. } => "solana.transaction",
            Self::ApplianceChange { .. } => "appliance.change",
        }
    }
}

mod prefixed_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("0x{}", hex::encode(bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digits =
            text.strip_prefix("0x").ok_or_else(|| D::Error::custom("hexadecimal must start with `0x`"))?;
        hex::decode(digits).map_err(|_| D::Error::custom("not an even number of hexadecimal digits"))
    }
}

mod padded_base64 {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    // One spelling: this engine refuses other alphabets, white space, missing padding and stray bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64 with its padding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_one_wire_form() {
        let text = r#"{"type":"ethereum.transaction","data":"0x02c0"}"#;
        let payload: Payload = serde_json::from_str(text).unwrap();
        assert_eq!(payload, Payload::EthereumTransaction { data: vec![2, 0xc0] });
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
        for bad in [
            r#"{"type":"ethereum.transaction","data":"02c0"}"#,
            r#"{"type":"ethereum.transaction","data":"0x2"}"#,
            r#"{"type":"ethereum.transaction","data":"0x02","digest":"0x00"}"#,
            r#"{"type":"raw","data":"0x02"}"#,
        ] {
            assert!(serde_json::from_str::<Payload>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        let text = r#"{"type":"bitcoin.psbt","data":"cHNidP8="}"#;
        let payload: Payload = serde_json::from_str(text).unwrap();
        assert_eq!(payload, Payload::BitcoinPsbt { data: b"psbt\xff".to_vec() });
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
        for bad in ["cHNidP8", "cHNidP9=", "cHNi dP8=", "cHNidP8=\\n", "cHNidP_=", "cHNidP8=="] {
            let text = text.replace("cHNidP8=", bad);
            assert!(serde_json::from_str::<Payload>(&text).is_err(), "{bad}");
        }
    }
}
