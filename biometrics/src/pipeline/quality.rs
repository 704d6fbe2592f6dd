//! Whether an image is good enough to be judged. Each refusal says what to change. Occlusion is not judged by itself: nothing
//! here measures it soundly; a covered face is found less often and compares worse, which refuses too.

use super::{Face, Pipeline, Points, Pose, Raster};
use crate::models::Role;
use crate::{FaceError, Refusal};

/// What an image must have. Of 305 photos of LFW each of the default lines refuses at most 5 (docs/face.md).
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Least distance of the eyes, in pixels.
    pub eyes_px: f32,
    /// Least [`Quality::sharpness`].
    pub sharpness: f32,
    /// Least [`Quality::light`].
    pub dark: f32,
    /// Largest [`Quality::light`].
    pub bright: f32,
    /// Least [`Quality::contrast`].
    pub contrast: f32,
    /// Largest yaw either way, in degrees.
    pub yaw: f32,
    /// Largest pitch either way, in degrees.
    pub pitch: f32,
    /// Largest roll either way, in degrees.
    pub roll: f32,
    /// Least belief of the net that the face is alive: below, it vetoes. Set by the manifest.
    pub liveness: f32,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            eyes_px: 28.0,
            sharpness: 30.0,
            dark: 40.0,
            bright: 225.0,
            contrast: 18.0,
            yaw: 35.0,
            pitch: 30.0,
            roll: 35.0,
            liveness: 1.0,
        }
    }
}

/// What was measured on the aligned face, in grey of 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Distance of the eyes, in pixels.
    pub eyes_px: f32,
    /// Variance of the Laplacian (Pech-Pacheco et al. 2000).
    pub sharpness: f32,
    /// Mean.
    pub light: f32,
    /// Standard deviation.
    pub contrast: f32,
}

impl Pipeline {
    /// Measures the face.
    ///
    /// # Errors
    /// [`FaceError::Model`].
    pub fn quality(&self, image: &Raster, points: &Points) -> Result<Quality, FaceError> {
        let width = self.input(Role::Feature)?.width;
        let grey: Vec<f32> = self
            .aligned(image, points)?
            .iter()
            .map(|[red, green, blue]| 0.299 * red + 0.587 * green + 0.114 * blue)
            .collect();
        Ok(measured(&grey, width, points.between_eyes()))
    }
}

/// Measures the middle half each way, where there is skin and no background.
fn measured(grey: &[f32], width: usize, eyes_px: f32) -> Quality {
    let height = grey.len() / width.max(1);
    let at = |x: usize, y: usize| grey.get(y * width + x).copied().unwrap_or_default();
    let (mut light, mut edges) = (Vec::new(), Vec::new());
    for y in height / 4..height - height / 4 {
        for x in width / 4..width - width / 4 {
            light.push(at(x, y));
            edges.push(at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4.0 * at(x, y));
        }
    }
    let (light, spread) = mean_and_variance(&light);
    let (_, sharpness) = mean_and_variance(&edges);
    Quality { eyes_px, sharpness, light, contrast: spread.sqrt() }
}

fn mean_and_variance(numbers: &[f32]) -> (f32, f32) {
    let count = numbers.len().max(1) as f32;
    let mean = numbers.iter().sum::<f32>() / count;
    (mean, numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count)
}

impl Gate {
    /// Judges everything but the pose.
    ///
    /// # Errors
    /// The [`Refusal`] of the first line that is not met.
    pub fn judge(
        &self,
        image: &Raster,
        face: &Face,
        points: &Points,
        quality: &Quality,
    ) -> Result<(), Refusal> {
        let (width, height) = (image.width() as f32, image.height() as f32);
        let inside = |(x, y): &(f32, f32)| (0.0..width).contains(x) && (0.0..height).contains(y);
        let (x, y) = face.area.centre();
        if !points.five().iter().all(inside) || !inside(&(x, y)) {
            return Err(Refusal::FaceCut);
        }
        let lines = [
            (quality.eyes_px >= self.eyes_px, Refusal::FaceSmall),
            (quality.light >= self.dark, Refusal::FaceDark),
            (quality.light <= self.bright, Refusal::FaceBright),
            (quality.contrast >= self.contrast, Refusal::FaceFlat),
            (quality.sharpness >= self.sharpness, Refusal::FaceBlurred),
        ];
        lines.into_iter().find(|(met, _)| !met).map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Judges what the net believes of its liveness.
    ///
    /// # Errors
    /// [`Refusal::NotLive`].
    pub fn judge_liveness(&self, belief: f32) -> Result<(), Refusal> {
        if belief >= self.liveness { Ok(()) } else { Err(Refusal::NotLive) }
    }

    /// Judges whether it looks into the camera.
    ///
    /// # Errors
    /// [`Refusal::FaceTurned`].
    pub fn judge_pose(&self, pose: Pose) -> Result<(), Refusal> {
        let met =
            pose.yaw.abs() <= self.yaw && pose.pitch.abs() <= self.pitch && pose.roll.abs() <= self.roll;
        if met { Ok(()) } else { Err(Refusal::FaceTurned) }
    }
}
