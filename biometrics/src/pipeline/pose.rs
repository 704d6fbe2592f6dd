//! Where a face looks: three angles, each the mean of 66 bins of three degrees (the form of Hopenet, Ruiz et al. 2018).

use super::raster::{Map, Outside};
use super::{Face, Pipeline, Raster, softmax};
use crate::FaceError;
use crate::engine::EngineError;
use crate::models::Role;

const BINS: usize = 66;
const BIN_DEGREES: f32 = 3.0;
const FIRST_DEGREES: f32 = -99.0;

/// Angles, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Positive when the person turns to their own right, that is to the left in the image.
    pub yaw: f32,
    /// Positive when the person looks up.
    pub pitch: f32,
    /// Positive when the head leans to the person's left shoulder.
    pub roll: f32,
}

impl Pipeline {
    /// Where the face looks.
    ///
    /// # Errors
    /// [`FaceError::Engine`].
    pub fn pose(&self, image: &Raster, face: &Face) -> Result<Pose, FaceError> {
        let input = self.input(Role::Pose)?;
        let map = Map::stretch(face.area.square(), input.width, input.height);
        let pixels = image.sampled(&map, input.width, input.height, Outside::Edge);
        let outputs: [Vec<f32>; 3] = self.run(Role::Pose, &pixels)?;
        if outputs.iter().any(|bins| bins.len() != BINS) {
            return Err(EngineError::Form { role: Role::Pose }.into());
        }
        let [yaw, pitch, roll] = outputs.map(|bins| angle(&bins));
        Ok(Pose { yaw, pitch, roll })
    }
}

fn angle(bins: &[f32]) -> f32 {
    let mean: f32 = softmax(bins).iter().enumerate().map(|(bin, part)| bin as f32 * part).sum();
    mean * BIN_DEGREES + FIRST_DEGREES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_bin_is_its_angle() {
        let mut bins = [0.0; BINS];
        bins[33] = 60.0;
        assert!(angle(&bins).abs() < 1e-3);
        bins[43] = 120.0;
        assert!((angle(&bins) - 30.0).abs() < 1e-3);
    }
}
