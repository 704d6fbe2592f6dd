//! The solver's program: `cvc5`, or what speaks like it. It reads SMT-LIB on its standard input and gets nothing else: no
//! arguments that a bundle could choose, no environment, no files. It is trusted to say `unsat` only of what is.

use chancery_core::causes;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cedar_policy_symcc::solver::LocalSolver;
use tokio::process::Command;

use crate::ProveError;

/// The environment variable that names the solver.
pub const VARIABLE: &str = "CVC5";

/// Where the solver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solver {
    path: PathBuf,
}

impl Solver {
    /// A solver at a path.
    ///
    /// # Errors
    /// [`ProveError::Solver`] when no file is there.
    pub fn at(path: &Path) -> Result<Self, ProveError> {
        if path.is_file() {
            Ok(Self { path: path.to_owned() })
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
        found.map(|path| Self { path }).ok_or(ProveError::NoSolver)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A process of it that ends itself when one answer takes longer than `limit`.
    pub(crate) fn start(&self, limit: Duration) -> Result<LocalSolver, ProveError> {
        let mut command = Command::new(&self.path);
        command.args(["--lang", "smt"]).arg(format!("--tlimit-per={}", limit.as_millis()));
        // What a script needs to find its interpreter and an interpreter its modules; nothing of ours.
        command.env_clear();
        for name in ["PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH"].map(OsStr::new) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.kill_on_drop(true);
        LocalSolver::from_command(&mut command)
            .map_err(|error| ProveError::Solver { path: self.path.clone(), what: causes(&error) })
    }
}
