//! Where faces are. The net looks at the whole image stretched to its input and answers boxes in parts of it, with scores;
//! of boxes that overlap the best one stays.

use super::raster::{Map, Outside};
use super::{Area, Pipeline, Raster};
use crate::engine::EngineError;
use crate::models::Role;
use crate::{FaceError, Refusal};

/// Boxes that overlap by this part of what they cover together are of one face.
const OVERLAP: f32 = 0.4;
/// LIMIT: boxes that are compared with each other; a crowd of more is refused anyway.
const BOXES: usize = 256;
/// A face of less than this part of the first one's height is in the background, as on a poster.
const BACKGROUND: f32 = 0.25;

/// A face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Its box.
    pub area: Area,
    /// The net's belief, 0 to 1.
    pub score: f32,
}

impl Pipeline {
    /// Every face, the best first.
    ///
    /// # Errors
    /// [`FaceError::Engine`].
    pub fn faces(&self, image: &Raster) -> Result<Vec<Face>, FaceError> {
        let input = self.input(Role::Detect)?;
        let map = Map::stretch(image.whole(), input.width, input.height);
        let pixels = image.sampled(&map, input.width, input.height, Outside::Edge);
        let [scores, boxes] = self.run(Role::Detect, &pixels)?;
        if scores.len() * 2 != boxes.len() {
            return Err(EngineError::Form { role: Role::Detect }.into());
        }
        let least = self.model(Role::Detect)?.threshold.unwrap_or(1.0);
        let (width, height) = (image.width() as f32, image.height() as f32);
        let mut faces: Vec<Face> = scores
            .chunks_exact(2)
            .zip(boxes.chunks_exact(4))
            .filter_map(|(score, corners)| match (score, corners) {
                ([_, score], [left, top, right, bottom]) if *score >= least => Some(Face {
                    area: Area {
                        x: left * width,
                        y: top * height,
                        width: (right - left) * width,
                        height: (bottom - top) * height,
                    },
                    score: *score,
                }),
                _ => None,
            })
            .filter(|face| face.area.width >= 1.0 && face.area.height >= 1.0)
            .collect();
        faces.sort_by(|a, b| b.score.total_cmp(&a.score));
        faces.truncate(BOXES);
        Ok(apart(faces))
    }
}

/// Of boxes in the order of their scores, those that no better one covers.
fn apart(faces: Vec<Face>) -> Vec<Face> {
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|better| overlap(&better.area, &face.area) < OVERLAP) {
            kept.push(face);
        }
    }
    kept
}

fn overlap(a: &Area, b: &Area) -> f32 {
    let shared =
        |a: f32, a_size: f32, b: f32, b_size: f32| ((a + a_size).min(b + b_size) - a.max(b)).max(0.0);
    let both = shared(a.x, a.width, b.x, b.width) * shared(a.y, a.height, b.y, b.height);
    both / (a.width * a.height + b.width * b.height - both).max(f32::MIN_POSITIVE)
}

/// The one face of an image.
pub(crate) fn only(faces: Vec<Face>) -> Result<Face, Refusal> {
    let highest = |a: &&Face, b: &&Face| a.area.height.total_cmp(&b.area.height);
    let first = *faces.iter().max_by(highest).ok_or(Refusal::FaceNone)?;
    let near = |face: &&Face| face.area.height >= first.area.height * BACKGROUND;
    if faces.iter().filter(near).count() == 1 { Ok(first) } else { Err(Refusal::FaceSeveral) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, height: f32, score: f32) -> Face {
        Face { area: Area { x, y: 0.0, width: height, height }, score }
    }

    #[test]
    fn overlapping_boxes_are_one_face() {
        let kept = apart(vec![face(0.0, 100.0, 0.9), face(30.0, 100.0, 0.8), face(90.0, 100.0, 0.7)]);
        assert_eq!(kept, [face(0.0, 100.0, 0.9), face(90.0, 100.0, 0.7)]);
    }

    #[test]
    fn only_one_face_is_answered() {
        assert_eq!(only(vec![]), Err(Refusal::FaceNone));
        assert_eq!(only(vec![face(0.0, 20.0, 0.9), face(300.0, 100.0, 0.7)]), Ok(face(300.0, 100.0, 0.7)));
        assert_eq!(only(vec![face(0.0, 30.0, 0.9), face(300.0, 100.0, 0.7)]), Err(Refusal::FaceSeveral));
    }
}
