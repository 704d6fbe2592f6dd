//! The targets under libFuzzer: one program, the target named by `CHANCERY_FUZZ`, so that it is linked once.
//! The coverage comes from how the crates are built (`fuzz/instrument`); without it libFuzzer finds nothing.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "the table has targets")]

use std::sync::LazyLock;

use chancery_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("CHANCERY_FUZZ").unwrap_or_default();
    chancery_fuzz::target(&name).unwrap_or(&chancery_fuzz::TARGETS[0])
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (TARGET.check)(input);
});
