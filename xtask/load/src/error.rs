//! Why a measurement could not be made. A broken promise is not an error but a row.

use std::io;
use std::path::PathBuf;

/// The end of a measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What drives the appliance failed.
    #[error(transparent)]
    Drive(#[from] xtask::Stop),
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A client directory is not what it should be.
    #[error("the client directory `{}`: {what}", path.display())]
    Client {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The connection broke.
    #[error("{call}: {source}")]
    Connection {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The appliance answered what was not expected.
    #[error("{call}: status {status}: {body}")]
    Answer {
        /// Method and path.
        call: String,
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The kernel's accounts of a process could not be read.
    #[error("process {pid}: {what}")]
    Process {
        /// The process.
        pid: u32,
        /// What is wrong.
        what: String,
    },
    /// A tracer did not do its work.
    #[error("strace: {0}")]
    Tracer(String),
    /// An address or number that is none.
    #[error("`{0}` is not what this option takes")]
    Option(String),
    /// A Bitcoin transaction is not what it should be.
    #[error("not a payment that the network takes: {0}")]
    Payment(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
