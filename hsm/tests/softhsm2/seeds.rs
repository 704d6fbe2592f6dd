//! Seeds that the token keeps encrypted, and keys that are derived from them in the worker.

use chancery_core::{KeyId, Mode, Taproot};
use chancery_hd::{Curve, Key};
use chancery_hsm::{Algorithm, HARDENED, Hsm, HsmError, KeyRef, Message, Path, Seed};
use chancery_secret::SecretBytes;

use crate::place::{PIN, Place, figure, key, message, pin};

const CONTEXT: &[u8] = b"a test's seed";

async fn seed(hsm: &Hsm) -> Seed {
    let kek = KeyId::fresh();
    hsm.generate_kek(kek, "kek").await.unwrap();
    hsm.new_seed(kek, CONTEXT).await.unwrap()
}

async fn opened(hsm: &Hsm, seed: &Seed) -> SecretBytes {
    hsm.unwrap(seed.kek, CONTEXT, &seed.wrapped).await.unwrap()
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// Would catch a worker that derives other keys than every wallet does, or opens what it should not.
pub async fn derived_keys_are_those_of_the_library_and_sign() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let ours = seed(&hsm).await;
    let secret = opened(&hsm, &ours).await;
    assert_eq!(secret.len(), chancery_hd::SEED_BYTES);
    hsm.stop().await;

    let hsm = Hsm::start(place.settings(Mode::Production), pin(PIN)).await.unwrap();
    for (algorithm, curve, at) in [
        (Algorithm::Secp256k1, Curve::Secp256k1, "m/84'/0'/0'/0/7"),
        (Algorithm::Ed25519, Curve::Ed25519, "m/44'/501'/0'/0'"),
    ] {
        let known = hsm.derive(&ours, algorithm, &path(at)).await.unwrap();
        let expected = Key::extended(curve, &secret, &path(at)).unwrap();
        assert!(expected.public.ends_with(known.public.bytes()), "{at}");
        assert_eq!(known.chain_code, expected.chain_code, "{at}");
        let message = message(algorithm, 7);
        hsm.sign_derived(&ours, &path(at), &known.public, message.clone()).await.unwrap();
        let elsewhere = Path::new([path(at).steps(), &[9 | HARDENED]].concat()).unwrap();
        let wrong = hsm.sign_derived(&ours, &elsewhere, &known.public, message).await;
        assert!(matches!(wrong, Err(HsmError::Wrong { .. })), "another key's signature: {wrong:?}");
    }
    // Schnorr: the parent tweaks the public key by itself, so a worker that tweaks otherwise is found out.
    let at = path("m/86'/0'/0'/0/7");
    let known = hsm.derive(&ours, Algorithm::Secp256k1, &at).await.unwrap();
    let token = key(&hsm, Algorithm::Secp256k1).await;
    for taproot in [Taproot::Key(None), Taproot::Key(Some([3; 32])), Taproot::Leaf([4; 32])] {
        let message = Message::Schnorr([7; 32], taproot);
        hsm.sign_derived(&ours, &at, &known.public, message.clone()).await.unwrap();
        let wrong = hsm.sign_derived(&ours, &path("m/86'/0'/0'/0/8"), &known.public, message.clone()).await;
        assert!(matches!(wrong, Err(HsmError::Wrong { .. })), "another key's signature: {wrong:?}");
        let refused = hsm.sign(&token, message).await;
        assert!(matches!(refused, Err(HsmError::MessageForm)), "no token makes it: {refused:?}");
    }
    let soft = hsm.derive(&ours, Algorithm::Ed25519, &path("m/0")).await;
    assert!(matches!(soft, Err(HsmError::Refused { .. })), "{soft:?}");
    let p256 = hsm.derive(&ours, Algorithm::P256, &path("m/0'")).await;
    assert!(matches!(p256, Err(HsmError::Refused { .. })), "{p256:?}");
    let others = Seed { context: b"another's".to_vec(), ..ours.clone() };
    let refused = hsm.derive(&others, Algorithm::Secp256k1, &path("m")).await;
    assert!(matches!(refused, Err(HsmError::Refused { .. })), "another's seed: {refused:?}");
    let foreign = Seed { kek: key(&hsm, Algorithm::Secp256k1).await.id, ..ours };
    let refused = hsm.derive(&foreign, Algorithm::Secp256k1, &path("m")).await;
    assert!(matches!(refused, Err(HsmError::Refused { .. })), "a key that is no KEK: {refused:?}");
    hsm.stop().await;
}

/// Would catch a seed, or the key at its root, that stays where a debugger or a core dump finds it: in this process, which
/// never has it, or in the worker that opens it for each signature.
pub async fn a_seed_is_left_in_no_memory() {
    const MASK: u8 = 0x5a;
    let masked = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ MASK).collect::<Vec<u8>>();
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let ours = seed(&hsm).await;
    let at = path("m/44'/60'/0'/0/0");
    let public = hsm.derive(&ours, Algorithm::Secp256k1, &at).await.unwrap().public;
    for number in 0..50 {
        hsm.sign_derived(&ours, &at, &public, message(Algorithm::Secp256k1, number)).await.unwrap();
    }
    let needle = masked(opened(&hsm, &ours).await.expose());
    let here = crate::trust::masked_hits("/proc/self", &[&needle], MASK);
    assert!(here.as_ref().is_none_or(|hits| *hits == [0]), "this process never had it: {here:?}");

    // The root key is computed here, and lies here from now on; the worker is another process.
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, b"Bitcoin seed");
    let root = masked(&aws_lc_rs::hmac::sign(&hmac, opened(&hsm, &ours).await.expose()).as_ref()[..32]);
    let worker = format!("/proc/{}", hsm.health().worker_pid.unwrap());
    // The worker keeps the public key of what it signed with in the token: a search that does not find it finds nothing.
    let native = key(&hsm, Algorithm::Secp256k1).await;
    hsm.sign(&native, message(Algorithm::Secp256k1, 1)).await.unwrap();
    let found = crate::trust::masked_hits(&worker, &[&needle, &root, &masked(native.public.bytes())], MASK);
    println!("  hits here: seed {here:?}; in the worker: seed, root key, canary {found:?}");
    assert!(found.is_none_or(|hits| hits[..2] == [0, 0] && hits[2] > 0), "the worker keeps none of it");
    figure("seed in memory", 50, 0, "of the worker and of its parent, after 50 signatures");
    hsm.stop().await;
}

/// Prints what a signature of a derived key costs beside one of a key in the token, and beside a worker of its own.
pub async fn the_cost_of_opening_a_seed_is_measured() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let ours = seed(&hsm).await;
    let at = path("m/44'/60'/0'/0/0");
    let public = hsm.derive(&ours, Algorithm::Secp256k1, &at).await.unwrap().public;
    let native: KeyRef = key(&hsm, Algorithm::Secp256k1).await;
    let derived = per_call(async |number| {
        let message = message(Algorithm::Secp256k1, number);
        hsm.sign_derived(&ours, &at, &public, message).await.unwrap();
    })
    .await;
    let token = per_call(async |number| {
        hsm.sign(&native, message(Algorithm::Secp256k1, number)).await.unwrap();
    })
    .await;
    let apart = std::time::Instant::now();
    drop(opened(&hsm, &ours).await);
    println!(
        "  a signature: {derived} us of a derived key, {token} us of a key in the token; a worker only to open a seed: {} us",
        apart.elapsed().as_micros()
    );
    hsm.stop().await;
}

/// Microseconds, the mean of 200.
async fn per_call(act: impl AsyncFn(u64)) -> u128 {
    let start = std::time::Instant::now();
    for number in 0..200 {
        act(number).await;
    }
    start.elapsed().as_micros() / 200
}
