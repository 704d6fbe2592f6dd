//! What an onlooker sees who hears everything: nonces, epochs, names and signatures. It helps nobody.

use std::collections::BTreeMap;

use chancery_mpc::{Envelope, Fault, PartyId, SessionId};

use super::node::Errand;

/// A signature that came out.
pub struct Released {
    pub message: [u8; 32],
    pub signature: Vec<u8>,
}

/// All that was seen.
#[derive(Default)]
pub struct Watch {
    pub now: u64,
    pub lines: Vec<String>,
    pub broken: Vec<String>,
    pub released: Vec<Released>,
    /// By party and session: the epoch and the life in which it began to sign.
    signing: BTreeMap<(PartyId, SessionId), ([u8; 32], u64)>,
    epochs: BTreeMap<SessionId, [u8; 32]>,
    /// Whose commitments to nonces these were, and where.
    nonces: BTreeMap<Vec<u8>, (PartyId, SessionId)>,
    pub changed: u64,
}

impl Watch {
    pub fn note(&mut self, what: impl AsRef<str>) {
        self.lines.push(format!("{:>7} {}", self.now, what.as_ref()));
    }

    pub fn breaks(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    /// A party begins to sign.
    pub fn begins(&mut self, me: PartyId, id: SessionId, epoch: [u8; 32], message: [u8; 32], life: u64) {
        self.note(format!("party {me} begins to sign message {}", message[0]));
        if self.signing.insert((me, id), (epoch, life)).is_some() {
            self.breaks(format!("party {me} begins a session twice"));
        }
        if *self.epochs.entry(id).or_insert(epoch) != epoch {
            self.breaks(format!("party {me} signs in another epoch than the others of its session"));
        }
    }

    /// A party sends a message of a session.
    pub fn sends(&mut self, me: PartyId, id: SessionId, envelope: &Envelope, life: u64) {
        let Some((_, begun)) = self.signing.get(&(me, id)) else { return };
        if *begun != life {
            self.breaks(format!("party {me} goes on with a session after a restart"));
        }
        if envelope.step != 1 || envelope.to_all.is_empty() {
            return;
        }
        let first = *self.nonces.entry(envelope.to_all.clone()).or_insert((me, id));
        if first != (me, id) {
            self.breaks(format!("a nonce of party {} is used twice", first.0));
        }
    }

    /// A session ended with a fault at this party. All are honest here.
    pub fn fault(&mut self, me: PartyId, fault: &Fault) {
        self.note(format!("party {me}: {fault}"));
        if !fault.culprits.is_empty() {
            self.breaks(format!("party {me} names an honest one: {fault}"));
        }
    }

    /// A signature came out.
    pub fn released(&mut self, errand: &Errand, signature: &[u8]) {
        self.note(format!("message {} is signed in epoch {}", errand.message[0], errand.epoch.change.number));
        self.released.push(Released { message: errand.message, signature: signature.to_vec() });
    }
}
