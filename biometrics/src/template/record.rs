//! A template at rest: AES-256-GCM under a data key that the HSM wraps, bound to whose it is, which version, and the models and
//! engine that made it. A record that is moved to another subject, brought back after a rotation, or read with other models
//! does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use chancery_secret::SecretBytes;
use zeroize::Zeroizing;

use super::{TEMPLATE_BYTES, Template, TemplateError};

/// A data key.
pub const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// A record: format, nonce, sealed template, tag.
pub const RECORD_BYTES: usize = 1 + NONCE_LEN + TEMPLATE_BYTES + TAG_BYTES;
const FORMAT: u8 = 1;

/// What a template belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The person, under the name that the appliance gave.
    pub subject: &'a str,
    /// Which of the person's enrolments.
    pub enrolment: &'a str,
    /// Of this enrolment's template, from 1; each renewal takes the next.
    pub version: u64,
    /// [`crate::pipeline::Pipeline::digest`].
    pub models: [u8; 32],
}

impl Binding<'_> {
    /// What the seed is the HMAC-SHA-256 of, under a key that does not leave the HSM. Another model does not change it: the
    /// record's own binding refuses that.
    #[must_use]
    pub fn seed_message(&self) -> Vec<u8> {
        self.told(b"chancery face seed v1")
    }

    fn context(&self) -> Vec<u8> {
        [self.told(b"chancery face template v1"), self.models.to_vec()].concat()
    }

    /// Every part after its length, so that no two bindings are written alike.
    fn told(&self, of: &[u8]) -> Vec<u8> {
        let mut bytes = of.to_vec();
        for part in [self.tenant, self.subject, self.enrolment] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes.extend(self.version.to_be_bytes());
        bytes
    }

    /// Seals a template for this binding.
    ///
    /// # Errors
    /// [`TemplateError::Key`], [`TemplateError::Memory`] where there is no randomness.
    pub fn seal(&self, template: &Template, key: &SecretBytes) -> Result<Vec<u8>, TemplateError> {
        let nonce = SecretBytes::random(NONCE_LEN)?;
        let nonce = <[u8; NONCE_LEN]>::try_from(nonce.expose()).map_err(|_| TemplateError::Cipher)?;
        let key = opened(key)?;
        // Wiped where the cipher fails; else it holds what it was encrypted to.
        let mut sealed = Zeroizing::new(template.0.to_vec());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.context()),
                &mut sealed,
            )
            .map_err(|_| TemplateError::Cipher)?;
        Ok([&[FORMAT][..], &nonce, &sealed, tag.as_ref()].concat())
    }

    /// Opens a record of this binding.
    ///
    /// # Errors
    /// [`TemplateError::Sealed`] whatever about it is wrong, [`TemplateError::Key`].
    pub fn open(&self, record: &[u8], key: &SecretBytes) -> Result<Template, TemplateError> {
        let key = opened(key)?;
        let (format, rest) = record.split_first().ok_or(TemplateError::Sealed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(TemplateError::Sealed)?;
        if *format != FORMAT || record.len() != RECORD_BYTES {
            return Err(TemplateError::Sealed);
        }
        let (text, tag) = sealed.split_at(TEMPLATE_BYTES);
        let mut template = Zeroizing::new(vec![0; TEMPLATE_BYTES]);
        key.open_separate_gather(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(self.context()),
            text,
            tag,
            &mut template,
        )
        .map_err(|_| TemplateError::Sealed)?;
        Ok(Template(template))
    }
}

fn opened(key: &SecretBytes) -> Result<LessSafeKey, TemplateError> {
    UnboundKey::new(&AES_256_GCM, key.expose()).map(LessSafeKey::new).map_err(|_| TemplateError::Key)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{embedding, seed};
    use super::*;

    const BINDING: Binding<'_> =
        Binding { tenant: "default", subject: "s-1", enrolment: "e-1", version: 1, models: [3; 32] };

    /// Would catch a part that is left out of the associated data: a record would open as somebody else's.
    #[test]
    fn a_record_opens_for_what_it_was_sealed_and_nothing_else() {
        let (template, key) = (Template::make(&embedding(1), &seed(1)).unwrap(), seed(9));
        let record = BINDING.seal(&template, &key).unwrap();
        assert_eq!(record.len(), RECORD_BYTES);
        assert_eq!(BINDING.open(&record, &key).unwrap().agreement(&template), 1_024);
        assert_ne!(record, BINDING.seal(&template, &key).unwrap(), "no nonce twice");
        let others = [
            Binding { tenant: "other", ..BINDING },
            Binding { subject: "s-2", ..BINDING },
            Binding { enrolment: "e-2", ..BINDING },
            Binding { version: 2, ..BINDING },
            Binding { models: [4; 32], ..BINDING },
            Binding { subject: "s-1e", enrolment: "-1", ..BINDING },
        ];
        for other in others {
            assert!(matches!(other.open(&record, &key), Err(TemplateError::Sealed)), "{other:?}");
        }
        assert!(matches!(BINDING.open(&record, &seed(8)), Err(TemplateError::Sealed)));
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert!(matches!(BINDING.open(&changed, &key), Err(TemplateError::Sealed)), "byte {at}");
            assert!(matches!(BINDING.open(&record[..at], &key), Err(TemplateError::Sealed)), "length {at}");
        }
    }

    #[test]
    fn every_part_changes_the_seed() {
        let first = BINDING.seed_message();
        assert_eq!(first, Binding { models: [4; 32], ..BINDING }.seed_message());
        for other in [
            Binding { tenant: "other", ..BINDING },
            Binding { subject: "s-2", ..BINDING },
            Binding { enrolment: "e-2", ..BINDING },
            Binding { version: 2, ..BINDING },
            Binding { subject: "s-1e", enrolment: "-1", ..BINDING },
        ] {
            assert_ne!(first, other.seed_message());
        }
    }
}
