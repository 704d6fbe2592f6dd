//! Several signatures in one session: what a transaction of several inputs needs. Each is [`Sign`]'s, with nonces of its own; a round
//! carries one message of each, and the first that goes wrong ends them all.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{Sign, Suite};
use crate::fault::{Fault, Reason};
use crate::machine::{Machine, Received, Sent, Step, out_of_order, read, write};
use crate::party::PartyId;
use crate::session::SessionId;

/// One signer's side of all of them.
pub struct SignAll<C: Suite>(Vec<Sign<C>>);

impl<C: Suite> SignAll<C> {
    /// Of these, in this order: one at least.
    ///
    /// # Errors
    /// [`Reason::Misuse`] where there is none.
    pub fn new(each: Vec<Sign<C>>) -> Result<Self, Fault> {
        if each.is_empty() { Err(Fault::nobodys(Reason::Misuse)) } else { Ok(Self(each)) }
    }

    /// What one message of a round holds: one part for each signature.
    fn parts(&self, from: PartyId, received: &Received) -> Result<Vec<Vec<u8>>, Fault> {
        let parts: Vec<Vec<u8>> = read(from, &received.to_all)?;
        if parts.len() == self.0.len() { Ok(parts) } else { Err(Fault::by(Reason::Malformed, [from])) }
    }
}

fn joined(parts: Vec<Vec<u8>>) -> Result<Sent, Fault> {
    Ok(Sent { to_all: write(&parts)?, to_each: BTreeMap::new() })
}

impl<C: Suite> Machine for SignAll<C> {
    /// The signatures, 64 bytes each.
    type Output = Vec<Vec<u8>>;

    const PROTOCOL: &'static str = C::SIGN_ALL;
    const MAKES_KEYS: bool = false;
    const ECHOES: bool = true;

    fn public(signatures: &Vec<Vec<u8>>) -> Vec<u8> {
        signatures.concat()
    }

    fn begin(&mut self, session: &SessionId) -> Result<Sent, Fault> {
        let first = self.0.iter_mut().map(|one| Ok(one.begin(session)?.to_all));
        joined(first.collect::<Result<_, Fault>>()?)
    }

    fn receive(&mut self, round: &BTreeMap<PartyId, Received>) -> Result<Step<Vec<Vec<u8>>>, Fault> {
        let parts =
            round.iter().map(|(from, received)| Ok((*from, self.parts(*from, received)?.into_iter())));
        let mut parts = parts.collect::<Result<BTreeMap<_, _>, Fault>>()?;
        let (mut next, mut done) = (Vec::new(), Vec::new());
        for one in &mut self.0 {
            let heard = parts.iter_mut().map(|(from, parts)| {
                let to_all = parts.next().unwrap_or_default();
                (*from, Received { to_all, to_me: Zeroizing::default() })
            });
            match one.receive(&heard.collect())? {
                Step::Send(sent) => next.push(sent.to_all),
                Step::Done(signature) => done.push(signature),
            }
        }
        match (next.is_empty(), done.is_empty()) {
            (true, false) => Ok(Step::Done(done)),
            (false, true) => Ok(Step::Send(joined(next)?)),
            _ => Err(out_of_order()),
        }
    }
}
