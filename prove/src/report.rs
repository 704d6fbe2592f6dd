//! What was proved and what was not, for people and for `--json`.

use std::fmt;
use std::time::Duration;

use chancery_policy::{Example, Subject};
use serde::Serialize;

/// What became of one claim over all kinds of effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// It holds for every request there can be.
    Proved,
    /// It does not: this request breaks it.
    Broken {
        /// The request, decided by the bundle itself.
        example: Box<Example>,
    },
    /// Nobody knows. It counts as not proved.
    Unproved {
        /// Why.
        reason: String,
    },
}

/// One claim and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What was claimed.
    #[serde(flatten)]
    pub subject: Subject,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The kind of effect that decided, where it was not proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// How long it took.
    pub took_ms: u64,
}

impl Proof {
    /// Whether all is well: what should hold is proved, and no rule is dead.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.subject {
            // To prove that a rule never applies is bad news; an example of it applying is good.
            Subject::Dead(_) => matches!(self.verdict, Verdict::Broken { .. }),
            _ => matches!(self.verdict, Verdict::Proved),
        }
    }
}

/// Everything that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The bundle's hash.
    pub bundle: String,
    /// The hash of the bundle it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Each claim, in the order it was asked.
    pub proofs: Vec<Proof>,
}

impl Report {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.proofs.iter().all(Proof::is_good)
    }

    /// What is not as it should be.
    pub fn failures(&self) -> impl Iterator<Item = &Proof> {
        self.proofs.iter().filter(|proof| !proof.is_good())
    }
}

/// Milliseconds for the report.
pub(crate) fn took_ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, proved, broken) = match &self.subject {
            Subject::Goal(name) => (format!("goal `{name}`"), "proved", "BROKEN"),
            Subject::Dead(name) => {
                (format!("rule `{name}`"), "DEAD: it applies to nothing", "applies to something")
            }
            Subject::Error(name) => (format!("rule `{name}`"), "never fails", "CAN FAIL, which denies"),
            Subject::Against => ("against the old bundle".to_owned(), "allows nothing more", "ALLOWS MORE"),
        };
        write!(f, "{what}: ")?;
        match &self.verdict {
            Verdict::Proved => f.write_str(proved)?,
            Verdict::Broken { .. } => f.write_str(broken)?,
            Verdict::Unproved { .. } => f.write_str("NOT PROVED")?,
        }
        if let Some(action) = self.action.filter(|_| !self.is_good()) {
            write!(f, " ({action})")?;
        }
        write!(f, " in {} ms", self.took_ms)?;
        match &self.verdict {
            Verdict::Unproved { reason } => write!(f, "\n    {}", reason.replace('\n', "\n    ")),
            Verdict::Broken { example } if !self.is_good() => {
                write!(f, "\n{}", example.case.trim_end())
            }
            _ => Ok(()),
        }
    }
}
