//! What is kept of one officer's logins: the password file, how often it was tried, and what is usual. A try counts when it
//! begins, because who has the server's answer can already see whether a password was right; only a login takes it back.
//! If this is wrong, a password can be guessed online.

use chancery_core::UnixMillis;
use serde::{Deserialize, Serialize};

use super::risk::{Known, Mark};
use crate::officer::Enrolment;
use crate::webauthn::Base64Url;

/// Tries that cost nothing.
const FREE_TRIES: u32 = 4;
/// The wait after the first one that does; it doubles with each.
const FIRST_WAIT_MS: i64 = 1_000;
/// LIMIT: the longest wait.
const LONGEST_WAIT_MS: i64 = 15 * 60 * 1_000;

/// One officer's account; also that of a name that nobody has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    tries: u32,
    not_before_ms: i64,
    /// Whether the log has it that somebody was turned away since the last try.
    turned_away: bool,
    password: Option<Password>,
    /// The newest step of a one-time code that was taken.
    totp_step: u64,
    known: Known,
}

/// What OPAQUE keeps, and the enrolment that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    file: Base64Url,
    enrolment: Base64Url,
}

/// Whether a try may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, and was counted.
    Admitted,
    /// Not before this many milliseconds have passed.
    Wait {
        /// How long.
        ms: i64,
        /// Whether it is the first that is turned away since the last try.
        first: bool,
    },
}

impl Account {
    /// Counts a try, unless it comes too early.
    pub fn admit(&mut self, now: UnixMillis) -> Admission {
        let ms = self.not_before_ms.saturating_sub(now.0);
        if ms > 0 {
            return Admission::Wait { ms, first: !std::mem::replace(&mut self.turned_away, true) };
        }
        self.tries = self.tries.saturating_add(1);
        self.turned_away = false;
        self.not_before_ms = now.0.saturating_add(wait_ms(self.tries));
        Admission::Admitted
    }

    /// Takes a new password in place of any before it. What was usual begins anew.
    pub fn enrol(&mut self, enrolment: &[u8; 32], file: Vec<u8>) {
        let password = Password { file: Base64Url(file), enrolment: Base64Url(enrolment.to_vec()) };
        *self = Self { password: Some(password), ..Self::default() };
    }

    /// The password file, where it is of the enrolment that the bundle in force names.
    #[must_use]
    pub fn file(&self, enrolment: Option<&Enrolment>) -> Option<&[u8]> {
        let password = self.password.as_ref()?;
        let named = enrolment.is_some_and(|enrolment| password.enrolment.0 == enrolment.code_sha256);
        named.then_some(password.file.0.as_slice())
    }

    /// What is known of the logins before.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Uses up the step of a one-time code; false for one not newer than the newest used.
    pub fn use_step(&mut self, step: u64) -> bool {
        let fresh = step > self.totp_step;
        self.totp_step = self.totp_step.max(step);
        fresh
    }

    /// Whether a one-time code was ever taken: until then the secret of the codes may still be shown.
    #[must_use]
    pub fn has_used_codes(&self) -> bool {
        self.totp_step > 0
    }

    /// A login came to its end: the tries are forgotten, and it is remembered.
    pub fn entered(&mut self, device: Option<Mark>, network: Mark, now: UnixMillis) {
        self.known.remember(device, network, now);
        (self.tries, self.not_before_ms, self.turned_away) = (0, 0, false);
    }
}

/// How long to wait after the `tries`th try: nothing for the first four, then 1 s, 2 s, 4 s and so on, 15 minutes at most.
fn wait_ms(tries: u32) -> i64 {
    match tries.checked_sub(FREE_TRIES + 1) {
        None => 0,
        Some(doublings) => {
            FIRST_WAIT_MS.checked_shl(doublings.min(20)).unwrap_or(i64::MAX).min(LONGEST_WAIT_MS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a delay that does not grow, never ends, or that waiting it out takes back.
    #[test]
    fn the_wait_grows_with_every_try_and_a_login_ends_it() {
        let mut account = Account::default();
        let mut now = UnixMillis(1_800_000_000_000);
        let mut waits = Vec::new();
        for _ in 0..20 {
            assert_eq!(account.admit(now), Admission::Admitted);
            let Admission::Wait { ms, first: true } = account.clone().admit(now) else {
                waits.push(0);
                continue;
            };
            let early = now.plus_ms(ms - 1);
            assert_eq!(account.admit(early), Admission::Wait { ms: 1, first: true });
            assert_eq!(account.admit(early), Admission::Wait { ms: 1, first: false }, "told once");
            waits.push(ms / 1_000);
            now = now.plus_ms(ms);
        }
        assert_eq!(waits[..9], [0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!(waits[13..], [512, 900, 900, 900, 900, 900, 900]);
        account.entered(None, Mark::of_device(&Base64Url(vec![1])), now);
        assert_eq!(account.admit(now), Admission::Admitted);
    }

    /// Would catch a code that is taken twice, or an older one after a newer.
    #[test]
    fn a_step_is_good_once() {
        let mut account = Account::default();
        assert_eq!([5, 5, 4, 6].map(|step| account.use_step(step)), [true, false, false, true]);
    }

    /// Would catch a password that outlives the quorum's word: reset, or taken away.
    #[test]
    fn a_password_is_good_under_the_enrolment_it_was_set_with() {
        let mut account = Account::default();
        let of = |byte| Enrolment { code_sha256: [byte; 32], until: UnixMillis(0) };
        account.enrol(&[1; 32], vec![7]);
        assert_eq!(account.file(Some(&of(1))), Some(&[7][..]));
        assert_eq!((account.file(Some(&of(2))), account.file(None)), (None, None));
    }
}
