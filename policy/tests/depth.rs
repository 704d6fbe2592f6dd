//! A bundle is text from outside: no nesting of it may exhaust the stack, which would end the process.
#![allow(clippy::unwrap_used, reason = "test code")]

mod scene;

use chancery_policy::{Bundle, BundleError, FindingCode, Source};
use scene::{MANIFEST, OPEN, codes, source, with_manifest};

/// The stack of a worker thread, in bytes: half of what tokio gives one.
const STACK: usize = 1024 * 1024;

fn compile(source: Source) -> Result<(), BundleError> {
    let run = move || Bundle::compile(&source).map(drop);
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap()
}

#[test]
fn deep_policies_never_exhaust_the_stack() {
    let shapes = [
        ("(", "true", ")"),
        ("[", "1", "].contains(1)"),
        ("[", "1", "]"),
        ("if true then ", "true", " else false"),
        ("{a: ", "1", "}"),
        ("1 + ", "1", ""),
        ("true && ", "true", ""),
        ("true || ", "true", ""),
        ("", "context", ".a"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("", "true", "} when {true"),
    ];
    for (open, core, close) in shapes {
        for depth in [30, 120, 250, 8_000] {
            let condition = format!("{}{core}{}", open.repeat(depth), close.repeat(depth));
            let text = format!("@id(\"deep\") permit (principal, action, resource) when {{ {condition} }};");
            let result = compile(source(&text));
            let refused = result.err().map(|error| codes(&error));
            let too_deep = refused.is_some_and(|codes| codes.contains(&FindingCode::Size));
            assert!(
                depth < 8_000 || too_deep,
                "`{open}{core}{close}` {depth} deep was not refused for its depth"
            );
        }
    }
    let wide = "true && ".repeat(250);
    assert!(
        compile(source(&format!("@id(\"w\") permit (principal, action, resource) when {{ {wide} true }};")))
            .is_ok()
    );
}

#[test]
fn deep_files_never_exhaust_the_stack() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    assert!(compile(with_manifest(&format!("{MANIFEST}x = {}", deep("[", "]")), OPEN)).is_err());
    assert!(compile(with_manifest(&format!("{MANIFEST}x = {}", deep("{a = ", "}")), OPEN)).is_err());
    for text in [deep("[", "]"), deep("[{\"inputs\":", "}]")] {
        let mut source = source(OPEN);
        source.files.insert("abi/deep.json".into(), text);
        assert!(compile(source).is_err());
    }
}
