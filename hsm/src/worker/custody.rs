//! The acts of a ceremony on the token: look, take a backup key, wrap, unwrap. One each worker, which ends with it.
//! Trusts the module to wrap what may only leave under a trusted key under no other; the honesty probe tried it.
//! If this is wrong, a key leaves the token readable, or does not come back.

use chancery_secret::{Pin, SecretBytes};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

use super::fault;
use super::keys::{self, Keep};
use super::module::Slot;
use crate::custody::{Found, KEYS, Use, WrappedKey};
use crate::key::Algorithm;
use crate::wire::{Class, Fault};

/// A block of RFC 5649, in bytes.
const BLOCK: usize = 8;

/// Every key of the token that has an id of ours, and how many have not.
pub(super) fn survey(session: &Session) -> Result<(Vec<Found>, usize), Fault> {
    let (mut ours, mut others) = (Vec::new(), 0);
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        for object in session.find_objects(&[Attribute::Class(class), Attribute::Token(true)])? {
            match keys::id_of(session, object)? {
                Some(id) if ours.len() < KEYS => match describe(session, class, &id, object)? {
                    Some(found) => ours.push(found),
                    None => others += 1,
                },
                Some(_) => {
                    return Err(Fault::new(Class::Refused, format!("the token has more than {KEYS} keys")));
                }
                None => others += 1,
            }
        }
    }
    Ok((ours, others))
}

fn describe(
    session: &Session,
    class: ObjectClass,
    id: &[u8; 16],
    object: ObjectHandle,
) -> Result<Option<Found>, Fault> {
    use AttributeType as Type;
    let wanted = [Type::Label, Type::Extractable, Type::WrapWithTrusted, Type::Trusted, Type::CheckValue];
    let found = session.get_attributes(object, &wanted)?;
    let (mut label, mut check_value) = (String::new(), Vec::new());
    for attribute in &found {
        match attribute {
            Attribute::Label(bytes) => label = String::from_utf8_lossy(bytes).into_owned(),
            Attribute::CheckValue(bytes) => check_value.clone_from(bytes),
            _ => {}
        }
    }
    let (uses, public) = if class == ObjectClass::PRIVATE_KEY {
        match keys::find_public(session, id)? {
            Some(public) => (Use::Sign(public.algorithm()), public.bytes().to_vec()),
            None => return Ok(None),
        }
    } else if found.contains(&Attribute::Trusted(true)) {
        (Use::BackUp, Vec::new())
    } else {
        (Use::Encrypt, Vec::new())
    };
    let recoverable = leaves_when_trusted().iter().all(|wanted| found.contains(wanted));
    Ok(Some(Found { id: *id, label, uses, recoverable, public, check_value }))
}

fn leaves_when_trusted() -> [Attribute; 2] {
    [Attribute::Extractable(true), Attribute::WrapWithTrusted(true)]
}

/// Puts a backup key on the token, by a way that a token must offer to both its users: the security officer makes a public
/// object of the session and marks it as trusted, which only that officer can; the user, who alone sees private objects,
/// copies it to a private one of the token. The first never reaches the disk, and ends with the session.
pub(super) fn entrust(
    slot: &Slot,
    so_pin: &Pin,
    pin: &Pin,
    id: &[u8; 16],
    label: &str,
    secret: &SecretBytes,
) -> Result<(), Fault> {
    let session = slot.session()?;
    slot.enter(&session, UserType::So, so_pin)?;
    let marked = session.create_object(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Trusted(true),
        Attribute::Wrap(true),
        Attribute::Unwrap(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(secret.expose().to_vec()),
    ])?;
    session.logout()?;
    slot.enter(&session, UserType::User, pin)?;
    let others = keys::search(&session, id)?;
    if others.iter().any(|object| *object != marked) {
        return Err(Fault::new(Class::Exists, "the id is taken"));
    }
    let kept = session.copy_object(marked, &[Attribute::Token(true), Attribute::Private(true)])?;
    session.destroy_object(marked)?;
    let promised = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Trusted(true),
        Attribute::Wrap(true),
        Attribute::Unwrap(false),
        Attribute::Decrypt(false),
    ];
    keys::has(&session, kept, &promised).inspect_err(|_| {
        let _ = session.destroy_object(kept);
    })
}

/// Wraps keys under a trusted key. Those of a kind that the token wraps under none are left out.
pub(super) fn back_up(
    session: &Session,
    under: &[u8; 16],
    wanted: &[[u8; 16]],
) -> Result<Vec<WrappedKey>, Fault> {
    let missing = |what: &str| Fault::new(Class::Refused, format!("the token has no {what}"));
    let wrapping = keys::secret_key(session, under)?.ok_or_else(|| missing("such backup key"))?;
    keys::has(session, wrapping, &[Attribute::Trusted(true), Attribute::Wrap(true)])?;
    let mut wrapped = Vec::new();
    for id in wanted {
        let objects = keys::search(session, id)?;
        let private = keys::only(session, ObjectClass::PRIVATE_KEY, id, &objects)?;
        let class = if private.is_some() { ObjectClass::PRIVATE_KEY } else { ObjectClass::SECRET_KEY };
        let key = keys::only(session, class, id, &objects)?.ok_or_else(|| missing("such key"))?;
        let described = describe(session, class, id, key)?.ok_or_else(|| missing("public half of it"))?;
        keys::has(session, key, &leaves_when_trusted())?;
        let point = match keys::only(session, ObjectClass::PUBLIC_KEY, id, &objects)? {
            Some(public) => keys::ec_point(session, public)?,
            None => Vec::new(),
        };
        let mut bytes = match session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key) {
            Err(error) if fault::value(&error) == Some(RvError::KeyNotWrappable) => continue,
            wrapped => wrapped?,
        };
        // A module may answer the length query with more than it then writes, which cryptoki does not cut off: what was
        // never written is zeros, and a block of ciphertext is not.
        while bytes.len() > BLOCK && bytes.ends_with(&[0; BLOCK]) {
            bytes.truncate(bytes.len() - BLOCK);
        }
        let Found { id, label, uses, public, .. } = described;
        wrapped.push(WrappedKey { id, label, uses, public, point, wrapped: bytes });
    }
    Ok(wrapped)
}

/// Unwraps keys under a key that is here for this session alone.
pub(super) fn restore(session: &Session, secret: &SecretBytes, wrapped: &[WrappedKey]) -> Result<(), Fault> {
    let unwrapping = session.create_object(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Unwrap(true),
        Attribute::Value(secret.expose().to_vec()),
    ])?;
    let done = wrapped.iter().try_for_each(|key| put_back(session, unwrapping, key));
    let _ = session.destroy_object(unwrapping);
    done
}

fn put_back(session: &Session, unwrapping: ObjectHandle, key: &WrappedKey) -> Result<(), Fault> {
    let objects = keys::search(session, &key.id)?;
    match key.uses {
        Use::BackUp => Err(Fault::new(Class::Refused, "a backup key is not brought back by a backup")),
        Use::Encrypt => {
            if !objects.is_empty() {
                // Which one it is cannot be seen: the first thing it decrypts tells.
                let same = keys::only(session, ObjectClass::SECRET_KEY, &key.id, &objects)?;
                return same.map(drop).ok_or_else(|| Fault::new(Class::Exists, "the id is taken"));
            }
            let mut template = keys::guarded(&key.id, &key.label, Keep::Recoverable);
            template.extend([
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Sign(false),
            ]);
            let made = unwrap(session, unwrapping, key, &template)?;
            guarded(session, made)
        }
        Use::Sign(algorithm) => {
            // ORDER: the private half first. A crash between the two leaves one without the other, which is made anew.
            if keys::believe(session, &key.id, &objects, algorithm, &key.public).is_ok() {
                return Ok(());
            }
            if keys::only(session, ObjectClass::PUBLIC_KEY, &key.id, &objects)?.is_some() {
                return Err(Fault::new(Class::Exists, "the token has another key under this id"));
            }
            for object in objects {
                session.destroy_object(object)?;
            }
            let made = private_half(session, unwrapping, algorithm, key)?;
            guarded(session, made)?;
            public_half(session, algorithm, key)
        }
    }
}

fn guarded(session: &Session, key: ObjectHandle) -> Result<(), Fault> {
    let wanted =
        [&[Attribute::Private(true), Attribute::Sensitive(true)], &leaves_when_trusted()[..]].concat();
    keys::has(session, key, &wanted).inspect_err(|_| {
        let _ = session.destroy_object(key);
    })
}

fn key_type(algorithm: Algorithm) -> KeyType {
    match algorithm {
        Algorithm::Secp256k1 | Algorithm::P256 => KeyType::EC,
        Algorithm::Ed25519 => KeyType::EC_EDWARDS,
    }
}

fn private_half(
    session: &Session,
    unwrapping: ObjectHandle,
    algorithm: Algorithm,
    key: &WrappedKey,
) -> Result<ObjectHandle, Fault> {
    let mut template = keys::guarded(&key.id, &key.label, Keep::Recoverable);
    template.extend([
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type(algorithm)),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Unwrap(false),
    ]);
    unwrap(session, unwrapping, key, &template)
}

fn public_half(session: &Session, algorithm: Algorithm, key: &WrappedKey) -> Result<(), Fault> {
    let mut refused = Fault::new(Class::Refused, "no curve to try");
    for curve in keys::curves(algorithm) {
        let made = session.create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(key_type(algorithm)),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.to_vec()),
            Attribute::EcPoint(key.point.clone()),
            Attribute::Id(key.id.to_vec()),
            Attribute::Label(key.label.as_bytes().to_vec()),
        ]);
        match made {
            Ok(_) => return Ok(()),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}

fn unwrap(
    session: &Session,
    unwrapping: ObjectHandle,
    key: &WrappedKey,
    template: &[Attribute],
) -> Result<ObjectHandle, Fault> {
    session.unwrap_key(&Mechanism::AesKeyWrapPad, unwrapping, &key.wrapped, template).map_err(|error| {
        let fault = Fault::from(error);
        // Whatever the module calls it: no other session or process makes it open.
        Fault::new(Class::Refused, format!("key `{}` does not open: {}", hex::encode(key.id), fault.what))
    })
}
