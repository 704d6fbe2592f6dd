//! Limits: what is measured, for whom, over which window, and the counters behind them. A counter is named by the hash
//! of the limit's definition and its keys, so it survives bundle changes that leave the definition alone.
//! INVARIANT: nothing here under-counts: windows round outward, sums saturate, unknown amounts are the largest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use chancery_core::UnixMillis;
use chancery_intent::model::Kind;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// LIMIT: limits of one bundle. Each is one read of the store for each decision it measures.
pub const LIMITS: usize = 64;

/// Buckets of one window. A window counts at most one bucket more than its length.
pub const BUCKETS: i64 = 64;

/// What a limit adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Amounts, in policy units of the asset.
    Sum,
    /// Values, in US cents; an amount without a fresh price is the largest value.
    Usd,
    /// Requests: one for each counter that a request touches, however many effects it has.
    Count,
}

/// What tells a limit's counters apart. The tenant always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The wallet.
    Wallet,
    /// The client.
    Client,
    /// The asset.
    Asset,
    /// The destination.
    Destination,
}

/// A declared limit. Its serialized form is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The name under `context.spent`.
    pub name: String,
    /// What is added up.
    pub measure: Measure,
    /// What tells its counters apart.
    pub keys: BTreeSet<Key>,
    /// The window, in milliseconds.
    pub window_ms: i64,
    /// The kinds of effect it measures; empty for all.
    pub actions: BTreeSet<Kind>,
    /// The assets it measures (CAIP-19); empty for all.
    pub assets: BTreeSet<String>,
}

impl Limit {
    /// True when every effect of every intent is measured, so that the value is always there.
    pub(crate) fn measures_everything(&self) -> bool {
        self.actions.is_empty()
            && self.assets.is_empty()
            && self.measure != Measure::Sum
            && !self.keys.contains(&Key::Asset)
            && !self.keys.contains(&Key::Destination)
    }

    /// SHA-256 of the definition.
    pub(crate) fn identity(&self) -> [u8; 32] {
        // Strings, numbers and lists of them serialize without failing.
        let text = serde_json_canonicalizer::to_vec(&(1, self)).unwrap_or_default();
        Sha256::digest(text).into()
    }
}

/// One running total: a limit for one choice of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The limit's name, for people.
    pub limit: String,
    /// What names the counter: SHA-256 over the limit's definition, the unit and the keys.
    #[serde(with = "hex::serde")]
    pub id: [u8; 32],
}

impl Counter {
    /// The counter of `limit` (by its identity) for `parts`: tenant, unit and keys in a fixed order.
    pub(crate) fn of(limit: &Limit, identity: &[u8; 32], parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(identity);
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self { limit: limit.name.clone(), id: hasher.finalize().into() }
    }
}

/// What a request holds of a counter once it is permitted or pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The counter.
    pub counter: Counter,
    /// Its window, in milliseconds.
    pub window_ms: i64,
    /// How much, in the limit's unit; never negative.
    pub amount: i64,
}

/// What was spent cannot be read. The decision is a refusal.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what was spent")]
pub struct SpendingError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What was reserved and spent before this request.
pub trait Spending {
    /// The total of `counter` over the `window_ms` before `now`, in the limit's unit: never less than what was reserved
    /// and not returned, and without the request being decided. Larger than `i64::MAX` reads as `i64::MAX`.
    ///
    /// # Errors
    /// [`SpendingError`] denies the request.
    fn spent(&self, counter: &Counter, window_ms: i64, now: UnixMillis) -> Result<i64, SpendingError>;
}

/// The shortest bucket, in milliseconds.
const NARROWEST_MS: i64 = 1_000;

/// The length of one bucket of a window, in milliseconds: as the store cuts time.
#[must_use]
pub fn bucket_ms(window_ms: i64) -> i64 {
    window_ms.max(1).saturating_add(BUCKETS - 1).div_euclid(BUCKETS).max(NARROWEST_MS)
}

/// The bucket that `at` falls into.
#[must_use]
pub fn bucket(at: UnixMillis, window_ms: i64) -> i64 {
    at.0.div_euclid(bucket_ms(window_ms))
}

/// The oldest bucket that still counts at `now`: every bucket from this one on belongs to the window, also buckets of
/// a time after `now`.
#[must_use]
pub fn oldest_bucket(now: UnixMillis, window_ms: i64) -> i64 {
    now.0.saturating_sub(window_ms).div_euclid(bucket_ms(window_ms))
}

/// Counters in memory, for tests and simulation; also the model that the store's counters are tested against.
#[derive(Clone, Debug, Default)]
pub struct MemorySpending {
    // i128, because a sum that had saturated could not give back what it lost.
    buckets: HashMap<[u8; 32], BTreeMap<i64, i128>>,
}

impl MemorySpending {
    /// Adds a reservation made at `at`.
    pub fn reserve(&mut self, reservation: &Reservation, at: UnixMillis) {
        self.add(reservation, at, i128::from(reservation.amount));
    }

    /// Returns a reservation made at `at`.
    pub fn release(&mut self, reservation: &Reservation, at: UnixMillis) {
        self.add(reservation, at, -i128::from(reservation.amount));
    }

    fn add(&mut self, reservation: &Reservation, at: UnixMillis, amount: i128) {
        let bucket = bucket(at, reservation.window_ms);
        let total = self.buckets.entry(reservation.counter.id).or_default().entry(bucket).or_default();
        *total = total.saturating_add(amount);
    }
}

impl Spending for MemorySpending {
    fn spent(&self, counter: &Counter, window_ms: i64, now: UnixMillis) -> Result<i64, SpendingError> {
        let oldest = oldest_bucket(now, window_ms);
        let total = self
            .buckets
            .get(&counter.id)
            .map_or(0, |buckets| buckets.range(oldest..).map(|(_, sum)| sum).sum());
        Ok(i64::try_from(total.max(0)).unwrap_or(i64::MAX))
    }
}

/// The same total for every counter of a limit, by the limit's name: what a test or a simulation supposes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SupposedSpending(pub BTreeMap<String, i64>);

impl Spending for SupposedSpending {
    fn spent(&self, counter: &Counter, _: i64, _: UnixMillis) -> Result<i64, SpendingError> {
        Ok(self.0.get(&counter.limit).copied().unwrap_or(0))
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Usd => "usd",
            Self::Count => "count",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reservation(amount: i64, window_ms: i64) -> Reservation {
        Reservation { counter: Counter { limit: "x".into(), id: [7; 32] }, window_ms, amount }
    }

    #[test]
    fn a_spend_counts_for_its_whole_window_and_then_goes() {
        let day = 86_400_000;
        let spent_at = UnixMillis(1_700_000_123_456);
        let mut memory = MemorySpending::default();
        let held = reservation(5, day);
        memory.reserve(&held, spent_at);
        let at = |ms: i64| memory.spent(&held.counter, day, UnixMillis(ms)).unwrap();
        assert_eq!(at(spent_at.0), 5);
        assert_eq!(at(spent_at.0 + day), 5, "the window's last millisecond");
        assert_eq!(at(spent_at.0 + day + bucket_ms(day)), 0, "one bucket later it is gone");
    }

    #[test]
    fn a_returned_reservation_leaves_the_rest() {
        let mut memory = MemorySpending::default();
        let (large, small) = (reservation(i64::MAX, 1_000), reservation(1, 1_000));
        memory.reserve(&large, UnixMillis(0));
        memory.reserve(&small, UnixMillis(0));
        assert_eq!(memory.spent(&large.counter, 1_000, UnixMillis(0)).unwrap(), i64::MAX);
        memory.release(&small, UnixMillis(0));
        assert_eq!(memory.spent(&large.counter, 1_000, UnixMillis(0)).unwrap(), i64::MAX);
        memory.release(&large, UnixMillis(0));
        assert_eq!(memory.spent(&large.counter, 1_000, UnixMillis(0)).unwrap(), 0);
    }

    proptest! {
        /// Would catch a window that forgets early: the bucketed total is never below the exact sliding window, and never
        /// above the exact window that is one bucket longer.
        #[test]
        fn windows_never_under_count(
            window_ms in 1_i64..200_000,
            spends in prop::collection::vec((0_i64..500_000, 0_i64..1_000), 0..40),
            now in 0_i64..700_000,
        ) {
            let mut memory = MemorySpending::default();
            for (at, amount) in spends.iter().filter(|(at, _)| *at <= now) {
                memory.reserve(&reservation(*amount, window_ms), UnixMillis(*at));
            }
            let exact = |window: i64| -> i64 {
                spends.iter().filter(|(at, _)| *at <= now && *at >= now - window).map(|(_, amount)| amount).sum()
            };
            let counted = memory.spent(&reservation(0, window_ms).counter, window_ms, UnixMillis(now)).unwrap();
            prop_assert!(counted >= exact(window_ms));
            prop_assert!(counted <= exact(window_ms + bucket_ms(window_ms)));
        }
    }

    #[test]
    fn counters_differ_when_parts_move_between_keys() {
        let limit = Limit {
            name: "x".into(),
            measure: Measure::Count,
            keys: BTreeSet::new(),
            window_ms: 1,
            actions: BTreeSet::new(),
            assets: BTreeSet::new(),
        };
        let identity = limit.identity();
        assert_ne!(
            Counter::of(&limit, &identity, &["ab", "c"]),
            Counter::of(&limit, &identity, &["a", "bc"])
        );
        let renamed = Limit { window_ms: 2, ..limit.clone() };
        assert_ne!(identity, renamed.identity(), "another definition is another counter");
    }
}
