//! The example bundle of Bitcoin, and what a bundle says about decoding it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;

use chancery_intent::Contracts as _;
use chancery_policy::{Source, Tested};

fn vault() -> Source {
    Source::from_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vault")).unwrap()
}

#[test]
fn the_vault_passes_its_own_tests() {
    let policy = Tested::compile(&vault()).unwrap_or_else(|error| panic!("{error:#?}"));
    assert_eq!(policy.bundle().test().len(), 6);
    assert!(
        !policy.bundle().contracts().anyone_can_pay(),
        "inputs stay closed unless a bundle says otherwise"
    );
}

#[test]
fn a_bundle_may_leave_inputs_open_and_nothing_else() {
    let with = |setting: &str| {
        let mut source = vault();
        source.files.get_mut("bundle.toml").unwrap().push_str(&format!("\n[bitcoin]\n{setting}\n"));
        Tested::compile(&source)
    };
    assert!(with("anyone_can_pay = true").unwrap().bundle().contracts().anyone_can_pay());
    assert!(!with("anyone_can_pay = false").unwrap().bundle().contracts().anyone_can_pay());
    for bad in ["anyone_can_pay = \"yes\"", "sighash = [\"none\"]", "single = true"] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_address_of_another_network_is_a_finding() {
    let mut source = vault();
    let bundle = source.files.get_mut("bundle.toml").unwrap();
    *bundle = bundle.replace(
        "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    );
    assert!(Tested::compile(&source).is_err(), "a rule about it could never apply");
}
