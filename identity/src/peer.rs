//! The evidence: who is at the other end of a connection, after the chain was verified.
//! Fields are private and there is no constructor: only `Authority::authenticate` makes these.

use std::fmt;
use std::sync::Arc;

use chancery_core::{ClientId, Role, Tenant};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificate that a peer showed: DER, and what names it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    pub(crate) der: Arc<[u8]>,
    pub(crate) fingerprint: Fingerprint,
}

impl Shown {
    pub(crate) fn new(der: &[u8]) -> Self {
        Self { der: der.into(), fingerprint: Fingerprint::of(der) }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint, f)
    }
}

macro_rules! evidence {
    ($($(#[$doc:meta])+ $name:ident;)+) => {
        $(
            $(#[$doc])+
            #[derive(Clone, Debug, PartialEq, Eq, Hash)]
            pub struct $name {
                tenant: Tenant,
                id: ClientId,
                shown: Shown,
            }

            impl $name {
                /// The tenant it belongs to.
                #[must_use]
                pub fn tenant(&self) -> &Tenant {
                    &self.tenant
                }

                /// The last segment of the certificate's name.
                #[must_use]
                pub fn id(&self) -> &ClientId {
                    &self.id
                }

                /// The certificate it showed.
                #[must_use]
                pub fn fingerprint(&self) -> &Fingerprint {
                    &self.shown.fingerprint
                }

                /// The same in DER.
                #[must_use]
                pub fn certificate(&self) -> &[u8] {
                    &self.shown.der
                }
            }
        )+

        /// Whoever is at the other end of a connection. Displays as `<tenant>/<role>/<name>`.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Peer {
            $($(#[$doc])+ $name($name),)+
        }

        impl Peer {
            pub(crate) fn admit(role: Role, tenant: Tenant, id: ClientId, shown: Shown) -> Self {
                match role {
                    $(Role::$name => Self::$name($name { tenant, id, shown }),)+
                }
            }

            /// Its role.
            #[must_use]
            pub fn role(&self) -> Role {
                match self { $(Self::$name(_) => Role::$name,)+ }
            }

            /// The tenant it belongs to.
            #[must_use]
            pub fn tenant(&self) -> &Tenant {
                match self { $(Self::$name(peer) => peer.tenant(),)+ }
            }

            /// The last segment of the certificate's name.
            #[must_use]
            pub fn id(&self) -> &ClientId {
                match self { $(Self::$name(peer) => peer.id(),)+ }
            }

            /// The certificate it showed.
            #[must_use]
            pub fn fingerprint(&self) -> &Fingerprint {
                match self { $(Self::$name(peer) => peer.fingerprint(),)+ }
            }
        }
    };
}

evidence! {
    /// A program that may ask for signatures.
    Client;
    /// Someone who may read decisions and receipts, and nothing else.
    Auditor;
    /// Someone who may make wallets and apply policy bundles.
    Operator;
    /// Somebody whom the policy bundle may name: to approve and to veto, never to ask.
    Officer;
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant(), self.role(), self.id())
    }
}
