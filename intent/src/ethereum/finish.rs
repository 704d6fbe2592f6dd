//! From a signature to what a client sends on: the signed transaction, the signed authorization, or the signature itself.
//! Trusts that the signature was verified under the wallet's key; a wrong one here is only useless, not dangerous.

use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Signature, U256};
use serde_json::json;

use super::{Document, prefixed_hex};
use crate::{Artifact, IntentError};

impl Document {
    pub(crate) fn finish(&self, made: &crate::Signature) -> Result<Artifact, IntentError> {
        let parity = made.y_parity.ok_or(IntentError::Signatures)?;
        let signature = Signature::new(U256::from_be_bytes(made.r), U256::from_be_bytes(made.s), parity);
        Ok(match self {
            Self::Transaction(transaction) => {
                let (raw, hash) = transaction.signed(&signature);
                Artifact::Transaction { raw, hash }
            }
            Self::Authorization(authorization) => authorized(authorization, &signature),
            Self::Message => Artifact::Signature { bytes: signature.as_bytes() },
        })
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
