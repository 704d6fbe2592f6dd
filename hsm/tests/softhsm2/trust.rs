//! Tokens that lie, keys that are not who they say, and PINs.

use std::fs;
use std::sync::Arc;

use chancery_core::{KeyId, Mode, config};
use chancery_hsm::{
    Algorithm, Hsm, HsmError, KeyRef, NewToken, Probe, State, Verdict, WrongAnswer, init_token,
};
use rustix::process::Signal;

use crate::place::{NSS, PIN, Place, key, me, message, pin, signal, until};

pub async fn the_probe_finds_softhsm2_honest() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let health = hsm.health();
    health.findings.iter().for_each(|finding| println!("  {finding}"));
    assert_eq!(health.findings.len(), Probe::ALL.len());
    assert_eq!(health.lies().count(), 0);
    let shown = health.findings.iter().filter(|finding| finding.verdict == Verdict::Honest).count();
    assert_eq!(shown, Probe::ALL.len(), "a probe that shows nothing on SoftHSM2 is no probe");
    // Nothing of the probe is left: the token's folder holds its own two files and no object.
    let token = fs::read_dir(place.tokens()).unwrap().next().unwrap().unwrap().path();
    let objects = fs::read_dir(token).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".object") && name != "token.object"
    });
    assert_eq!(objects.count(), 0);
    hsm.stop().await;
}

/// Would catch a probe that believes the token's own attributes: NSS softokn wraps a non-extractable key.
pub async fn nss_softokn_lies_and_is_refused_in_production() {
    if !std::path::Path::new(NSS).exists() {
        println!("  skipped: NSS softokn is not installed (`apt install libnss3`)");
        return;
    }
    let place = nss().await;
    let refused = Hsm::start(place.settings(Mode::Production), pin(PIN)).await;
    let Err(HsmError::Untrustworthy { lies }) = refused else { panic!("not refused: {refused:?}") };
    lies.iter().for_each(|lie| println!("  {lie}"));
    assert!(lies.iter().any(|lie| lie.probe == Probe::WrapUnextractable), "{lies:?}");
    let hsm = Hsm::start(place.settings(Mode::Development), pin(PIN)).await.unwrap();
    assert_eq!(hsm.health().lies().count(), lies.len(), "development must show the same lies");
    // It also forgets that a key was made on it: such a key is destroyed, not handed out.
    let id = KeyId::fresh();
    let refused = hsm.generate(id, "a test's key", Algorithm::P256).await;
    assert!(matches!(&refused, Err(HsmError::Refused { reason }) if reason.contains("Local")), "{refused:?}");
    assert_eq!(hsm.find(id).await.unwrap(), None, "the refused key must be gone");
    hsm.stop().await;
}

async fn nss() -> Place {
    let mut place = Place::empty();
    let folder = place.path().join("nss");
    fs::create_dir(&folder).unwrap();
    place.hsm.module = NSS.into();
    place.hsm.writable = vec![folder.clone()];
    place.hsm.init_argument = Some(format!(
        "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='chancery'",
        folder.display()
    ));
    let new = NewToken { worker: me(), hsm: place.hsm.clone() };
    init_token(&new, &pin("none"), &pin(PIN)).await.unwrap();
    place
}

/// Would catch a worker that signs with whatever key bears the id.
pub async fn another_public_key_is_refused_and_quarantined() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let (ours, other) = (key(&hsm, Algorithm::Secp256k1).await, key(&hsm, Algorithm::Secp256k1).await);
    // The right key is in every session's cache: the cache must not answer for another public key.
    for seed in 0..16 {
        hsm.sign(&ours, message(Algorithm::Secp256k1, seed)).await.unwrap();
    }
    let mixed = KeyRef { id: ours.id, public: other.public.clone() };
    let refused = hsm.sign(&mixed, message(Algorithm::Secp256k1, 1)).await;
    assert!(matches!(refused, Err(HsmError::Wrong { source: WrongAnswer::OtherKey, .. })), "{refused:?}");
    let refused = hsm.sign(&ours, message(Algorithm::Secp256k1, 1)).await;
    assert!(matches!(refused, Err(HsmError::Quarantined { .. })), "{refused:?}");
    assert_eq!(hsm.health().quarantined, [ours.id]);
    hsm.sign(&other, message(Algorithm::Secp256k1, 1)).await.expect("the other key is not concerned");
    assert!(hsm.release_from_quarantine(ours.id));
    hsm.sign(&ours, message(Algorithm::Secp256k1, 1)).await.unwrap();
    hsm.stop().await;
}

pub async fn a_wrong_pin_is_tried_once() {
    let place = Place::with_token().await;
    let refused = Hsm::start(place.settings(Mode::Production), pin("0000-wrong")).await;
    let Err(HsmError::Down { reason }) = &refused else { panic!("not down: {refused:?}") };
    assert!(reason.contains("PinIncorrect"), "{reason}");
    assert!(!format!("{refused:?}").contains("0000-wrong"));
}

/// Would catch a supervisor that restarts its way through the token's PIN tries.
pub async fn a_pin_changed_under_us_is_tried_once() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    place.change_pin(PIN, "another-pin-77");
    signal(&hsm, Signal::KILL);
    until(&hsm, "down", |health| health.state == State::Down).await;
    for _ in 0..8 {
        let refused = hsm.sign(&key, message(Algorithm::Secp256k1, 1)).await;
        assert!(matches!(refused, Err(HsmError::Down { .. })), "{refused:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let health = hsm.health();
    assert_eq!((health.state, health.restarts, health.worker_pid), (State::Down, 1, None), "{health:?}");
    hsm.stop().await;
}

/// Would catch a PIN that other processes, or a dump of the worker, can read.
pub async fn the_pin_is_in_no_argument_environment_or_memory() {
    // Made at run time: a constant would be found in the executable, which worker and test share.
    let secret = format!("{}-{}", KeyId::fresh(), KeyId::fresh());
    let place = Place::empty();
    let new = NewToken { worker: me(), hsm: place.hsm.clone() };
    init_token(&new, &pin("so-pin-5150"), &pin(&secret)).await.unwrap();
    let hsm = Hsm::start(place.settings(Mode::Production), pin(&secret)).await.unwrap();
    let key = key(&hsm, Algorithm::Secp256k1).await;
    hsm.sign(&key, message(Algorithm::Secp256k1, 1)).await.unwrap();
    let worker = format!("/proc/{}", hsm.health().worker_pid.unwrap());
    let arguments = fs::read_to_string(format!("{worker}/cmdline")).unwrap();
    assert!(arguments.ends_with("\0hsm-worker\0"), "{arguments:?}");
    let environment = fs::read_to_string(format!("{worker}/environ")).unwrap();
    let mut names: Vec<_> =
        environment.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["LANG", "PATH", "SOFTHSM2_CONF"], "the parent's environment must not be passed on");
    let limits = fs::read_to_string(format!("{worker}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let hard = core.split_whitespace().nth(5);
    assert_eq!(hard, Some("0"), "the worker must leave no core dump, whatever it inherited: {core}");
    let canary = place.hsm.environment["SOFTHSM2_CONF"].clone();
    match hits(&worker, &[secret.as_bytes(), canary.as_bytes()]) {
        Some(hits) => {
            assert!(hits[1] > 0, "control: the worker's configuration path must be found in its memory");
            assert_eq!(hits[0], 0, "the PIN is in the worker's memory after login");
        }
        None => println!("  skipped: the worker's memory can only be searched as root"),
    }
    hsm.stop().await;
}

/// How often each needle occurs in a process's readable memory.
fn hits(process: &str, needles: &[&[u8]]) -> Option<Vec<usize>> {
    masked_hits(process, needles, 0)
}

/// The same for needles that were masked, so that the search itself puts none of them into memory.
pub fn masked_hits(process: &str, needles: &[&[u8]], mask: u8) -> Option<Vec<usize>> {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("{process}/mem")).ok()?;
    let mut hits = vec![0; needles.len()];
    for region in fs::read_to_string(format!("{process}/maps")).ok()?.lines() {
        let (range, rest) = region.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap().min(256 << 20)];
        // Regions that cannot be read, such as secret memory, are what they should be.
        if !rest.starts_with('r') || memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for (count, needle) in hits.iter_mut().zip(needles) {
            let same =
                |window: &&[u8]| window.iter().zip(*needle).all(|(byte, masked)| byte ^ mask == *masked);
            *count += bytes.windows(needle.len()).filter(same).count();
        }
    }
    Some(hits)
}

/// Would catch a set-up command that wipes a token with keys.
pub async fn a_finished_token_is_not_made_again() {
    let place = Place::with_token().await;
    let hsm = place.start().await;
    let key = key(&hsm, Algorithm::Secp256k1).await;
    let refused = place.init(crate::place::LABEL).await;
    assert!(matches!(refused, Err(HsmError::Refused { .. })), "{refused:?}");
    hsm.sign(&key, message(Algorithm::Secp256k1, 1)).await.unwrap();
    hsm.stop().await;
    let absent = config::Hsm { token: "absent".to_owned(), ..place.hsm.clone() };
    let settings = chancery_hsm::Settings { worker: Arc::new(me()), hsm: absent, mode: Mode::Production };
    let refused = Hsm::start(settings, pin(PIN)).await;
    assert!(
        matches!(&refused, Err(HsmError::Interrupted { reason }) if reason.contains("`absent`")),
        "{refused:?}"
    );
}
