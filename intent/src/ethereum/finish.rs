//! From a signature to what a client sends on: the signed transaction, the signed authorization, or the signature itself.
//! Trusts that the signature was verified under the wallet's key; a wrong one here is only useless, not dangerous.

use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Signature, U256};
use serde_json::{Value, json};

use super::{Document, prefixed_hex};

/// A signature in its final form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// `r || s || v` with `v` 27 or 28: what `eth_sign` and `eth_signTypedData` answer with.
    pub signature: [u8; 65],
    /// What is sent on.
    pub artifact: Artifact,
}

/// What a signature makes of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// A transaction to broadcast. Blobs are not part of it: their sender adds the sidecar.
    Transaction {
        /// The EIP-2718 bytes.
        raw: Vec<u8>,
        /// Its hash, by which chains name it.
        hash: [u8; 32],
    },
    /// An EIP-7702 authorization to put into a transaction.
    Authorization {
        /// `rlp([chain_id, address, nonce, y_parity, r, s])`.
        rlp: Vec<u8>,
        /// The JSON-RPC object: `chainId`, `address`, `nonce`, `yParity`, `r`, `s` as hexadecimal quantities.
        json: Value,
    },
    /// A message or typed data: the signature is all there is.
    Signature,
}

impl Document {
    pub(crate) fn finish(&self, r: &[u8; 32], s: &[u8; 32], y_parity: bool) -> Finished {
        let signature = Signature::new(U256::from_be_bytes(*r), U256::from_be_bytes(*s), y_parity);
        let artifact = match self {
            Self::Transaction(transaction) => {
                let (raw, hash) = transaction.signed(&signature);
                Artifact::Transaction { raw, hash }
            }
            Self::Authorization(authorization) => authorized(authorization, &signature),
            Self::Message => Artifact::Signature,
        };
        Finished { signature: signature.as_bytes(), artifact }
    }
}

fn authorized(authorization: &Authorization, signature: &Signature) -> Artifact {
    let json = json!({
        "chainId": format!("{:#x}", authorization.chain_id),
        "address": prefixed_hex(authorization.address),
        "nonce": format!("{:#x}", authorization.nonce),
        "yParity": if signature.v() { "0x1" } else { "0x0" },
        "r": format!("{:#x}", signature.r()),
        "s": format!("{:#x}", signature.s()),
    });
    Artifact::Authorization { rlp: alloy_rlp::encode(authorization.clone().into_signed(*signature)), json }
}
