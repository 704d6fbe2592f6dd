//! Wycheproof on SoftHSM2, as an operator would run it, and through the check that every signature passes before release.
//! Prints a line for each file, which `cargo xtask assurance --only vectors` counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use support::softhsm2;

/// SoftHSM2 2.6.1's wrong answers, none of which the house asks for: nonces above 256 bits are refused; keys that are no
/// multiple of 8 bytes are filled up with zeros before they are wrapped.
const NOTED: &[(&str, &str, usize)] =
    &[("aes_gcm", "C_Decrypt: GeneralError", 3), ("aes_kwp", "the other way: another result", 44)];

/// Why a vector may be skipped. Another reason is a hole.
const REASONS: &[&str] = &[
    "refused on purpose: `r` was reduced, and no yParity of 0 or 1 fits",
    "PKCS#11 knows `r || s` only, and this is not its DER",
    "PKCS#11 knows no low-S rule",
    "the module has no such thing: C_SignInit: KeySizeRange",
];

/// Would catch a check before release that takes a signature which Wycheproof calls wrong or refuses a right one, a file
/// that is left out or counted short, and a SoftHSM2 that answers otherwise than is written down.
#[test]
fn wycheproof_agrees() {
    let (code, tallies) = softhsm2().run(&["--json", "vectors"]);
    let tallies = tallies.as_array().unwrap();
    let mut counted = 0;
    for tally in tallies {
        println!("\nassurance vectors {tally}");
        let number = |key: &str| tally[key].as_u64().unwrap();
        let list = |key: &str| tally[key].as_array().unwrap();
        let skipped: u64 = tally["skipped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        let told = number("passed") + skipped + (list("noted").len() + list("failed").len()) as u64;
        assert_eq!(told, number("total"), "{tally}");
        assert!(list("failed").is_empty(), "{tally}");
        for reason in tally["skipped"].as_object().unwrap().keys() {
            assert!(REASONS.contains(&reason.as_str()), "{reason}");
        }
        let (what, count) = NOTED
            .iter()
            .find(|(file, ..)| tally["file"] == *file)
            .map_or(("", 0), |(_, what, count)| (*what, *count));
        assert_eq!(list("noted").len(), count, "{tally}");
        assert!(list("noted").iter().all(|note| note["what"] == what), "{tally}");
        counted += number("total");
    }
    assert_eq!(code, Some(0));
    let files = |by: &str| tallies.iter().filter(|tally| tally["by"] == by).count();
    assert_eq!((files("house"), files("token")), (20, 28));
    assert_eq!(counted, 18_007, "the files changed: look at what is new in them");
    assert!(tallies.iter().all(|tally| tally["passed"].as_u64() > Some(0)));
}
