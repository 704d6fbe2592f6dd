//! LIMIT: every bound on what comes from outside, in one place. Units come last in each name.

/// A request body, in bytes.
pub const BODY_BYTES: usize = 512 * 1024;
/// All headers of one request together, in bytes.
pub const HEADERS_BYTES: usize = 16 * 1024;
/// Headers of one request.
pub const HEADERS: usize = 64;
/// A transaction, authorization or message before decoding, in bytes (EIP-7825 and client pools stay below).
pub const PAYLOAD_BYTES: usize = 128 * 1024;
/// A typed-data document, in bytes of its compact JSON.
pub const TYPED_DATA_BYTES: usize = 128 * 1024;
/// Nesting of typed data and of ABI arguments.
pub const NESTING: usize = 16;
/// Effects of one intent: token movements, delegations.
pub const EFFECTS: usize = 64;
/// One log entry, in bytes (C2SP tlog-tiles allows 65,535).
pub const LEAF_BYTES: usize = 60 * 1024;
/// A policy bundle's files together, in bytes.
pub const BUNDLE_BYTES: usize = 8 * 1024 * 1024;
/// Rows of one page of a listing.
pub const PAGE_ROWS: usize = 500;
/// Requests waiting for the store's writer.
pub const WRITER_QUEUE: usize = 4_096;
/// Jobs in one commit.
pub const COMMIT_JOBS: usize = 128;
/// Calls waiting for the HSM worker.
pub const HSM_QUEUE: usize = 1_024;
/// One call to the HSM, in milliseconds; the worker is replaced when it is passed.
pub const HSM_CALL_MS: u64 = 5_000;
/// Any silence of a connection, in milliseconds: handshake, header, body, idle, stalled read of a response.
pub const STALL_MS: u64 = 8_000;
/// How long a pending request waits for its obligations when the policy does not say, in milliseconds.
pub const PENDING_MS: i64 = 24 * 60 * 60 * 1_000;
