//! Workers that die or hang, tokens that go or are swapped. Two promises throughout: no signature that does not verify
//! under the pinned key, and service again without anyone's help.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chancery_core::{Mode, config};
use chancery_hsm::{Algorithm, Hsm, HsmError, KeyRef, Sealed, Settings, State, WrongAnswer};
use chancery_secret::{Pin, SecretBytes};
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::place::{
    PIN, Place, cycles, figure, key, me, message, sign_at_last, signal, stop, until, until_ready,
};

/// Callers that sign without pause and count what came of it.
struct Load {
    over: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(hsm: &Hsm, key: &KeyRef, callers: u64) -> Self {
        let [good, refused, wrong] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let callers = (0..callers)
            .map(|caller| {
                let (hsm, key, over) = (hsm.clone(), key.clone(), Arc::clone(&over));
                let (good, refused, wrong) = (Arc::clone(&good), Arc::clone(&refused), Arc::clone(&wrong));
                tokio::spawn(async move {
                    for seed in 0_u64.. {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        let digest = message(Algorithm::Secp256k1, caller << 32 | seed);
                        match hsm.sign(&key, digest.clone()).await.map(Sealed::open) {
                            Ok(signature) if recovers(&key, &digest, &signature) => {
                                good.fetch_add(1, Ordering::Relaxed)
                            }
                            Ok(_) => wrong.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                assert!(
                                    matches!(
                                        error,
                                        HsmError::Interrupted { .. } | HsmError::KeyNotFound { .. }
                                    ),
                                    "a fault of the worker or token must not look like this: {error}"
                                );
                                tokio::time::sleep(Duration::from_millis(5)).await;
                                refused.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                })
            })
            .collect();
        Self { over, good, refused, wrong, callers }
    }

    fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Waits until more signatures have come than there were.
    async fn more(&self) {
        let before = self.good();
        for _ in 0..3_000 {
            if self.good() > before + 8 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no signature came any more");
    }

    async fn end(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            tokio::time::timeout(Duration::from_secs(30), caller)
                .await
                .expect("a caller was never answered")
                .unwrap();
        }
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0, "a signature under another key was released");
        (self.good.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

/// Recovers the signer independently of the crate under test.
fn recovers(key: &KeyRef, message: &chancery_hsm::Message, signature: &chancery_hsm::Signature) -> bool {
    use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
    let chancery_hsm::Message::Digest(digest) = message else { return false };
    let id = RecoveryId::from_i32(i32::from(signature.recovery_id.unwrap())).unwrap();
    let signature = RecoverableSignature::from_compact(&signature.bytes, id).unwrap();
    secp256k1::Secp256k1::verification_only()
        .recover_ecdsa(&secp256k1::Message::from_digest(*digest), &signature)
        .is_ok_and(|found| found.serialize() == key.public.bytes())
}

/// Would catch a call that is never answered, and a supervisor that does not come back. Kills and crashes in turn.
pub async fn a_killed_worker_answers_everyone_and_comes_back() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    let load = Load::on(&hsm, &key, 16);
    let mut slowest = Duration::ZERO;
    let cycles = cycles(10);
    for cycle in 0..cycles {
        load.more().await;
        let generation = hsm.health().generation;
        signal(&hsm, if cycle % 2 == 0 { Signal::KILL } else { Signal::ABORT });
        let dead = Instant::now();
        until_ready(&hsm, generation).await;
        load.more().await;
        slowest = slowest.max(dead.elapsed());
    }
    let (good, refused) = load.end().await;
    let note = format!(
        "{good} good, {refused} refused, 0 wrong; longest without service {} ms",
        slowest.as_millis()
    );
    figure("worker killed or crashed under load", cycles as u64, 0, &note);
    assert!(refused > 0, "the kills must have hit calls, or nothing was shown");
    assert_eq!(hsm.health().restarts, cycles as u64);
    hsm.stop().await;
}

/// Would catch a caller that waits for ever on a module that hangs.
pub async fn a_hung_worker_is_replaced_at_the_deadline() {
    let mut place = Place::with_token().await;
    let patient = place.start().await;
    let key = key(&patient, Algorithm::Secp256k1).await;
    patient.stop().await;
    place.hsm.call_ms = 1_500;
    let hsm = place.start().await;
    for _ in 0..3 {
        sign_at_last(&hsm, &key, message(Algorithm::Secp256k1, 99)).await;
        let health = hsm.health();
        let (generation, pid) = (health.generation, health.worker_pid.unwrap());
        stop(pid).await;
        let calls: Vec<_> = (0..40)
            .map(|seed| {
                let (hsm, key) = (hsm.clone(), key.clone());
                tokio::spawn(async move { hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await })
            })
            .collect();
        let mut late = 0;
        for call in calls {
            match call.await.unwrap() {
                Err(HsmError::Deadline { limit_ms: 1_500 }) => late += 1,
                Ok(_) | Err(HsmError::Interrupted { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(late > 0, "a caller of a hung worker must be told at its deadline");
        until_ready(&hsm, generation).await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the hung worker must be gone");
    }
    // A worker that hangs while nobody asks is found by the keepalive.
    sign_at_last(&hsm, &key, message(Algorithm::Secp256k1, 99)).await;
    let (generation, pid) = (hsm.health().generation, hsm.health().worker_pid.unwrap());
    stop(pid).await;
    until_ready(&hsm, generation).await;
    hsm.stop().await;
}

/// Would catch a queue that grows without bound, or a full one that makes callers wait.
pub async fn a_full_queue_refuses_at_once() {
    let mut place = Place::with_token().await;
    place.hsm.queue = 8;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    stop(hsm.health().worker_pid.unwrap()).await;
    let calls: Vec<_> = (0..8)
        .map(|seed| {
            let (hsm, key) = (hsm.clone(), key.clone());
            tokio::spawn(async move { hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await })
        })
        .collect();
    until(&hsm, "full", |health| health.queued == 8).await;
    let refused = hsm.sign(&key, message(Algorithm::Secp256k1, 9)).await.unwrap_err();
    assert!(matches!(refused, HsmError::Overloaded { waiting: 8 }), "{refused:?}");
    assert_eq!(refused.code(), chancery_core::Code::Overloaded);
    assert!(refused.retry_after().is_some());
    signal(&hsm, Signal::CONT);
    for call in calls {
        call.await.unwrap().expect("those in the queue must be served");
    }
    hsm.sign(&key, message(Algorithm::Secp256k1, 9)).await.expect("the queue must be free again");
    assert_eq!(hsm.health().queued, 0);
    hsm.stop().await;
}

/// Would catch a worker that goes on as if nothing had happened when its token is gone.
pub async fn a_removed_token_signs_nothing_wrong_and_is_noticed() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    let away = place.path().join("away");
    let mut slowest = Duration::ZERO;
    let cycles = cycles(2);
    for _ in 0..cycles {
        let load = Load::on(&hsm, &key, 4);
        load.more().await;
        fs::rename(place.tokens(), &away).unwrap();
        fs::create_dir(place.tokens()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        load.end().await;
        // Now idle: the keepalive finds it out.
        until(&hsm, "noticed", |health| health.state == State::Failing).await;
        let refused = hsm.sign(&key, message(Algorithm::Secp256k1, 1)).await;
        assert!(matches!(refused, Err(HsmError::Interrupted { .. })), "{refused:?}");
        let generation = hsm.health().generation;
        fs::remove_dir(place.tokens()).unwrap();
        fs::rename(&away, place.tokens()).unwrap();
        let back = Instant::now();
        until_ready(&hsm, generation).await;
        slowest = slowest.max(back.elapsed());
        hsm.sign(&key, message(Algorithm::Secp256k1, 2)).await.unwrap();
    }
    let note = format!("0 wrong; longest until service after the token was back {} ms", slowest.as_millis());
    figure("token removed under load", cycles as u64, 0, &note);
    hsm.stop().await;
}

/// Would catch a worker that serves a token with the right label that is not the one it started with.
pub async fn a_swapped_token_signs_nothing_wrong_and_is_noticed() {
    let (place, other) = (Place::with_token().await, Place::with_token().await);
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    // The impostor has the same label, the same PIN and a key under the same id.
    let impostor = other.start().await;
    assert_ne!(impostor.generate(key.id, "impostor", Algorithm::Secp256k1).await.unwrap(), key.public);
    impostor.stop().await;
    let away = place.path().join("away");
    let cycles = cycles(2);
    for _ in 0..cycles {
        let load = Load::on(&hsm, &key, 4);
        load.more().await;
        fs::rename(place.tokens(), &away).unwrap();
        fs::rename(other.tokens(), place.tokens()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        signal(&hsm, Signal::KILL);
        until(&hsm, "noticed", |health| health.state == State::Failing).await;
        load.end().await;
        assert!(hsm.health().reason.contains("serial number"), "{:?}", hsm.health());
        let generation = hsm.health().generation;
        fs::rename(place.tokens(), other.tokens()).unwrap();
        fs::rename(&away, place.tokens()).unwrap();
        until_ready(&hsm, generation).await;
        hsm.sign(&key, message(Algorithm::Secp256k1, 2)).await.unwrap();
    }
    figure("token swapped under load", cycles as u64, 0, "0 wrong");
    hsm.stop().await;
}

/// Would catch a key that was replaced on the very same token (same serial number), as a restored backup may do.
pub async fn another_key_under_the_same_id_is_never_used() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    hsm.sign(&key, message(Algorithm::Secp256k1, 1)).await.unwrap();
    let behind = place.start().await;
    behind.destroy(key.id).await.unwrap();
    behind.generate(key.id, "replaced", Algorithm::Secp256k1).await.unwrap();
    behind.stop().await;
    let mut wrong = None;
    for seed in 0..200 {
        match hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await {
            // Served from what the module still held in memory: right, or it would not verify.
            Ok(_) => {}
            Err(HsmError::Interrupted { .. } | HsmError::KeyNotFound { .. }) => {}
            Err(error) => {
                wrong = Some(error);
                break;
            }
        }
        if seed == 100 {
            let generation = hsm.health().generation;
            signal(&hsm, Signal::KILL);
            until_ready(&hsm, generation).await;
        }
    }
    let wrong = wrong.expect("the replaced key must be refused at the latest by a new worker");
    let known =
        matches!(wrong, HsmError::Wrong { source: WrongAnswer::OtherKey | WrongAnswer::Unverified, .. });
    assert!(known, "{wrong:?}");
    assert_eq!(hsm.health().quarantined, [key.id]);
    hsm.stop().await;
}

/// Would catch a worker that stays behind, logged in, when its parent is killed.
pub async fn a_dead_parent_takes_its_worker_along() {
    let place = Place::with_token().await;
    let mut parent = Command::new(me())
        .args(["parent", place.path().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let worker = format!("/proc/{}/cmdline", line.trim());
    assert!(fs::read_to_string(&worker).unwrap().contains("hsm-worker"), "control: the worker must run");
    parent.kill().unwrap();
    parent.wait().unwrap();
    for _ in 0..1_000 {
        if !fs::read_to_string(&worker).is_ok_and(|text| text.contains("hsm-worker")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the worker lives on without its parent");
}

/// Starts an HSM, says the worker's process id, and waits to be killed.
pub fn be_a_parent(folder: &str) -> ExitCode {
    let conf = Path::new(folder).join("softhsm2.conf").display().to_string();
    let hsm = config::Hsm {
        module: crate::place::SOFTHSM2.into(),
        token: crate::place::LABEL.to_owned(),
        pin: config::SecretSource::Fd(0),
        sessions: 2,
        queue: 8,
        call_ms: 60_000,
        environment: [("SOFTHSM2_CONF".to_owned(), conf)].into(),
        writable: vec![Path::new(folder).join("tokens")],
        init_argument: None,
        recoverable: false,
    };
    let pin = Pin::new(SecretBytes::take(&mut PIN.to_owned().into_bytes()).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hsm = runtime
        .block_on(Hsm::start(Settings { worker: Arc::new(me()), hsm, mode: Mode::Production }, pin))
        .unwrap();
    println!("{}", hsm.health().worker_pid.unwrap());
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// Would catch a stop that leaves a worker, or a caller without an answer.
pub async fn stopping_ends_the_worker_and_answers_latecomers() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    let worker = format!("/proc/{}", hsm.health().worker_pid.unwrap());
    let calls: Vec<_> = (0..64)
        .map(|seed| {
            let (hsm, key) = (hsm.clone(), key.clone());
            tokio::spawn(async move { hsm.sign(&key, message(Algorithm::Secp256k1, seed)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let late = hsm.clone();
    hsm.stop().await;
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Ok(_) | Err(HsmError::Stopped)), "{answer:?}");
    }
    assert!(matches!(late.sign(&key, message(Algorithm::Secp256k1, 1)).await, Err(HsmError::Stopped)));
    assert_eq!(late.health().state, State::Stopped);
    assert!(!Path::new(&worker).exists(), "the worker must be gone");
}
