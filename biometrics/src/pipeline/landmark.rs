//! Where the parts of a face are: 68 points in the order of the iBUG 300-W markup, from a square as high as the face's box.

use super::raster::{Map, Outside};
use super::{Face, Pipeline, Raster};
use crate::FaceError;
use crate::engine::EngineError;
use crate::models::Role;

/// A position, in pixels.
pub(crate) type Point = (f32, f32);

const POINTS: usize = 68;

/// 68 points of a face.
#[derive(Clone, Debug, PartialEq)]
pub struct Points(Vec<Point>);

impl Pipeline {
    /// The points of a face.
    ///
    /// # Errors
    /// [`FaceError::Engine`].
    pub fn points(&self, image: &Raster, face: &Face) -> Result<Points, FaceError> {
        let input = self.input(Role::Landmark)?;
        let square = face.area.square();
        let map = Map::stretch(square, input.width, input.height);
        let pixels = image.sampled(&map, input.width, input.height, Outside::Edge);
        let [flat] = self.run(Role::Landmark, &pixels)?;
        if flat.len() != POINTS * 2 {
            return Err(EngineError::Form { role: Role::Landmark }.into());
        }
        let place = |pair: &[f32]| match pair {
            [x, y] => (square.x + x * square.width, square.y + y * square.height),
            _ => (square.x, square.y),
        };
        Ok(Points(flat.chunks_exact(2).map(place).collect()))
    }
}

impl Points {
    /// Left eye, right eye, nose, left and right corner of the mouth, as the image shows them.
    pub(crate) fn five(&self) -> [Point; 5] {
        [
            self.mean(&[37, 38, 40, 41]),
            self.mean(&[43, 44, 46, 47]),
            self.mean(&[30]),
            self.mean(&[48, 60]),
            self.mean(&[54, 64]),
        ]
    }

    /// Distance of the eyes, in pixels.
    #[must_use]
    pub fn between_eyes(&self) -> f32 {
        let [left, right, ..] = self.five();
        (right.0 - left.0).hypot(right.1 - left.1)
    }

    /// Every point.
    #[must_use]
    pub fn all(&self) -> &[(f32, f32)] {
        &self.0
    }

    fn mean(&self, of: &[usize]) -> Point {
        let sum = of
            .iter()
            .filter_map(|at| self.0.get(*at))
            .fold((0.0, 0.0), |sum: Point, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / of.len() as f32, sum.1 / of.len() as f32)
    }
}
