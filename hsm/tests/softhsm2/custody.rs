//! Keys that leave one token under a trusted backup key and come back in another.

use chancery_core::{KeyId, Mode};
use chancery_hsm::{Algorithm, Custody, Hsm, HsmError, KeyRef, Use, WrappedKey};
use chancery_secret::SecretBytes;

use crate::place::{PIN, Place, key, message, pin};

const SO_PIN: &str = "so-pin-5150";

async fn recoverable() -> Place {
    let mut place = Place::with_token().await;
    place.hsm.recoverable = true;
    place
}

fn custody(place: &Place) -> Custody {
    Custody::new(place.settings(Mode::Production), pin(PIN))
}

fn refused<T: std::fmt::Debug>(found: Result<T, HsmError>, what: &str) {
    assert!(matches!(found, Err(HsmError::Refused { .. })), "{what}: {found:?}");
}

/// Would catch a key that a backup loses or changes, a token that is given back less guarded than it was, and a restore
/// that cannot be begun again.
pub async fn keys_outlive_their_token() {
    let place = recoverable().await;
    let hsm = place.start().await;
    let mut keys = Vec::new();
    for algorithm in Algorithm::ALL {
        keys.push(key(&hsm, algorithm).await);
    }
    let kek = KeyId::fresh();
    hsm.generate_kek(kek, "kek").await.unwrap();
    let secret = SecretBytes::random(32).unwrap();
    let sealed = hsm.wrap(kek, b"context", &secret).await.unwrap();
    hsm.stop().await;

    let (custody_of, under) = (custody(&place), KeyId::fresh());
    let backup_key = SecretBytes::random(32).unwrap();
    custody_of.entrust(&pin(SO_PIN), under, "backup key", &backup_key).await.unwrap();
    refused(custody_of.entrust(&pin(SO_PIN), under, "again", &backup_key).await, "the id is taken");
    let survey = custody_of.survey().await.unwrap();
    assert_eq!((survey.keys.len(), survey.others), (5, 0));
    assert!(survey.keys.iter().all(|found| found.recoverable == (found.uses != Use::BackUp)), "{survey:?}");
    let ids: Vec<_> = keys.iter().map(|key| key.id).chain([kek]).collect();
    let wrapped = custody_of.back_up(under, &ids).await.unwrap();
    let left_out = keys.pop().unwrap();
    assert_eq!(left_out.public.algorithm(), Algorithm::Ed25519);
    assert_eq!(wrapped.len(), 3, "SoftHSM2 2.6.1 wraps no Ed25519 key");

    // Another token, as if the first were ash.
    let next = recoverable().await;
    let custody_of = custody(&next);
    let other = SecretBytes::random(32).unwrap();
    refused(custody_of.restore(&other, &wrapped).await, "another backup key");
    assert!(custody_of.survey().await.unwrap().keys.is_empty(), "nothing is left of an attempt");
    custody_of.restore(&backup_key, &wrapped[..2]).await.unwrap();
    custody_of.restore(&backup_key, &wrapped).await.unwrap();
    let restored = custody_of.survey().await.unwrap();
    assert_eq!(restored.keys.len(), 3);
    assert!(restored.keys.iter().all(|found| found.recoverable), "as guarded as before");
    let hsm = next.start().await;
    for key in &keys {
        hsm.sign(key, message(key.public.algorithm(), 7)).await.unwrap();
    }
    assert!(hsm.unwrap(kek, b"context", &sealed).await.unwrap() == secret, "the KEK opens what it closed");
    refused(hsm.wrap(kek, b"context", &secret).await, "a KEK that was not made here closes nothing more");
    hsm.stop().await;

    let other = KeyRef { id: keys[0].id, public: keys[1].public.clone() };
    let swapped: WrappedKey = {
        let mut swapped = wrapped[0].clone();
        swapped.public = other.public.bytes().to_vec();
        swapped
    };
    refused(custody_of.restore(&backup_key, &[swapped]).await, "another key under the id");
}

/// Would catch a key that leaves under a key which only the user vouches for, or that was not made to leave.
pub async fn a_key_leaves_under_a_trusted_key_alone() {
    let mut place = recoverable().await;
    let hsm = place.start().await;
    let (leaving, kek) = (key(&hsm, Algorithm::Secp256k1).await, KeyId::fresh());
    hsm.generate_kek(kek, "kek").await.unwrap();
    hsm.stop().await;
    place.hsm.recoverable = false;
    let hsm = Hsm::start(place.settings(Mode::Production), pin(PIN)).await.unwrap();
    let staying = key(&hsm, Algorithm::Secp256k1).await;
    hsm.stop().await;
    let (custody_of, under) = (custody(&place), KeyId::fresh());
    let wrong = custody_of
        .entrust(&pin("not-the-so-pin"), under, "backup key", &SecretBytes::random(32).unwrap())
        .await;
    assert!(matches!(wrong, Err(HsmError::Down { .. })), "a wrong PIN is not tried again: {wrong:?}");
    custody_of.entrust(&pin(SO_PIN), under, "backup key", &SecretBytes::random(32).unwrap()).await.unwrap();
    refused(custody_of.back_up(kek, &[leaving.id]).await, "a KEK is not trusted");
    refused(custody_of.back_up(under, &[staying.id]).await, "it was made to stay");
    refused(custody_of.back_up(under, &[under]).await, "the backup key itself");
    custody_of.back_up(under, &[leaving.id]).await.unwrap();
}
