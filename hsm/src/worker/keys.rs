//! Keys on the token: how they are made, found and destroyed. A key is found by `CKA_ID` and believed only when its
//! public key is the expected one. If this is wrong, keys can leave the token or a stale handle signs with another.

use chancery_secret::SecretBytes;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::key::{Algorithm, PublicKey};
use crate::wire::{Class, Fault, Sealing};
use crate::worker::fault::name;

/// LIMIT: a key's label, in bytes.
const LABEL_BYTES: usize = 128;

const OID_SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `id-Ed25519` (RFC 8410).
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// `PrintableString "edwards25519"` (PKCS#11 3.0), which older modules want instead.
const NAME_ED25519: &[u8] = b"\x13\x0cedwards25519";

/// The mechanism a key signs with.
pub(crate) fn mechanism(algorithm: Algorithm) -> Mechanism<'static> {
    match algorithm {
        Algorithm::Secp256k1 | Algorithm::P256 => Mechanism::Ecdsa,
        Algorithm::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
    }
}

fn mechanism_type(algorithm: Algorithm) -> MechanismType {
    match algorithm {
        Algorithm::Secp256k1 | Algorithm::P256 => MechanismType::ECDSA,
        Algorithm::Ed25519 => MechanismType::EDDSA,
    }
}

pub(crate) fn curves(algorithm: Algorithm) -> &'static [&'static [u8]] {
    match algorithm {
        Algorithm::Secp256k1 => &[OID_SECP256K1],
        Algorithm::P256 => &[OID_P256],
        Algorithm::Ed25519 => &[OID_ED25519, NAME_ED25519],
    }
}

/// How long a new key lives, and whether it may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Until the session ends: for tests of the token itself.
    Session,
    /// On the token, which it never leaves.
    Token,
    /// On the token, which it leaves under a key alone that the security officer marked as trusted.
    Recoverable,
}

impl Keep {
    pub(crate) fn on_token(recoverable: bool) -> Self {
        if recoverable { Self::Recoverable } else { Self::Token }
    }
}

/// Makes a signing key and reads back that it is what was asked for.
pub(crate) fn generate(
    session: &Session,
    algorithm: Algorithm,
    id: &[u8],
    label: &str,
    keep: Keep,
) -> Result<(PublicKey, ObjectHandle), Fault> {
    vacant(session, id, label)?;
    let make = match algorithm {
        Algorithm::Secp256k1 | Algorithm::P256 => Mechanism::EccKeyPairGen,
        Algorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
    };
    let mut refused = Fault::new(Class::Refused, "no curve to try");
    for curve in curves(algorithm) {
        let public = [
            Attribute::Token(keep != Keep::Session),
            Attribute::Private(false),
            Attribute::EcParams(curve.to_vec()),
            Attribute::Verify(true),
            Attribute::Id(id.to_vec()),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let mut private = guarded(id, label, keep);
        private.extend([Attribute::Sign(true), Attribute::Derive(false), Attribute::Unwrap(false)]);
        // Modules differ in which restrictions they can keep; the strictest template that one accepts is used.
        let bound = Attribute::AllowedMechanisms(vec![mechanism_type(algorithm)]);
        for restrictions in [&[bound, Attribute::Modifiable(false)][..], &[Attribute::Modifiable(false)], &[]]
        {
            let template = [&private[..], restrictions].concat();
            match session.generate_key_pair(&make, &public, &template) {
                Ok((public, private)) => {
                    return accept(session, algorithm, public, private, keep).inspect_err(|_| {
                        let _ = session.destroy_object(private);
                        let _ = session.destroy_object(public);
                    });
                }
                Err(error) => refused = error.into(),
            }
            // A template that a module dislikes has many error codes; a token that is gone has these.
            if matches!(refused.class, Class::Reinitialise | Class::Fatal | Class::Retry) {
                return Err(refused);
            }
        }
    }
    Err(refused)
}

fn accept(
    session: &Session,
    algorithm: Algorithm,
    public: ObjectHandle,
    private: ObjectHandle,
    keep: Keep,
) -> Result<(PublicKey, ObjectHandle), Fault> {
    is_guarded(session, private, keep)?;
    Ok((public_key(session, algorithm, public)?, private))
}

/// Makes an AES-256 key for encrypting and wrapping, and reads back that it is guarded.
pub(crate) fn generate_kek(
    session: &Session,
    id: &[u8],
    label: &str,
    keep: Keep,
) -> Result<ObjectHandle, Fault> {
    vacant(session, id, label)?;
    let mut template = guarded(id, label, keep);
    template.extend([
        Attribute::ValueLen(32_u64.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Sign(false),
    ]);
    let kek = session.generate_key(&Mechanism::AesKeyGen, &template)?;
    is_guarded(session, kek, keep).inspect_err(|_| {
        let _ = session.destroy_object(kek);
    })?;
    Ok(kek)
}

/// Encrypts a secret under a KEK: ciphertext and tag (AES-256-GCM, NIST SP 800-38D).
pub(crate) fn encrypt(session: &Session, sealing: &Sealing, secret: &SecretBytes) -> Result<Vec<u8>, Fault> {
    let mut nonce = sealing.nonce;
    let kek = kek(session, sealing)?;
    let keep = if leaves(session, kek)? { Keep::Recoverable } else { Keep::Token };
    is_guarded(session, kek, keep)?;
    let gcm = GcmParams::new(&mut nonce, &sealing.context, 128_u64.into())?;
    let wrapped = session.encrypt(&Mechanism::AesGcm(gcm), kek, secret.expose())?;
    // A module in an approved mode may take a nonce of its own and append it, which nothing here would find again.
    if nonce == sealing.nonce && wrapped.len() == secret.len() + 16 {
        return Ok(wrapped);
    }
    Err(Fault::new(Class::Refused, "the module does not do AES-GCM with the nonce it is given"))
}

/// Decrypts what [`encrypt`] made, into secret memory.
pub(crate) fn decrypt(session: &Session, sealing: &Sealing, wrapped: &[u8]) -> Result<SecretBytes, Fault> {
    let mut nonce = sealing.nonce;
    // A restored KEK was not made here. That it is the one which encrypted this, the tag says.
    let (kek, gcm) = (kek(session, sealing)?, GcmParams::new(&mut nonce, &sealing.context, 128_u64.into())?);
    let opened = session.decrypt(&Mechanism::AesGcm(gcm), kek, wrapped);
    // Whatever the module calls it: the tag does not fit, and no other session or process will make it fit.
    let refused =
        |error| Fault::new(Class::Refused, format!("the wrapped secret does not open: {}", name(&error)));
    let mut opened = opened.map_err(refused)?;
    SecretBytes::take(&mut opened).map_err(|error| Fault::new(Class::Retry, error.to_string()))
}

fn kek(session: &Session, sealing: &Sealing) -> Result<ObjectHandle, Fault> {
    secret_key(session, &sealing.kek)?
        .ok_or_else(|| Fault::new(Class::Refused, "the token has not the key that encrypts this secret"))
}

/// The secret key with this id.
pub(super) fn secret_key(session: &Session, id: &[u8]) -> Result<Option<ObjectHandle>, Fault> {
    only(session, ObjectClass::SECRET_KEY, id, &search(session, id)?)
}

/// Whether a key is marked as one that may leave its token.
fn leaves(session: &Session, key: ObjectHandle) -> Result<bool, Fault> {
    Ok(session.get_attributes(key, &[AttributeType::Extractable])?.contains(&Attribute::Extractable(true)))
}

pub(super) fn guarded(id: &[u8], label: &str, keep: Keep) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(keep != Keep::Session),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(keep == Keep::Recoverable),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    if keep == Keep::Recoverable {
        template.push(Attribute::WrapWithTrusted(true));
    }
    template
}

pub(super) fn vacant(session: &Session, id: &[u8], label: &str) -> Result<(), Fault> {
    if label.is_empty() || label.len() > LABEL_BYTES {
        return Err(Fault::new(Class::Refused, "a key's label is 1 to 128 bytes long"));
    }
    if search(session, id)?.is_empty() {
        return Ok(());
    }
    Err(Fault::new(Class::Exists, "the id is taken"))
}

/// Reads back that a key was made here, was always sensitive, and leaves the token as agreed or not at all.
fn is_guarded(session: &Session, key: ObjectHandle, keep: Keep) -> Result<(), Fault> {
    let leaving = match keep {
        Keep::Recoverable => [Attribute::Extractable(true), Attribute::WrapWithTrusted(true)],
        Keep::Token | Keep::Session => [Attribute::Extractable(false), Attribute::NeverExtractable(true)],
    };
    let wanted = [
        &[Attribute::Private(true), Attribute::Sensitive(true), Attribute::AlwaysSensitive(true)],
        &leaving[..],
        &[Attribute::Local(true)],
    ]
    .concat();
    has(session, key, &wanted)
}

/// Reads back that a key has these attributes.
pub(super) fn has(session: &Session, key: ObjectHandle, wanted: &[Attribute]) -> Result<(), Fault> {
    let types: Vec<_> = wanted.iter().map(Attribute::attribute_type).collect();
    let found = session.get_attributes(key, &types)?;
    match wanted.iter().find(|wanted| !found.contains(wanted)) {
        None => Ok(()),
        Some(broken) => {
            let what = format!("the token did not keep {broken:?} on a new key");
            Err(Fault::new(Class::Unguarded, what))
        }
    }
}

/// The public key of a public key object.
fn public_key(session: &Session, algorithm: Algorithm, public: ObjectHandle) -> Result<PublicKey, Fault> {
    PublicKey::from_ec_point(algorithm, &ec_point(session, public)?)
        .map_err(|error| Fault::new(Class::Refused, format!("CKA_EC_POINT: {error}")))
}

/// `CKA_EC_POINT` as the module gives it.
pub(crate) fn ec_point(session: &Session, public: ObjectHandle) -> Result<Vec<u8>, Fault> {
    session
        .get_attributes(public, &[AttributeType::EcPoint])?
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => Some(point),
            _ => None,
        })
        .ok_or_else(|| Fault::new(Class::Refused, "a public key without CKA_EC_POINT"))
}

/// The public half of the signing key with this id.
pub(crate) fn find_public(session: &Session, id: &[u8]) -> Result<Option<PublicKey>, Fault> {
    let objects = search(session, id)?;
    let Some(public) = only(session, ObjectClass::PUBLIC_KEY, id, &objects)? else { return Ok(None) };
    let found = session.get_attributes(public, &[AttributeType::KeyType, AttributeType::EcParams])?;
    let curve = found.iter().find_map(|attribute| match attribute {
        Attribute::EcParams(curve) => Some(curve.as_slice()),
        _ => None,
    });
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| curve.is_some_and(|curve| curves(*algorithm).contains(&curve)));
    match algorithm {
        Some(algorithm) => public_key(session, algorithm, public).map(Some),
        None => Err(Fault::new(Class::Refused, "a key of a kind that is not used here")),
    }
}

/// Every object with this id.
pub(crate) fn search(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Fault> {
    Ok(session.find_objects(&[Attribute::Id(id.to_vec())])?)
}

/// The id of an object, where it is one of ours.
pub(crate) fn id_of(session: &Session, object: ObjectHandle) -> Result<Option<[u8; 16]>, Fault> {
    let found = session.get_attributes(object, &[AttributeType::Id])?;
    Ok(found.into_iter().find_map(|attribute| match attribute {
        Attribute::Id(id) => id.try_into().ok(),
        _ => None,
    }))
}

/// The private key among `objects`, believed because it has this id and its public half is the expected one.
pub(crate) fn believe(
    session: &Session,
    id: &[u8],
    objects: &[ObjectHandle],
    algorithm: Algorithm,
    expected: &[u8],
) -> Result<ObjectHandle, Fault> {
    let missing = || Fault::new(Class::Missing, "no such key");
    let private = only(session, ObjectClass::PRIVATE_KEY, id, objects)?.ok_or_else(missing)?;
    let public = only(session, ObjectClass::PUBLIC_KEY, id, objects)?.ok_or_else(missing)?;
    match public_key(session, algorithm, public) {
        Ok(found) if found.bytes() == expected => Ok(private),
        Err(fault) if fault.class != Class::Refused => Err(fault),
        _ => Err(Fault::new(Class::Mismatch, "the token holds another key under this id")),
    }
}

/// The one of these objects that is of this class and has this id.
pub(super) fn only(
    session: &Session,
    class: ObjectClass,
    id: &[u8],
    objects: &[ObjectHandle],
) -> Result<Option<ObjectHandle>, Fault> {
    let wanted = [Attribute::Class(class), Attribute::Id(id.to_vec())];
    let mut found = None;
    for object in objects {
        let attributes = session.get_attributes(*object, &[AttributeType::Class, AttributeType::Id])?;
        if wanted.iter().all(|wanted| attributes.contains(wanted)) && found.replace(*object).is_some() {
            return Err(Fault::new(Class::Mismatch, "the token holds several keys under this id"));
        }
    }
    Ok(found)
}

/// Destroys every object with this id.
pub(crate) fn destroy(session: &Session, id: &[u8]) -> Result<(), Fault> {
    let found = search(session, id)?;
    if found.is_empty() {
        return Err(Fault::new(Class::Missing, "no such key"));
    }
    for object in found {
        session.destroy_object(object)?;
    }
    Ok(())
}

/// An AES key template for probes.
pub(crate) fn session_aes(extra: &[Attribute]) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32_u64.into()),
    ];
    template.extend_from_slice(extra);
    template
}
