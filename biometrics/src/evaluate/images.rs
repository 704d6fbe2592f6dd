//! The list of pairs, and the embedding of every image it names. An image may show bystanders: the face nearest its middle
//! counts, as in LFW.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use super::{EvaluateError, Scores};
use crate::pipeline::{BYTES, Embedding, Face, LOOK_EDGE_PX, Pipeline, decode, only};
use crate::{FaceError, Refusal};

/// LIMIT: a list of pairs, in bytes.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// What a pair scores of which one image shows no face: below every cosine and every agreement.
const MISSED: f64 = -2.0;
const TOLD_EVERY: usize = 100;

/// Two images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Relative to the folder.
    pub a: String,
    /// Relative to the folder.
    pub b: String,
    /// Whether they show one person.
    pub same: bool,
    /// Which part of the list it belongs to, 0 where the list has no such column.
    pub fold: u32,
}

/// Reads a list: tab-separated, a heading, then path, path, 1 for one person or 0, and optionally a number of the fold.
///
/// # Errors
/// [`EvaluateError::Read`], [`EvaluateError::Pairs`].
pub fn pairs(list: &Path) -> Result<Vec<Pair>, EvaluateError> {
    let mut text = String::new();
    let read = File::open(list).and_then(|file| file.take(LIST_BYTES).read_to_string(&mut text));
    read.map_err(|source| EvaluateError::Read { file: list.display().to_string(), source })?;
    text.lines().enumerate().skip(1).map(|(at, line)| pair(line, at + 1)).collect()
}

fn pair(text: &str, line: usize) -> Result<Pair, EvaluateError> {
    let wrong = |what: &str| EvaluateError::Pairs { line, what: what.to_owned() };
    let mut columns = text.split('\t');
    let mut path = || {
        let path =
            columns.next().filter(|path| !path.is_empty()).ok_or_else(|| wrong("a path is missing"))?;
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if inside { Ok(path.to_owned()) } else { Err(wrong("a path leads out of the folder")) }
    };
    let (a, b) = (path()?, path()?);
    let same = match columns.next() {
        Some("1") => true,
        Some("0") => false,
        _ => return Err(wrong("the third column is neither 1 nor 0")),
    };
    let fold = columns.next().map_or(Ok(0), str::parse).map_err(|_| wrong("the fold is not a number"))?;
    Ok(Pair { a, b, same, fold })
}

/// The embedding of every image, `None` where no face is found.
pub struct Shown {
    faces: BTreeMap<String, Option<Embedding>>,
    gate: BTreeMap<&'static str, usize>,
}

impl Shown {
    pub(super) fn all(
        pipeline: &Pipeline,
        folder: &Path,
        pairs: &[Pair],
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self, EvaluateError> {
        let names: BTreeSet<&str> =
            pairs.iter().flat_map(|pair| [pair.a.as_str(), pair.b.as_str()]).collect();
        let (mut faces, mut gate) = (BTreeMap::new(), BTreeMap::new());
        for (at, name) in names.iter().enumerate() {
            if at % TOLD_EVERY == 0 {
                tell(&format!("image {at} of {}", names.len()));
            }
            let mut bytes = Vec::new();
            let file = File::open(folder.join(name));
            file.and_then(|file| file.take(BYTES as u64 + 1).read_to_end(&mut bytes))
                .map_err(|source| EvaluateError::Read { file: (*name).to_owned(), source })?;
            let (face, refused) = look(pipeline, &bytes)?;
            faces.insert((*name).to_owned(), face);
            if let Some(refusal) = refused {
                *gate.entry(refusal.code()).or_default() += 1;
            }
        }
        Ok(Self { faces, gate })
    }

    pub(super) fn images(&self) -> usize {
        self.faces.len()
    }

    pub(super) fn missed(&self) -> usize {
        self.faces.values().filter(|face| face.is_none()).count()
    }

    pub(super) fn gate(&self) -> &BTreeMap<&'static str, usize> {
        &self.gate
    }

    /// Every face, with its image's name.
    pub(super) fn faces(&self) -> impl Iterator<Item = (&str, &Embedding)> {
        self.faces.iter().filter_map(|(name, face)| Some((name.as_str(), face.as_ref()?)))
    }

    /// The scores of listed pairs, in their order.
    pub(super) fn scored(&self, pairs: &[Pair], score: impl Fn(&Embedding, &Embedding) -> f64) -> Vec<f64> {
        let face = |name: &str| self.faces.get(name).and_then(Option::as_ref);
        pairs
            .iter()
            .map(|pair| face(&pair.a).zip(face(&pair.b)).map_or(MISSED, |(a, b)| score(a, b)))
            .collect()
    }

    pub(super) fn listed(&self, pairs: &[Pair], score: impl Fn(&Embedding, &Embedding) -> f64) -> Scores {
        split(pairs.iter().zip(self.scored(pairs, score)).map(|(pair, score)| (pair.same, score)))
    }

    /// Every pair of two images: of one person when they are in one folder.
    pub(super) fn every(&self, score: impl Fn(&Embedding, &Embedding) -> f64) -> Scores {
        let faces: Vec<_> = self.faces().collect();
        every(&faces, |a, b| score(a, b))
    }
}

/// The same over anything that was made of the images.
pub(super) fn every<T>(faces: &[(&str, T)], score: impl Fn(&T, &T) -> f64) -> Scores {
    split(faces.iter().enumerate().flat_map(|(at, (name, face))| {
        let score = &score;
        faces
            .iter()
            .skip(at + 1)
            .map(move |(other, another)| (person(name) == person(other), score(face, another)))
    }))
}

/// Genuine and impostor scores apart.
pub(super) fn split(scores: impl Iterator<Item = (bool, f64)>) -> Scores {
    let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
    for (same, score) in scores {
        if same { genuine.push(score) } else { impostor.push(score) }
    }
    Scores::new(genuine, impostor)
}

/// Whose image it is: the folder it is in.
pub(super) fn person(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The face nearest the middle, and why the gate would refuse the image.
fn look(pipeline: &Pipeline, bytes: &[u8]) -> Result<(Option<Embedding>, Option<Refusal>), FaceError> {
    let image = match decode(bytes) {
        Ok(image) => image.shrunk(LOOK_EDGE_PX),
        Err(refusal) => return Ok((None, Some(refusal))),
    };
    let (x, y) = (image.width() as f32 / 2.0, image.height() as f32 / 2.0);
    let off = |face: &Face| (face.area.centre().0 - x).hypot(face.area.centre().1 - y);
    let faces = pipeline.faces(&image)?;
    let Some(face) = faces.iter().copied().min_by(|a, b| off(a).total_cmp(&off(b))) else {
        return Ok((None, Some(Refusal::FaceNone)));
    };
    let points = pipeline.points(&image, &face)?;
    let quality = pipeline.quality(&image, &points)?;
    let (pose, belief) = (pipeline.pose(&image, &face)?, pipeline.liveness(&image, &face)?);
    let gate = pipeline.gate();
    let judged = only(faces)
        .and_then(|face| gate.judge(&image, &face, &points, &quality))
        .and_then(|()| gate.judge_pose(pose))
        .and_then(|()| gate.judge_liveness(belief));
    Ok((Some(pipeline.embedding(&image, &points)?), judged.err()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_strictly() {
        let read = |line: &str| pair(line, 7);
        let whole = Pair { a: "x/1.jpg".into(), b: "y/2.jpg".into(), same: false, fold: 2 };
        assert_eq!(read("x/1.jpg\ty/2.jpg\t0\t2").unwrap(), whole);
        assert_eq!(read("x/1.jpg\ty/2.jpg\t0").unwrap(), Pair { fold: 0, ..whole });
        for wrong in ["", "x\t", "x\ty", "x\ty\t2", "x\ty\t1\tz", "../x\ty\t1", "/x\ty\t1"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.starts_with("line 7 of the pairs: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn people_are_told_by_folder() {
        let faces = [("a/1", 1.0), ("a/2", 2.0), ("b/1", 4.0)];
        let scores = every(&faces, |x, y| x + y);
        assert_eq!((scores.genuine(), scores.impostor()), (&[3.0][..], &[5.0, 6.0][..]));
    }
}
