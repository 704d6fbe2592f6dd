//! A skipped room does not compile. Each case takes a short cut that would lose money if it were possible; the compiler's
//! words are checked in beside it, so a case cannot fail for another reason than the one it is about.

#[test]
fn short_cuts_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/walk/*.rs");
}
