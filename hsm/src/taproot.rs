//! What taproot does to a key (BIP-341): a tweak that the worker adds before it signs, and the key that the signature must verify
//! under. Computed on both sides from the public key alone. If this is wrong, coins are sent to outputs that nobody can spend.

use aws_lc_rs::digest::{Context, SHA256, digest};
use chancery_core::Taproot;
use secp256k1::{PublicKey, Scalar, Secp256k1, Verification, XOnlyPublicKey};

/// What is added to the key; nothing where a script is satisfied.
pub(crate) fn tweak(key: &XOnlyPublicKey, taproot: Taproot) -> Option<[u8; 32]> {
    let Taproot::Key(root) = taproot else { return None };
    // BIP-340's tagged hash.
    let tag = digest(&SHA256, b"TapTweak");
    let mut hash = Context::new(&SHA256);
    hash.update(tag.as_ref());
    hash.update(tag.as_ref());
    hash.update(&key.serialize());
    hash.update(root.as_ref().map_or(&[], |root| root.as_slice()));
    let mut tweak = [0; 32];
    tweak.copy_from_slice(hash.finish().as_ref());
    Some(tweak)
}

/// The key that a signature verifies under; nothing once in 2^128.
pub(crate) fn output(
    curve: &Secp256k1<impl Verification>,
    key: &PublicKey,
    taproot: Taproot,
) -> Option<XOnlyPublicKey> {
    let (key, _) = key.x_only_public_key();
    match tweak(&key, taproot) {
        None => Some(key),
        Some(tweak) => {
            let tweak = Scalar::from_be_bytes(tweak).ok()?;
            key.add_tweak(curve, &tweak).ok().map(|(output, _)| output)
        }
    }
}
