//! What is kept instead of a face: Index-of-Max hashes by keyed random projections (Jin et al. 2018). Without the seed
//! they say nothing of the face; under another seed they are another template. With template *and* seed the embedding can be
//! estimated: the seed is made anew by the HSM for each use. If this is wrong, a stolen store is a store of faces.

mod record;

use std::fmt;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use chancery_secret::{SecretBytes, SecretError};
use subtle::{ConstantTimeEq as _, ConstantTimeGreater as _};
use zeroize::Zeroizing;

pub use record::{Binding, KEY_BYTES, RECORD_BYTES};

use crate::pipeline::Embedding;

/// Hashes of a template.
pub const HASHES: usize = 1_024;
/// Projections of which a hash names the largest.
pub const PROJECTIONS: usize = 16;
/// A template: four bits a hash, the first in the upper half of the first byte.
pub const TEMPLATE_BYTES: usize = HASHES / 2;
/// A seed.
pub const SEED_BYTES: usize = 32;
/// Agreeing hashes at which two templates under one seed are of one person: FMR 1e-3 of `evaluate` on 46,140 impostor pairs
/// of LFW under one seed, which is what an impostor meets: his face is hashed under the seed of the person he claims to be.
pub const AGREEMENT: u32 = 168;

/// A number of an embedding in fixed point has this for 1.
const ONE: f32 = 32_768.0;
pub(crate) const WORD_BYTES: usize = 2;

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not 32 bytes.
    #[error("a seed or key has 32 bytes")]
    Key,
    /// The record was changed, or is another subject's, version's or model's.
    #[error("the template does not open")]
    Sealed,
    /// The cipher refuses.
    #[error("the cipher failed")]
    Cipher,
    /// No secret memory, or no randomness.
    #[error(transparent)]
    Memory(#[from] SecretError),
}

/// The hashes of one face under one seed. Wiped when dropped; [`Binding::seal`] is the only way out.
pub struct Template(Zeroizing<Vec<u8>>);

impl Template {
    /// Hashes `embedding` under `seed`.
    ///
    /// Hash `i` is the `j` below 16 for which the sum over `d` of `x[d] * popcount(r[i][j][d])` is largest, the first of
    /// equals. `x[d]` is the embedding's number times 32768, rounded half away from zero; `r[i]` is 16 rows of 16-bit
    /// little-endian words, one for each `d`: the AES-256-CTR key stream under the seed that begins at the counter block
    /// `i` (64 bits, big-endian) followed by 64 zero bits. A count of 16 random bits has mean 8 and variance 4: a mean
    /// that is the same for each `j` moves no maximum, and sums of hundreds of them are as good as Gaussian. All of it is
    /// integers, so that every machine makes the same template of the same embedding.
    ///
    /// # Errors
    /// [`TemplateError::Key`], [`TemplateError::Cipher`].
    pub fn make(embedding: &Embedding, seed: &SecretBytes) -> Result<Self, TemplateError> {
        let fixed: Zeroizing<Vec<i32>> =
            Zeroizing::new(embedding.expose().iter().map(|x| (x * ONE).round() as i32).collect());
        let mut template = Zeroizing::new(Vec::with_capacity(TEMPLATE_BYTES));
        expanded(seed, fixed.len(), |hash, words| {
            let largest = largest(&fixed, words);
            match template.last_mut() {
                Some(byte) if hash % 2 == 1 => *byte |= largest,
                _ => template.push(largest << 4),
            }
        })?;
        Ok(Self(template))
    }

    /// Which projection hash after hash names.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf])
    }

    /// Hashes that agree, of [`HASHES`]. Templates under two seeds agree in about a sixteenth of them.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> u32 {
        self.hashes().zip(other.hashes()).map(|(a, b)| u32::from(a.ct_eq(&b).unwrap_u8())).sum()
    }

    /// Whether both are of one person, under one seed.
    #[must_use]
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        self.agreement(other).ct_gt(&(AGREEMENT - 1)).into()
    }
}

/// Gives `each` the words of hash after hash, [`PROJECTIONS`] rows of `numbers` words.
pub(crate) fn expanded(
    seed: &SecretBytes,
    numbers: usize,
    mut each: impl FnMut(usize, &[u8]),
) -> Result<(), TemplateError> {
    if seed.len() != SEED_BYTES {
        return Err(TemplateError::Key);
    }
    let key = UnboundCipherKey::new(&AES_256, seed.expose()).map_err(|_| TemplateError::Cipher)?;
    let key = EncryptingKey::ctr(key).map_err(|_| TemplateError::Cipher)?;
    let mut words = Zeroizing::new(vec![0_u8; PROJECTIONS * numbers * WORD_BYTES]);
    for hash in 0..HASHES {
        let block = ((hash as u128) << 64).to_be_bytes();
        words.fill(0);
        key.less_safe_encrypt(&mut words, EncryptionContext::Iv128(FixedLength::from(block)))
            .map_err(|_| TemplateError::Cipher)?;
        each(hash, &words);
    }
    Ok(())
}

/// How many bits of a word are set.
pub(crate) fn weight(word: &[u8]) -> i32 {
    match word {
        [low, high] => u16::from_le_bytes([*low, *high]).count_ones() as i32,
        _ => 0,
    }
}

/// Which of 16 projections is the largest. Takes the same steps whatever the numbers are.
fn largest(fixed: &[i32], words: &[u8]) -> u8 {
    let (mut at, mut most) = (0, i32::MIN);
    for (j, words) in words.chunks_exact((fixed.len() * WORD_BYTES).max(1)).enumerate() {
        let sum: i32 = words.chunks_exact(WORD_BYTES).zip(fixed).map(|(word, x)| x * weight(word)).sum();
        let above = sum > most;
        at = if above { j as u8 } else { at };
        most = most.max(sum);
    }
    at
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn embedding(from: u32) -> Embedding {
        // A fixed sequence (Numerical Recipes' generator), so that the vector below is one anybody can make again.
        let mut state = from;
        let numbers = (0..512).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 - 32_768.0
        });
        Embedding::new(numbers.collect()).unwrap()
    }

    pub(super) fn seed(byte: u8) -> SecretBytes {
        SecretBytes::take(&mut [byte; SEED_BYTES]).unwrap()
    }

    /// Would catch any change of the expansion, on any machine: templates that were enrolled would no longer match.
    #[test]
    fn the_expansion_is_what_it_was() {
        let template = Template::make(&embedding(1), &seed(7)).unwrap();
        assert_eq!(hex::encode(&template.0[..16]), "562cc560f6b331a60f9c08eb9d167b38");
    }

    #[test]
    fn one_seed_agrees_with_itself_and_no_other() {
        let (face, other) = (embedding(1), embedding(2));
        let make = |face: &Embedding, byte| Template::make(face, &seed(byte)).unwrap();
        let first = make(&face, 1);
        assert_eq!(first.agreement(&make(&face, 1)), HASHES as u32);
        assert!(first.is_of_the_same(&make(&face, 1)));
        // A sixteenth is 64; six standard deviations of a binomial are 46.
        for stranger in [make(&face, 2), make(&other, 1), make(&other, 2)] {
            assert!((18..=110).contains(&first.agreement(&stranger)), "{}", first.agreement(&stranger));
            assert!(!first.is_of_the_same(&stranger));
        }
    }

    #[test]
    fn a_seed_has_its_length() {
        let short = SecretBytes::take(&mut [0; 31]).unwrap();
        assert!(matches!(Template::make(&embedding(1), &short), Err(TemplateError::Key)));
    }

    #[test]
    fn debug_shows_nothing() {
        let template = Template::make(&embedding(1), &seed(7)).unwrap();
        assert_eq!(format!("{template:?} {:?}", embedding(1)), "<redacted> <redacted>");
    }
}
