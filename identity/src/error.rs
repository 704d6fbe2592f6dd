//! Why somebody, or a request's signature, was not recognised. The reason is for the log alone: on the wire every failure to
//! authenticate is `unauthenticated` or `request-signature-invalid`, so that nobody learns anything from trying.

use chancery_core::Code;

/// A refused certificate, or certificate authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The peer showed no certificate.
    #[error("no certificate was presented")]
    NoCertificate,
    /// The chain does not lead to an authority, or a certificate on it is expired, not yet valid, not for this use.
    #[error("the certificate chain does not verify")]
    Chain(#[source] webpki::Error),
    /// The authority that issued the certificate is itself outside its validity.
    #[error("the issuing authority is expired or not yet valid")]
    AuthorityOutOfTime,
    /// The certificate verified, but its extensions do not parse.
    #[error("the certificate's extensions do not parse")]
    Extensions(#[source] x509_parser::error::X509Error),
    /// The certificate verified, but it is not DER as a whole.
    #[error("the certificate does not parse")]
    Certificate,
    /// The certificate does not say that it is for TLS clients.
    #[error("the certificate lacks the extended key usage `clientAuth`")]
    NotForClients,
    /// The certificate must carry one subject alternative name.
    #[error("the certificate carries {count} subject alternative names instead of one")]
    Names {
        /// How many it carries.
        count: usize,
    },
    /// The one name is not `chancery://<tenant>/<role>/<name>`.
    #[error("the certificate's name breaks a rule: {rule}")]
    Name {
        /// The rule.
        rule: &'static str,
    },
    /// The authority may name clients of one tenant, and this is another's.
    #[error("the certificate is for another tenant than its authority's")]
    Tenant,
    /// A request for a certificate cannot be followed.
    #[error("the certificate request is refused: {rule}")]
    Application {
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A certificate or a list cannot be written.
    #[error("a certificate or revocation list cannot be written")]
    Unmade(#[source] rcgen::Error),
    /// A certificate authority cannot be used.
    #[error("certificate authority {index} cannot be used: {rule}")]
    Authority {
        /// Its place in the file, from 0.
        index: usize,
        /// What it must be.
        rule: &'static str,
    },
    /// A revocation list cannot be used.
    #[error("revocation list {index} cannot be used: {rule}")]
    List {
        /// Its place among all lists, from 0.
        index: usize,
        /// What it must be.
        rule: &'static str,
    },
    /// Lists are in use, and an authority has none.
    #[error("the authority `{authority}` has no revocation list")]
    NoList {
        /// Its subject.
        authority: String,
    },
    /// A revocation list's next one is overdue, or it is dated ahead.
    #[error("the revocation list of `{issuer}` has ended or has not begun")]
    ListOutOfTime {
        /// Its issuer.
        issuer: String,
    },
    /// A request's signature (RFC 9421) is missing a part, or does not hold.
    #[error("the request's signature is refused: {rule}")]
    RequestSignature {
        /// What is wrong with it.
        rule: &'static str,
    },
    /// No certificate authority was given.
    #[error("no certificate authority was given")]
    NoAuthority,
}

impl IdentityError {
    /// What the wire says: the same for every refused peer.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Application { .. } => Code::BadRequest,
            Self::Authority { .. }
            | Self::Unmade(_)
            | Self::NoAuthority
            | Self::List { .. }
            | Self::NoList { .. }
            | Self::ListOutOfTime { .. } => Code::Internal,
            Self::RequestSignature { .. } => Code::RequestSignatureInvalid,
            _ => Code::Unauthenticated,
        }
    }
}
