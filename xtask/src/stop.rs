//! Why a task ends early, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;

/// The end of a task that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A command could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A command ended badly.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// A command ended badly and said why.
    #[error("`{command}` ended with {status}: {said}")]
    Said {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its stderr.
        said: String,
    },
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something is missing that only the user can install; the text names the exact command.
    #[error("{0}")]
    Missing(String),
    /// What was found is not what is promised.
    #[error("{0}")]
    Unmet(String),
    /// An answer that makes no sense to this task.
    #[error("{what}: {answer}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What came.
        answer: String,
    },
    /// The workspace could not be read.
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
}

impl Stop {
    /// For `map_err` on file operations.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// An [`Stop::Answer`].
    pub fn answer(what: &'static str, answer: impl ToString) -> Self {
        Self::Answer { what, answer: answer.to_string() }
    }

    /// 2 when the user must install something first, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
