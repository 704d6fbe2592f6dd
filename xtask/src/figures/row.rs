//! The two kinds of rows, as producers print them: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::producers::Producer;

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
    /// What is asked, in words.
    pub goal: String,
    /// Whether it was reached; `None` when nothing is asked.
    pub met: Option<bool>,
}

impl Promise {
    /// A promise whose producer failed.
    pub(super) fn unshown(producer: &Producer, why: String) -> Self {
        Self {
            promise: producer.shows.into(),
            test: producer.name.into(),
            runs: 0,
            failures: 0,
            figure: why,
            goal: "shown".into(),
            met: false,
        }
    }
}

impl Bench {
    /// A measurement whose producer failed.
    pub(super) fn unshown(producer: &Producer, why: String) -> Self {
        Self {
            name: producer.name.into(),
            value: None,
            unit: String::new(),
            limit: None,
            ratio: None,
            goal: why,
            met: Some(false),
        }
    }
}
