//! What goes wrong in one life of a process, and when: at the n-th file call of that life it ends, and at others a call
//! fails. Every failure is one that a kernel can answer.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::{Call, Death};

/// What a failing call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// `EIO`. A sync that fails so may have persisted everything, or nothing for ever.
    Input,
    /// `ENOSPC`, of a write.
    Space,
    /// A write that does less than it was asked.
    Short,
}

/// The plan of one life.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    calls: u64,
    end: Option<(u64, Death)>,
    errors: BTreeMap<u64, Error>,
    /// At an error, reads fail too.
    reads: bool,
}

/// What happens at one call.
pub(super) enum Next {
    Well,
    Part(usize),
    Fails(i32),
    /// The process ends: before the call, or having done this part of it.
    Dies {
        how: Death,
        part: Option<usize>,
    },
}

impl Plan {
    /// A life that ends at the `end`-th call from here and meets these errors on the way, by the number of the call.
    #[must_use]
    pub fn new(end: Option<(u64, Death)>, errors: BTreeMap<u64, Error>, reads: bool) -> Self {
        Self { calls: 0, end, errors, reads }
    }

    pub(super) fn how(&mut self, how: Death) {
        self.end = Some((self.calls, how));
    }

    pub(super) fn death(&self) -> Death {
        self.end.map_or(Death::Killed, |(_, how)| how)
    }

    pub(super) fn next(&mut self, call: Call, dice: &mut Dice) -> Next {
        if call == Call::Read {
            let failing = self.reads && self.errors.contains_key(&self.calls);
            return if failing { Next::Fails(libc::EIO) } else { Next::Well };
        }
        self.calls += 1;
        if let Some((at, how)) = self.end
            && self.calls >= at
        {
            let part = match call {
                Call::Write { bytes, .. } => usize::try_from(dice.below(bytes as u64 + 1)).unwrap_or(bytes),
                _ => usize::MAX,
            };
            return Next::Dies { how, part: dice.percent(50).then_some(part).filter(|part| *part > 0) };
        }
        match (self.errors.get(&self.calls), call) {
            (None, _) => Next::Well,
            (Some(Error::Space), Call::Write { .. }) => Next::Fails(libc::ENOSPC),
            (Some(Error::Short), Call::Write { bytes, .. }) if bytes > 1 => {
                Next::Part(usize::try_from(1 + dice.below(bytes as u64 - 1)).unwrap_or(1))
            }
            (Some(Error::Input), _) => Next::Fails(libc::EIO),
            (Some(_), _) => Next::Well,
        }
    }
}
