//! Keeps one worker serving: replaces it when it dies, hangs or asks for it, answers everyone who waits, and never
//! tries a wrong PIN twice. If this is wrong, calls hang for ever or a PIN is locked.

mod desk;
mod process;

use std::sync::Arc;
use std::time::Duration;

use chancery_secret::Pin;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

pub(crate) use desk::Call;
use desk::Desk;
pub(crate) use process::Worker;
pub use process::{Body, Ending, Launch, WORKER, worker_environment, worker_in};

use crate::error::HsmError;
use crate::handle::{Settings, Shared, State};

/// The grain of deadlines, in milliseconds.
const TICK_MS: u64 = 50;
/// The first pause before another start, in milliseconds; it doubles up to [`PAUSE_MAX_MS`].
const PAUSE_MS: u64 = 50;
/// LIMIT: the longest pause between starts, in milliseconds.
const PAUSE_MAX_MS: u64 = 2_000;
/// A worker that is idle is asked whether its session, token and key are still there, every so many milliseconds.
const PING_MS: u64 = 2_000;

pub(crate) struct Supervisor {
    settings: Settings,
    pin: Arc<Pin>,
    shared: Arc<Shared>,
    incoming: mpsc::UnboundedReceiver<Call>,
    stopping: mpsc::Receiver<()>,
}

/// Why serving ended.
enum End {
    /// The worker is lost; the reason.
    Lost(String),
    /// We stop.
    Stop,
}

impl Supervisor {
    pub(crate) fn new(
        settings: Settings,
        pin: Arc<Pin>,
        shared: Arc<Shared>,
        incoming: mpsc::UnboundedReceiver<Call>,
        stopping: mpsc::Receiver<()>,
    ) -> Self {
        Self { settings, pin, shared, incoming, stopping }
    }

    /// Serves until stopped, until every handle is gone, or until only an operator can help.
    pub(crate) async fn run(mut self, mut worker: Worker) {
        let mut desk = Desk::new(&self.settings.hsm);
        loop {
            let end = self.serve(&mut worker, &mut desk).await;
            let reason = match end {
                End::Stop => {
                    self.set(State::Stopped, "stopped");
                    desk.answer_all(|| HsmError::Stopped);
                    worker.dismiss().await;
                    return;
                }
                End::Lost(reason) => reason,
            };
            self.lost(&reason);
            desk.answer_sent(&reason);
            let ended = worker.kill().await;
            tracing::error!(%reason, %ended, "the HSM worker is lost; starting another");
            match self.replace(&mut desk).await {
                Ok(next) => worker = next,
                Err(error) => {
                    let (state, reason) = match error {
                        HsmError::Stopped => (State::Stopped, "stopped".to_owned()),
                        HsmError::Down { reason } => (State::Down, reason),
                        error => (State::Down, error.to_string()),
                    };
                    self.set(state, &reason);
                    tracing::error!(%reason, "the HSM is out of service");
                    self.incoming.close();
                    while let Ok(call) = self.incoming.try_recv() {
                        desk.wait(call);
                    }
                    desk.answer_all(|| match state {
                        State::Stopped => HsmError::Stopped,
                        _ => HsmError::Down { reason: reason.clone() },
                    });
                    return;
                }
            }
        }
    }

    async fn serve(&mut self, worker: &mut Worker, desk: &mut Desk) -> End {
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop_by = None;
        let mut new = Vec::new();
        desk.begin(PING_MS);
        loop {
            if let Err(reason) = desk.send(&worker.stream) {
                return End::Lost(reason);
            }
            tokio::select! {
                biased;
                ready = worker.stream.readable() => {
                    let received = ready.map_err(|error| error.to_string())
                        .and_then(|()| desk.receive(&worker.stream, &mut worker.inbox));
                    if let Err(reason) = received {
                        return if stop_by.is_some() { End::Stop } else { End::Lost(reason) };
                    }
                }
                writable = worker.stream.writable(), if desk.has_unsent_bytes() => {
                    if let Err(error) = writable {
                        return End::Lost(error.to_string());
                    }
                }
                received = self.incoming.recv_many(&mut new, 256), if stop_by.is_none() => {
                    if received == 0 {
                        stop_by = Some(Instant::now());
                    }
                    new.drain(..).for_each(|call| desk.wait(call));
                }
                _ = self.stopping.recv(), if stop_by.is_none() => {
                    self.set(State::Stopped, "stopping");
                    self.incoming.close();
                    while let Ok(call) = self.incoming.try_recv() {
                        desk.wait(call);
                    }
                    stop_by = Some(Instant::now() + Duration::from_millis(self.settings.hsm.call_ms));
                }
                _ = tick.tick() => {
                    if let Err(reason) = desk.keep_time(Instant::now()) {
                        return if stop_by.is_some() { End::Stop } else { End::Lost(reason) };
                    }
                }
            }
            if stop_by.is_some_and(|by| desk.is_clear() || Instant::now() >= by) {
                return End::Stop;
            }
        }
    }

    /// Starts workers until one serves. The first attempt is immediate, and calls wait for it.
    async fn replace(&mut self, desk: &mut Desk) -> Result<Worker, HsmError> {
        let serial = self.shared.status().token.serial.clone();
        let mut pause_ms = PAUSE_MS;
        loop {
            let attempt = Worker::start(&self.settings, &self.pin, Some(&serial));
            let error = match waiting(&mut self.incoming, &mut self.stopping, desk, attempt).await? {
                Ok(worker) => {
                    self.ready(&worker);
                    return Ok(worker);
                }
                Err(error @ (HsmError::Down { .. } | HsmError::Untrustworthy { .. })) => return Err(error),
                Err(error) => error,
            };
            let reason = error.to_string();
            tracing::error!(%reason, pause_ms, "the HSM worker did not start; trying again");
            self.set(State::Failing, &reason);
            desk.answer_all(|| HsmError::Interrupted { reason: reason.clone() });
            let pause = sleep_until(Instant::now() + Duration::from_millis(pause_ms));
            waiting(&mut self.incoming, &mut self.stopping, desk, pause).await?;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
        }
    }

    fn set(&self, state: State, reason: &str) {
        let mut status = self.shared.status();
        status.state = state;
        reason.clone_into(&mut status.reason);
    }

    fn lost(&self, reason: &str) {
        let mut status = self.shared.status();
        status.state = State::Starting;
        reason.clone_into(&mut status.reason);
        status.worker_pid = None;
        status.restarts += 1;
    }

    fn ready(&self, worker: &Worker) {
        let mut status = self.shared.status();
        status.state = State::Ready;
        status.reason.clear();
        status.generation += 1;
        status.worker_pid = worker.pid();
        status.token = worker.token.clone();
        status.mechanisms.clone_from(&worker.mechanisms);
        status.findings.clone_from(&worker.findings);
        tracing::info!(generation = status.generation, pid = status.worker_pid, "the HSM worker serves");
    }
}

/// Awaits `work` while calls queue up and their deadlines are kept.
async fn waiting<T>(
    incoming: &mut mpsc::UnboundedReceiver<Call>,
    stopping: &mut mpsc::Receiver<()>,
    desk: &mut Desk,
    work: impl Future<Output = T>,
) -> Result<T, HsmError> {
    let mut work = std::pin::pin!(work);
    let mut tick = interval(Duration::from_millis(TICK_MS));
    loop {
        tokio::select! {
            result = &mut work => return Ok(result),
            _ = stopping.recv() => return Err(HsmError::Stopped),
            call = incoming.recv() => match call {
                Some(call) => desk.wait(call),
                None => return Err(HsmError::Stopped),
            },
            _ = tick.tick() => desk.expire(Instant::now()),
        }
    }
}
