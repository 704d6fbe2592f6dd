//! The checks, in the order of the report. Each uses session keys of its own and compares with software that shares no
//! code with the module.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::{Outcome, Row};
use crate::finding::Verdict;
use crate::key::{Algorithm, PublicKey};
use crate::signature::{Message, seal};
use crate::wire::{Class, Fault};
use crate::worker::fault::name;
use crate::worker::keys::Keep;
use crate::worker::module::Slot;
use crate::worker::{keys, probe};

/// Signatures of each algorithm that are made and compared.
const SIGNATURES: u8 = 64;
/// Threads of the concurrency check, and signatures of each.
const THREADS: u8 = 4;

/// What a check found: `Ok` with a detail, or why not.
type Found = Result<(Outcome, String), Fault>;

pub(super) fn all(slot: &Slot, session: &Session) -> Vec<Row> {
    let mut rows = Vec::new();
    for algorithm in Algorithm::ALL {
        signing(slot, session, algorithm, &mut rows);
    }
    kek(session, &mut rows);
    match probe::ask(slot, session) {
        Ok(findings) => rows.extend(findings.into_iter().map(|finding| {
            let (outcome, detail) = match finding.verdict {
                Verdict::Honest => (Outcome::Pass, finding.detail),
                Verdict::Lie => (Outcome::Fail, format!("{}: {}", finding.probe.lie(), finding.detail)),
                Verdict::NotSupported => (Outcome::NotSupported, finding.detail),
            };
            Row { check: "honesty", subject: finding.probe.to_string(), outcome, detail }
        })),
        Err(fault) => rows.push(row("honesty", "probe", Err(fault))),
    }
    rows
}

fn row(check: &'static str, subject: &str, found: Found) -> Row {
    let (outcome, detail) = found.unwrap_or_else(|fault| match fault.class {
        Class::Refused => (Outcome::NotSupported, fault.what),
        _ => (Outcome::Fail, fault.what),
    });
    Row { check, subject: subject.to_owned(), outcome, detail }
}

fn pass(detail: impl Into<String>) -> Found {
    Ok((Outcome::Pass, detail.into()))
}

fn fail(detail: impl Into<String>) -> Found {
    Ok((Outcome::Fail, detail.into()))
}

fn message(algorithm: Algorithm, seed: u8) -> Message {
    match algorithm {
        Algorithm::Ed25519 => Message::Bytes(vec![seed; 48]),
        Algorithm::Secp256k1 | Algorithm::P256 => Message::Digest([seed; 32]),
    }
}

fn raw_sign(
    session: &Session,
    algorithm: Algorithm,
    key: ObjectHandle,
    message: &Message,
) -> Result<Vec<u8>, Error> {
    let bytes = match message {
        Message::Digest(digest) | Message::Schnorr(digest, _) => digest.as_slice(),
        Message::Bytes(bytes) => bytes,
    };
    session.sign(&keys::mechanism(algorithm), key, bytes)
}

fn signing(slot: &Slot, session: &Session, algorithm: Algorithm, rows: &mut Vec<Row>) {
    let subject = algorithm.as_str();
    let id = *b"chancery/conform";
    let (public, key) = match keys::generate(session, algorithm, &id, "conformance", Keep::Session) {
        Ok(made) => made,
        Err(fault) => return rows.push(row("generate", subject, Err(fault))),
    };
    rows.push(row("generate", subject, pass("sensitive, never extractable, made on the token")));
    rows.push(row("ec-point", subject, ec_point(session, &id, &public)));
    rows.push(row("allowed-mechanisms", subject, allowed(session, key)));
    rows.push(row("sign", subject, sign(session, algorithm, &public, key)));
    rows.push(row("low-s", subject, low_s(session, algorithm, &public, key)));
    rows.push(row("find", subject, find(slot, &id, algorithm, &public)));
    rows.push(row("concurrent", subject, concurrent(slot, algorithm, &public, key)));
    rows.push(row("destroy", subject, destroy(session, algorithm, &id, key)));
}

fn ec_point(session: &Session, id: &[u8], public: &PublicKey) -> Found {
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())];
    let object = session.find_objects(&template)?.first().copied();
    let object = object.ok_or_else(|| Fault::new(Class::Missing, "the public key does not show"))?;
    let point = keys::ec_point(session, object)?;
    let bare = PublicKey::parse(public.algorithm(), &point).is_ok();
    let form = if bare { "bare" } else { "DER OCTET STRING" };
    Ok((Outcome::Noted, format!("{form}, {} bytes", point.len())))
}

/// Whether the token keeps `CKA_ALLOWED_MECHANISMS` on a signing key.
fn allowed(session: &Session, key: ObjectHandle) -> Found {
    let found = session.get_attributes(key, &[AttributeType::AllowedMechanisms])?;
    match found.first() {
        Some(Attribute::AllowedMechanisms(allowed)) if allowed.len() == 1 => {
            Ok((Outcome::Noted, "the key is bound to its mechanism".to_owned()))
        }
        _ => Ok((
            Outcome::Noted,
            "the token keeps no such list; the key is bound by its type alone".to_owned(),
        )),
    }
}

fn sign(session: &Session, algorithm: Algorithm, public: &PublicKey, key: ObjectHandle) -> Found {
    for seed in 0..SIGNATURES {
        let message = message(algorithm, seed);
        if let Err(wrong) = seal(public, &message, &raw_sign(session, algorithm, key, &message)?) {
            return fail(format!("signature {seed}: {wrong}"));
        }
    }
    pass(format!("{SIGNATURES} of {SIGNATURES} verify in software"))
}

fn low_s(session: &Session, algorithm: Algorithm, public: &PublicKey, key: ObjectHandle) -> Found {
    if algorithm == Algorithm::Ed25519 {
        return Ok((Outcome::NotSupported, "does not concern Ed25519".to_owned()));
    }
    let mut high = 0;
    let mut deterministic = true;
    for seed in 0..SIGNATURES {
        let message = message(algorithm, seed);
        let raw = raw_sign(session, algorithm, key, &message)?;
        deterministic &= raw == raw_sign(session, algorithm, key, &message)?;
        match seal(public, &message, &raw) {
            Ok(sealed) => high += u8::from(sealed.open().bytes != *raw),
            Err(wrong) => return fail(wrong.to_string()),
        }
    }
    let nonce = if deterministic { "deterministic" } else { "random nonces" };
    Ok((Outcome::Noted, format!("high-S in {high} of {SIGNATURES} as the token makes them; {nonce}")))
}

fn find(slot: &Slot, id: &[u8], algorithm: Algorithm, public: &PublicKey) -> Found {
    let session = slot.session()?;
    let key = keys::believe(&session, id, &keys::search(&session, id)?, algorithm, public.bytes())?;
    let message = message(algorithm, 1);
    match seal(public, &message, &raw_sign(&session, algorithm, key, &message)?) {
        Ok(_) => pass("by CKA_ID and public key from another session"),
        Err(wrong) => fail(wrong.to_string()),
    }
}

fn concurrent(slot: &Slot, algorithm: Algorithm, public: &PublicKey, key: ObjectHandle) -> Found {
    let mut sessions = Vec::new();
    for _ in 0..THREADS {
        sessions.push(slot.session()?);
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let signers: Vec<_> = (0..THREADS)
            .zip(sessions)
            .map(|(thread, session)| {
                scope.spawn(move || {
                    for seed in 0..SIGNATURES {
                        let message = message(algorithm, seed.wrapping_mul(THREADS).wrapping_add(thread));
                        let raw =
                            raw_sign(&session, algorithm, key, &message).map_err(|error| name(&error))?;
                        seal(public, &message, &raw).map_err(|wrong| wrong.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        let ended =
            signers.into_iter().map(|signer| signer.join().unwrap_or_else(|_| Err("it ended".to_owned())));
        ended.filter_map(Result::err).collect()
    });
    match wrong.first() {
        None => {
            pass(format!("{THREADS} sessions, {} signatures", u32::from(THREADS) * u32::from(SIGNATURES)))
        }
        Some(wrong) => fail(wrong.clone()),
    }
}

fn destroy(session: &Session, algorithm: Algorithm, id: &[u8], key: ObjectHandle) -> Found {
    keys::destroy(session, id)?;
    match raw_sign(session, algorithm, key, &message(algorithm, 1)) {
        Ok(_) => fail("a destroyed key still signs"),
        Err(error) => pass(name(&error)),
    }
}

fn kek(session: &Session, rows: &mut Vec<Row>) {
    let id = *b"chancery/conf-kk";
    match keys::generate_kek(session, &id, "conformance", Keep::Session) {
        Ok(key) => {
            rows.push(row(
                "generate",
                "aes-256 kek",
                pass("sensitive, never extractable, made on the token"),
            ));
            rows.push(row("encrypt", "aes-gcm", gcm(session, key)));
            let _ = session.destroy_object(key);
        }
        Err(fault) => rows.push(row("generate", "aes-256 kek", Err(fault))),
    }
    rows.push(row("wrap", "aes-kwp (0x210A)", kwp(session, &[0x17; 32])));
    // No key here has such a length; SoftHSM2 2.6.1 fills it up with zeros before it wraps.
    let odd = kwp(session, &[0x17; 20]).map(|(_, detail)| (Outcome::Noted, detail));
    rows.push(row("wrap", "aes-kwp, 20 bytes", odd));
}

fn gcm(session: &Session, key: ObjectHandle) -> Found {
    let (plain, aad) = (b"thirty-two bytes of a wallet key".as_slice(), b"aad".as_slice());
    let mut nonce = [7; 12];
    let mut sealed =
        session.encrypt(&Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128_u64.into())?), key, plain)?;
    let mut nonce = [7; 12];
    let opened = session.decrypt(
        &Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128_u64.into())?),
        key,
        &sealed,
    )?;
    if opened != plain || sealed.len() != plain.len() + 16 {
        return fail("what was encrypted does not come back");
    }
    if let Some(byte) = sealed.first_mut() {
        *byte ^= 1;
    }
    let mut nonce = [7; 12];
    match session.decrypt(&Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128_u64.into())?), key, &sealed)
    {
        Ok(_) => fail("a flipped ciphertext was accepted"),
        Err(error) => pass(format!("round trip; a flipped byte is refused ({})", name(&error))),
    }
}

/// Wraps known bytes under a known key and compares with RFC 5649 in software.
fn kwp(session: &Session, key_bytes: &[u8]) -> Found {
    let kek_bytes = [0x42; 32];
    let import = |kind: KeyType, value: &[u8], extra: &[Attribute]| {
        let mut template = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(kind),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Value(value.to_vec()),
        ];
        template.extend_from_slice(extra);
        session.create_object(&template)
    };
    let kek = import(KeyType::AES, &kek_bytes, &[Attribute::Wrap(true), Attribute::Unwrap(true)])?;
    let target = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    let key = import(KeyType::GENERIC_SECRET, key_bytes, &target)?;
    let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, kek, key)?;
    let mut expected = [0; 64];
    let ours = AesKek::new(&AES_256, &kek_bytes)
        .and_then(|kek| kek.wrap_with_padding(key_bytes, &mut expected).map(|wrapped| wrapped.to_vec()))
        .map_err(|_| Fault::new(Class::Refused, "the software has no AES-KWP"))?;
    // A module may answer the length query with more than it then writes, which cryptoki does not cut off.
    if wrapped.get(..ours.len()) != Some(&ours) {
        return fail(format!("{} is not RFC 5649 here", MechanismType::AES_KEY_WRAP_PAD));
    }
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let unwrapped = session.unwrap_key(&Mechanism::AesKeyWrapPad, kek, &ours, &template)?;
    let value = session.get_attributes(unwrapped, &[AttributeType::Value])?;
    for object in [kek, key, unwrapped] {
        let _ = session.destroy_object(object);
    }
    match value.first() {
        Some(Attribute::Value(value)) if value == key_bytes => {
            pass("RFC 5649, wraps and unwraps as software does")
        }
        _ => fail("what was wrapped does not come back"),
    }
}
