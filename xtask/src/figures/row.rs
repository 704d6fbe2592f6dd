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
    /// Its place in a plot of the report.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub point: Option<Point>,
}

/// Where a measurement stands in a plot: `value` over `x`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The plot.
    pub plot: String,
    /// The line of it.
    pub line: String,
    /// What `x` counts.
    pub of: String,
    /// How many.
    pub x: u64,
}

impl Bench {
    /// A measurement by itself.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit: unit.into(),
            limit: None,
            ratio: None,
            goal: None,
            met: None,
            point: None,
        }
    }

    /// Beside what the machine can do at best.
    #[must_use]
    pub fn beside(self, limit: f64) -> Self {
        Self { ratio: self.value.map(|value| value / limit), limit: Some(limit), ..self }
    }

    /// With what is asked of it.
    #[must_use]
    pub fn asked(self, goal: &str, met: bool) -> Self {
        Self { goal: Some(goal.into()), met: Some(met), ..self }
    }

    /// In a plot.
    #[must_use]
    pub fn at(self, point: Point) -> Self {
        Self { point: Some(point), ..self }
    }
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
            point: None,
        }
    }
}
