//! The witness's Ed25519 key: a file of three lines (format, name, seed in hexadecimal) that only its owner may read.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::{Cosignature, CosignerKey};
use zeroize::Zeroizing;

use crate::WitnessError;

const FORMAT: &str = "chancery-witness-key v1";

/// A key that cosigns.
pub struct Key {
    pair: Ed25519KeyPair,
    public: CosignerKey,
}

impl Key {
    /// A fresh key file's text for a witness of this name.
    ///
    /// # Errors
    /// [`WitnessError::Key`] where no key can be made or named so.
    pub fn fresh(name: &str) -> Result<Zeroizing<String>, WitnessError> {
        let mut seed = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *seed).map_err(|_| WitnessError::Key("cannot be made"))?;
        let seed = Zeroizing::new(hex::encode(*seed));
        let text = Zeroizing::new(format!("{FORMAT}\n{name}\n{}\n", *seed));
        Self::parse(&text).map(|_| text)
    }

    /// Reads a key file's text.
    ///
    /// # Errors
    /// [`WitnessError::Key`].
    pub fn parse(text: &str) -> Result<Self, WitnessError> {
        let mut lines = text.lines();
        let (Some(FORMAT), Some(name), Some(seed), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(WitnessError::Key("is not of this program's format"));
        };
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(seed, &mut *bytes).map_err(|_| WitnessError::Key("has no seed"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*bytes)
            .map_err(|_| WitnessError::Key("has no seed of a key"))?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| WitnessError::Key("is too long"))?;
        let public = CosignerKey::new(name, public).map_err(|_| WitnessError::Key("has no name"))?;
        Ok(Self { pair, public })
    }

    /// What others verify its cosignatures under.
    #[must_use]
    pub fn public(&self) -> &CosignerKey {
        &self.public
    }

    /// Cosigns a checkpoint's text.
    pub(crate) fn cosign(&self, text: &str, time_s: u64) -> Cosignature {
        Cosignature::make(&self.public, text, time_s, |message| {
            let mut bytes = [0; 64];
            // An Ed25519 signature is 64 bytes long; another would verify nowhere.
            bytes.iter_mut().zip(self.pair.sign(message).as_ref()).for_each(|(to, from)| *to = *from);
            bytes
        })
    }
}
