//! The two kinds of rows, as producers print them: one JSON object a line.

use serde::{Deserialize, Serialize};

/// A promise and how often it was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// What is promised.
    pub promise: String,
    /// What tried to break it.
    pub test: String,
    /// How often it tried.
    pub runs: u64,
    /// How often that succeeded.
    pub failures: u64,
    /// What was measured besides, in words.
    pub figure: String,
    /// What is asked.
    pub goal: String,
    /// Whether it held.
    pub met: bool,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// What was measured.
    pub name: String,
    /// The measurement; `None` when it could not be made.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// What the machine can do at best, in the same unit, measured in the same run.
    pub limit: Option<f64>,
    /// `value / limit`.
    pub ratio: Option<f64>,
    /// What is asked, in words; `None` when nothing is.
    pub goal: Option<String>,
    /// Whether it was reached; `None` when nothing is asked.
    pub met: Option<bool>,
}

/// A row that stands for a producer which could not show anything.
pub(super) trait Unshown {
    /// What `name` should have shown, and why it did not.
    fn unshown(name: &str, shows: &str, why: String) -> Self;
}

impl Unshown for Promise {
    fn unshown(name: &str, shows: &str, why: String) -> Self {
        Self {
            promise: shows.into(),
            test: name.into(),
            runs: 0,
            failures: 0,
            figure: why,
            goal: "shown".into(),
            met: false,
        }
    }
}

impl Unshown for Bench {
    fn unshown(name: &str, _shows: &str, why: String) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit: String::new(),
            limit: None,
            ratio: None,
            goal: Some(why),
            met: Some(false),
        }
    }
}
