//! What came of a bundle's own test, beside what its author expects. If this is wrong, a bundle passes tests that it fails.

use std::collections::BTreeSet;
use std::fmt;

use chancery_core::Code;
use serde::Serialize;

use crate::evaluate::{Evaluation, Outcome};
use crate::name::RuleName;

/// What one test case gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The case's name.
    pub name: String,
    /// Its file in the bundle.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// Whether it went as expected.
    pub passed: bool,
    /// The expected answer.
    pub expected: Expected,
    /// The expected rules, where the case names them.
    pub expected_rules: Option<Vec<String>>,
    /// What came of it.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Expected {
    /// A decision by the rules.
    Outcome(Outcome),
    /// That decoding refuses the payload before any rule is asked, with this code where the case names one.
    Refused {
        /// The code.
        refused: Option<Code>,
    },
}

impl Expected {
    /// Whether the answer is this one, and decided by just these rules where the case names them.
    pub(crate) fn is_met(self, answer: &Answer, rules: Option<&BTreeSet<String>>) -> bool {
        match (self, answer) {
            (Self::Outcome(outcome), Answer::Evaluation(said)) => {
                let named = || said.rules.iter().map(|rule| rule.as_str().to_owned()).collect();
                said.outcome == outcome && rules.is_none_or(|rules| *rules == named())
            }
            (Self::Refused { refused }, Answer::Refused(code)) => {
                refused.is_none_or(|expected| expected == *code)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome(outcome) => outcome.fmt(f),
            Self::Refused { refused: None } => f.write_str("refused"),
            Self::Refused { refused: Some(code) } => write!(f, "refused ({code})"),
        }
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What the bundle said.
    Evaluation(Evaluation),
    /// The code with which decoding refused it.
    Refused(Code),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluation(said) => {
                let rules: Vec<_> = said.rules.iter().map(RuleName::as_str).collect();
                write!(f, "{} ({})", said.outcome, rules.join(", "))
            }
            Self::Refused(code) => write!(f, "refused ({code})"),
        }
    }
}
