//! The tree itself, held to the rules. Each rule's own test, with a sample that breaks it, is beside the rule.

#[test]
fn the_house_is_tidy() {
    let report = xtask::tidy::check().unwrap();
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(report.files > 50, "only {} files were looked at: the scan misses the tree", report.files);
}
