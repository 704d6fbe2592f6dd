//! Child processes. What a child prints goes to stderr, unless it is asked for: stdout belongs to the task.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Stop;

/// One command line, ready to run.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
}

impl Cmd {
    /// A program by path, or by name when it is to be searched in `PATH`.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self { program: program.as_ref().into(), args: Vec::new(), dir: None, env: Vec::new() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// The same as the last arguments of another, such as a tracer.
    #[must_use]
    pub fn under(self, other: Self) -> Self {
        let Self { program, args, dir, env } = self;
        Self { dir, env, ..other.arg(program).args(args) }
    }

    /// Runs there.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// As a shell would be told.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for arg in &self.args {
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        text
    }

    /// The standard library's form, for callers that keep the child.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    /// Runs to a good end; its stdout joins our stderr.
    ///
    /// # Errors
    /// [`Stop::Start`] or [`Stop::Failed`].
    pub fn run(&self) -> Result<(), Stop> {
        let status =
            self.command().stdout(std::io::stderr()).status().map_err(|source| self.unstarted(source))?;
        if status.success() { Ok(()) } else { Err(Stop::Failed { command: self.text(), status }) }
    }

    /// Runs to a good end in silence; what it said is told when it fails.
    ///
    /// # Errors
    /// [`Stop::Start`], or [`Stop::Said`] with its stderr.
    pub fn quiet(&self) -> Result<(), Stop> {
        self.asked().map(drop)
    }

    /// Runs to a good end in silence and answers what it printed on stdout.
    ///
    /// # Errors
    /// [`Stop::Start`], or [`Stop::Said`] with its stderr.
    pub fn asked(&self) -> Result<String, Stop> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|source| self.unstarted(source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Stop::Said {
            command: self.text(),
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs to any end in silence and answers how it ended.
    ///
    /// # Errors
    /// [`Stop::Start`].
    pub fn ended(&self) -> Result<Ended, Stop> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|source| self.unstarted(source))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Runs to a good end and answers what it printed on stdout; its stderr stays visible.
    ///
    /// # Errors
    /// [`Stop::Start`] or [`Stop::Failed`].
    pub fn output(&self) -> Result<String, Stop> {
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|source| self.unstarted(source))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(Stop::Failed { command: self.text(), status: output.status })
        }
    }

    /// True when it runs and succeeds; silent.
    #[must_use]
    pub fn succeeds(&self) -> bool {
        self.command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// A [`Stop::Start`] for this command.
    pub fn unstarted(&self, source: std::io::Error) -> Stop {
        Stop::Start { command: self.text(), source }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

/// Where a program of this name is in `PATH`.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
