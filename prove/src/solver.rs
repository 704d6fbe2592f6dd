//! The solver's program: `cvc5`, or what speaks like it. It reads SMT-LIB on its standard input and gets nothing else: no
//! arguments that a bundle could choose, no environment, no files. It is trusted to say `unsat` only of what is.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chancery_core::causes;
use tokio::process::Command;

use crate::ProveError;
use crate::process::Process;

/// The environment variable that names the solver.
pub const VARIABLE: &str = "CVC5";

/// Starts a solver's process for whoever may not start one, with [`arguments`] of a limit that was agreed.
pub trait StartSolver: Send + Sync + std::fmt::Debug {
    /// A fresh one.
    ///
    /// # Errors
    /// The system's.
    fn start(&self) -> io::Result<Process>;
}

/// What a solver is called with, so that it ends itself when one answer takes longer than `limit`.
#[must_use]
pub fn arguments(limit: Duration) -> [String; 3] {
    ["--lang".to_owned(), "smt".to_owned(), format!("--tlimit-per={}", limit.as_millis())]
}

/// What a script needs to find its interpreter and an interpreter its modules; nothing of ours.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let names = ["PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH"].map(OsString::from);
    names.into_iter().filter_map(|name| std::env::var_os(&name).map(|value| (name, value)))
}

/// Where the solver is.
#[derive(Clone, Debug)]
pub struct Solver {
    path: PathBuf,
    starts: Option<Arc<dyn StartSolver>>,
}

impl Solver {
    /// A solver at a path.
    ///
    /// # Errors
    /// [`ProveError::Solver`] when no file is there.
    pub fn at(path: &Path) -> Result<Self, ProveError> {
        if path.is_file() {
            Ok(Self { path: path.to_owned(), starts: None })
        } else {
            Err(ProveError::Solver { path: path.to_owned(), what: "is not a file".to_owned() })
        }
    }

    /// The one that `CVC5` names, or the `cvc5` in `PATH`.
    ///
    /// # Errors
    /// [`ProveError::NoSolver`], or [`ProveError::Solver`] when `CVC5` names no file.
    pub fn find() -> Result<Self, ProveError> {
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Self::at(Path::new(&path));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found =
            std::env::split_paths(&path).map(|folder| folder.join("cvc5")).find(|file| file.is_file());
        found.map(|path| Self { path, starts: None }).ok_or(ProveError::NoSolver)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, started by somebody else.
    #[must_use]
    pub fn started_by(self, starts: Arc<dyn StartSolver>) -> Self {
        Self { starts: Some(starts), ..self }
    }

    /// A fresh process of it.
    pub(crate) fn start(&self, limit: Duration) -> Result<Process, ProveError> {
        let started = match &self.starts {
            Some(starts) => starts.start(),
            None => {
                Process::of(Command::new(&self.path).args(arguments(limit)).env_clear().envs(environment()))
            }
        };
        started.map_err(|error| ProveError::Solver { path: self.path.clone(), what: causes(&error) })
    }
}
