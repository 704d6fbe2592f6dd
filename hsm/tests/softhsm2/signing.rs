//! Keys are made, found, used and destroyed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use chancery_core::KeyId;
use chancery_hsm::{Algorithm, HsmError, KeyRef, Message};
use rustix::process::Signal;

use crate::place::{Place, key, message, signal, until_ready};

const HALF_SECP256K1: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";
const HALF_P256: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";

/// Would catch a released signature that is high-S: SoftHSM2 makes one half of the time.
pub async fn every_algorithm_signs_and_ecdsa_is_low_s() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    for algorithm in Algorithm::ALL {
        let key = key(&hsm, algorithm).await;
        let mut seen = HashSet::new();
        for seed in 0..64 {
            let signature = hsm.sign(&key, message(algorithm, seed)).await.unwrap().open();
            assert!(seen.insert(signature.bytes), "{algorithm}: two messages, one signature");
            assert_eq!(signature.recovery_id.is_some(), algorithm == Algorithm::Secp256k1);
            let half = match algorithm {
                Algorithm::Secp256k1 => HALF_SECP256K1,
                Algorithm::P256 => HALF_P256,
                Algorithm::Ed25519 => continue,
            };
            assert!(
                signature.bytes[32..] <= hex::decode(half).unwrap()[..],
                "{algorithm}: {signature:?} is high-S"
            );
        }
        let wrong = match algorithm {
            Algorithm::Ed25519 => Message::Digest([1; 32]),
            _ => Message::Bytes(vec![1; 32]),
        };
        assert!(matches!(hsm.sign(&key, wrong).await, Err(HsmError::MessageForm)));
    }
    assert!(hsm.mechanisms().iter().any(|name| name == "CKM_ECDSA"), "{:?}", hsm.mechanisms());
    assert_eq!(hsm.token().label, crate::place::LABEL);
    hsm.stop().await;
}

/// Would catch handles or public keys that only live as long as one worker.
pub async fn keys_are_found_again_by_the_next_worker() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let mut keys = Vec::new();
    for algorithm in Algorithm::ALL {
        keys.push(key(&hsm, algorithm).await);
    }
    for generation in 1..3 {
        for (seed, key) in (0..).zip(&keys) {
            hsm.sign(key, message(key.public.algorithm(), seed)).await.unwrap();
            assert_eq!(hsm.find(key.id).await.unwrap().as_ref(), Some(&key.public));
        }
        signal(&hsm, Signal::KILL);
        until_ready(&hsm, generation).await;
    }
    hsm.stop().await;
}

/// Would catch a key made over another one, and one that outlives its destruction in a session's cache.
pub async fn ids_are_taken_once_and_destroyed_keys_are_gone() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    let again = hsm.generate(key.id, "again", Algorithm::P256).await;
    assert!(matches!(again, Err(HsmError::KeyExists { .. })), "{again:?}");
    // Every session has the key in its cache before it goes.
    for seed in 0..32 {
        hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await.unwrap();
    }
    hsm.destroy(key.id).await.unwrap();
    for seed in 0..32 {
        let gone = hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await;
        assert!(matches!(gone, Err(HsmError::KeyNotFound { .. })), "{gone:?}");
    }
    assert_eq!(hsm.find(key.id).await.unwrap(), None);
    assert!(matches!(hsm.destroy(key.id).await, Err(HsmError::KeyNotFound { .. })));
    assert_eq!(hsm.health().restarts, 0, "a missing key is no reason to replace the worker");
    hsm.stop().await;
}

pub async fn a_kek_is_made_and_cannot_sign() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let (id, other) = (KeyId::fresh(), key(&hsm, Algorithm::Secp256k1).await);
    hsm.generate_kek(id, "kek").await.unwrap();
    assert!(matches!(hsm.generate_kek(id, "kek").await, Err(HsmError::KeyExists { .. })));
    let signed = hsm.sign(&KeyRef { id, public: other.public }, message(Algorithm::Secp256k1, 1)).await;
    assert!(matches!(signed, Err(HsmError::KeyNotFound { .. })), "{signed:?}");
    hsm.destroy(id).await.unwrap();
    hsm.stop().await;
}

/// Would catch a lock that deadlocks, a crash, or a handle that comes to mean another key while objects come and go.
pub async fn keys_come_and_go_while_others_sign() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let steady = key(&hsm, Algorithm::P256).await;
    let over = Arc::new(AtomicBool::new(false));
    let signed = Arc::new(AtomicU64::new(0));
    let signers: Vec<_> = (0..8)
        .map(|_| {
            let (hsm, steady, over, signed) =
                (hsm.clone(), steady.clone(), Arc::clone(&over), Arc::clone(&signed));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let seed = signed.fetch_add(1, Ordering::Relaxed);
                    hsm.sign(&steady, message(Algorithm::P256, seed)).await.unwrap();
                }
            })
        })
        .collect();
    let makers: Vec<_> = (0..4)
        .map(|_| {
            let hsm = hsm.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    let made = key(&hsm, Algorithm::Secp256k1).await;
                    hsm.sign(&made, message(Algorithm::Secp256k1, 1)).await.unwrap();
                    hsm.destroy(made.id).await.unwrap();
                }
            })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for signer in signers {
        signer.await.unwrap();
    }
    assert_eq!(hsm.health().restarts, 0, "the worker must not have crashed");
    println!("  {} signatures beside 100 keys made and destroyed", signed.load(Ordering::Relaxed));
    hsm.stop().await;
}

/// Prints what the parent and the channel cost; asserts nothing about time.
pub async fn overhead_is_measured() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    for algorithm in Algorithm::ALL {
        let key = key(&hsm, algorithm).await;
        let worker = hsm.health().worker_pid.unwrap();
        let (ours, theirs, start) = (cpu_ms("self"), cpu_ms(&worker.to_string()), Instant::now());
        let total: u64 = 4_096;
        let callers: Vec<_> = (0..64)
            .map(|caller| {
                let (hsm, key) = (hsm.clone(), key.clone());
                tokio::spawn(async move {
                    for seed in 0..total / 64 {
                        hsm.sign(&key, message(algorithm, caller * total + seed)).await.unwrap();
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let per_sign = |ms: u64| ms * 1_000 / total;
        println!(
            "  {algorithm}: {:.0} signatures/s with 64 callers; CPU per signature: parent {} us, worker {} us",
            total as f64 / start.elapsed().as_secs_f64(),
            per_sign(cpu_ms("self") - ours),
            per_sign(cpu_ms(&worker.to_string()) - theirs),
        );
    }
    hsm.stop().await;
}

/// User and system time of a process, in milliseconds (clock ticks of 10 ms).
fn cpu_ms(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

/// Would catch handles of the token's catalogue that outlive their keys, or a key that is lost when the token is read
/// through: with so many keys on it, SoftHSM2 is slow enough to be.
pub async fn a_token_of_many_keys_is_read_through() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let mut keys = Vec::new();
    for _ in 0..300 {
        keys.push(key(&hsm, Algorithm::P256).await);
    }
    let generation = hsm.health().generation;
    signal(&hsm, Signal::KILL);
    until_ready(&hsm, generation).await;
    // Twice and both ways round, so that every session meets them, before and after they stand in the catalogue.
    for (seed, key) in keys.iter().chain(keys.iter().rev()).enumerate() {
        hsm.sign(key, message(Algorithm::P256, seed as u64)).await.unwrap();
    }
    let (gone, kept) = keys.split_at(150);
    for key in gone {
        hsm.destroy(key.id).await.unwrap();
    }
    for key in gone {
        let refused = hsm.sign(key, message(Algorithm::P256, 1)).await.unwrap_err();
        assert!(matches!(refused, HsmError::KeyNotFound { .. }), "{refused:?}");
    }
    for key in kept {
        hsm.sign(key, message(Algorithm::P256, 1)).await.unwrap();
    }
    assert_eq!(hsm.health().generation, generation + 1, "no worker was lost over it");
    hsm.stop().await;
}
