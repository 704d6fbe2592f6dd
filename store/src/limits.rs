//! Sliding windows. Time is cut into buckets of a 64th of the window, one second at least; a bucket counts fully until
//! all of it has left the window. So a limit never under-counts and over-counts by one bucket at most, at a cost that
//! does not grow with history. Each reservation remembers its bucket, to be given back exactly. Trusts: the caller's
//! `now`. Counters are opaque names: what a limit measures, and of whom, is policy's business.

use chancery_core::RequestId;

use crate::StoreError;
use crate::link::Link;

const BUCKETS: i64 = 64;
const NARROWEST_MS: i64 = 1_000;
/// LIMIT: buckets, and reservations of each, swept by one reservation. More than it adds, so the sweep keeps up.
const SWEPT_BUCKETS: i64 = 2;
const SWEPT_RESERVATIONS: usize = 16;

pub(crate) mod sql {
    pub(crate) const SPENT: &str = "SELECT amount FROM limit_bucket WHERE counter = ?1 AND last_ms >= ?2";
    pub(crate) const BUCKET: &str = "SELECT amount FROM limit_bucket WHERE counter = ?1 AND last_ms = ?2";
    pub(crate) const ADD: &str = "INSERT INTO limit_bucket (counter, last_ms, gone_ms, amount) \
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (counter, last_ms) DO UPDATE SET amount = excluded.amount, \
         gone_ms = max(gone_ms, excluded.gone_ms)";
    pub(crate) const SUBTRACT: &str =
        "UPDATE limit_bucket SET amount = ?3 WHERE counter = ?1 AND last_ms = ?2";
    pub(crate) const RESERVE: &str =
        "INSERT INTO reservation (request, counter, last_ms, amount) VALUES (?1, ?2, ?3, ?4)";
    pub(crate) const SETTLE: &str = "UPDATE reservation SET settled = 1 WHERE request = ?1 AND settled = 0";
    pub(crate) const HELD: &str =
        "SELECT counter, last_ms, amount FROM reservation WHERE request = ?1 AND settled = 0";
    pub(crate) const HOLDS: &str = "SELECT 1 FROM reservation WHERE request = ?1 AND counter = ?2";
    pub(crate) const RETURN: &str = "DELETE FROM reservation WHERE request = ?1 AND counter = ?2";
    pub(crate) const GONE: &str =
        "SELECT counter, last_ms FROM limit_bucket WHERE gone_ms < ?1 ORDER BY gone_ms LIMIT ?2";
    pub(crate) const SWEEP: &str = "DELETE FROM reservation WHERE (request, counter) IN \
         (SELECT request, counter FROM reservation WHERE counter = ?1 AND last_ms = ?2 LIMIT ?3)";
    pub(crate) const DROP: &str = "DELETE FROM limit_bucket WHERE counter = ?1 AND last_ms = ?2";
}

/// The width of a window's buckets, in milliseconds.
#[must_use]
pub fn bucket_width_ms(window_ms: i64) -> i64 {
    let ceiling = window_ms / BUCKETS + i64::from(window_ms % BUCKETS != 0);
    ceiling.max(NARROWEST_MS)
}

/// The last millisecond of the bucket that holds `now`.
fn bucket_last_ms(now: i64, window_ms: i64) -> i64 {
    let width = bucket_width_ms(window_ms);
    now.saturating_sub(now.rem_euclid(width)).saturating_add(width - 1)
}

pub(crate) fn spent(link: &Link, counter: &str, now: i64, window_ms: i64) -> Result<i64, StoreError> {
    let oldest = now.saturating_sub(positive(window_ms)?);
    let amounts = link.many(sql::SPENT, (counter, oldest), |row| Ok(u128::from_be_bytes(row.get(0)?)))?;
    let sum = amounts.into_iter().fold(0, u128::saturating_add);
    Ok(i64::try_from(sum).unwrap_or(i64::MAX))
}

pub(crate) fn reserve(
    link: &Link,
    request: RequestId,
    counter: &str,
    now: i64,
    window_ms: i64,
    amount: i64,
) -> Result<(), StoreError> {
    let added = u128::try_from(amount).map_err(|_| StoreError::OutOfRange { what: "amount" })?;
    let last_ms = bucket_last_ms(now, positive(window_ms)?);
    sweep(link, now)?;
    link.run(sql::RESERVE, (request.as_bytes(), counter, last_ms, amount))?;
    let total = bucket(link, counter, last_ms)?.unwrap_or(0).saturating_add(added);
    let gone_ms = last_ms.saturating_add(window_ms);
    link.run(sql::ADD, (counter, last_ms, gone_ms, total.to_be_bytes()))?;
    Ok(())
}

pub(crate) fn holds(link: &Link, request: RequestId, counter: &str) -> Result<bool, StoreError> {
    Ok(link.one(sql::HOLDS, (request.as_bytes(), counter), |_| Ok(()))?.is_some())
}

pub(crate) fn settle(link: &Link, request: RequestId) -> Result<(), StoreError> {
    link.run(sql::SETTLE, [request.as_bytes()]).map(|_| ())
}

pub(crate) fn give_back(link: &Link, request: RequestId) -> Result<(), StoreError> {
    let held = link.many(sql::HELD, [request.as_bytes()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    for (counter, last_ms, amount) in held {
        let amount = u128::try_from(amount).map_err(|_| StoreError::Corrupt { what: "amount" })?;
        // A bucket that was swept has left its window: nothing to take back.
        if let Some(total) = bucket(link, &counter, last_ms)? {
            // INVARIANT: a bucket is the sum of its reservations; less is damage, and no reason to count below zero.
            let rest = total.checked_sub(amount).ok_or(StoreError::Corrupt { what: "amount" })?;
            link.run(sql::SUBTRACT, (counter.as_str(), last_ms, rest.to_be_bytes()))?;
        }
        link.run(sql::RETURN, (request.as_bytes(), &counter))?;
    }
    Ok(())
}

/// Removes a few buckets that left their window, with what was reserved of them.
fn sweep(link: &Link, now: i64) -> Result<(), StoreError> {
    let gone = link
        .many(sql::GONE, (now, SWEPT_BUCKETS), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    for (counter, last_ms) in gone {
        let bucket = (counter.as_str(), last_ms);
        let swept = link.run(sql::SWEEP, (bucket.0, bucket.1, SWEPT_RESERVATIONS as i64))?;
        if swept < SWEPT_RESERVATIONS {
            link.run(sql::DROP, bucket)?;
        }
    }
    Ok(())
}

fn bucket(link: &Link, counter: &str, last_ms: i64) -> Result<Option<u128>, StoreError> {
    link.one(sql::BUCKET, (counter, last_ms), |row| Ok(u128::from_be_bytes(row.get(0)?)))
}

fn positive(window_ms: i64) -> Result<i64, StoreError> {
    if window_ms > 0 { Ok(window_ms) } else { Err(StoreError::OutOfRange { what: "window_ms" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_at_most_64_buckets_of_a_second_or_more() {
        for (window, width) in [
            (1, 1_000),
            (64_000, 1_000),
            (64_001, 1_001),
            (86_400_000, 1_350_000),
            (i64::MAX, i64::MAX / 64 + 1),
        ] {
            assert_eq!(bucket_width_ms(window), width, "window {window}");
        }
    }

    #[test]
    fn a_bucket_ends_at_or_after_every_moment_it_holds() {
        for now in [i64::MIN, -1, 0, 1, 999, 1_000, 1_350_000, i64::MAX] {
            for window in [1, 60_000, 86_400_000, i64::MAX] {
                assert!(bucket_last_ms(now, window) >= now, "{now} in {window}: would be under-counted");
            }
        }
    }
}
