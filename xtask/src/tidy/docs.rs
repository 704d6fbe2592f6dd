//! The documents: their links lead to files and headings that exist, and every decision has its own number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{File, Finding, normal};

/// Looks at every document; `exists` tells whether a path below the root is there.
#[must_use]
pub fn check(files: &[File], exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let documents: BTreeMap<&str, BTreeSet<String>> = files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut findings = numbers(files);
    findings.extend(runbook(files, exists));
    for file in files.iter().filter(|file| documents.contains_key(file.path.as_str())) {
        for (line, target) in links(&file.text) {
            if let Some(what) = broken(&file.path, &target, &documents, exists) {
                findings.push(Finding::new(
                    "links",
                    format!("{}:{line}", file.path),
                    format!("`{target}` {what}"),
                ));
            }
        }
    }
    findings
}

fn broken(
    from: &str,
    target: &str,
    documents: &BTreeMap<&str, BTreeSet<String>>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let whole = if path.is_empty() {
        PathBuf::from(from)
    } else {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        match normal(&folder.join(path)) {
            Some(whole) => whole,
            None => return Some("leaves the repository"),
        }
    };
    if !exists(&whole) {
        return Some("does not exist");
    }
    let known = documents.get(whole.to_str().unwrap_or_default());
    match (anchor, known) {
        (Some(anchor), Some(known)) if !known.contains(anchor) => Some("has no such heading"),
        _ => None,
    }
}

/// Inline links outside code, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Code in a line is not a link: drop every second part between backticks.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// The names a heading can be linked by: lower case, spaces to `-`, no punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|heading| {
            heading
                .trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                    _ => None,
                })
                .collect()
        })
        .collect()
}

/// Numbered lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((number + 1, line))
    })
}

/// Each alert names a page that exists, and each page belongs to an alert.
fn runbook(files: &[File], exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    const ALERTS: &str = "packaging/alerts.yml";
    let alerts = files.iter().find(|file| file.path == ALERTS).map_or("", |file| &file.text);
    let after = |key: &'static str| {
        alerts
            .lines()
            .filter_map(move |line| line.trim().trim_start_matches("- ").strip_prefix(key))
            .map(str::trim)
    };
    let pages: BTreeSet<&str> = after("runbook:").collect();
    let mut findings = Vec::new();
    let (alerts, named) = (after("alert:").count(), after("runbook:").count());
    if alerts != named {
        findings.push(Finding::new("runbook", ALERTS, format!("{alerts} alerts name {named} pages")));
    }
    for page in pages.iter().filter(|page| !exists(Path::new(page))) {
        findings.push(Finding::new("runbook", ALERTS, format!("`{page}` does not exist")));
    }
    let written = files.iter().filter(|file| file.path.starts_with("docs/runbook/"));
    for page in written.filter(|file| !pages.contains(file.path.as_str())) {
        findings.push(Finding::new("runbook", &page.path, format!("belongs to no alert of `{ALERTS}`")));
    }
    findings
}

fn numbers(files: &[File]) -> Vec<Finding> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("docs/adr/") else { continue };
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) || !name.ends_with(".md") {
            findings.push(Finding::new(
                "decisions",
                &file.path,
                "a decision is named `NNNN-what-was-decided.md`",
            ));
        } else if let Some(first) = seen.insert(number, &file.path) {
            findings.push(Finding::new("decisions", &file.path, format!("has the number of `{first}`")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> =
            files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        let exists = |path: &Path| files.iter().any(|file| Path::new(&file.path) == path);
        check(&files, &exists).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        let text = "# A b\n[x](docs/b.md) [y](docs/b.md#two-words) [z](#a-b) [w](https://example.com/none)\n";
        assert_eq!(
            found(&[("README.md", text), ("docs/b.md", "## Two, words\n[up](../README.md)\n")]),
            [""; 0]
        );
    }

    #[test]
    fn broken_links_are_seen() {
        for (text, what) in [
            ("[x](docs/none.md)", "does not exist"),
            ("[x](#none)", "no such heading"),
            ("[x](README.md#none)", "no such heading"),
            ("[x](../outside.md)", "leaves the repository"),
        ] {
            let found = found(&[("README.md", text)]);
            assert!(found.len() == 1 && found[0].contains(what), "{text}: {found:?}");
        }
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(found(&[("README.md", "```\n[x](none.md)\n```\n`[x](none.md)`\n")]), [""; 0]);
    }

    #[test]
    fn alerts_and_pages_belong_together() {
        let alert = "- alert: A\n  runbook: docs/runbook/a.md\n";
        let (alerts, page) = (("packaging/alerts.yml", alert), ("docs/runbook/a.md", "# A\n"));
        assert_eq!(found(&[alerts, page]), [""; 0]);
        assert_eq!(found(&[alerts]).len(), 1, "an alert without its page");
        assert_eq!(found(&[page]).len(), 1, "a page without an alert");
        assert_eq!(
            found(&[("packaging/alerts.yml", "- alert: A\n")]).len(),
            1,
            "an alert that names no page"
        );
    }

    #[test]
    fn decisions_have_their_own_numbers() {
        assert_eq!(found(&[("docs/adr/0001-a.md", ""), ("docs/adr/0002-b.md", "")]), [""; 0]);
        assert_eq!(found(&[("docs/adr/0001-a.md", ""), ("docs/adr/0001-b.md", "")]).len(), 1);
        assert_eq!(found(&[("docs/adr/one.md", "")]).len(), 1);
    }
}
