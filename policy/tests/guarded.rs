//! The example bundle that asks for the client's own signature, and what of it is read and proved.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;

use chancery_policy::{Source, Tested};

fn guarded() -> Source {
    Source::from_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guarded")).unwrap()
}

/// Would catch a rule that reads `request_signed` and always finds the same there.
#[test]
fn the_guarded_wallets_pass_their_own_tests() {
    let policy = Tested::compile(&guarded()).unwrap_or_else(|error| panic!("{error:#?}"));
    assert_eq!(policy.bundle().test().len(), 4);
    for (from, to) in
        [("request_signed = true\n", ""), ("expect = \"deny\"", "request_signed = true\nexpect = \"deny\"")]
    {
        let mut source = guarded();
        let tests = source.files.get_mut("tests/guarded.toml").unwrap();
        *tests = tests.replacen(from, to, 1);
        assert!(Tested::compile(&source).is_err(), "{from:?} to {to:?} changes no decision");
    }
}
