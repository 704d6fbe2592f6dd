//! Secrets that are kept encrypted under a key of the token.

use chancery_core::{KeyId, Mode};
use chancery_hsm::{Algorithm, Hsm, HsmError, Wrapped};
use chancery_secret::SecretBytes;

use crate::place::{PIN, Place, key, me, pin};

const CONTEXT: &[u8] = b"a test's secret";

async fn kek(hsm: &Hsm) -> KeyId {
    let id = KeyId::fresh();
    hsm.generate_kek(id, "kek").await.unwrap();
    id
}

fn refused<T: std::fmt::Debug>(found: Result<T, HsmError>, what: &str) {
    assert!(matches!(found, Err(HsmError::Refused { .. })), "{what}: {found:?}");
}

/// Would catch a wrapping that is not authenticated, not bound to its purpose, or lost with the worker.
pub async fn a_secret_comes_back_to_the_next_appliance_and_from_nothing_else() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let (ours, other) = (kek(&hsm).await, kek(&hsm).await);
    let signing = key(&hsm, Algorithm::Secp256k1).await;
    let secret = SecretBytes::random(32).unwrap();
    let wrapped = hsm.wrap(ours, CONTEXT, &secret).await.unwrap();
    let again = hsm.wrap(ours, CONTEXT, &secret).await.unwrap();
    assert_ne!(wrapped, again, "two nonces");
    assert_eq!(hsm.health().restarts, 0, "the worker that signs has no part in this");
    hsm.stop().await;

    let hsm = Hsm::start(place.settings(Mode::Production), pin(PIN)).await.unwrap();
    for wrapped in [&wrapped, &again] {
        assert!(hsm.unwrap(ours, CONTEXT, wrapped).await.unwrap() == secret);
    }
    refused(hsm.unwrap(other, CONTEXT, &wrapped).await, "another key");
    refused(hsm.unwrap(signing.id, CONTEXT, &wrapped).await, "a key that is no KEK");
    refused(hsm.unwrap(KeyId::fresh(), CONTEXT, &wrapped).await, "no key");
    refused(hsm.unwrap(ours, b"another's secret", &wrapped).await, "another purpose");
    refused(hsm.wrap(KeyId::fresh(), CONTEXT, &secret).await, "no key to wrap under");
    // Every byte of nonce, ciphertext and tag counts; two of each stand for all.
    let json = serde_json::to_value(&wrapped).unwrap();
    for (part, at) in [("nonce", 0), ("nonce", 11), ("bytes", 0), ("bytes", 31), ("bytes", 32), ("bytes", 47)]
    {
        let mut changed = json.clone();
        let byte = changed[part][at].as_u64().unwrap() ^ 1;
        changed[part][at] = byte.into();
        let changed: Wrapped = serde_json::from_value(changed).unwrap();
        refused(hsm.unwrap(ours, CONTEXT, &changed).await, &format!("{part} {at}"));
    }
    let mut cut = json;
    cut["bytes"].as_array_mut().unwrap().truncate(40);
    refused(hsm.unwrap(ours, CONTEXT, &serde_json::from_value(cut).unwrap()).await, "cut short");
    let long = SecretBytes::random(257).unwrap();
    assert!(matches!(hsm.wrap(ours, CONTEXT, &long).await, Err(HsmError::MessageForm)));
    hsm.stop().await;
}

/// Would catch a KEK whose value somebody else knows: made outside and put on the token under our id.
pub async fn a_key_that_was_brought_from_outside_wraps_nothing() {
    let place = Place::with_token().await;
    let id = KeyId::fresh();
    let brought = std::process::Command::new(me())
        .args(["import-kek", crate::place::LABEL, PIN, &hex::encode(id.as_bytes())])
        .envs(&place.hsm.environment)
        .status()
        .unwrap();
    assert!(brought.success());
    let hsm = place.start().await;
    let secret = SecretBytes::random(32).unwrap();
    refused(hsm.wrap(id, CONTEXT, &secret).await, "an imported key");
    let ours = kek(&hsm).await;
    let wrapped = hsm.wrap(ours, CONTEXT, &secret).await.unwrap();
    refused(hsm.rewrap(CONTEXT, (ours, &wrapped), id).await, "anew under an imported key");
    hsm.stop().await;
}

/// Would catch a secret that is lost when its key is replaced, or that still opens under the key before.
pub async fn a_secret_is_encrypted_anew_under_another_key() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let (before, after) = (kek(&hsm).await, kek(&hsm).await);
    let secret = SecretBytes::random(32).unwrap();
    let wrapped = hsm.wrap(before, CONTEXT, &secret).await.unwrap();
    refused(hsm.rewrap(b"another's secret", (before, &wrapped), after).await, "another purpose");
    refused(hsm.rewrap(CONTEXT, (after, &wrapped), before).await, "another key");
    refused(hsm.rewrap(CONTEXT, (before, &wrapped), KeyId::fresh()).await, "no key to encrypt under");
    let anew = hsm.rewrap(CONTEXT, (before, &wrapped), after).await.unwrap();
    hsm.destroy(before).await.unwrap();
    assert!(hsm.unwrap(after, CONTEXT, &anew).await.unwrap() == secret);
    refused(hsm.unwrap(after, CONTEXT, &wrapped).await, "what was encrypted under the key before");
    hsm.stop().await;
}

/// Would catch a secret that passes through a buffer of the parent, or through the worker that stays.
pub async fn a_wrapped_secret_is_left_in_no_memory() {
    const MASK: u8 = 0x5a;
    let masked = |secret: &SecretBytes| secret.expose().iter().map(|byte| byte ^ MASK).collect::<Vec<u8>>();
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let kek = kek(&hsm).await;
    let secret = SecretBytes::random(32).unwrap();
    let wrapped = hsm.wrap(kek, CONTEXT, &secret).await.unwrap();
    let opened = hsm.unwrap(kek, CONTEXT, &wrapped).await.unwrap();
    assert!(opened == secret);
    let next = self::kek(&hsm).await;
    hsm.rewrap(CONTEXT, (kek, &wrapped), next).await.unwrap();
    let canary = SecretBytes::random(32).unwrap();
    let planted = canary.expose().to_vec();
    let needles = [masked(&opened), masked(&canary)];
    // From here on not even secret memory holds it, which some kernels do not have.
    drop((secret, opened, canary));
    let worker = format!("/proc/{}", hsm.health().worker_pid.unwrap());
    for (process, own) in [("/proc/self", true), (worker.as_str(), false)] {
        let Some(found) = crate::trust::masked_hits(process, &[&needles[0], &needles[1]], MASK) else {
            println!("  {process} cannot be read");
            continue;
        };
        println!("  hits in {process}: secret {}, planted canary {}", found[0], found[1]);
        assert_eq!(found[0], 0, "the secret is in readable memory");
        assert!(!own || found[1] > 0, "the scan must find what is there");
    }
    drop(planted);
    hsm.stop().await;
}

/// Would catch a counter that forgets, is another's, or can be set back by whoever asks.
pub async fn a_counter_only_grows_and_outlives_its_worker() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let (ours, other) = (KeyId::fresh(), KeyId::fresh());
    assert_eq!(hsm.count(ours).await.unwrap(), 0);
    for (to, is) in [(3, 3), (2, 3), (3, 3), (u64::MAX - 1, u64::MAX - 1)] {
        hsm.raise(ours, to).await.unwrap();
        assert_eq!(hsm.count(ours).await.unwrap(), is, "raised to {to}");
    }
    assert_eq!(hsm.count(other).await.unwrap(), 0);
    hsm.stop().await;
    let hsm = Hsm::start(place.settings(Mode::Production), pin(PIN)).await.unwrap();
    assert_eq!(hsm.count(ours).await.unwrap(), u64::MAX - 1);
    assert!(hsm.destroy(ours).await.is_err(), "it is no key");
    hsm.stop().await;
}
