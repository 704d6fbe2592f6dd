//! Certificates in the log: each that is taken back was issued before, under this number and for this name, and is taken back once.
//! If this is wrong, a log passes in which somebody was let in whom it does not name.

use std::collections::BTreeSet;

use chancery_core::{Serial, Subject, Tenant};
use serde::{Deserialize, Serialize};

use crate::certificate::{ClientAdded, ClientRevoked};
use crate::digest::Digest;

/// LIMIT: certificates that were issued and not taken back.
const ISSUED: usize = 1 << 20;

/// What one entry says of certificates, each by a digest over all that names it.
#[derive(Debug)]
pub(super) enum Papers {
    Issued(Digest),
    TakenBack(Vec<Digest>),
}

impl From<&ClientAdded> for Papers {
    fn from(entry: &ClientAdded) -> Self {
        let added = &entry.added;
        Self::Issued(named(&entry.tenant, &added.serial, &added.subject, &added.certificate))
    }
}

impl From<&ClientRevoked> for Papers {
    fn from(entry: &ClientRevoked) -> Self {
        let revoked = entry.revoked.iter();
        Self::TakenBack(
            revoked.map(|one| named(&entry.tenant, &one.serial, &one.subject, &one.certificate)).collect(),
        )
    }
}

fn named(tenant: &Tenant, serial: &Serial, subject: &Subject, certificate: &Digest) -> Digest {
    Digest::of(format!("{tenant}\n{serial}\n{subject}\n{certificate}").as_bytes())
}

/// Those that were issued and not taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Issued(BTreeSet<Digest>);

impl Issued {
    /// An entry: whether it may stand here.
    pub(super) fn take(&mut self, papers: &Papers) -> Result<(), &'static str> {
        match papers {
            Papers::Issued(_) if self.0.len() >= ISSUED => {
                Err("more certificates hold than an appliance has")
            }
            Papers::Issued(one) if !self.0.insert(*one) => Err("that certificate was issued before"),
            Papers::Issued(_) => Ok(()),
            Papers::TakenBack(all) => {
                let known = all.iter().all(|one| self.0.remove(one));
                known
                    .then_some(())
                    .ok_or("the log does not say that it was issued, or it was taken back before")
            }
        }
    }
}
