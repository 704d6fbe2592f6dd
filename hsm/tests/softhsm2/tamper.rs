//! A worker that lies: a proxy in front of the real one that changes the signatures it passes on. Shows that the parent
//! believes nothing a worker says, from the public door to the token and back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use chancery_core::{KeyId, Mode};
use chancery_hsm::{Algorithm, Hsm, HsmError, KeyRef, WrongAnswer};

use crate::place::{PIN, Place, figure, key, me, message, pin};

/// Set in the worker's environment: `flip` or `replay`.
pub const TAMPER: &str = "CHANCERY_TEST_TAMPER";

/// Stands between the parent and a real worker.
pub fn proxy(how: &str) -> ExitCode {
    let mut parent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    let (mut worker, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(me())
        .arg("hsm-worker")
        .env_remove(TAMPER)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn();
    drop(child.unwrap());
    let (mut from, mut to) = (parent.try_clone().unwrap(), worker.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        std::process::exit(0);
    });
    let (mut first, mut flipped) = (None, 0);
    loop {
        let mut prefix = [0; 4];
        if worker.read_exact(&mut prefix).is_err() {
            return ExitCode::SUCCESS;
        }
        let mut frame = vec![0; u32::from_le_bytes(prefix) as usize];
        worker.read_exact(&mut frame).unwrap();
        // A signature's frame: the call's number, the kind of reply, the length 64, the signature.
        if let Some(start) = frame.len().checked_sub(64).filter(|start| (3..8).contains(start)) {
            if how == "flip" {
                frame[start + flipped % 64] ^= 1 << (flipped / 64 % 8);
                flipped += 1;
            } else {
                let first = first.get_or_insert_with(|| frame[start..].to_vec());
                frame[start..].copy_from_slice(first);
            }
        }
        parent.write_all(&prefix).and_then(|()| parent.write_all(&frame)).unwrap();
    }
}

/// A key of every algorithm, made by a worker that does not lie.
async fn honest(place: &Place) -> Vec<KeyRef> {
    let hsm = place.start().await;
    let mut keys = Vec::new();
    for algorithm in Algorithm::ALL {
        keys.push(key(&hsm, algorithm).await);
    }
    hsm.stop().await;
    keys
}

async fn lying(place: &mut Place, how: &str) -> Hsm {
    place.hsm.environment.insert(TAMPER.to_owned(), how.to_owned());
    Hsm::start(place.settings(Mode::Production), pin(PIN)).await.unwrap()
}

async fn refused(hsm: &Hsm, key: &KeyRef, seed: u64) {
    let algorithm = key.public.algorithm();
    let answer = hsm.sign(key, message(algorithm, seed)).await;
    let named =
        matches!(&answer, Err(HsmError::Wrong { source: WrongAnswer::Unverified | WrongAnswer::Range, .. }));
    assert!(named, "{algorithm} {seed}: {answer:?}");
    let after = hsm.sign(key, message(algorithm, seed)).await;
    assert!(matches!(after, Err(HsmError::Quarantined { .. })), "{after:?}");
    assert!(hsm.release_from_quarantine(key.id));
}

/// Would catch one flipped byte in a signature that is released.
pub async fn a_flipped_signature_is_never_released() {
    let mut place = Place::with_token().await;
    let keys = honest(&place).await;
    let hsm = lying(&mut place, "flip").await;
    let mut runs = 0;
    for key in &keys {
        for seed in 0..128 {
            refused(&hsm, key, seed).await;
            runs += 1;
        }
    }
    figure("flipped signatures refused", runs, 0, "");
    hsm.stop().await;
}

/// Would catch an earlier signature, or one by another key, that is released in place of the one asked for.
pub async fn a_replayed_or_foreign_signature_is_never_released() {
    let mut place = Place::with_token().await;
    let mut runs = 0;
    let (all_ours, others) = (honest(&place).await, honest(&place).await);
    for (ours, other) in all_ours.into_iter().zip(others) {
        let algorithm = ours.public.algorithm();
        let hsm = lying(&mut place, "replay").await;
        hsm.sign(&other, message(algorithm, 1))
            .await
            .expect("control: the first signature is passed on as it is");
        refused(&hsm, &ours, 1).await;
        for seed in 2..34 {
            refused(&hsm, &other, seed).await;
            runs += 1;
        }
        hsm.stop().await;
    }
    figure("replayed and foreign signatures refused", runs, 0, "");
}

/// Would catch a wallet whose public key the token does not hold the private half of: money sent there is lost.
pub async fn a_key_that_proves_nothing_is_not_taken() {
    let mut place = Place::with_token().await;
    let hsm = lying(&mut place, "flip").await;
    for algorithm in Algorithm::ALL {
        let id = KeyId::fresh();
        let made = hsm.generate(id, "a liar's key", algorithm).await;
        assert!(made.is_err(), "{algorithm}: {made:?}");
        assert!(hsm.find(id).await.unwrap().is_none(), "{algorithm}: it was left on the token");
    }
    hsm.stop().await;
}
