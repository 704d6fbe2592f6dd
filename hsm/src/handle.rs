//! The parent's door to the HSM: a cheap handle onto the supervisor's queue. Each signature is verified here, in the
//! caller's own task, before anyone can read it; a key whose token answered wrongly signs no more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_core::{KeyId, Mode, config};
use chancery_secret::Pin;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::custody::wraps_under_trusted_keys_alone;
use crate::error::HsmError;
use crate::finding::{Finding, Verdict};
use crate::key::{Algorithm, KeyRef, PublicKey};
use crate::signature::{Message, Sealed, WrongAnswer, fits, seal};
use crate::supervisor::{Call, Launch, Supervisor, Worker};
use crate::wire::{Class, Fault, Reply, Request, Task, Token};

/// How to reach a token.
#[derive(Clone)]
pub struct Settings {
    /// Starts workers: the path of an executable that runs [`crate::worker_main`] when its only argument is `hsm-worker`.
    pub worker: Arc<dyn Launch>,
    /// The module, the token and the bounds on its use.
    pub hsm: config::Hsm,
    /// In production a token that lies is refused.
    pub mode: Mode,
}

/// Whether the HSM serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A worker serves.
    Ready,
    /// A worker was lost and the next is starting; calls wait for it.
    Starting,
    /// Starting failed at least once and goes on; calls are refused at once.
    Failing,
    /// Given up until an operator acts.
    Down,
    /// Stopped on purpose.
    Stopped,
}

/// What an operator and the metrics see.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether it serves.
    pub state: State,
    /// Why not, in a sentence; empty when it does.
    pub reason: String,
    /// Workers that have served so far, this one included.
    pub generation: u64,
    /// The worker's process id.
    pub worker_pid: Option<u32>,
    /// Workers that were lost.
    pub restarts: u64,
    /// Keys set apart, sorted.
    pub quarantined: Vec<KeyId>,
    /// What the honesty probe found at the last start.
    pub findings: Vec<Finding>,
    /// Calls that wait or are being worked on.
    pub queued: usize,
}

impl Health {
    /// The findings that are lies.
    pub fn lies(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Lie)
    }
}

/// What the supervisor writes and handles read.
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) generation: u64,
    pub(crate) worker_pid: Option<u32>,
    pub(crate) restarts: u64,
    pub(crate) token: Token,
    pub(crate) mechanisms: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

/// Ends the process with a supervisor that panicked: a daemon without one would live on and refuse every signature, and
/// nobody would start it again.
async fn watched(supervisor: JoinHandle<()>) {
    if supervisor.await.is_err_and(|error| error.is_panic()) {
        tracing::error!("the HSM's supervisor panicked: the process ends");
        std::process::abort();
    }
}

/// What handles and supervisor share.
pub(crate) struct Shared {
    pub(crate) status: Mutex<Status>,
    quarantined: Mutex<BTreeSet<KeyId>>,
    queue: Arc<Semaphore>,
    queue_calls: usize,
    call: Duration,
}

/// A handle to one token. Cloning is cheap; the worker ends when the last handle is gone.
#[derive(Clone)]
pub struct Hsm {
    shared: Arc<Shared>,
    access: Arc<(Settings, Arc<Pin>)>,
    calls: mpsc::UnboundedSender<Call>,
    stop: mpsc::Sender<()>,
    supervisor: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Hsm {
    /// Starts the worker, logs in, and puts the honesty probe to the token.
    ///
    /// # Errors
    /// [`HsmError::Untrustworthy`] for a token that lies, in production; in development its lies are logged and shown by
    /// [`Hsm::health`]. [`HsmError::Down`] for a wrong PIN. Otherwise what kept the worker from serving.
    pub async fn start(settings: Settings, pin: Pin) -> Result<Self, HsmError> {
        let pin = Arc::new(pin);
        let worker = Worker::start(&settings, &pin, None).await?;
        let shared = Arc::new(Shared {
            status: Mutex::new(Status {
                state: State::Ready,
                reason: String::new(),
                generation: 1,
                worker_pid: worker.pid(),
                restarts: 0,
                token: worker.token.clone(),
                mechanisms: worker.mechanisms.clone(),
                findings: worker.findings.clone(),
            }),
            quarantined: Mutex::default(),
            queue: Arc::new(Semaphore::new(settings.hsm.queue)),
            queue_calls: settings.hsm.queue,
            call: Duration::from_millis(settings.hsm.call_ms),
        });
        // LIMIT: unbounded in type only; each call holds one of the queue's permits until it is answered.
        let (calls, incoming) = mpsc::unbounded_channel();
        let (stop, stopping) = mpsc::channel(1);
        let access = Arc::new((settings.clone(), Arc::clone(&pin)));
        let supervisor = Supervisor::new(settings, pin, Arc::clone(&shared), incoming, stopping);
        let supervisor = tokio::spawn(watched(tokio::spawn(supervisor.run(worker))));
        Ok(Self { shared, access, calls, stop, supervisor: Arc::new(Mutex::new(Some(supervisor))) })
    }

    /// Makes a signing key on the token: sensitive, never extractable, for signing only. The key has signed when this
    /// answers: a public key that came with the answer to another question, or that the token made up, is money sent to
    /// nobody.
    ///
    /// # Errors
    /// [`HsmError::KeyExists`] when the id is taken; [`HsmError::Refused`] when the token cannot make such a key or does
    /// not keep its attributes; [`HsmError::Wrong`] when the key is not the one it told. The key is destroyed then.
    pub async fn generate(
        &self,
        id: KeyId,
        label: &str,
        algorithm: Algorithm,
    ) -> Result<PublicKey, HsmError> {
        let request = Request::Generate {
            key: *id.as_bytes(),
            algorithm,
            label: label.to_owned(),
            recoverable: self.recoverable()?,
        };
        let public = match self.call(id, request).await? {
            Reply::Public(made, bytes) if made == algorithm => PublicKey::parse(algorithm, &bytes)
                .map_err(|_| HsmError::Protocol { what: "not a public key" })?,
            _ => return Err(UNEXPECTED),
        };
        let key = KeyRef { id, public };
        if let Err(error) = self.sign(&key, key.proof()).await {
            if let Err(error) = self.destroy(id).await {
                tracing::warn!(key = %id, %error, "a key that did not prove itself stays in the token");
            }
            return Err(error);
        }
        Ok(key.public)
    }

    /// Makes an AES-256 key that encrypts other keys (a KEK): sensitive, never extractable.
    ///
    /// # Errors
    /// As [`Hsm::generate`].
    pub async fn generate_kek(&self, id: KeyId, label: &str) -> Result<(), HsmError> {
        let request = Request::GenerateKek {
            key: *id.as_bytes(),
            label: label.to_owned(),
            recoverable: self.recoverable()?,
        };
        done(self.call(id, request).await?)
    }

    /// Signs `message` and verifies the answer under the pinned public key; ECDSA comes out low-S.
    ///
    /// # Errors
    /// [`HsmError::Wrong`] and from then on [`HsmError::Quarantined`] when the token's answer does not verify or it holds
    /// another key under this id. See [`HsmError::retry_after`] for those worth another attempt.
    pub async fn sign(&self, key: &KeyRef, message: Message) -> Result<Sealed, HsmError> {
        let algorithm = key.public.algorithm();
        if !fits(algorithm, &message) {
            return Err(HsmError::MessageForm);
        }
        if self.quarantined().contains(&key.id) {
            return Err(HsmError::Quarantined { key: key.id });
        }
        let public = key.public.bytes().to_vec();
        let request = Request::Sign { key: *key.id.as_bytes(), algorithm, public, message: message.clone() };
        match self.call(key.id, request).await? {
            Reply::Signature(raw) => {
                seal(&key.public, &message, &raw).map_err(|wrong| self.set_apart(key.id, wrong))
            }
            _ => Err(UNEXPECTED),
        }
    }

    /// The public key of the signing key with this id, or `None` when the token has none.
    ///
    /// # Errors
    /// See [`HsmError`].
    pub async fn find(&self, id: KeyId) -> Result<Option<PublicKey>, HsmError> {
        match self.call(id, Request::Find { key: *id.as_bytes() }).await? {
            Reply::Nothing => Ok(None),
            Reply::Public(algorithm, bytes) => PublicKey::parse(algorithm, &bytes)
                .map(Some)
                .map_err(|_| HsmError::Protocol { what: "not a public key" }),
            _ => Err(UNEXPECTED),
        }
    }

    /// Destroys every object with this id. What the key signed stays valid; the key is gone.
    ///
    /// # Errors
    /// [`HsmError::KeyNotFound`] when there was none.
    pub async fn destroy(&self, id: KeyId) -> Result<(), HsmError> {
        done(self.call(id, Request::Destroy { key: *id.as_bytes() }).await?)
    }

    /// The token that serves, as it describes itself.
    #[must_use]
    pub fn token(&self) -> Token {
        self.shared.status().token.clone()
    }

    /// The mechanisms the token offers, by their PKCS#11 names.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<String> {
        self.shared.status().mechanisms.clone()
    }

    /// The state now. Takes no call to the token.
    #[must_use]
    pub fn health(&self) -> Health {
        let quarantined = self.quarantined().iter().copied().collect();
        let queued = self.shared.queued();
        let status = self.shared.status();
        Health {
            state: status.state,
            reason: status.reason.clone(),
            generation: status.generation,
            worker_pid: status.worker_pid,
            restarts: status.restarts,
            quarantined,
            findings: status.findings.clone(),
            queued,
        }
    }

    /// An operator's word that a quarantined key may sign again. True when it was quarantined.
    pub fn release_from_quarantine(&self, id: KeyId) -> bool {
        tracing::warn!(key = %id, "key released from quarantine by the operator");
        self.quarantined().remove(&id)
    }

    /// Stops taking calls, waits for those at the token as long as a call may take, and ends the worker.
    pub async fn stop(self) {
        let _ = self.stop.try_send(());
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let _ = supervisor.await;
        }
    }

    /// Whether keys made now may leave the token under a trusted key: as configured, where the token was seen to hold such a
    /// key to that.
    fn recoverable(&self) -> Result<bool, HsmError> {
        if !self.access.0.hsm.recoverable {
            return Ok(false);
        }
        wraps_under_trusted_keys_alone(&self.shared.status().findings).map(|()| true)
    }

    /// What another worker for the same token needs.
    pub(crate) fn access(&self) -> (&Settings, &Pin) {
        (&self.access.0, &self.access.1)
    }

    pub(crate) async fn call(&self, key: KeyId, request: Request) -> Result<Reply, HsmError> {
        self.shared.refuse_unless_serving()?;
        let permit = Arc::clone(&self.shared.queue)
            .try_acquire_owned()
            .map_err(|_| HsmError::Overloaded { waiting: self.shared.queued() })?;
        let (answer, answered) = oneshot::channel();
        let call = Call::new(request, answer, Instant::now() + self.shared.call, permit);
        let sent = self.calls.send(call);
        let reply = match sent {
            Ok(()) => answered.await.map_err(|_| HsmError::Stopped)??,
            Err(_) => return Err(self.shared.refuse_unless_serving().err().unwrap_or(HsmError::Stopped)),
        };
        match reply {
            Reply::Failed(fault) => Err(self.failed(key, fault)),
            reply => Ok(reply),
        }
    }

    fn failed(&self, key: KeyId, Fault { class, what }: Fault) -> HsmError {
        match class {
            Class::Retry | Class::NewSession | Class::Reinitialise => HsmError::Interrupted { reason: what },
            Class::Mismatch => self.set_apart(key, WrongAnswer::OtherKey),
            Class::Missing => HsmError::KeyNotFound { key },
            Class::Exists => HsmError::KeyExists { key },
            Class::Refused | Class::Unguarded => HsmError::Refused { reason: what },
            Class::Fatal => HsmError::Down { reason: what },
        }
    }

    fn set_apart(&self, key: KeyId, source: WrongAnswer) -> HsmError {
        self.quarantined().insert(key);
        tracing::error!(%key, wrong = %source, "the token answered wrongly: key quarantined");
        HsmError::Wrong { key, source }
    }

    fn quarantined(&self) -> MutexGuard<'_, BTreeSet<KeyId>> {
        self.shared.quarantined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hsm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hsm").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queued(&self) -> usize {
        self.queue_calls.saturating_sub(self.queue.available_permits())
    }

    fn refuse_unless_serving(&self) -> Result<(), HsmError> {
        let status = self.status();
        match status.state {
            State::Ready | State::Starting => Ok(()),
            State::Failing => Err(HsmError::Interrupted { reason: status.reason.clone() }),
            State::Down => Err(HsmError::Down { reason: status.reason.clone() }),
            State::Stopped => Err(HsmError::Stopped),
        }
    }
}

pub(crate) const UNEXPECTED: HsmError = HsmError::Protocol { what: "an answer to another question" };

fn done(reply: Reply) -> Result<(), HsmError> {
    match reply {
        Reply::Done => Ok(()),
        _ => Err(UNEXPECTED),
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The executable that runs [`crate::worker_main`].
    pub worker: PathBuf,
    /// The module; `token` becomes the new token's label. Its PIN source and bounds are not used.
    pub hsm: config::Hsm,
}

/// Makes a token in the first slot without one, and sets both PINs. A token with this label that lacks a user PIN gets
/// only that; a finished one is never touched.
///
/// # Errors
/// [`HsmError::Refused`] when the label is taken or no slot is free.
pub async fn init_token(new: &NewToken, so_pin: &Pin, pin: &Pin) -> Result<Token, HsmError> {
    let settings =
        Settings { worker: Arc::new(new.worker.clone()), hsm: new.hsm.clone(), mode: Mode::Production };
    Worker::ready(&settings, Task::Initialise, None, &[so_pin, pin]).await.map(|worker| worker.token.clone())
}
