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
/// A PSBT, in bytes; each input brings the transaction it spends from.
pub const PSBT_BYTES: usize = 256 * 1024;
/// Inputs of a PSBT; each of ours is one signature.
pub const PSBT_INPUTS: usize = 128;
/// Outputs of a PSBT.
pub const PSBT_OUTPUTS: usize = 128;
/// Derivation indexes that are tried for one input or output of a wallet with many scripts.
pub const PSBT_INDEXES: usize = 4;
/// A Bitcoin fee, in satoshi for each virtual byte: what Bitcoin Core refuses to relay for its own wallet.
pub const FEE_RATE_SAT_PER_VB: u64 = 10_000;
/// A Bitcoin fee may be one part in so many of what the inputs hold.
pub const FEE_PART: u64 = 4;
/// A Bitcoin output descriptor, in bytes.
pub const DESCRIPTOR_BYTES: usize = 8 * 1024;
/// A Solana transaction with its signatures, in bytes: what one packet carries, and the network takes no more.
pub const SOLANA_BYTES: usize = 1_232;
/// Token accounts that a request proves the owners of.
pub const SOLANA_TOKEN_ACCOUNTS: usize = 32;
/// Nesting of typed data and of ABI arguments.
pub const NESTING: usize = 16;
/// Effects of one intent: token movements, delegations.
pub const EFFECTS: usize = 64;
/// One log entry, in bytes (C2SP tlog-tiles allows 65,535).
pub const LEAF_BYTES: usize = 60 * 1024;
/// A policy bundle's files together, in bytes.
pub const BUNDLE_BYTES: usize = 8 * 1024 * 1024;
/// Keys that may sign policy bundles.
pub const POLICY_KEYS: usize = 16;
/// Rows of one page of a listing.
pub const PAGE_ROWS: usize = 500;
/// Room on a disk that is kept for ending what is under way, in MiB.
pub const RESERVE_MIB: u32 = 256;
/// Requests waiting for the store's writer.
pub const WRITER_QUEUE: usize = 4_096;
/// Jobs in one commit.
pub const COMMIT_JOBS: usize = 128;
/// Calls waiting for the HSM worker.
pub const HSM_QUEUE: usize = 1_024;
/// One call to the HSM, in milliseconds; the worker is replaced when it is passed.
pub const HSM_CALL_MS: u64 = 5_000;
/// One question of a policy's proof to the solver, in milliseconds.
pub const PROOF_MS: u64 = 30_000;
/// Any silence of a connection, in milliseconds: handshake, header, body, idle, stalled read of a response.
pub const STALL_MS: u64 = 8_000;
/// Within a stall's time a peer must take or send this much, or finish: a byte a second is a stall too.
pub const PACE_BYTES: usize = 64 * 1024;
/// What is left of a stall's time to say why a connection ends, in milliseconds.
pub const GRACE_MS: u64 = 1_000;
/// Open connections of the API.
pub const CONNECTIONS: usize = 4_096;
/// Connections of one client, by name.
pub const CONNECTIONS_PER_CLIENT: usize = 256;
/// Connections above a client's share that are kept open to be told so.
pub const CONNECTIONS_REFUSED: usize = 64;
/// Connections still in their TLS handshake; the oldest makes room.
pub const HANDSHAKES: usize = 3_072;
/// The same from one address (IPv4) or /64 (IPv6).
pub const HANDSHAKES_PER_SOURCE: usize = 2_560;
/// Connections the kernel keeps until they are accepted.
pub const BACKLOG: u32 = 4_096;
/// Connections of the ops listener.
pub const OPS_CONNECTIONS: usize = 64;
/// HTTP/2 streams of one connection.
pub const STREAMS: u32 = 64;
/// Requests being answered.
pub const IN_FLIGHT: usize = 4_096;
/// All request bodies in memory together, in bytes.
pub const BODIES_BYTES: usize = 256 * 1024 * 1024;
/// One client may take one part in so many of [`IN_FLIGHT`] and [`BODIES_BYTES`].
pub const CLIENT_PART: usize = 4;
/// What the kernel buffers for one reader, in bytes.
pub const SEND_BUFFER_BYTES: u32 = 256 * 1024;
/// How long the door waits for an answer from within, in milliseconds.
pub const ANSWER_MS: u64 = 30_000;
/// How long whoever brings a policy bundle waits for its end before he is told where to look for it, in milliseconds.
pub const CHANGE_MS: u64 = 10_000;
/// How long requests in flight may take when the appliance stops, in milliseconds.
pub const DRAIN_MS: u64 = 10_000;
/// How old the proof of who is at a connection may be, in milliseconds.
pub const IDENTITY_MS: i64 = 1_000;
/// How far the time of a request's signature may be from the appliance's, either way, in milliseconds.
pub const SIGNATURE_MS: i64 = 5 * 60 * 1_000;
/// The nonce of a request's signature, in bytes.
pub const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// How often the door looks at its certificates, key and revocation lists on disk, in milliseconds.
pub const CERTIFICATES_MS: u64 = 500;
/// One of those files, in bytes.
pub const CERTIFICATES_BYTES: u64 = 16 * 1024 * 1024;
/// Clients whose rate is remembered.
pub const RATE_KEYS: usize = 65_536;
/// How long a pending request waits for its obligations when the policy does not say, in milliseconds.
pub const PENDING_MS: i64 = 24 * 60 * 60 * 1_000;
/// Witnesses of one log.
pub const WITNESSES: usize = 16;
/// How long the witnesses may take together to cosign a checkpoint, in milliseconds.
pub const WITNESS_MS: u64 = 3_000;
/// What a witness may be sent, in bytes: a checkpoint with all its signatures, and a consistency proof.
pub const WITNESS_BYTES: usize = 16 * 1024;
/// Lines that a change carries of what differs, of who signed and of what was proved; the last says how many more there are.
pub const CHANGE_LINES: usize = 256;
/// One such line, in bytes.
pub const CHANGE_LINE_BYTES: usize = 512;
/// Approvals and vetoes of one pending request.
pub const APPROVALS: usize = 256;
/// Time-stamping authorities of one log.
pub const TIMESTAMP_AUTHORITIES: usize = 4;
/// How long an authority may take to answer, in milliseconds.
pub const TIMESTAMP_MS: u64 = 10_000;
/// What it may answer, in bytes: a signature and a few certificates.
pub const TIMESTAMP_BYTES: usize = 16 * 1024;
/// How far its time may be from this machine's, in milliseconds.
pub const TIMESTAMP_SKEW_MS: i64 = 5 * 60 * 1_000;
/// Timestamps that are kept beside the log.
pub const TIMESTAMPS: usize = 4_096;
/// Logins under way at once.
pub const LOGINS: usize = 1_024;
/// How long a login may take from its first message to its last, in milliseconds.
pub const LOGIN_MS: i64 = 2 * 60 * 1_000;
/// Open sessions of one officer; the oldest makes room.
pub const SESSIONS: usize = 16;
/// How long a session lasts when the configuration does not say, in seconds.
pub const SESSION_S: u32 = 15 * 60;
/// Event streams of one peer that are open at once.
pub const EVENT_STREAMS: usize = 16;
/// How long one lasts: whoever comes back is proved again, so none outlives its certificate by more, in milliseconds.
pub const EVENT_STREAM_MS: u64 = 60_000;
/// Readings of the log for streams and pages at once: however far behind who listens is, the others are served meanwhile.
pub const EVENT_READINGS: usize = 1;
/// How often an event stream that has nothing to tell says so, and looks whether its reader still may listen, in milliseconds.
pub const EVENT_PULSE_MS: u64 = 2_000;
/// Webhooks.
pub const WEBHOOKS: usize = 16;
/// How long a webhook may take to answer, in milliseconds.
pub const WEBHOOK_MS: u64 = 10_000;
/// What it may answer, in bytes; nothing of it is used.
pub const WEBHOOK_BYTES: usize = 16 * 1024;
/// A request for a certificate (CSR), in bytes of its PEM.
pub const CSR_BYTES: usize = 16 * 1024;
/// How long a certificate of the appliance's own authority may hold, in days.
pub const CERTIFICATE_DAYS: u32 = 397;
/// Certificates of one name that hold at once: one in use, and those that take its place.
pub const CERTIFICATES_OF_CLIENT: usize = 8;
/// Certificates of one tenant that have not ended: a revocation list names no more.
pub const CERTIFICATES: usize = 16_384;
/// Certificates that one change takes back.
pub const REVOCATIONS: usize = 64;
/// How long a revocation list of the appliance's own authority holds, in milliseconds: as long as the HSM may be away. It never
/// leaves the process, and whatever is taken back is on a new one.
pub const REVOCATION_LIST_MS: i64 = 14 * 24 * 60 * 60 * 1_000;
/// How old it may be before it is signed anew, in milliseconds.
pub const REVOCATION_LIST_AGE_MS: i64 = 60 * 60 * 1_000;
/// Parties of one key.
pub const PARTIES: u8 = 16;
/// What another party may send at once, in bytes: a message of a session, or a client's request with its signature.
pub const PARTY_BYTES: usize = 1024 * 1024;
/// Connections of other parties.
pub const PARTY_CONNECTIONS: usize = 64;
/// What one other party may have under way here at once: requests that it brought, and proposals.
pub const PARTY_SESSIONS: usize = 16;
/// Messages that one session keeps for later.
pub const PARTY_MESSAGES: usize = 64;
/// How long another party may take to decide, in milliseconds; a slower one is routed around.
pub const PARTY_ASK_MS: u64 = 4_000;
/// One round of a signature, in milliseconds.
pub const PARTY_ROUND_MS: u64 = 3_000;
/// A signature of several parties from the first question to the last message, in milliseconds.
pub const PARTY_SIGN_MS: u64 = 12_000;
/// A key of several parties from the proposal to the certificate, and each of its rounds, in milliseconds.
pub const PARTY_KEY_MS: u64 = 25_000;
