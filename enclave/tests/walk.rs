//! A skipped room does not compile. Each case takes a short cut that would lose money if it were possible; the compiler's
//! words stand in it (`//~`), so that it cannot fail for another reason than the one it is about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// In one run of the compiler that built everything else, so that nothing is built twice for it.
#[test]
fn short_cuts_do_not_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walk");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let errors: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("//~ ")).map(str::to_owned).collect();
        assert!(!errors.is_empty(), "{} says nothing of the compiler", path.display());
        expected.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), errors);
    }
    let mut check = Command::new(env!("CARGO"));
    check.args(["check", "--workspace", "--offline", "--keep-going", "--message-format=json"]);
    check.args(["--features", "chancery-enclave/short-cuts"]);
    for name in expected.keys() {
        check.args(["--example", name]);
    }
    let checked = check.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success(), "every short cut compiled: {said}");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(checked.stdout).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let rendered = message.pointer("/message/rendered").and_then(Value::as_str).unwrap_or_default();
        let heading = rendered.lines().next().filter(|line| line.starts_with("error"));
        let (Some(heading), Some(name)) = (heading, message.pointer("/target/name").and_then(Value::as_str))
        else {
            continue;
        };
        found.entry(name.to_owned()).or_default().push(heading.to_owned());
    }
    for errors in found.values_mut() {
        errors.retain(|error| !error.starts_with("error: aborting"));
    }
    assert_eq!(found, expected, "{said}");
}
