//! What the walk answers: plain data for the door to write out. Nothing here can make a signature or a record.

use chancery_audit::{HexBytes, Receipt};
use chancery_core::{RequestId, UnixMillis, WalletId};

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
    /// The request.
    pub request_id: RequestId,
    /// The wallet that signed.
    pub wallet: WalletId,
    /// `r || s || y_parity`: 65 bytes.
    pub signature: HexBytes,
    /// The transaction with its signature, ready for the network.
    pub signed_transaction: Option<HexBytes>,
    /// The transaction's hash on its chain.
    pub transaction_hash: Option<HexBytes>,
    /// The JSON-RPC form of a signed EIP-7702 authorization.
    pub signed_authorization: Option<serde_json::Value>,
    /// Verifies offline.
    pub receipt: Receipt,
}

/// A request that waits for its obligations.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The request.
    pub request_id: RequestId,
    /// What it still needs: for each rule that would permit it, the rule, the effect and the needs.
    pub missing: Vec<serde_json::Value>,
    /// When it ends unanswered.
    pub expires_ms: Option<UnixMillis>,
}
