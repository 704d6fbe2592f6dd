//! What may be asked for by one client, or of one wallet: a token bucket for each name. Names come from verified
//! certificates and existing wallets only, and a full bucket is forgotten, so the memory stays bounded.
//! If this is wrong, one client can starve the others.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use chancery_core::{config, limit};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

/// Checks between two sweeps of full buckets.
const SWEEP_EVERY: u32 = 4_096;

/// When it may be asked again, in whole seconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub u64);

/// The buckets of all names.
pub struct Limiter {
    buckets: RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock>,
    checks: AtomicU32,
    keys: usize,
}

impl Limiter {
    /// Buckets of `rate.burst` tokens that refill at `rate.per_second`. Zero counts as one.
    #[must_use]
    pub fn new(rate: &config::Rate) -> Self {
        Self::remembering(rate, limit::RATE_KEYS)
    }

    fn remembering(rate: &config::Rate, keys: usize) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst));
        Self { buckets: RateLimiter::keyed(quota), checks: AtomicU32::new(0), keys }
    }

    /// Takes one token of the bucket of `name`.
    ///
    /// # Errors
    /// [`RetryAfter`] when the bucket is empty, or when more names are active than are remembered.
    pub fn check(&self, name: String) -> Result<(), RetryAfter> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.buckets.retain_recent();
        }
        if self.buckets.len() >= self.keys {
            self.buckets.retain_recent();
            if self.buckets.len() >= self.keys {
                return Err(RetryAfter(1));
            }
        }
        self.buckets.check_key(&name).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            RetryAfter(wait.as_secs().saturating_add(1))
        })
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("remembered", &self.buckets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_spend_anothers_tokens() {
        let limiter = Limiter::new(&config::Rate { per_second: 1, burst: 2 });
        let ask = |name: &str| limiter.check(name.to_owned());
        assert_eq!((ask("a"), ask("a")), (Ok(()), Ok(())));
        assert!(matches!(ask("a"), Err(RetryAfter(1..=2))), "the bucket is empty");
        assert_eq!(ask("b"), Ok(()), "another bucket is full");
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let limiter = Limiter::remembering(&config::Rate { per_second: 1, burst: 1 }, 2);
        assert!(limiter.check("a".into()).is_ok() && limiter.check("b".into()).is_ok());
        assert!(limiter.check("c".into()).is_err(), "a third client is told to wait, not remembered");
        assert!(limiter.buckets.len() <= 2);
    }
}
