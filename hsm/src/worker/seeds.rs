//! Seeds in the worker: one is opened by the token for one signature, in secret memory, and gone with it. What is derived
//! from it never leaves this file but as public keys and signatures. If this is wrong, a seed stays in a worker's memory.

use chancery_core::Taproot;
use chancery_hd::{Curve, HdError, Key, Path, SEED_BYTES, scrub_stack};
use chancery_secret::SecretBytes;
use cryptoki::session::Session;

use super::keys;
use crate::key::Algorithm;
use crate::signature::Message;
use crate::taproot;
use crate::wire::{Class, Derived, Fault, Reply, Sealing};

/// Makes a seed and answers it encrypted.
pub(super) fn make(session: &Session, sealing: &Sealing) -> Result<Reply, Fault> {
    let seed =
        SecretBytes::random(SEED_BYTES).map_err(|error| Fault::new(Class::Retry, error.to_string()))?;
    keys::encrypt(session, sealing, &seed).map(Reply::Wrapped)
}

/// Encrypts a secret anew under another key, and sees it open under that.
pub(super) fn rewrap(
    session: &Session,
    from: &Sealing,
    wrapped: &[u8],
    to: &Sealing,
) -> Result<Reply, Fault> {
    let secret = keys::decrypt(session, from, wrapped)?;
    let anew = keys::encrypt(session, to, &secret)?;
    let same = keys::decrypt(session, to, &anew)? == secret;
    drop(secret);
    scrub_stack();
    match same {
        true => Ok(Reply::Wrapped(anew)),
        false => Err(Fault::new(Class::Refused, "what was encrypted anew opens as something else")),
    }
}

/// What may be known of a derived key.
pub(super) fn derive(session: &Session, derived: &Derived) -> Result<Reply, Fault> {
    let known = opened(session, derived, Key::extended)?;
    Ok(Reply::Extended {
        public: encoded(derived.algorithm, &known.public).to_vec(),
        chain_code: known.chain_code,
        parent: known.parent.to_vec(),
    })
}

/// A signature by a derived key.
pub(super) fn sign(session: &Session, derived: &Derived, message: &Message) -> Result<Reply, Fault> {
    let act = |curve, seed: &SecretBytes, path: &Path| {
        let key = Key::derive(curve, seed, path)?;
        match message {
            Message::Schnorr(digest, taproot) => sign_schnorr(&key, *digest, *taproot),
            Message::Digest(_) | Message::Bytes(_) => key.sign(message.bytes()),
        }
    };
    opened(session, derived, act).map(|signature| Reply::Signature(signature.to_vec()))
}

fn sign_schnorr(key: &Key, digest: [u8; 32], taproot: Taproot) -> Result<[u8; 64], HdError> {
    let point = secp256k1::PublicKey::from_slice(&key.public()?).map_err(|_| HdError::NoKey)?;
    let mut aux = [0; 32];
    aws_lc_rs::rand::fill(&mut aux).map_err(|_| HdError::Message)?;
    key.sign_schnorr(digest, taproot::tweak(&point.x_only_public_key().0, taproot), &aux)
}

/// Opens the seed for as long as `act` takes.
fn opened<T>(
    session: &Session,
    derived: &Derived,
    act: impl FnOnce(Curve, &SecretBytes, &Path) -> Result<T, HdError>,
) -> Result<T, Fault> {
    let refused = |error: HdError| Fault::new(Class::Refused, error.to_string());
    let curve = match derived.algorithm {
        Algorithm::Secp256k1 => Curve::Secp256k1,
        Algorithm::Ed25519 => Curve::Ed25519,
        Algorithm::P256 => return Err(Fault::new(Class::Refused, "no P-256 key is derived from a seed")),
    };
    let path = Path::new(derived.path.clone()).map_err(refused)?;
    let seed = keys::decrypt(session, &derived.sealing, &derived.wrapped)?;
    let done = act(curve, &seed, &path);
    drop(seed);
    scrub_stack();
    done.map_err(refused)
}

/// SLIP-10 writes an Ed25519 key behind a zero.
fn encoded(algorithm: Algorithm, public: &[u8; 33]) -> &[u8] {
    match (algorithm, public) {
        (Algorithm::Ed25519, [_, key @ ..]) => key,
        (_, key) => key,
    }
}
