//! What the walk answers: plain data for the door to write out. Nothing here can make a signature or a record.

use chancery_audit::{Digest, HexBytes, PartyDecision, Receipt, V1};
use chancery_core::{RequestId, UnixMillis};
use chancery_store::RequestState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The end of a walk that was not refused.
#[derive(Debug)]
pub enum Answer {
    /// A signature with its receipt.
    Released(Box<Released>),
    /// Recorded, and waiting for obligations.
    Pending(Pending),
}

/// A released signature.
#[derive(Clone, Debug)]
pub struct Released {
    /// What was signed, in the forms it is used in.
    pub signed: Signed,
    /// Verifies offline.
    pub receipt: Receipt,
}

/// A signature in the forms it is used in; also the `released` column of a request, format 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The format.
    pub v: V1,
    /// For each signature that the payload needs, in their order: `r || s || y_parity`, 65 bytes, of ECDSA; 64 of others.
    pub signature: HexBytes,
    /// What each of several is over; empty where the one signature is over the signing digest itself.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signing_digests: Vec<Digest>,
    /// The transaction with its signature, ready for the network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_transaction: Option<HexBytes>,
    /// The transaction's hash on its chain; of Solana the signature, which names it there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transaction_hash: Option<HexBytes>,
    /// The JSON-RPC form of a signed EIP-7702 authorization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_authorization: Option<Value>,
    /// The PSBT with our signatures in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_psbt: Option<HexBytes>,
    /// A BIP-322 signature, format `simple`: base64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_signature: Option<String>,
    /// Of a key that several parties hold: what the others that signed decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parties: Vec<PartyDecision>,
}

/// A request that waits for its obligations, or for other parties.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The request.
    pub request_id: RequestId,
    /// What it still needs: for each rule that would permit it, the rule, the effect and the needs.
    pub missing: Vec<Value>,
    /// When it ends unanswered.
    pub expires_ms: Option<UnixMillis>,
    /// Whether policy allows it already, and it waits for other parties alone.
    pub is_permitted: bool,
}

impl Pending {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> RequestState {
        if self.is_permitted { RequestState::Permitted } else { RequestState::Pending }
    }
}
