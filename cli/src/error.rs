//! Why a command did not do what was asked: each error has one exit code, one stable text code for `--json`, and
//! where there is one a hint at the next step. Never holds a secret: keys and PINs are read and written, not shown.

use chancery_core::causes;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::problem::Problem;
use crate::{Exit, output};

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong in a way that clap cannot see.
    #[error("{detail}")]
    Usage {
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] chancery_core::IdError),
    /// A check failed; its findings are on standard output already.
    #[error("{0}")]
    Failed(String),
    /// The server answered with a problem document (RFC 9457).
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// No connection, or it broke.
    #[error("no answer from `{url}`")]
    Unreachable {
        /// The server.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server ended TLS: the certificate is none that it admits.
    #[error(
        "`{url}` does not admit this client: its certificate was revoked, has ended or is of another authority (TLS alert: {alert:?})"
    )]
    NotAdmitted {
        /// The server.
        url: String,
        /// What it said.
        alert: rustls::AlertDescription,
    },
    /// No answer in time.
    #[error("no answer from `{url}` within {} ms", limit.as_millis())]
    Timeout {
        /// The server.
        url: String,
        /// `--timeout`.
        limit: Duration,
    },
    /// The server answered something that this program does not understand or believe.
    #[error("the answer to {call} {what}")]
    Answer {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        what: String,
    },
    /// The client cannot be set up for TLS.
    #[error("cannot set up TLS from `{}`", path.display())]
    Tls {
        /// The client directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No client can be set up for a web server.
    #[error("cannot set up a web client")]
    Web(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can be read, but is not what it should be.
    #[error("`{}` {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A secret could not be read from where it is handed over.
    #[error("no {what}: {why}")]
    Unread {
        /// The secret's kind, such as `password`.
        what: String,
        /// Why.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[from] rcgen::Error),
    /// The system's source of random bytes failed.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// Another program that does a part of the work failed.
    #[error("`{program}` {what}")]
    Program {
        /// The program.
        program: String,
        /// How it failed.
        what: String,
        /// How to run that step again.
        hint: String,
    },
    /// A ceremony does not go on.
    #[error(transparent)]
    Ceremony(#[from] chancery_ceremony::CeremonyError),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Error {
    /// A closure for `map_err` on the I/O of one file.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// A web client that cannot be set up.
    pub fn web(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Web(source.into())
    }

    /// A file whose content is wrong.
    pub fn content(path: &Path, what: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), what: what.into() }
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Name(_) => Exit::Usage,
            Self::Failed(_) | Self::Ceremony(_) => Exit::Failed,
            Self::Problem(problem) => problem.exit(),
            Self::NotAdmitted { .. } => Exit::Refused,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Answer { .. } => Exit::Unavailable,
            Self::Tls { .. }
            | Self::Web(_)
            | Self::File { .. }
            | Self::Content { .. }
            | Self::Unread { .. }
            | Self::Certificate(_)
            | Self::Random(_)
            | Self::Program { .. }
            | Self::Output(_) => Exit::Local,
        }
    }

    /// The stable text code: the server's own, or one of this program's.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Usage { .. } | Self::Name(_) => "usage",
            Self::Failed(_) => "check-failed",
            Self::Ceremony(error) => error.code(),
            Self::Problem(problem) => &problem.code,
            Self::NotAdmitted { .. } => "not-admitted",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Answer { .. } => "unexpected-answer",
            Self::Tls { .. } | Self::Content { .. } | Self::Unread { .. } => "local-content",
            Self::Program { .. } => "program-failed",
            Self::Web(_) | Self::File { .. } | Self::Certificate(_) | Self::Random(_) | Self::Output(_) => {
                "local-io"
            }
        }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        causes(self)
    }

    /// What belongs to the error and has its own line: rules that denied, obligations that are missing, ids.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let Self::Problem(problem) = self else { return Vec::new() };
        let mut notes = vec![format!("code: {}", problem.code)];
        if let Some(id) = &problem.request_id {
            notes.push(format!("request: {id}"));
        }
        notes.extend(problem.rest.iter().flat_map(|(name, value)| member(name, value)));
        notes
    }

    /// What to do next, where this program knows it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => Some((*hint).to_owned()),
            Self::Program { hint, .. } => Some(hint.clone()),
            Self::Unreachable { .. } => {
                Some("is `chanceryd` running, is `--url` its address, is the certificate good?".to_owned())
            }
            Self::NotAdmitted { .. } => Some(
                "`chancery client show` prints what the certificate says and how long it lasts".to_owned(),
            ),
            Self::Problem(problem) => problem.hint().map(str::to_owned),
            Self::File { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing was overwritten: choose another place, or remove it first".to_owned())
            }
            _ => None,
        }
    }

    /// The object that `--json` prints as `error`.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = Map::new();
        if let Self::Problem(problem) = self {
            document.extend(problem.rest.clone());
            document.insert("status".to_owned(), json!(problem.status));
            if let Some(id) = &problem.request_id {
                document.insert("request_id".to_owned(), json!(id));
            }
        }
        document.insert("code".to_owned(), json!(self.code()));
        document.insert("detail".to_owned(), json!(self.chain()));
        document.insert("exit".to_owned(), json!(self.exit().code()));
        if let Some(hint) = self.hint() {
            document.insert("hint".to_owned(), json!(hint));
        }
        Value::Object(document)
    }
}

/// A member of a problem: names on one line; sentences, such as the findings in a bundle, as they are.
fn member(name: &str, value: &Value) -> Vec<String> {
    let texts =
        value.as_array().and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match texts.filter(|texts| texts.iter().any(|text| text.contains(' '))) {
        None => vec![format!("{name}: {}", output::one_line(value))],
        Some(texts) => {
            let lines = texts.into_iter().flat_map(str::lines).map(|line| format!("  {line}"));
            std::iter::once(format!("{name}:")).chain(lines).collect()
        }
    }
}
