//! Which nets run, on what input, under whose licence: a manifest beside the files, each file named by its SHA-256.
//! A file that is missing, altered or not listed is never run. If this is wrong, somebody else's net decides who passes.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::Deserialize;

/// The manifest's name in the folder of models.
pub const MANIFEST: &str = "manifest.toml";
/// LIMIT: a manifest, in bytes.
const MANIFEST_BYTES: u64 = 64 * 1024;
/// LIMIT: one model, in bytes.
const MODEL_BYTES: u64 = 256 * 1024 * 1024;
/// LIMIT: an edge of a net's input, in pixels.
const EDGES: RangeInclusive<usize> = 16..=640;
const VERSION: u32 = 1;

/// What a net is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Image to boxes and scores.
    Detect,
    /// Face to 68 points.
    Landmark,
    /// Aligned face to embedding.
    Feature,
    /// Face and its surroundings to alive, or one of two kinds of imitation.
    Liveness,
    /// Face to yaw, pitch and roll.
    Pose,
    /// Eye to closed or open.
    Eye,
}

impl Role {
    /// Every role that a manifest must fill.
    pub const ALL: [Self; 6] =
        [Self::Detect, Self::Landmark, Self::Feature, Self::Liveness, Self::Pose, Self::Eye];

    /// Its name in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Landmark => "landmark",
            Self::Feature => "feature",
            Self::Liveness => "liveness",
            Self::Pose => "pose",
            Self::Eye => "eye",
        }
    }
}

/// The order of an input's planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One plane: 0.299 R + 0.587 G + 0.114 B.
    Grey,
}

/// A net's input: planes of `height` rows of `width` numbers, each `(x - mean) / deviation` of a pixel's 0 to 255.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its name in the net.
    pub name: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Which planes.
    pub colour: Colour,
    /// One number for each plane.
    pub mean: Vec<f32>,
    /// One number for each plane.
    pub deviation: Vec<f32>,
}

/// One net.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What it is for.
    pub role: Role,
    /// Its file, beside the manifest.
    pub file: String,
    /// Of the file as its package has it, where installing changes it.
    pub source_sha256: Option<String>,
    /// Of the file that is run.
    pub sha256: String,
    /// What its source says.
    pub licence: String,
    /// What it is given.
    pub input: Input,
    /// The outputs that are read, in the order in which the pipeline reads them.
    pub outputs: Vec<String>,
    /// `detect`: the least score. `feature`: the least cosine. `liveness`: below this it vetoes. Others have none.
    pub threshold: Option<f32>,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format: 1.
    pub version: u32,
    /// What the set is called.
    pub name: String,
    /// Where it comes from.
    pub origin: String,
    /// What is known of the faces it learnt from.
    pub training: String,
    /// The nets, one for each role.
    pub model: Vec<Model>,
}

/// Why models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is not there or cannot be read.
    #[error("cannot read `{file}`")]
    Missing {
        /// Its name.
        file: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is not one.
    #[error("the manifest is not valid: {what}")]
    Manifest {
        /// What is wrong.
        what: String,
    },
    /// The bytes are not those that were reviewed.
    #[error("`{file}` is not the model of the manifest: its SHA-256 is {found}")]
    Altered {
        /// Its name.
        file: String,
        /// What it has.
        found: String,
    },
}

impl ModelError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "model-missing",
            Self::Manifest { .. } => "model-manifest",
            Self::Altered { .. } => "model-altered",
        }
    }
}

/// The bytes of each role's file.
pub type Files = Vec<(Role, Vec<u8>)>;

/// A manifest and the bytes that it names, all checked.
pub struct Models {
    manifest: Manifest,
    bytes: Files,
    digest: [u8; 32],
}

impl Models {
    /// Reads and checks `folder`.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let text = read(folder, MANIFEST, MANIFEST_BYTES)?;
        let text = String::from_utf8(text).map_err(|_| invalid("it is not UTF-8"))?;
        let manifest = Manifest::parse(&text)?;
        let mut bytes = Vec::new();
        // Of what is run and how, in the order of the roles: not of the manifest's comments.
        let mut all = Context::new(&SHA256);
        all.update(b"chancery face models v1");
        for role in Role::ALL {
            let model = manifest.model(role).ok_or_else(|| invalid("a role is empty"))?;
            let content = read(folder, &model.file, MODEL_BYTES)?;
            let found = digest(&SHA256, &content);
            if hex::encode(found.as_ref()) != model.sha256 {
                return Err(ModelError::Altered {
                    file: model.file.clone(),
                    found: hex::encode(found.as_ref()),
                });
            }
            all.update(found.as_ref());
            all.update(format!("{:?}{:?}", model.input, model.outputs).as_bytes());
            bytes.push((role, content));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(all.finish().as_ref());
        Ok(Self { manifest, bytes, digest })
    }

    /// What was read.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 over every file's SHA-256, its input and its outputs, in the order of [`Role::ALL`]. Templates of another
    /// digest are not compared.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Gives the bytes away, for an engine to load; the manifest stays.
    #[must_use]
    pub fn into_parts(self) -> (Manifest, Files, [u8; 32]) {
        (self.manifest, self.bytes, self.digest)
    }
}

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// [`ModelError::Manifest`].
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let manifest: Self = toml::from_str(text).map_err(|error| invalid(error.message()))?;
        if manifest.version != VERSION {
            return Err(invalid(format!("version {} is not {VERSION}", manifest.version)));
        }
        for role in Role::ALL {
            if manifest.model.iter().filter(|model| model.role == role).count() != 1 {
                return Err(invalid(format!("role `{}` needs exactly one model", role.as_str())));
            }
        }
        manifest.model.iter().try_for_each(Model::check)?;
        Ok(manifest)
    }

    /// The net of a role.
    #[must_use]
    pub fn model(&self, role: Role) -> Option<&Model> {
        self.model.iter().find(|model| model.role == role)
    }
}

impl Model {
    fn check(&self) -> Result<(), ModelError> {
        let role = self.role.as_str();
        let plain =
            |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !plain(&self.file) || self.file == MANIFEST {
            return Err(invalid(format!("the file of `{role}` is not a name in this folder")));
        }
        let lower_hex = |text: &str| {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !lower_hex(&self.sha256) {
            return Err(invalid(format!("the SHA-256 of `{role}` is not 64 digits of lower-case hex")));
        }
        let Input { width, height, colour, mean, deviation, .. } = &self.input;
        let planes = if *colour == Colour::Grey { 1 } else { 3 };
        if !EDGES.contains(width) || !EDGES.contains(height) {
            return Err(invalid(format!("the input of `{role}` has an edge below 16 or above 640 pixels")));
        }
        if mean.len() != planes || deviation.len() != planes {
            return Err(invalid(format!("the input of `{role}` needs mean and deviation for each plane")));
        }
        if !mean.iter().all(|x| x.is_finite()) || !deviation.iter().all(|x| x.is_finite() && *x > 0.0) {
            return Err(invalid(format!("the input of `{role}` has a mean or deviation that is no number")));
        }
        let (outputs, threshold) = match self.role {
            Role::Detect => (2, true),
            Role::Landmark | Role::Eye => (1, false),
            Role::Feature | Role::Liveness => (1, true),
            Role::Pose => (3, false),
        };
        if self.outputs.len() != outputs {
            return Err(invalid(format!("`{role}` has {outputs} outputs that are read")));
        }
        if self.threshold.is_some() != threshold
            || self.threshold.is_some_and(|at| !(-1.0..=1.0).contains(&at))
        {
            return Err(invalid(format!("`{role}` needs {} threshold", if threshold { "a" } else { "no" })));
        }
        if self.licence.is_empty() {
            return Err(invalid(format!("`{role}` needs a licence")));
        }
        Ok(())
    }
}

impl Input {
    /// The planes of an image that has this input's size.
    #[must_use]
    pub fn tensor(&self, pixels: &[[f32; 3]]) -> Vec<f32> {
        let mut planes = Vec::with_capacity(pixels.len() * self.mean.len());
        for (plane, (mean, deviation)) in self.mean.iter().zip(&self.deviation).enumerate() {
            planes.extend(pixels.iter().map(|[red, green, blue]| {
                let value = match (self.colour, plane) {
                    (Colour::Grey, _) => 0.299 * red + 0.587 * green + 0.114 * blue,
                    (Colour::Rgb, 0) | (Colour::Bgr, 2) => *red,
                    (Colour::Rgb, 2) | (Colour::Bgr, 0) => *blue,
                    _ => *green,
                };
                (value - mean) / deviation
            }));
        }
        planes
    }
}

fn read(folder: &Path, file: &str, limit: u64) -> Result<Vec<u8>, ModelError> {
    let missing = |source| ModelError::Missing { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(folder.join(file))
        .and_then(|open| open.take(limit + 1).read_to_end(&mut bytes))
        .map_err(missing)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("`{file}` is longer than {limit} bytes")));
    }
    Ok(bytes)
}

fn invalid(what: impl Into<String>) -> ModelError {
    ModelError::Manifest { what: what.into() }
}
