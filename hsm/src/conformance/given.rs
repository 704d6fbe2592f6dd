//! Operations with keys and inputs that the caller gives: published test vectors, put to the token and to the software
//! that judges its answers. Nothing here makes a [`crate::Sealed`]; the keys are session objects, destroyed at once.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};

use super::Bench;
use crate::key::{Algorithm, KeyError, PublicKey};
use crate::signature::{Message, Signature, WrongAnswer, seal};
use crate::worker::fault::name;
use crate::worker::keys;

/// A module's answer to one vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It did it; what came out. Empty for a signature that it calls right.
    Yes(Vec<u8>),
    /// It did not, and says that the input is at fault.
    No(String),
    /// It did not, because it has no such mechanism, or none of this length of key or parameter.
    NotOffered(String),
    /// It was not asked: it did not take the key.
    NotTaken(String),
}

/// How AES wraps a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// RFC 3394.
    Plain,
    /// RFC 5649.
    Padded,
}

/// The hash of an HMAC (FIPS 198-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: broken for signatures, not for this.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Judges `raw` as every token's answer is judged before release, and gives it in its one canonical form. A
/// [`Signature`] is no evidence of a walk; only `Sealed` is.
///
/// # Errors
/// [`WrongAnswer`] as for a token.
pub fn judge(public: &PublicKey, message: &Message, raw: &[u8]) -> Result<Signature, WrongAnswer> {
    seal(public, message, raw).map(crate::Sealed::open)
}

impl Bench {
    /// `C_Verify` under an imported key: `point` is uncompressed SEC 1, or the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`KeyError::Point`] when `point` is none, which no token was asked.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        point: &[u8],
        message: &Message,
        signature: &[u8],
    ) -> Result<Said, KeyError> {
        PublicKey::parse(algorithm, point)?;
        let bytes = match message {
            Message::Digest(digest) | Message::Schnorr(digest, _) => digest.as_slice(),
            Message::Bytes(bytes) => bytes,
        };
        let octets = u8::try_from(point.len()).map_err(|_| KeyError::Point(algorithm))?;
        let wrapped = [&[0x04, octets], point].concat();
        let kind = if algorithm == Algorithm::Ed25519 { KeyType::EC_EDWARDS } else { KeyType::EC };
        let mut refused = Said::NotTaken("no curve to try".to_owned());
        for curve in keys::curves(algorithm) {
            let template = [
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(kind),
                Attribute::Token(false),
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::EcParams(curve.to_vec()),
                Attribute::EcPoint(wrapped.clone()),
            ];
            let said = self.with(&template, |key| {
                self.session.verify(&keys::mechanism(algorithm), key, bytes, signature).map(|()| Vec::new())
            });
            match said {
                Said::NotTaken(_) => refused = said,
                said => return Ok(said),
            }
        }
        Ok(refused)
    }

    /// The whole HMAC of `message`.
    #[must_use]
    pub fn hmac(&self, hash: Hash, key: &[u8], message: &[u8]) -> Said {
        let mechanism = match hash {
            Hash::Sha1 => Mechanism::Sha1Hmac,
            Hash::Sha224 => Mechanism::Sha224Hmac,
            Hash::Sha256 => Mechanism::Sha256Hmac,
            Hash::Sha384 => Mechanism::Sha384Hmac,
            Hash::Sha512 => Mechanism::Sha512Hmac,
        };
        self.with(&secret(KeyType::GENERIC_SECRET, key, &[Attribute::Sign(true)]), |key| {
            self.session.sign(&mechanism, key, message)
        })
    }

    /// AES-GCM with a tag of 16 bytes: `plain` to ciphertext and tag.
    #[must_use]
    pub fn gcm_encrypt(&self, key: &[u8], nonce: &[u8], aad: &[u8], plain: &[u8]) -> Said {
        self.with(&secret(KeyType::AES, key, &[Attribute::Encrypt(true)]), |key| {
            let mut nonce = nonce.to_vec();
            let parameters = GcmParams::new(&mut nonce, aad, 128_u64.into())?;
            self.session.encrypt(&Mechanism::AesGcm(parameters), key, plain)
        })
    }

    /// AES-GCM with a tag of 16 bytes: ciphertext and tag to plain text.
    #[must_use]
    pub fn gcm_decrypt(&self, key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Said {
        self.with(&secret(KeyType::AES, key, &[Attribute::Decrypt(true)]), |key| {
            let mut nonce = nonce.to_vec();
            let parameters = GcmParams::new(&mut nonce, aad, 128_u64.into())?;
            self.session.decrypt(&Mechanism::AesGcm(parameters), key, sealed)
        })
    }

    /// Wraps a key of these bytes.
    #[must_use]
    pub fn wrap(&self, how: Wrapping, kek: &[u8], bytes: &[u8]) -> Said {
        let wrapped = secret(KeyType::GENERIC_SECRET, bytes, &[]);
        self.with(&secret(KeyType::AES, kek, &[Attribute::Wrap(true)]), |kek| {
            let key = self.session.create_object(&wrapped)?;
            let done = self.session.wrap_key(&how.mechanism(), kek, key);
            self.session.destroy_object(key)?;
            done
        })
    }

    /// Unwraps a key and reads its bytes.
    #[must_use]
    pub fn unwrap(&self, how: Wrapping, kek: &[u8], wrapped: &[u8]) -> Said {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        self.with(&secret(KeyType::AES, kek, &[Attribute::Unwrap(true)]), |kek| {
            let key = self.session.unwrap_key(&how.mechanism(), kek, wrapped, &template)?;
            let found = self.session.get_attributes(key, &[AttributeType::Value])?;
            self.session.destroy_object(key)?;
            Ok(found
                .into_iter()
                .find_map(|attribute| match attribute {
                    Attribute::Value(bytes) => Some(bytes),
                    _ => None,
                })
                .unwrap_or_default())
        })
    }

    /// Imports an object, does one thing with it and destroys it.
    fn with(&self, template: &[Attribute], act: impl FnOnce(ObjectHandle) -> Result<Vec<u8>, Error>) -> Said {
        let key = match self.session.create_object(template) {
            Ok(key) => key,
            Err(error) => return Said::NotTaken(name(&error)),
        };
        let done = act(key);
        let destroyed = self.session.destroy_object(key);
        match done.and_then(|bytes| destroyed.map(|()| bytes)) {
            Ok(bytes) => Said::Yes(bytes),
            Err(error) if not_offered(&error) => Said::NotOffered(name(&error)),
            Err(error) => Said::No(name(&error)),
        }
    }
}

impl Wrapping {
    fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::Plain => Mechanism::AesKeyWrap,
            Self::Padded => Mechanism::AesKeyWrapPad,
        }
    }
}

fn secret(kind: KeyType, value: &[u8], extra: &[Attribute]) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(kind),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::Value(value.to_vec()),
    ];
    template.extend_from_slice(extra);
    template
}

/// Whether an answer speaks of what the module has, not of the input.
fn not_offered(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::ArgumentsBad
                | RvError::KeySizeRange
                | RvError::WrappingKeySizeRange
                | RvError::KeyTypeInconsistent
                | RvError::AttributeValueInvalid
                | RvError::FunctionNotSupported,
            _
        )
    )
}
