//! Whether the image looks like one of a living face. The net mostly sees what surrounds the face, and noise there: measured,
//! it misses imitations that fill the view. So it may veto when it is sure, and never lets anybody in.

use super::raster::{Map, Outside};
use super::{Area, Face, Pipeline, Raster, softmax};
use crate::FaceError;
use crate::engine::EngineError;
use crate::models::Role;

/// How much of the surroundings is shown, in sides of the face.
const AROUND: f32 = 2.7;

impl Pipeline {
    /// The net's belief that the face is alive, 0 to 1.
    ///
    /// # Errors
    /// [`FaceError::Engine`].
    pub fn liveness(&self, image: &Raster, face: &Face) -> Result<f32, FaceError> {
        let input = self.input(Role::Liveness)?;
        let area = around(face.area.square(), image.width() as f32, image.height() as f32);
        // The net judges the finest texture, and learnt it from pixels that were skipped.
        let map = Map::stretch(area, input.width, input.height).rough();
        let pixels = image.sampled(&map, input.width, input.height, Outside::Edge);
        let [logits] = self.run(Role::Liveness, &pixels)?;
        match softmax(&logits).as_slice() {
            [alive, _, _] => Ok(*alive),
            _ => Err(EngineError::Form { role: Role::Liveness }.into()),
        }
    }
}

/// The square enlarged, moved to stay inside the image, and made smaller only where the image is smaller.
fn around(square: Area, width: f32, height: f32) -> Area {
    let scale = AROUND.min((width - 1.0) / square.width).min((height - 1.0) / square.height);
    let side = square.width * scale;
    let (x, y) = square.centre();
    let within = |middle: f32, edge: f32| (middle - side / 2.0).min(edge - 1.0 - side).max(0.0).trunc();
    Area { x: within(x, width), y: within(y, height), width: side.trunc(), height: side.trunc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surroundings_stay_inside() {
        let square = |x, y, side| Area { x, y, width: side, height: side };
        assert_eq!(around(square(100.0, 100.0, 50.0), 400.0, 400.0), square(57.0, 57.0, 135.0));
        assert_eq!(around(square(-5.0, 370.0, 50.0), 400.0, 400.0), square(0.0, 264.0, 135.0));
        assert_eq!(around(square(10.0, 10.0, 80.0), 101.0, 400.0), square(0.0, 0.0, 100.0));
    }
}
