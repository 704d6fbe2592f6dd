//! A folder with a SoftHSM2 configuration and tokens, made for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::{KeyId, Mode, config};
use chancery_hsm::{
    Algorithm, Health, Hsm, HsmError, KeyRef, Message, NewToken, Settings, State, init_token,
};
use chancery_secret::{Pin, SecretBytes};
use rustix::process::{Pid, Signal, kill_process};

pub const SOFTHSM2: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
pub const LABEL: &str = "chancery";
pub const PIN: &str = "9462-kite-anvil";

pub struct Place {
    folder: tempfile::TempDir,
    pub hsm: config::Hsm,
}

pub fn pin(text: &str) -> Pin {
    Pin::new(SecretBytes::take(&mut text.to_owned().into_bytes()).unwrap()).unwrap()
}

impl Place {
    /// A folder with one token.
    pub async fn with_token() -> Self {
        let place = Self::empty();
        place.init(LABEL).await.unwrap();
        place
    }

    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let conf = folder.path().join("softhsm2.conf");
        fs::write(
            &conf,
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            ),
        )
        .unwrap();
        let hsm = config::Hsm {
            module: SOFTHSM2.into(),
            token: LABEL.to_owned(),
            pin: config::SecretSource::Fd(0),
            sessions: 4,
            queue: 256,
            // Long enough that a starved machine breaks no test; the tests of deadlines set their own.
            call_ms: 60_000,
            environment: [("SOFTHSM2_CONF".to_owned(), conf.display().to_string())].into(),
            writable: vec![tokens],
            init_argument: None,
            recoverable: false,
        };
        Self { folder, hsm }
    }

    pub async fn init(&self, label: &str) -> Result<chancery_hsm::Token, HsmError> {
        let hsm = config::Hsm { token: label.to_owned(), ..self.hsm.clone() };
        let new = NewToken { worker: me(), hsm };
        init_token(&new, &pin("so-pin-5150"), &pin(PIN)).await
    }

    pub fn settings(&self, mode: Mode) -> Settings {
        Settings { worker: Arc::new(me()), hsm: self.hsm.clone(), mode }
    }

    pub async fn start(&self) -> Hsm {
        Hsm::start(self.settings(Mode::Production), pin(PIN)).await.unwrap()
    }

    /// The folder that holds the tokens' folders.
    pub fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the user PIN behind the back of a running worker.
    pub fn change_pin(&self, old: &str, new: &str) {
        let changed = std::process::Command::new(me())
            .args(["change-pin", LABEL, old, new])
            .envs(&self.hsm.environment)
            .status()
            .unwrap();
        assert!(changed.success());
    }
}

pub fn me() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Changes a SoftHSM2 token's PIN; runs in a process of its own.
pub fn change_pin(label: &str, old: &str, new: &str) -> ExitCode {
    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::types::AuthPin;
    let module = Pkcs11::new(SOFTHSM2).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == label).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.set_pin(&AuthPin::from(old.to_owned()), &AuthPin::from(new.to_owned())).unwrap();
    ExitCode::SUCCESS
}

/// Puts an AES key of a known value on a SoftHSM2 token; runs in a process of its own.
pub fn import_kek(label: &str, pin: &str, id: &str) -> ExitCode {
    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::object::{Attribute, KeyType, ObjectClass};
    use cryptoki::session::UserType;
    use cryptoki::types::AuthPin;
    let module = Pkcs11::new(SOFTHSM2).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == label).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))).unwrap();
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Id(hex::decode(id).unwrap()),
        Attribute::Value(vec![7; 32]),
    ];
    session.create_object(&template).unwrap();
    ExitCode::SUCCESS
}

/// A fresh signing key.
pub async fn key(hsm: &Hsm, algorithm: Algorithm) -> KeyRef {
    let id = KeyId::fresh();
    KeyRef { id, public: hsm.generate(id, "a test's key", algorithm).await.unwrap() }
}

/// A message that differs for each `seed`.
pub fn message(algorithm: Algorithm, seed: u64) -> Message {
    let mut digest = [0x5a; 32];
    digest[..8].copy_from_slice(&seed.to_le_bytes());
    match algorithm {
        Algorithm::Ed25519 => Message::Bytes(digest.to_vec()),
        _ => Message::Digest(digest),
    }
}

pub fn signal(hsm: &Hsm, signal: Signal) {
    if let Some(pid) = hsm.health().worker_pid {
        send(pid, signal);
    }
}

pub fn send(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// Stops a process and waits until each of its threads stands: the signal alone may come after another answer.
pub async fn stop(pid: u32) {
    send(pid, Signal::STOP);
    let stands = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(stands) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the health is as wanted. The bound is for a broken build, not a figure.
pub async fn until(hsm: &Hsm, what: &str, wanted: impl Fn(&Health) -> bool) {
    for _ in 0..3_000 {
        if wanted(&hsm.health()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}: {:?}", hsm.health());
}

pub async fn until_ready(hsm: &Hsm, generation: u64) {
    until(hsm, "ready again", |health| health.state == State::Ready && health.generation > generation).await;
}

/// Signs, trying again as long as the HSM says that it may help.
pub async fn sign_at_last(hsm: &Hsm, key: &KeyRef, message: Message) {
    for _ in 0..3_000 {
        match hsm.sign(key, message.clone()).await {
            Ok(_) => return,
            Err(error) if error.retry_after().is_some() => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never signed: {:?}", hsm.health());
}

/// How many fault cycles to run.
pub fn cycles(quick: usize) -> usize {
    std::env::var("HSM_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(quick)
}

/// Prints one figure for programs: runs, how many broke the promise, and a note.
pub fn figure(name: &str, runs: u64, failures: u64, note: &str) {
    println!(r#"figure {{"name":"{name}","runs":{runs},"failures":{failures},"note":"{note}"}}"#);
}
