//! Turns, scales and moves a face so that its eyes, nose and mouth lie where the net learnt them. No shearing: an affine fit
//! would make faces alike that are not.

use super::landmark::Point;
use super::raster::{Map, Outside};
use super::{Pipeline, Points, Raster};
use crate::FaceError;
use crate::models::Role;

/// Where the five points lie in a face of 112 x 112 pixels (ArcFace, Deng et al. 2019).
const TEMPLATE: [Point; 5] =
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)];
const TEMPLATE_SIDE: f32 = 112.0;

impl Pipeline {
    /// The face as the embedding's net sees it.
    pub(super) fn aligned(&self, image: &Raster, points: &Points) -> Result<Vec<[f32; 3]>, FaceError> {
        let input = self.input(Role::Feature)?;
        let (sx, sy) = (input.width as f32 / TEMPLATE_SIDE, input.height as f32 / TEMPLATE_SIDE);
        let map = back(&points.five(), &TEMPLATE.map(|(x, y)| (x * sx, y * sy)));
        Ok(image.sampled(&map, input.width, input.height, Outside::Black))
    }
}

/// The way back from `to` to `from` of the similarity that takes `from` to `to` with the least squared error (Umeyama 1991,
/// in two dimensions, without mirroring).
fn back(from: &[Point; 5], to: &[Point; 5]) -> Map {
    let mean = |points: &[Point; 5]| {
        let sum = points.iter().fold((0.0, 0.0), |sum: Point, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / 5.0, sum.1 / 5.0)
    };
    let (from_mean, to_mean) = (mean(from), mean(to));
    let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
    for (from, to) in from.iter().zip(to) {
        let (x, y) = (from.0 - from_mean.0, from.1 - from_mean.1);
        let (u, v) = (to.0 - to_mean.0, to.1 - to_mean.1);
        along += x * u + y * v;
        across += x * v - y * u;
        spread += x * x + y * y;
    }
    // [a -b; b a] forwards, its inverse backwards. Points that all coincide have no direction: the map is then one point.
    let (a, b) = (along / spread, across / spread);
    let size = a * a + b * b;
    let (a, b) = if size.is_normal() { (a / size, b / size) } else { (0.0, 0.0) };
    Map {
        x: [a, b, from_mean.0 - a * to_mean.0 - b * to_mean.1],
        y: [-b, a, from_mean.1 + b * to_mean.0 - a * to_mean.1],
        smooth: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a wrong sign: a face that is turned, doubled and moved comes back to its own points.
    #[test]
    fn the_way_back_is_exact_for_a_similarity() {
        let (sin, cos) = 0.3_f32.sin_cos();
        let moved = TEMPLATE.map(|(x, y)| (2.0 * (cos * x - sin * y) + 5.0, 2.0 * (sin * x + cos * y) - 7.0));
        let map = back(&moved, &TEMPLATE);
        for ((u, v), (x, y)) in TEMPLATE.into_iter().zip(moved) {
            let [a, b, c] = map.x;
            let [d, e, f] = map.y;
            assert!((a * u + b * v + c - x).abs() < 1e-3 && (d * u + e * v + f - y).abs() < 1e-3);
        }
        assert_eq!(back(&[(3.0, 4.0); 5], &TEMPLATE).x, [0.0, 0.0, 3.0]);
    }
}
