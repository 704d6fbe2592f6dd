//! From a file to what is known of the face in it, one step a file: decode, detect, landmark, judge quality, align, embed,
//! judge liveness, read the pose. Functions over images; no files, no network, nothing kept between two calls.
//! Trusts its nets to be those of the manifest. If this is wrong, another person's face counts as the enrolled one.

mod align;
mod decode;
mod detect;
mod embed;
mod landmark;
mod liveness;
mod orientation;
mod pose;
mod quality;
mod raster;

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

pub use decode::{BYTES, decode};
pub use detect::Face;
pub(crate) use detect::only;
pub use embed::Embedding;
pub use landmark::Points;
pub use pose::Pose;
pub use quality::{Gate, Quality};
pub use raster::{Area, EDGE_PX, LEAST_EDGE_PX, PIXELS, Raster};

use crate::FaceError;
use crate::engine::{Engine, EngineError, Pure};
use crate::models::{Input, Manifest, Model, ModelError, Models, Role};

/// An image is shrunk to this edge before it is looked at, in pixels: time no longer grows with what is sent.
pub(crate) const LOOK_EDGE_PX: usize = 1_600;

/// The nets, and what they are held to.
pub struct Pipeline {
    engine: Box<dyn Engine>,
    manifest: Manifest,
    digest: [u8; 32],
    gate: Gate,
}

/// What an image shows: one face that passed the gate and was not vetoed.
pub struct Seen {
    /// Where it is, in pixels of the image that was looked at.
    pub face: Face,
    /// Distance of the eyes in parts of the image's height: grows when the person comes closer.
    pub nearness: f32,
    /// Where it looks.
    pub pose: Pose,
    /// How good the image is.
    pub quality: Quality,
    /// The net's belief that it is alive, 0 to 1. Advisory: it mostly sees what surrounds the face.
    pub liveness: f32,
    /// Whose it is.
    pub embedding: Embedding,
    /// SHA-256 of the pixels.
    pub digest: [u8; 32],
}

impl Pipeline {
    /// Loads the nets of a folder into the default engine.
    ///
    /// # Errors
    /// [`FaceError::Model`], [`FaceError::Engine`].
    pub fn load(folder: &Path) -> Result<Self, FaceError> {
        let (manifest, bytes, digest) = Models::load(folder)?.into_parts();
        let engine = Pure::load(&manifest, bytes)?;
        Ok(Self::new(manifest, digest, Box::new(engine)))
    }

    /// Puts an engine that has loaded the nets of `manifest`, whose digest is `models`, to work.
    #[must_use]
    pub fn new(manifest: Manifest, models: [u8; 32], engine: Box<dyn Engine>) -> Self {
        let mut all = Context::new(&SHA256);
        all.update(&models);
        all.update(engine.name().as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(all.finish().as_ref());
        let veto = manifest.model(Role::Liveness).and_then(|model| model.threshold);
        let gate = veto.map_or_else(Gate::default, |liveness| Gate { liveness, ..Gate::default() });
        Self { engine, manifest, digest, gate }
    }

    /// Holds images to another gate.
    #[must_use]
    pub fn gated(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// What images are held to.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// SHA-256 of models and engine: what a template is bound to.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What the models are, and their thresholds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The whole walk over one image.
    ///
    /// # Errors
    /// [`FaceError::Refused`] with what to change, [`FaceError::Engine`].
    pub fn look(&self, image: Raster, facing: Facing) -> Result<Seen, FaceError> {
        let digest = image.digest();
        let image = image.shrunk(LOOK_EDGE_PX);
        let face = only(self.faces(&image)?)?;
        let points = self.points(&image, &face)?;
        let pose = self.pose(&image, &face)?;
        let quality = self.quality(&image, &points)?;
        self.gate.judge(&image, &face, &points, &quality)?;
        if facing == Facing::Camera {
            self.gate.judge_pose(pose)?;
        }
        let liveness = self.liveness(&image, &face)?;
        self.gate.judge_liveness(liveness)?;
        let embedding = self.embedding(&image, &points)?;
        let nearness = points.between_eyes() / image.height() as f32;
        Ok(Seen { face, nearness, pose, quality, liveness, embedding, digest })
    }

    fn model(&self, role: Role) -> Result<&Model, FaceError> {
        let empty = || ModelError::Manifest { what: format!("role `{}` is empty", role.as_str()) };
        Ok(self.manifest.model(role).ok_or_else(empty)?)
    }

    /// Runs a net on an image of its input's size, and answers as many outputs as its role has.
    fn run<const N: usize>(&self, role: Role, pixels: &[[f32; 3]]) -> Result<[Vec<f32>; N], FaceError> {
        let planes = self.model(role)?.input.tensor(pixels);
        let answers = self.engine.run(role, planes)?;
        Ok(answers.try_into().map_err(|_| EngineError::Form { role })?)
    }

    fn input(&self, role: Role) -> Result<&Input, FaceError> {
        Ok(&self.model(role)?.input)
    }
}

/// Which way a face must look to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facing {
    /// Into the camera, as for enrolment and comparison.
    Camera,
    /// Anywhere, as while an instruction is followed.
    Anywhere,
}

/// The parts of 1 that `logits` stand for.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}
