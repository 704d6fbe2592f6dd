//! Who starts the programs that the rooms need: the HSM worker, and the solver of proofs. A process within its walls starts none; a
//! launcher from before them does.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::config::{self, Config};
use chancery_hsm::{Body, Ending, Launch, WORKER, worker_environment, worker_in};
use chancery_prove::{Process, StartSolver};
use chancery_sandbox::{Launched, Launcher, Program};
use chancery_secret::close_inherited;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The place of the HSM worker in the launcher's list.
const HSM_WORKER: u8 = 0;
/// The place of the solver.
const SOLVER: u8 = 1;

/// Who starts the programs that the rooms need.
#[derive(Clone)]
pub struct Programs {
    /// HSM workers.
    pub worker: Arc<dyn Launch>,
    /// The solver that the configuration names; this process itself without.
    pub solver: Option<Arc<dyn StartSolver>>,
}

impl Programs {
    /// This process itself: `me` is the executable that runs the HSM worker.
    #[must_use]
    pub fn started_here(me: PathBuf) -> Self {
        Self { worker: Arc::new(me), solver: None }
    }

    /// A launcher, which is started here with what this configuration may need started: `me` runs [`launcher`] too.
    ///
    /// # Errors
    /// The system's.
    pub fn launched(config: &Config, me: &Path) -> io::Result<Self> {
        let plain = |pairs: BTreeMap<String, String>| {
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        let mut programs = vec![Program {
            path: me.to_owned(),
            arguments: vec![WORKER.into()],
            environment: plain(worker_environment(&config.hsm)),
        }];
        if let Some(path) = &config.policy.solver {
            let limit = Duration::from_millis(config.policy.proof_ms);
            programs.push(Program {
                path: path.clone(),
                arguments: chancery_prove::arguments(limit).map(Into::into).into(),
                environment: chancery_prove::environment().collect(),
            });
        }
        let launcher = Arc::new(Launcher::start(me, &programs)?);
        let solver: Option<Arc<dyn StartSolver>> = match &config.policy.solver {
            // Opened before the walls, within which it is not there.
            Some(_) => Some(Arc::new(Solvers {
                launcher: Arc::clone(&launcher),
                silence: OpenOptions::new().write(true).open("/dev/null")?,
            })),
            None => None,
        };
        Ok(Self { worker: Arc::new(Workers(launcher)), solver })
    }
}

/// The process that [`Programs::launched`] starts; `chanceryd launcher` is nothing else.
#[must_use]
pub fn launcher() -> ExitCode {
    if close_inherited().is_err() {
        return ExitCode::FAILURE;
    }
    chancery_sandbox::launcher_main()
}

struct Workers(Arc<Launcher>);

impl Launch for Workers {
    fn launch(&self, _: &config::Hsm) -> io::Result<(UnixStream, Box<dyn Body>)> {
        worker_in(|input, talker| {
            let started = self.0.launch(HSM_WORKER, [input.as_fd(), talker.as_fd(), talker.as_fd()])?;
            Ok(Box::new(Leashed::new(started)?))
        })
    }
}

#[derive(Debug)]
struct Solvers {
    launcher: Arc<Launcher>,
    /// Takes what a solver says beside its answers.
    silence: File,
}

impl StartSolver for Solvers {
    fn start(&self) -> io::Result<Process> {
        let ((input, writer), (reader, output)) = (io::pipe()?, io::pipe()?);
        let streams = [input.as_fd(), output.as_fd(), self.silence.as_fd()];
        let started = self.launcher.launch(SOLVER, streams)?;
        let (writer, reader) = (OwnedFd::from(writer), OwnedFd::from(reader));
        let (writer, reader) = (pipe::Sender::from_owned_fd(writer)?, pipe::Receiver::from_owned_fd(reader)?);
        Ok(Process::new(writer, reader, started))
    }
}

/// A program that the launcher holds for this process.
struct Leashed {
    pid: Option<u32>,
    leash: UnixStream,
}

impl Leashed {
    fn new(Launched { pid, leash }: Launched) -> io::Result<Self> {
        leash.set_nonblocking(true)?;
        Ok(Self { pid: Some(pid), leash: UnixStream::from_std(leash)? })
    }
}

impl Body for Leashed {
    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn kill(&mut self) {
        // It may be gone already, which is as good.
        let _ = rustix::net::shutdown(&self.leash, rustix::net::Shutdown::Write);
    }

    fn ended(&mut self) -> Ending<'_> {
        Box::pin(async {
            let mut how = String::new();
            let read = self.leash.read_to_string(&mut how).await;
            self.pid = None;
            match read {
                Ok(0) => "its launcher is gone".to_owned(),
                Ok(_) => how,
                Err(error) => error.to_string(),
            }
        })
    }
}
