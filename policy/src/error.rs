//! What is wrong with a bundle, told so that its author can fix it: file, line, column, what, and a hint.
//! Text from the bundle may appear in findings; bundles hold no secrets.

use std::fmt;
use std::path::PathBuf;

use chancery_core::Code;
use serde::{Deserialize, Serialize};

use crate::answer::TestResult;

/// LIMIT: findings reported for one bundle; the rest is only counted.
pub const FINDINGS: usize = 200;

/// The sort of a finding. Stable, for programs that read `check --json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// A file's path is not one a bundle may have.
    Path,
    /// A file, or the bundle, is too large, or there are too many of something.
    Size,
    /// `bundle.toml` is missing.
    ManifestMissing,
    /// Not TOML, not Cedar, not JSON, or a TOML key that means nothing here.
    Syntax,
    /// A value of the manifest or of a test that is not allowed.
    Value,
    /// The same name, address or asset twice.
    Duplicate,
    /// A name that nothing in the bundle declares.
    Unknown,
    /// A policy without `@id`.
    IdMissing,
    /// Two policies with one `@id`.
    IdDuplicate,
    /// An `@id` that is not a rule name, or a reserved one.
    IdMalformed,
    /// An annotation that means nothing here, so probably a misspelt obligation.
    AnnotationUnknown,
    /// An obligation that cannot be read.
    ObligationMalformed,
    /// An obligation on a `forbid`.
    ObligationOnForbid,
    /// A condition that reads approvals, factors, vetoes or waiting directly.
    ObligationByHand,
    /// A permit of `change` that asks nobody.
    ChangeUnguarded,
    /// A policy template: `?principal` or `?resource`.
    Template,
    /// The policy does not type-check against the schema.
    Type,
    /// The policy type-checks but cannot mean what it says: never true, confusable letters.
    Suspicious,
    /// An entity literal that no request can ever equal.
    Literal,
}

impl FindingCode {
    /// Every code.
    pub const ALL: &[Self] = &[
        Self::Path,
        Self::Size,
        Self::ManifestMissing,
        Self::Syntax,
        Self::Value,
        Self::Duplicate,
        Self::Unknown,
        Self::IdMissing,
        Self::IdDuplicate,
        Self::IdMalformed,
        Self::AnnotationUnknown,
        Self::ObligationMalformed,
        Self::ObligationOnForbid,
        Self::ObligationByHand,
        Self::ChangeUnguarded,
        Self::Template,
        Self::Type,
        Self::Suspicious,
        Self::Literal,
    ];

    /// The wire text, such as `id-missing`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Size => "size",
            Self::ManifestMissing => "manifest-missing",
            Self::Syntax => "syntax",
            Self::Value => "value",
            Self::Duplicate => "duplicate",
            Self::Unknown => "unknown",
            Self::IdMissing => "id-missing",
            Self::IdDuplicate => "id-duplicate",
            Self::IdMalformed => "id-malformed",
            Self::AnnotationUnknown => "annotation-unknown",
            Self::ObligationMalformed => "obligation-malformed",
            Self::ObligationOnForbid => "obligation-on-forbid",
            Self::ObligationByHand => "obligation-by-hand",
            Self::ChangeUnguarded => "change-unguarded",
            Self::Template => "template",
            Self::Type => "type",
            Self::Suspicious => "suspicious",
            Self::Literal => "literal",
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, as the bundle names it.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 where the file as a whole is meant.
    pub column: u32,
    /// The sort of finding.
    pub code: FindingCode,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {} [{}]", self.message, self.code)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a bundle, in the order of its files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct BundleError {
    /// At least one finding, at most [`FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: usize,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if index == 0 { "" } else { "\n" })?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or folder cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder that a bundle may not hold, or one that is too large.
    #[error("`{}` {rule}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What a bundle may hold.
        rule: &'static str,
    },
    /// The bundle does not compile.
    #[error("{0}")]
    Invalid(#[from] BundleError),
    /// The bundle compiles, but its own tests fail.
    #[error("{} of the bundle's own tests failed: {}", failed.len(), names(failed))]
    Untested {
        /// The tests that failed.
        failed: Vec<TestResult>,
    },
}

impl PolicyError {
    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::BundleInvalid
    }
}

fn names(failed: &[TestResult]) -> String {
    let names: Vec<_> = failed.iter().take(8).map(|result| format!("`{}`", result.name)).collect();
    names.join(", ")
}

/// The text of one file, to say where in it something stands.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Text<'_> {
    /// Line and column, from 1, of a byte offset.
    pub fn place(&self, offset: usize) -> (u32, u32) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }
}

/// The findings so far.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    more: usize,
}

impl Findings {
    pub fn add(
        &mut self,
        at: Text<'_>,
        offset: Option<usize>,
        code: FindingCode,
        message: impl Into<String>,
        hint: &str,
    ) {
        if self.list.len() >= FINDINGS {
            self.more = self.more.saturating_add(1);
            return;
        }
        let (line, column) = offset.map_or((0, 0), |offset| at.place(offset));
        self.list.push(Finding {
            file: at.file.to_owned(),
            line,
            column,
            code,
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        });
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn into_error(self) -> BundleError {
        let mut findings = self.list;
        findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        BundleError { findings, more: self.more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let text = Text { file: "x", text: "ab\ncäd\n" };
        assert_eq!(text.place(0), (1, 1));
        assert_eq!(text.place(3), (2, 1));
        assert_eq!(text.place(6), (2, 3), "columns count characters, not bytes");
        assert_eq!(text.place(99), (3, 1));
    }

    #[test]
    fn codes_agree_with_their_wire_text() {
        for code in FindingCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
