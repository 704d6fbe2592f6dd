//! What happened: the transparency log, receipts, offline verification, export. A leaf is appended inside the store's
//! transaction; `Appended` is the evidence that it is durable, `Proven` that the log holds it under a signed
//! checkpoint. If this room is wrong, a signature can leave that no stranger can account for.

mod append;
mod approval;
mod aside;
mod canonical;
mod certificate;
mod checkpoint;
mod cold;
mod commitment;
mod cosignature;
mod digest;
mod endorsement;
mod error;
mod event;
mod export;
mod feed;
mod files;
mod key_id;
mod log;
mod login;
pub mod merkle;
mod mirror;
mod ml_dsa;
mod note;
#[doc(hidden)]
pub mod part;
mod parties;
mod proof;
mod publish;
mod receipt;
mod record;
mod recover;
mod request_signature;
mod rotation;
mod source;
mod submission;
mod tile;
mod timestamp;
mod tree;
mod trust;
mod verify;
mod verify_log;
mod witness;

pub use append::{Appended, Leaf, append};
pub use approval::{Act, Approval, ApprovalError, Matter, Review, Spoken};
pub use aside::aside;
pub use canonical::{SAFE_INTEGER, canonical};
pub use certificate::{Added, ClientAdded, ClientAuthority, ClientRevoked, Revoked};
pub use checkpoint::{Checkpoint, CheckpointSigner, SignedCheckpoint, Signing};
pub use cold::{
    COLD_REQUEST_BYTES, COLD_SIGNED_BYTES, ColdError, ColdRequest, ColdSigned, ColdSigning, RequestKind,
    SignedKind, waits_for_signature,
};
pub use commitment::{Salt, intent_commitment, request_digest};
pub use cosignature::Cosignature;
pub use digest::{Digest, HexBytes, HexError, V1};
pub use endorsement::{Endorsed, Endorsement, EndorsementError, Endorsers};
pub use error::{AuditError, SignerError};
pub use event::EVENTS;
pub use export::{ExportError, Filter, Row, rfc3339, rows, write_csv, write_json_lines};
pub use feed::{Feed, LogObserver, feed};
pub use key_id::{kek_id, key_id, log_key_id};
pub use log::{Keeper, Log, LogOptions, Standing};
pub use login::{Login, LoginEvent};
pub use mirror::{Folder, Mirror, MirrorError};
pub use ml_dsa::{ML_DSA_SEED_BYTES, MlDsaError, MlDsaSigner};
pub use note::{CosignerKey, MlDsaKey, NOTE_BYTES, NOTE_SIGNATURES, NamedKey, Note, NoteError, VerifierKey};
pub use parties::{KeyShare, PartyDecision, PartyError, PartyIdentity, PartyIdentityError};
pub use proof::{ProofError, Proven, TlogProof};
pub use receipt::{Approved, RECEIPT_BYTES, Receipt, ReceiptError, signing_commitment};
pub use record::{
    Algorithm, Ceremony, Decision, End, Outcome, Policy, Record, RecordError, Stream, Verdict, Wallet,
};
pub use request_signature::RequestSignature;
pub use rotation::{LogKeys, Retired, Rotation, Turn, Vouched};
pub use source::LeafSource;
pub use submission::Submission;
pub use timestamp::{Archive, RootsError, Timestamp, TimestampError, TimestampQuery, TimestampRoots};
pub use trust::{LOG_KEYS, TRUST_BYTES, Trust, TrustError};
pub use verify::{Verified, verify};
pub use verify_log::{
    Counts, Kept, KeptError, LogError, LogReport, Pass, Reason, Start, Timestamped, Timestamps, verify_log,
};
pub use witness::{Carrying, Courier, CourierError, Reply, Witness};
