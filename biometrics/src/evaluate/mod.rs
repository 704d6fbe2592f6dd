//! How well the models do on an operator's own people: a folder of images, a list of pairs, and what comes of them in the
//! terms of ISO/IEC 19795-1, and of ISO/IEC 30136 for templates. Trusts the labels. If this is wrong, a threshold is set that
//! lets strangers in.

mod curve;
mod images;
mod page;
mod protection;

use std::path::Path;

use serde::Serialize;

pub use curve::{Curve, Eer, Operating, Point, Scores};
pub use images::{Pair, Shown, pairs};
pub use page::page;
pub use protection::{Linkability, Preimage, Protection};

use crate::FaceError;
use crate::pipeline::Pipeline;
use crate::template::TemplateError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A file cannot be read.
    #[error("cannot read `{file}`")]
    Read {
        /// Which.
        file: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The list of pairs is not one.
    #[error("line {line} of the pairs: {what}")]
    Pairs {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The models do not run.
    #[error(transparent)]
    Face(#[from] FaceError),
    /// A template cannot be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this format: 1.
    pub version: u32,
    /// The models' name.
    pub models: String,
    /// SHA-256 of models and engine, in hex.
    pub digest: String,
    /// Images that were looked at.
    pub images: usize,
    /// Images in which no face was found; their pairs count as refused.
    pub missed: usize,
    /// Images that the quality gate refuses, by code. They are compared all the same.
    pub gate: std::collections::BTreeMap<&'static str, usize>,
    /// The pairs of the list.
    pub pairs: Comparison,
    /// Every pair of two images, by the folder they are in. Pairs share images: no intervals are given.
    pub all_pairs: Option<Comparison>,
    /// The template.
    pub protection: Option<Protection>,
}

/// Errors of one set of pairs.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Pairs of one person.
    pub genuine: usize,
    /// Pairs of two.
    pub impostor: usize,
    /// Of the listed pairs: at a threshold set on the other folds.
    pub accuracy: Option<f64>,
    /// Where both errors are equal.
    pub eer: Eer,
    /// At a false match rate of 1e-2, 1e-3 and 1e-4.
    pub at: Vec<Operating>,
    /// For a plot.
    pub curve: Curve,
}

/// What is wanted beside the listed pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Every pair of two images too.
    pub all_pairs: bool,
    /// The template too.
    pub protection: bool,
}

/// Looks at every image that `pairs` names in `folder`, and compares. `tell` hears how far it is.
///
/// # Errors
/// [`EvaluateError`].
pub fn run(
    pipeline: &Pipeline,
    folder: &Path,
    pairs: &[Pair],
    wanted: Wanted,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, EvaluateError> {
    let shown = Shown::all(pipeline, folder, pairs, tell)?;
    let listed = shown.listed(pairs, |a, b| f64::from(a.cosine(b)));
    let mut comparison = Comparison::of(&listed, true);
    comparison.accuracy = curve::accuracy(pairs, &shown.scored(pairs, |a, b| f64::from(a.cosine(b))));
    let all_pairs = wanted.all_pairs.then(|| {
        tell("comparing every pair of two images");
        Comparison::of(&shown.every(|a, b| f64::from(a.cosine(b))), false)
    });
    let protection =
        wanted.protection.then(|| Protection::measure(&shown, pairs, wanted.all_pairs, tell)).transpose()?;
    Ok(Report {
        version: 1,
        models: pipeline.manifest().name.clone(),
        digest: hex::encode(pipeline.digest()),
        images: shown.images(),
        missed: shown.missed(),
        gate: shown.gate().clone(),
        pairs: comparison,
        all_pairs,
        protection,
    })
}

impl Comparison {
    fn of(scores: &Scores, intervals: bool) -> Self {
        Self {
            genuine: scores.genuine().len(),
            impostor: scores.impostor().len(),
            accuracy: None,
            eer: scores.eer(intervals),
            at: [1e-2, 1e-3, 1e-4].map(|fmr| scores.at(fmr, intervals)).to_vec(),
            curve: scores.curve(),
        }
    }
}
