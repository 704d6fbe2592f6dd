//! What is asked of the appliance: one wallet, one payload, one idempotency key.

use serde::{Deserialize, Serialize};

use crate::{IdempotencyKey, Tenant, WalletId};

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

/// What shall be signed. The wire form is `{"type": "...", "data": "0x..."}`; typed data carries JSON instead.
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
}
