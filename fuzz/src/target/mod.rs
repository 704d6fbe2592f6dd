//! Every target, by the room that parses.

mod bitcoin;
mod ceremony;
mod ethereum;
mod identity;
mod log;
mod officer;
mod solana;
mod text;
mod timestamp;
mod worker;

use crate::Target;

/// Every parser of outside bytes.
pub const TARGETS: &[Target] = &[
    Target { name: "request", from: "a client's JSON", check: text::request, seeds: text::requests },
    Target {
        name: "transaction",
        from: "a client's Ethereum transaction",
        check: ethereum::transaction,
        seeds: ethereum::transactions,
    },
    Target {
        name: "calldata",
        from: "a call of a registered contract",
        check: ethereum::calldata,
        seeds: ethereum::calls,
    },
    Target {
        name: "authorization",
        from: "an EIP-7702 authorization",
        check: ethereum::authorization,
        seeds: ethereum::authorizations,
    },
    Target {
        name: "typed-data",
        from: "an EIP-712 document",
        check: ethereum::typed_data,
        seeds: ethereum::documents,
    },
    Target { name: "abi", from: "an officer's contract ABI", check: ethereum::abi, seeds: ethereum::abis },
    Target { name: "psbt", from: "a client's PSBT", check: bitcoin::psbt, seeds: bitcoin::psbts },
    Target {
        name: "message",
        from: "EIP-191 and BIP-322 messages",
        check: bitcoin::message,
        seeds: bitcoin::messages,
    },
    Target {
        name: "descriptor",
        from: "an operator's output descriptor",
        check: bitcoin::descriptor,
        seeds: bitcoin::descriptors,
    },
    Target {
        name: "solana",
        from: "a client's Solana message",
        check: solana::message,
        seeds: solana::messages,
    },
    Target { name: "bundle", from: "an officer's policy bundle", check: text::bundle, seeds: text::bundles },
    Target { name: "config", from: "the configuration file", check: text::config, seeds: text::configs },
    Target { name: "note", from: "a log's signed note", check: log::note, seeds: log::notes },
    Target {
        name: "cosignature",
        from: "a witness's answer",
        check: log::cosignature,
        seeds: log::cosignatures,
    },
    Target {
        name: "submission",
        from: "what a log sends a witness",
        check: log::submission,
        seeds: log::submissions,
    },
    Target { name: "proof", from: "an inclusion proof", check: log::proof, seeds: log::proofs },
    Target { name: "tile", from: "a mirror's tiles and bundles", check: log::tile, seeds: log::tiles },
    Target { name: "path", from: "the path of a tile in a URL", check: log::path, seeds: log::paths },
    Target { name: "record", from: "an entry of a log", check: log::record, seeds: log::records },
    Target { name: "receipt", from: "a stranger's receipt", check: log::receipt, seeds: log::receipts },
    Target {
        name: "cold",
        from: "whoever carries files to a cold wallet and back",
        check: log::cold,
        seeds: log::carried,
    },
    Target {
        name: "timestamp",
        from: "a time-stamping authority",
        check: timestamp::timestamp,
        seeds: timestamp::timestamps,
    },
    Target {
        name: "timestamp-index",
        from: "a mirror's list of timestamps",
        check: timestamp::index,
        seeds: timestamp::indexes,
    },
    Target { name: "trust", from: "a trust file", check: log::trust, seeds: log::trusts },
    Target { name: "canonical", from: "JSON that is hashed", check: text::canonical, seeds: text::values },
    Target {
        name: "certificate",
        from: "a peer's certificate",
        check: identity::certificate,
        seeds: identity::certificates,
    },
    Target {
        name: "certificate-request",
        from: "an operator's certificate request",
        check: identity::application,
        seeds: identity::applications,
    },
    Target {
        name: "revocation",
        from: "authorities and lists in files",
        check: identity::revocation,
        seeds: identity::revocations,
    },
    Target {
        name: "assertion",
        from: "an officer's authenticator",
        check: officer::assertion,
        seeds: officer::assertions,
    },
    Target {
        name: "request-signature",
        from: "a request's `Signature-Input`, `Signature` and `Content-Digest`",
        check: identity::request_signature,
        seeds: identity::request_signatures,
    },
    Target {
        name: "ceremony-script",
        from: "whoever plans a ceremony",
        check: ceremony::script,
        seeds: ceremony::scripts,
    },
    Target {
        name: "ceremony-transcript",
        from: "whoever shows a ceremony",
        check: ceremony::transcript,
        seeds: ceremony::transcripts,
    },
    Target {
        name: "frames",
        from: "the HSM worker and its parent",
        check: worker::frames,
        seeds: worker::streams,
    },
];
