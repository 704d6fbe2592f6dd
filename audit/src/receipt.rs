//! The receipt, format 1: everything a stranger needs to see that a request was decided, recorded and, where it was
//! allowed, signed as decided. Verification is in `verify`; here is the document and nothing that trusts it.

use chancery_core::{ClientId, IdempotencyKey, Payload};
use chancery_identity::webauthn::Assertion;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{Approval, ApprovalError};
use crate::canonical::refuse_repeated_names;
use crate::commitment::Salt;
use crate::digest::{Digest, HexBytes, V1};
use crate::note::NoteError;
use crate::parties::{PartyDecision, PartyError};
use crate::proof::ProofError;
use crate::record::{Decision, Outcome};
use crate::request_signature::RequestSignature;

/// LIMIT: a receipt, in bytes: a payload and an intent of the longest, in hexadecimal and with room for escapes.
pub const RECEIPT_BYTES: usize = 4 * 1024 * 1024;

/// One request's receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The format: 1.
    pub v: V1,
    /// The decision's record; its leaf in the log is `{"kind":"decision", ...}` of these fields in canonical form.
    pub decision: Decision,
    /// Its C2SP tlog-proof.
    pub decision_proof: String,
    /// The client's name for what it intended.
    pub idempotency_key: IdempotencyKey,
    /// What was asked to be signed; `decision.request_digest` binds it.
    pub payload: Payload,
    /// What the payload would do, as policy read it; `decision.intent_commitment` binds it with `intent_salt`.
    pub intent: Value,
    /// 16 random bytes.
    pub intent_salt: Salt,
    /// What officers said and `decision.review` counts, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub approvals: Vec<Approved>,
    /// How the client signed its request itself; `decision.request_signature` is its digest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_signature: Option<RequestSignature>,
    /// How the request ended, once it has; its leaf is `{"kind":"outcome", ...}` of these fields in canonical form.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// Its C2SP tlog-proof, under the same checkpoint as the decision's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome_proof: Option<String>,
    /// The released signature: for `secp256k1` 65 bytes, `r || s || y_parity`, for others 64; where the payload needed several
    /// (Bitcoin), one after the other.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signature: Option<HexBytes>,
    /// What each of several signatures is over; `decision.signing_digest` commits to the list: see [`signing_commitment`].
    /// Empty where it is itself the digest that was signed, or that of the message that was.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signing_digests: Vec<Digest>,
    /// The signed transaction, ready to broadcast.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_transaction: Option<HexBytes>,
    /// Of a key that several parties hold: what each other party that signed decided, proved in its own log.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parties: Vec<PartyDecision>,
}

/// One approval or veto with all that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Its record; the leaf is `{"kind":"approval", ...}` of these fields in canonical form.
    pub approval: Approval,
    /// Its C2SP tlog-proof, under the same checkpoint as the decision's.
    pub approval_proof: String,
    /// What the officer's authenticator made.
    pub assertion: Assertion,
}

/// The signing digest of a payload that needs several signatures:
/// `SHA-256("chancery signing digests v1\n" || digest || digest ...)`, in the order in which they are signed.
#[must_use]
pub fn signing_commitment(digests: &[Digest]) -> Digest {
    let mut bytes = b"chancery signing digests v1\n".to_vec();
    digests.iter().for_each(|digest| bytes.extend(digest.as_bytes()));
    Digest::of(&bytes)
}

impl Receipt {
    /// Reads a receipt strictly: unknown fields, repeated names, and values in another spelling than this appliance
    /// writes are refused. White space and the order of names are free.
    ///
    /// # Errors
    /// [`ReceiptError::TooLong`], [`ReceiptError::Syntax`], [`ReceiptError::Spelling`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES {
            return Err(ReceiptError::TooLong);
        }
        refuse_repeated_names(bytes)?;
        let receipt: Self = serde_json::from_slice(bytes)?;
        let read: Value = serde_json::from_slice(bytes)?;
        if serde_json::to_value(&receipt)? != read {
            return Err(ReceiptError::Spelling);
        }
        Ok(receipt)
    }
}

/// Why a receipt does not convince. Each is a finding about the document.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Longer than [`RECEIPT_BYTES`].
    #[error("the receipt is longer than {RECEIPT_BYTES} bytes")]
    TooLong,
    /// Not the JSON of a receipt.
    #[error("the receipt does not parse: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A value is written otherwise than this appliance writes it.
    #[error("the receipt holds a value in a spelling this format does not have")]
    Spelling,
    /// A record that cannot be a leaf.
    #[error("`{0}` cannot be a log entry")]
    Record(&'static str),
    /// `decision_proof` fails.
    #[error("the decision is not proved: {0}")]
    DecisionProof(#[source] ProofError),
    /// `outcome_proof` fails.
    #[error("the outcome is not proved: {0}")]
    OutcomeProof(#[source] ProofError),
    /// Proofs are under different checkpoints.
    #[error("its entries are proved under different checkpoints")]
    TwoCheckpoints,
    /// An approval's proof fails.
    #[error("the approval by `{officer}` is not proved: {source}")]
    ApprovalProof {
        /// Who spoke.
        officer: ClientId,
        /// Why.
        #[source]
        source: ProofError,
    },
    /// An approval does not hold.
    #[error("the approval by `{officer}` does not hold: {source}")]
    Approval {
        /// Who spoke.
        officer: ClientId,
        /// Why.
        #[source]
        source: ApprovalError,
    },
    /// The review and the approvals do not belong together.
    #[error("`decision.review` does not hold: {0}")]
    Review(&'static str),
    /// The payload, client, wallet or key are not those that were decided on.
    #[error("`{0}` is not what the decision is about")]
    NotAsked(&'static str),
    /// The intent or its salt are not those that were decided on.
    #[error("`intent` and `intent_salt` do not open the decision's commitment")]
    Commitment,
    /// The client's own signature is not the recorded one, or does not show that it asked for this.
    #[error("the client's own signature does not hold: {0}")]
    RequestSignature(&'static str),
    /// Outcome and decision do not belong together.
    #[error("`outcome` does not belong to this decision: {0}")]
    Outcome(&'static str),
    /// The signature is not the wallet's over the decided digest, or not the released one.
    #[error("the signature does not hold: {0}")]
    Signature(&'static str),
    /// Another party's word does not hold.
    #[error("party {party}: {source}")]
    Party {
        /// Which party.
        party: u8,
        /// Why.
        #[source]
        source: PartyError,
    },
    /// The parties are not those that it takes.
    #[error("`parties` does not hold: {0}")]
    Parties(&'static str),
    /// Fields that must come together, or must not.
    #[error("{0}")]
    Fields(&'static str),
}

impl ReceiptError {
    /// The log's word about the decision, where the failure is a checkpoint that is not to be believed.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&NoteError> {
        match self {
            Self::DecisionProof(ProofError::Checkpoint(error))
            | Self::OutcomeProof(ProofError::Checkpoint(error))
            | Self::ApprovalProof { source: ProofError::Checkpoint(error), .. }
            | Self::Party { source: PartyError::Proof(ProofError::Checkpoint(error)), .. } => Some(error),
            _ => None,
        }
    }
}
