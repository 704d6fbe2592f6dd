//! A face as a direction: numbers whose angle to another face's says whether they are one person's. It is biometric data: no
//! `Clone`, no serde, nothing in `Debug`, wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

use super::{Pipeline, Points, Raster};
use crate::FaceError;
use crate::engine::EngineError;
use crate::models::Role;

/// LIMIT: numbers of an embedding.
pub(crate) const NUMBERS: usize = 2_048;

/// A unit vector.
pub struct Embedding(Zeroizing<Vec<f32>>);

impl Pipeline {
    /// The embedding of the face with these points.
    ///
    /// # Errors
    /// [`FaceError::Engine`].
    pub fn embedding(&self, image: &Raster, points: &Points) -> Result<Embedding, FaceError> {
        let [numbers] = self.run(Role::Feature, &self.aligned(image, points)?)?;
        Ok(Embedding::new(numbers).ok_or(EngineError::Form { role: Role::Feature })?)
    }
}

impl Embedding {
    /// Takes a vector and gives it length 1; `None` where it has no direction or more than 2,048 numbers.
    #[must_use]
    pub fn new(numbers: Vec<f32>) -> Option<Self> {
        let mut numbers = Zeroizing::new(numbers);
        let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !length.is_normal() || !(1..=NUMBERS).contains(&numbers.len()) {
            return None;
        }
        numbers.iter_mut().for_each(|x| *x /= length);
        Some(Self(numbers))
    }

    /// Cosine of the angle, -1 to 1; 0 for vectors of different lengths, which are not of one model.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        if self.0.len() != other.0.len() {
            return 0.0;
        }
        self.0.iter().zip(other.0.iter()).map(|(a, b)| a * b).sum()
    }

    /// The numbers. Whoever calls this answers for what becomes of them.
    #[must_use]
    pub fn expose(&self) -> &[f32] {
        &self.0
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}
