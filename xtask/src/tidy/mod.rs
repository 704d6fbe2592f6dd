//! The rules of the house that a compiler does not hold: who may depend on whom, how a source file looks, whether the
//! documents' links lead somewhere. Each check is a function from text to findings, and has a test that sees it fail.

pub mod docs;
pub mod manifests;
pub mod rust;
mod scan;
pub mod walls;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Stop, Tree, tree};

/// One breach of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// Where: a file with line, or a crate.
    pub place: String,
    /// What is wrong and what would be right.
    pub what: String,
}

impl Finding {
    fn new(rule: &'static str, place: impl fmt::Display, what: impl Into<String>) -> Self {
        Self { rule, place: place.to_string(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.what, self.rule)
    }
}

/// What a look at the whole tree gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Breaches.
    pub findings: Vec<Finding>,
    /// Files that grow long but are still allowed.
    pub warnings: Vec<Finding>,
    /// Files looked at.
    pub files: usize,
}

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Looks at the whole tree.
///
/// # Errors
/// [`Stop`] when the tree or its metadata cannot be read.
pub fn check() -> Result<Report, Stop> {
    let tree = Tree::find()?;
    let files = scan::files(&tree.root)?;
    let mut report = Report { files: files.len(), ..Report::default() };
    report.findings.extend(walls::check(&walls::packages(&tree::workspace(false)?)));
    for file in &files {
        if file.path.ends_with(".rs") {
            let looked = rust::check(file);
            report.findings.extend(looked.findings);
            report.warnings.extend(looked.warnings);
        }
        report.findings.extend(manifests::check(file));
    }
    let exists = |path: &Path| tree.root.join(path).exists();
    report.findings.extend(docs::check(&files, &exists));
    Ok(report)
}

/// Prints the report; a finding is an error.
///
/// # Errors
/// [`Stop::Unmet`] when a rule is broken.
pub fn run() -> Result<(), Stop> {
    let report = check()?;
    for warning in &report.warnings {
        crate::talk::line(&format!("warning: {warning}"));
    }
    for finding in &report.findings {
        crate::talk::line(&format!("error: {finding}"));
    }
    match report.findings.len() {
        0 => {
            crate::talk::line(&format!("tidy: {} files, nothing found", report.files));
            Ok(())
        }
        count => Err(Stop::Unmet(format!("tidy: {count} findings"))),
    }
}

/// `a/b/../c` as `a/c`; `None` when it leaves the root.
fn normal(path: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.iter().collect())
}
