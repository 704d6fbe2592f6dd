//! One worker process from the parent's side: started with an empty environment and no descriptor of ours but its end of
//! a socket pair, told its task and PIN over that socket, heard on its standard streams, killed when dropped.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin as Pinned;
use std::process::Stdio;
use std::time::Duration;

use chancery_core::config;
use chancery_secret::{Pin, SecretBytes, SecretError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::error::HsmError;
use crate::finding::{Finding, Verdict};
use crate::handle::Settings;
use crate::wire::{Class, Fault, Inbox, PROTOCOL, Sealing, Start, Started, Task, Token, encode, frame_len};
use crate::wrap::SECRET_BYTES;

/// LIMIT: time for a worker to load its module, log in and be probed, in milliseconds.
const START_MS: u64 = 15_000;
/// LIMIT: what is kept of one line of the module's own talk, in bytes.
const LINE_BYTES: u64 = 512;
/// LIMIT: lines of one worker that reach the log.
const LINES: usize = 1_000;

/// A worker that has said it is ready.
pub(crate) struct Worker {
    pub(crate) stream: UnixStream,
    pub(crate) inbox: Inbox,
    pub(crate) token: Token,
    pub(crate) mechanisms: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    body: Box<dyn Body>,
}

/// A future that a trait object answers.
pub type Ending<'a> = Pinned<Box<dyn Future<Output = String> + Send + 'a>>;

/// What a worker runs in: a process, or a task of a simulation. Dropping it ends the worker.
pub trait Body: Send {
    /// Its process id, where it is a process that has not ended.
    fn pid(&self) -> Option<u32>;
    /// Ends it at once, whatever it is doing.
    fn kill(&mut self);
    /// Waits for its end, and says how it ended.
    fn ended(&mut self) -> Ending<'_>;
}

/// Starts workers.
pub trait Launch: Send + Sync {
    /// Starts one, and answers the parent's end of its channel.
    ///
    /// # Errors
    /// What the system says.
    fn launch(&self, hsm: &config::Hsm) -> io::Result<(UnixStream, Box<dyn Body>)>;
}

/// A worker that has sent its first frame.
struct Launched {
    stream: UnixStream,
    inbox: Inbox,
    body: Box<dyn Body>,
}

impl Worker {
    /// What a first frame that is not the answer to the task says.
    pub(crate) fn refusal(started: Started) -> HsmError {
        match started {
            Started::Refused(Fault { class: Class::Fatal, what }) => HsmError::Down { reason: what },
            Started::Refused(Fault { class: Class::Refused | Class::Unguarded | Class::Exists, what }) => {
                HsmError::Refused { reason: what }
            }
            Started::Refused(Fault { what, .. }) => HsmError::Interrupted { reason: what },
            _ => HsmError::Protocol { what: "the first frame is of another task" },
        }
    }

    /// Starts a worker that does one thing and ends, and answers its first frame.
    pub(crate) async fn errand(
        settings: &Settings,
        task: Task,
        serial: Option<&str>,
        secrets: &[&[u8]],
    ) -> Result<Started, HsmError> {
        let (launched, started) = Self::launch(settings, task, serial, secrets).await?;
        ended(launched.body).await;
        Ok(started)
    }

    /// Starts a worker that serves, and refuses a token that lies where the mode says so.
    pub(crate) async fn start(
        settings: &Settings,
        pin: &Pin,
        serial: Option<&str>,
    ) -> Result<Self, HsmError> {
        let worker = Self::ready(settings, Task::Serve, serial, &[pin]).await?;
        let lies: Vec<_> =
            worker.findings.iter().filter(|finding| finding.verdict == Verdict::Lie).cloned().collect();
        for lie in &lies {
            tracing::error!(probe = %lie.probe, detail = %lie.detail, "the token lies: {}", lie.probe.lie());
        }
        if settings.mode.is_production() && !lies.is_empty() {
            return Err(HsmError::Untrustworthy { lies });
        }
        Ok(worker)
    }

    /// Starts a worker that says it is ready.
    pub(crate) async fn ready(
        settings: &Settings,
        task: Task,
        serial: Option<&str>,
        pins: &[&Pin],
    ) -> Result<Self, HsmError> {
        let pins: Vec<_> = pins.iter().map(|pin| pin.expose()).collect();
        let (Launched { stream, inbox, body }, started) = Self::launch(settings, task, serial, &pins).await?;
        match started {
            Started::Ready { token, mechanisms, findings } => {
                Ok(Self { stream, inbox, token, mechanisms, findings, body })
            }
            other => Err(Self::refusal(other)),
        }
    }

    /// Starts a worker with any task and waits for its first frame.
    async fn launch(
        settings: &Settings,
        task: Task,
        serial: Option<&str>,
        secrets: &[&[u8]],
    ) -> Result<(Launched, Started), HsmError> {
        let (stream, body) = settings.worker.launch(&settings.hsm).map_err(HsmError::Spawn)?;
        let hsm = &settings.hsm;
        let start = Start {
            protocol: PROTOCOL,
            task,
            module: hsm.module.to_string_lossy().into_owned(),
            init_argument: hsm.init_argument.clone(),
            writable: hsm.writable.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            token: hsm.token.clone(),
            serial: serial.map(str::to_owned),
            sessions: hsm.sessions,
        };
        // `body` is killed on drop, hence also when the time runs out here.
        let told = tokio::time::timeout(Duration::from_millis(START_MS), tell(stream, &start, secrets));
        let (stream, inbox, started) = told
            .await
            .map_err(|_| HsmError::Interrupted { reason: "the worker did not start in time".into() })??;
        Ok((Launched { stream, inbox, body }, started))
    }

    /// Starts a worker that encrypts one secret and ends.
    pub(crate) async fn wrap(
        settings: &Settings,
        pin: &Pin,
        serial: &str,
        sealing: Sealing,
        secret: &SecretBytes,
    ) -> Result<Vec<u8>, HsmError> {
        let secrets = [pin.expose(), secret.expose()];
        match Self::errand(settings, Task::Wrap(sealing), Some(serial), &secrets).await? {
            Started::Wrapped(wrapped) => Ok(wrapped),
            other => Err(Self::refusal(other)),
        }
    }

    /// Starts a worker that decrypts one secret, hands it over and ends.
    pub(crate) async fn unwrap(
        settings: &Settings,
        pin: &Pin,
        serial: &str,
        sealing: Sealing,
        wrapped: Vec<u8>,
    ) -> Result<SecretBytes, HsmError> {
        let task = Task::Unwrap(sealing, wrapped);
        let (Launched { mut stream, body, .. }, started) =
            Self::launch(settings, task, Some(serial), &[pin.expose()]).await?;
        let Started::Ready { .. } = started else { return Err(Self::refusal(started)) };
        // Only now does the worker send the secret: no read of ours went ahead, so no buffer of ours holds any of it.
        stream.write_all(&[0; 4]).await.map_err(|_| gone())?;
        let stream = stream.into_std().map_err(HsmError::Spawn)?;
        let read = tokio::task::spawn_blocking(move || -> Result<SecretBytes, SecretError> {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_millis(START_MS)))?;
            let mut prefix = [0; 4];
            (&stream).read_exact(&mut prefix)?;
            let len = frame_len(prefix).filter(|len| *len <= SECRET_BYTES);
            SecretBytes::read_exact(&stream, len.ok_or(SecretError::TooLong { limit: SECRET_BYTES })?)
        });
        let secret = read.await.ok().and_then(Result::ok).ok_or_else(gone);
        ended(body).await;
        secret
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.body.pid()
    }

    /// Kills the worker, whatever it is doing, and says how it ended.
    pub(crate) async fn kill(mut self) -> String {
        self.body.kill();
        self.body.ended().await
    }

    /// Closes the channel, on which the worker ends by itself; kills it when it does not.
    pub(crate) async fn dismiss(mut self) {
        let _ = self.stream.shutdown().await;
        if tokio::time::timeout(Duration::from_secs(1), self.body.ended()).await.is_err() {
            self.kill().await;
        }
    }
}

impl Body for Child {
    fn pid(&self) -> Option<u32> {
        self.id()
    }

    fn kill(&mut self) {
        let _ = self.start_kill();
    }

    fn ended(&mut self) -> Ending<'_> {
        Box::pin(async {
            match self.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            }
        })
    }
}

/// Workers as processes: the executable that runs [`crate::worker_main`] when its only argument is `hsm-worker`.
impl Launch for PathBuf {
    fn launch(&self, hsm: &config::Hsm) -> io::Result<(UnixStream, Box<dyn Body>)> {
        worker_in(|input, talker| {
            let child = Command::new(self)
                .arg(WORKER)
                .env_clear()
                .envs(worker_environment(hsm))
                .stdin(Stdio::from(input))
                .stdout(Stdio::from(talker.try_clone()?))
                .stderr(Stdio::from(talker))
                .kill_on_drop(true)
                .spawn()?;
            Ok(Box::new(child))
        })
    }
}

/// The argument with which an executable runs [`crate::worker_main`].
pub const WORKER: &str = "hsm-worker";

/// The environment of a worker, which has nothing of ours.
#[must_use]
pub fn worker_environment(hsm: &config::Hsm) -> BTreeMap<String, String> {
    let plain = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    plain.into_iter().chain(hsm.environment.clone()).collect()
}

/// A worker in a process that `start` starts, with its standard input and what it says on the others.
///
/// # Errors
/// The system's.
pub fn worker_in(
    start: impl FnOnce(OwnedFd, OwnedFd) -> io::Result<Box<dyn Body>>,
) -> io::Result<(UnixStream, Box<dyn Body>)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (talk, talker) = std::io::pipe()?;
    let body = start(theirs.into(), talker.into())?;
    tokio::spawn(hear(pipe::Receiver::from_owned_fd(talk.into())?, body.pid()));
    Ok((UnixStream::from_std(ours)?, body))
}

async fn tell(
    mut stream: UnixStream,
    start: &Start,
    secrets: &[&[u8]],
) -> Result<(UnixStream, Inbox, Started), HsmError> {
    let mut frame = Vec::new();
    encode(start, &mut frame).map_err(|_| HsmError::Protocol { what: "the start does not encode" })?;
    let told: io::Result<()> = async {
        stream.write_all(&frame).await?;
        for secret in secrets {
            // From secret memory to the kernel: it passes through no buffer of ours.
            let len = u32::try_from(secret.len()).unwrap_or_default();
            stream.write_all(&len.to_le_bytes()).await?;
            stream.write_all(secret).await?;
        }
        Ok(())
    }
    .await;
    told.map_err(|_| gone())?;
    let mut inbox = Inbox::default();
    loop {
        if let Some(started) =
            inbox.take().map_err(|_| HsmError::Protocol { what: "the first frame is malformed" })?
        {
            return Ok((stream, inbox, started));
        }
        match stream.read_buf(inbox.space()).await {
            Ok(0) | Err(_) => return Err(gone()),
            Ok(_) => {}
        }
    }
}

/// Waits for a worker that ends by itself, so that none is left behind; what does not end is killed when it is dropped.
async fn ended(mut body: Box<dyn Body>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), body.ended()).await;
}

fn gone() -> HsmError {
    HsmError::Interrupted { reason: "the worker ended while starting".into() }
}

/// Passes on what the module or the worker says on its standard streams.
async fn hear(talk: pipe::Receiver, pid: Option<u32>) {
    let mut talk = BufReader::new(talk);
    let mut line = Vec::new();
    for heard in 0_usize.. {
        line.clear();
        match (&mut talk).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) if heard < LINES => {
                let line = String::from_utf8_lossy(line.trim_ascii_end());
                tracing::warn!(target: "hsm_module", pid, line = ?line, "the HSM module says");
            }
            Ok(_) => {}
        }
    }
}
