//! Everything that can go wrong with the store, and the wire code of each.

use std::path::PathBuf;
use std::sync::Arc;

use chancery_core::{Code, IdError};

/// Why the store refused or failed. No variant carries a stored value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The writer's queue is full; the job did not run.
    #[error("the store's queue is full")]
    Overloaded,
    /// The store is closing or closed; the job did not run, or its answer was lost with the process that ran it.
    #[error("the store is closed")]
    Closed,
    /// The batch was rolled back: nothing of the job is kept.
    #[error("the store cannot record")]
    Unavailable {
        /// What SQLite said, shared by the jobs of the batch.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A statement failed; the job's part of the batch is undone unless the job returns `Ok`.
    #[error("a statement of the store failed")]
    Statement {
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The job panicked and was undone.
    #[error("a job of the store panicked")]
    JobPanicked,
    /// The idempotency key names a request already.
    #[error("the idempotency key names another request")]
    KeyTaken,
    /// A row with this identity exists.
    #[error("the {kind} exists already")]
    AlreadyExists {
        /// `request`, `wallet`, `wrapped secret`, ...
        kind: &'static str,
    },
    /// No row with this identity.
    #[error("no such {kind}")]
    Unknown {
        /// `request`, `bundle`, ...
        kind: &'static str,
    },
    /// A rule of the schema forbids the change.
    #[error("the store refuses this: {rule}")]
    Refused {
        /// The rule in words, or SQLite's name of the constraint.
        rule: String,
    },
    /// A number or length outside what the store holds.
    #[error("`{what}` is out of range")]
    OutOfRange {
        /// The argument's name.
        what: &'static str,
    },
    /// A stored value does not parse.
    #[error("a stored `{what}` does not parse")]
    Corrupt {
        /// The column's name.
        what: &'static str,
    },
    /// A file of the store cannot be made, opened, locked or synced.
    #[error("cannot use `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process, or another `Store` of this one, has the directory.
    #[error("`{path}` is in use by another process")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds another program's database.
    #[error("`{path}` is not a store of this appliance")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer release wrote this store.
    #[error("the store has format {found}; this release knows formats up to {known}")]
    FormatNewer {
        /// The version found.
        found: i64,
        /// The newest version this release reads.
        known: i64,
    },
    /// The file system cannot give what durability needs.
    #[error("the store's file system does not allow `{setting}`")]
    NotDurable {
        /// The setting SQLite did not take.
        setting: &'static str,
    },
    /// The check at start, or a statement, found damage.
    #[error("the store is damaged: {finding}")]
    Damaged {
        /// The first finding.
        finding: String,
    },
}

impl StoreError {
    /// The stable code on the wire.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Overloaded => Code::Overloaded,
            Self::Closed => Code::ShuttingDown,
            Self::KeyTaken => Code::IdempotencyConflict,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Unknown { .. } => Code::NotFound,
            Self::JobPanicked | Self::Refused { .. } | Self::OutOfRange { .. } => Code::Internal,
            Self::Unavailable { .. }
            | Self::Statement { .. }
            | Self::Corrupt { .. }
            | Self::File { .. }
            | Self::InUse { .. }
            | Self::Foreign { .. }
            | Self::FormatNewer { .. }
            | Self::NotDurable { .. }
            | Self::Damaged { .. } => Code::StoreUnavailable,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(what: &'static str) -> impl FnOnce(IdError) -> Self {
        move |_| Self::Corrupt { what }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::SqliteFailure(code, Some(text)) = &error {
            match code.code {
                rusqlite::ErrorCode::ConstraintViolation => return constraint(text),
                rusqlite::ErrorCode::DatabaseCorrupt => return Self::Damaged { finding: text.clone() },
                _ => {}
            }
        }
        Self::Statement { source: Arc::new(error) }
    }
}

/// SQLite names the violated constraint by its columns (`UNIQUE constraint failed: request.id`) and gives the text
/// of a `RAISE` as it is; both texts are part of its stable interface.
fn constraint(text: &str) -> StoreError {
    let Some(columns) = text.strip_prefix("UNIQUE constraint failed: ") else {
        return StoreError::Refused { rule: text.to_owned() };
    };
    match columns {
        "request.tenant, request.client, request.idempotency_key" => StoreError::KeyTaken,
        "request.id" => StoreError::AlreadyExists { kind: "request" },
        "reservation.request, reservation.counter" => StoreError::AlreadyExists { kind: "reservation" },
        "wallet.tenant, wallet.id" => StoreError::AlreadyExists { kind: "wallet" },
        "authority.tenant" => StoreError::AlreadyExists { kind: "authority" },
        "certificate.tenant, certificate.serial" | "certificate.tenant, certificate.key" => {
            StoreError::AlreadyExists { kind: "certificate" }
        }
        "share.session" => StoreError::AlreadyExists { kind: "share" },
        "spoken.session" => StoreError::AlreadyExists { kind: "session" },
        "wrapped.name" => StoreError::AlreadyExists { kind: "wrapped secret" },
        _ => StoreError::Refused { rule: text.to_owned() },
    }
}
