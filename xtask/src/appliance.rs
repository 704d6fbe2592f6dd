//! A whole appliance in one folder, driven from outside as an operator would: `chancery init`, `chanceryd`, client
//! certificates. Demonstration, load generator and kill matrix all start here. Development tokens only.

use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::run::Cmd;
use crate::{Stop, http};

const READY: Duration = Duration::from_secs(30);
const STOPPED: Duration = Duration::from_secs(15);
const LOG: &str = "chanceryd.log";
const ORIGIN: &str = "localhost/chancery";
const OFFICER: &str = "officer.key";

/// The two built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The command line.
    pub chancery: PathBuf,
    /// The daemon.
    pub chanceryd: PathBuf,
}

impl Programs {
    /// Both, in one folder of built binaries.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { chancery: folder.join("chancery"), chanceryd: folder.join("chanceryd") }
    }

    /// Both, beside the running program.
    ///
    /// # Errors
    /// [`Stop::File`] when this program does not know where it is.
    pub fn beside_this() -> Result<Self, Stop> {
        let this = std::env::current_exe().map_err(Stop::file("this program"))?;
        Ok(Self::in_folder(this.parent().unwrap_or(Path::new("."))))
    }
}

/// What may be asked by one client, in requests, and of one wallet, in sign requests.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// A second, for ever.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// One appliance: its folder, and its daemon while that runs. Dropping it ends the daemon.
#[derive(Debug)]
pub struct Appliance {
    /// Its folder, as `chancery init` made it.
    pub dir: PathBuf,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where health and metrics listen.
    pub ops: SocketAddr,
    programs: Programs,
    origin: &'static str,
    daemon: Option<Child>,
}

impl Appliance {
    /// Makes the folder with a SoftHSM2 token, an authority and certificates, on two free ports, and the key of an officer
    /// without whose signature no policy comes into force.
    ///
    /// # Errors
    /// [`Stop`] when `chancery init` fails.
    pub fn init(programs: &Programs, dir: &Path) -> Result<Self, Stop> {
        let [api, ops] = free_addresses()?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Stop::file(dir))?;
        let key = Cmd::new(&programs.chancery)
            .args(["policy", "keygen", "officer", "--out"])
            .arg(dir.join(OFFICER))
            .asked()?;
        Cmd::new(&programs.chancery)
            .args(["init", "--softhsm", "--listen", &api.to_string(), "--ops", &ops.to_string()])
            .args(["--origin", ORIGIN, "--policy-key", key.trim(), "--dir"])
            .arg(dir)
            .quiet()?;
        Ok(Self { dir: dir.into(), api, ops, programs: programs.clone(), origin: ORIGIN, daemon: None })
    }

    /// Signs a bundle as its officer would, and puts it in force as the operator.
    ///
    /// # Errors
    /// [`Stop`] with what `chancery` said.
    pub fn apply(&self, bundle: &Path) -> Result<(), Stop> {
        let name = bundle.file_name().unwrap_or_default().to_string_lossy();
        let note = self.dir.join(format!("{name}.note"));
        // The signature of the bundle before it is of no use.
        match fs::remove_file(&note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Stop::file(&note)(error));
            }
            _ => {}
        }
        Cmd::new(&self.programs.chancery)
            .args(["policy", "sign", "--origin", self.origin, "--key"])
            .arg(self.dir.join(OFFICER))
            .arg("--out")
            .arg(&note)
            .arg(bundle)
            .quiet()?;
        self.chancery(Some("operator"))
            .args(["policy", "apply"])
            .arg(bundle)
            .arg("--signature")
            .arg(&note)
            .quiet()
    }

    /// Sets what may be asked by each client and of each wallet; takes effect at the next start.
    ///
    /// # Errors
    /// [`Stop`] when the configuration is not as `chancery init` writes it.
    pub fn rate(&self, rate: Rate) -> Result<(), Stop> {
        self.set("per_second = ", &rate.per_second.to_string())?;
        self.set("burst = ", &rate.burst.to_string())
    }

    /// Sets every key of the configuration whose line begins with `key`; takes effect at the next start.
    ///
    /// # Errors
    /// [`Stop`] when the configuration is not as `chancery init` writes it.
    pub fn set(&self, key: &str, value: &str) -> Result<(), Stop> {
        let text = fs::read_to_string(self.config()).map_err(Stop::file(self.config()))?;
        let line = text.lines().find(|line| line.starts_with(key));
        let line = line.ok_or_else(|| Stop::answer("chancery.toml lacks a key", key))?;
        let changed = text.replace(line, &format!("{key}{value}"));
        fs::write(self.config(), changed).map_err(Stop::file(self.config()))
    }

    /// Gives the log another name; takes effect at the next start.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn rename(&mut self, origin: &'static str) -> Result<(), Stop> {
        self.origin = origin;
        self.set("origin = ", &format!("\"{origin}\""))
    }

    /// Sets the solver that proves policies; takes effect at the next start.
    ///
    /// # Errors
    /// [`Stop`] when the configuration is not as `chancery init` writes it.
    pub fn prove_with(&self, solver: &Path) -> Result<(), Stop> {
        let text = fs::read_to_string(self.config()).map_err(Stop::file(self.config()))?;
        let line = text.lines().find(|line| line.trim_start_matches("# ").starts_with("solver = "));
        let line = line.ok_or_else(|| Stop::answer("chancery.toml has no solver", &text))?;
        let changed = text.replace(line, &format!("solver = {:?}", solver.to_string_lossy()));
        fs::write(self.config(), changed).map_err(Stop::file(self.config()))
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// [`Stop::Unmet`] with the end of its log when it does not become ready.
    pub fn start(&mut self) -> Result<(), Stop> {
        let log =
            File::options().create(true).append(true).open(self.log()).map_err(Stop::file(self.log()))?;
        let errors = log.try_clone().map_err(Stop::file(self.log()))?;
        let command = Cmd::new(&self.programs.chanceryd).args(["serve", "--config"]).arg(self.config());
        let child = command
            .command()
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| command.unstarted(source))?;
        self.daemon = Some(child);
        let started = Instant::now();
        while !self.is_ready() {
            if !self.is_running() {
                return Err(Stop::Unmet(format!("chanceryd ended at its start\n{}", self.log_tail(20))));
            }
            if started.elapsed() > READY {
                return Err(Stop::Unmet(format!(
                    "chanceryd is not ready after {READY:?}\n{}",
                    self.log_tail(20)
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether it says that it can sign.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http::call(self.ops, "GET", "/health/ready", None).is_ok_and(|answer| answer.status == 200)
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Asks the daemon to end (SIGTERM), and ends it when it takes too long.
    ///
    /// # Errors
    /// [`Stop::Unmet`] when it had to be ended or ended badly.
    pub fn stop(&mut self) -> Result<(), Stop> {
        let Some(mut child) = self.daemon.take() else { return Ok(()) };
        Cmd::new("kill").args(["-TERM", &child.id().to_string()]).run()?;
        let asked = Instant::now();
        while asked.elapsed() < STOPPED {
            match child.try_wait().map_err(Stop::file("chanceryd"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Stop::Unmet(format!("chanceryd ended with {status}\n{}", self.log_tail(20))));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Stop::Unmet(format!("chanceryd did not end within {STOPPED:?}\n{}", self.log_tail(20))))
    }

    /// Ends the daemon at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets the daemon run on after this program; answers its process id.
    pub fn leave_running(mut self) -> Option<u32> {
        self.daemon.take().map(|child| child.id())
    }

    /// `chancery`, as a client of this appliance; without one for commands that need no server.
    #[must_use]
    pub fn chancery(&self, client: Option<&str>) -> Cmd {
        let command = Cmd::new(&self.programs.chancery);
        match client {
            Some(name) => command.arg("--client").arg(self.client(name)),
            None => command,
        }
    }

    /// The directory of one client.
    #[must_use]
    pub fn client(&self, name: &str) -> PathBuf {
        self.dir.join("clients").join(name)
    }

    /// Issues a client certificate; `role` is `client`, `auditor` or `operator`.
    ///
    /// # Errors
    /// [`Stop`] when `chancery client issue` fails.
    pub fn issue(&self, name: &str, role: &str) -> Result<(), Stop> {
        self.chancery(None).args(["client", "issue", name, "--role", role, "--dir"]).arg(&self.dir).quiet()
    }

    /// The configuration's path.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("chancery.toml")
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// The last lines of the daemon's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two ports that were free a moment ago.
fn free_addresses() -> Result<[SocketAddr; 2], Stop> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Stop::file("a free port"));
    let (first, second) = (listen()?, listen()?);
    let address = |listener: &TcpListener| listener.local_addr().map_err(Stop::file("a free port"));
    Ok([address(&first)?, address(&second)?])
}
