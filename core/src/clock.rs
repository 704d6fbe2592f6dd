//! Time, from one place. A wall clock that steps backwards would re-open spent limits, so `now` refuses it:
//! callers fail closed until the clock has caught up with the latest time seen.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This time plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far the wall clock may step back before time is refused, in milliseconds: the slew of a disciplined clock.
/// Within it, `now` repeats the latest time seen.
pub const BACKWARD_TOLERANCE_MS: i64 = 1_000;

/// The clock cannot be trusted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wall clock stands {behind_ms} ms behind the latest time seen")]
pub struct ClockError {
    /// How far behind, in milliseconds.
    pub behind_ms: i64,
}

/// A source of time that never runs backwards.
pub trait Clock: Send + Sync {
    /// The current time, or an error while the wall clock is behind.
    ///
    /// # Errors
    /// [`ClockError`] when the wall clock stands more than [`BACKWARD_TOLERANCE_MS`] behind the latest time seen.
    fn now(&self) -> Result<UnixMillis, ClockError>;

    /// Raises the latest time seen, for instance to that of the newest stored record at start.
    fn seen(&self, at: UnixMillis);
}

fn advance(latest: &AtomicI64, wall: i64) -> Result<UnixMillis, ClockError> {
    let seen = latest.fetch_max(wall, Ordering::AcqRel);
    let behind_ms = seen.saturating_sub(wall);
    if behind_ms > BACKWARD_TOLERANCE_MS {
        return Err(ClockError { behind_ms });
    }
    Ok(UnixMillis(seen.max(wall)))
}

/// The machine's wall clock.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Result<UnixMillis, ClockError> {
        // A wall clock before 1970 counts as 0 and is refused as soon as anything newer was seen.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        advance(&self.latest, wall)
    }

    fn seen(&self, at: UnixMillis) {
        self.latest.fetch_max(at.0, Ordering::AcqRel);
    }
}

/// A clock that stands where it was put, for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    latest: AtomicI64,
}

impl ManualClock {
    /// A clock that reads `at`.
    #[must_use]
    pub fn at(at: UnixMillis) -> Self {
        Self { wall: AtomicI64::new(at.0), latest: AtomicI64::new(at.0) }
    }

    /// Moves the wall clock, also backwards.
    pub fn set(&self, at: UnixMillis) {
        self.wall.store(at.0, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Result<UnixMillis, ClockError> {
        advance(&self.latest, self.wall.load(Ordering::Acquire))
    }

    fn seen(&self, at: UnixMillis) {
        self.latest.fetch_max(at.0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_refused_until_time_has_caught_up() {
        let clock = ManualClock::at(UnixMillis(100_000));
        assert_eq!(clock.now(), Ok(UnixMillis(100_000)));
        clock.set(UnixMillis(99_500));
        assert_eq!(clock.now(), Ok(UnixMillis(100_000)), "slew repeats the latest time");
        clock.set(UnixMillis(90_000));
        assert_eq!(clock.now(), Err(ClockError { behind_ms: 10_000 }));
        clock.set(UnixMillis(100_001));
        assert_eq!(clock.now(), Ok(UnixMillis(100_001)));
    }

    #[test]
    fn time_seen_in_the_store_counts() {
        let clock = ManualClock::at(UnixMillis(5_000));
        clock.seen(UnixMillis(50_000));
        assert!(clock.now().is_err());
    }
}
