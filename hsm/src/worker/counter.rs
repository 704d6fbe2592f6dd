//! A number on the token that only grows: a data object (`CKO_DATA`) for its value, of several the largest. A greater one is made
//! before a smaller one is destroyed, so that a crash leaves no smaller number. If this is wrong, an older copy of a store passes.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::wire::{Class, Fault};

const APPLICATION: &[u8] = b"chancery";

/// The number; 0 where there is none.
pub(super) fn read(session: &Session, counter: &[u8; 16]) -> Result<u64, Fault> {
    Ok(values(session, counter)?.into_iter().map(|(_, value)| value).max().unwrap_or(0))
}

/// Raises it to `to`, or leaves it where it is as high already.
pub(super) fn raise(session: &Session, counter: &[u8; 16], to: u64) -> Result<(), Fault> {
    let before = values(session, counter)?;
    if before.iter().any(|(_, value)| *value >= to) {
        return Ok(());
    }
    session.create_object(&[
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(label(counter)),
        Attribute::Value(to.to_be_bytes().to_vec()),
    ])?;
    for (smaller, _) in before {
        session.destroy_object(smaller)?;
    }
    Ok(())
}

fn label(counter: &[u8; 16]) -> Vec<u8> {
    format!("chancery/counter/{}", hex::encode(counter)).into_bytes()
}

fn values(session: &Session, counter: &[u8; 16]) -> Result<Vec<(ObjectHandle, u64)>, Fault> {
    let template = [Attribute::Class(ObjectClass::DATA), Attribute::Label(label(counter))];
    let value = |object| {
        let found = session.get_attributes(object, &[AttributeType::Value])?;
        let bytes = found.iter().find_map(|attribute| match attribute {
            Attribute::Value(bytes) => <[u8; 8]>::try_from(bytes.as_slice()).ok(),
            _ => None,
        });
        let none = || Fault::new(Class::Refused, "a counter on the token holds no number");
        Ok((object, u64::from_be_bytes(bytes.ok_or_else(none)?)))
    };
    session.find_objects(&template)?.into_iter().map(value).collect()
}
