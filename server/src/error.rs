//! Why the door does not open, or does not take new certificates. Everything here concerns an operator; what goes wrong
//! with one connection or one request is a `Problem` or a line in the log.

use std::path::PathBuf;

use chancery_core::Code;

/// A door that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A PEM file holds none of what it should, or a part of it.
    #[error("`{path}` does not hold {what} in PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why not.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A file of the door cannot be read.
    #[error("`{path}` cannot be read")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner may read the private key.
    #[error("`{path}` is open to others (mode {mode:04o}): production wants 0600 or 0400")]
    KeyOpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The authorities that issue client certificates cannot be used.
    #[error("the client authorities of `{path}` cannot be used")]
    ClientAuthorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: chancery_identity::IdentityError,
    },
    /// The appliance's own authority cannot be used.
    #[error("the appliance's own authority cannot be used")]
    OwnAuthority(#[source] chancery_identity::IdentityError),
    /// No authority is configured, and the appliance has none of its own that can sign.
    #[error(
        "nobody could come in: `tls.client_ca` is left out, and the appliance's own authority never issued a certificate or \
         cannot sign; name an authority outside there until `chancery client add` has let somebody in"
    )]
    NobodyKnown,
    /// The server's certificate has ended, or not begun.
    #[error("the server's certificate in `{path}` is expired or not yet valid")]
    CertificateOutOfTime {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or TLS cannot be set up with them.
    #[error("tls cannot be set up with the key of `{key}`")]
    Tls {
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing can be judged by its dates.
    #[error("certificates cannot be judged now")]
    Clock(#[source] chancery_core::ClockError),
    /// The address cannot be listened on.
    #[error("`{address}` cannot be listened on")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The log filter does not parse, or logging was started before.
    #[error("logging cannot be started")]
    Logging(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The process may not open more files.
    #[error("the limit of open files cannot be raised")]
    OpenFiles(#[source] std::io::Error),
}

impl ServerError {
    /// What the wire would say; nobody is at the door yet.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::Internal
    }
}
