//! An authority's answer about a checkpoint (RFC 3161), and the list of those that are kept. OpenSSL made the answers in the
//! corpus once (`audit/tests/support/tsa.rs` says how) and its keys are gone: nobody can sign another time under this root.

use std::sync::LazyLock;

use chancery_audit::{Timestamp, TimestampRoots, part};

use crate::Seen;

const MESSAGE: &[u8] = b"chancery.example/log\n3\nAAAA\n";
/// 2026-11-29T22:42:23Z.
const TIME_MS: i64 = 1_795_992_143_000;

static ROOTS: LazyLock<TimestampRoots> =
    LazyLock::new(|| TimestampRoots::from_pem(include_bytes!("timestamp.pem")).unwrap());

/// An answer. A changed one may be believed only where it still says the same.
pub(super) fn timestamp(input: &[u8]) -> Seen {
    let believed = Timestamp::verify(MESSAGE, input, &ROOTS);
    if let Ok(timestamp) = &believed {
        assert_eq!((timestamp.time().0, timestamp.authority()), (TIME_MS, "CN=Test TSA"));
    }
    Seen::of(&believed)
}

pub(super) fn timestamps() -> Vec<Vec<u8>> {
    let ecdsa = include_bytes!("../../corpus/timestamp/ecdsa.tsr");
    let rsa = include_bytes!("../../corpus/timestamp/rsa.tsr");
    vec![ecdsa.to_vec(), rsa.to_vec()]
}

/// A list, which has one spelling.
pub(super) fn index(input: &[u8]) -> Seen {
    match part::timestamp_index(input) {
        None => Seen::refused(&"not a list"),
        Some(written) => {
            assert_eq!(written, input, "a list has one spelling");
            Seen::accepted(&())
        }
    }
}

pub(super) fn indexes() -> Vec<Vec<u8>> {
    ["chancery timestamps v1\n", "chancery timestamps v1\n1\n2\n40\n"].map(|text| text.into()).into()
}
