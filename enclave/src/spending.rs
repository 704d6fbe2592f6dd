//! Policy's view of what was spent: the store's counters, read inside the transaction that decides, so that two requests
//! of one batch see each other.

use chancery_core::UnixMillis;
use chancery_policy::{Counter, Spending, SpendingError};
use chancery_store::Reader;

/// The store's name of a policy counter.
pub(crate) fn counter_name(counter: &Counter) -> String {
    hex::encode(counter.id)
}

pub(crate) struct Spent<'a, 'b>(pub &'a Reader<'b>);

impl Spending for Spent<'_, '_> {
    fn spent(&self, counter: &Counter, window_ms: i64, now: UnixMillis) -> Result<i64, SpendingError> {
        self.0.spent(&counter_name(counter), now, window_ms).map_err(|error| SpendingError(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    /// What policy supposes of time in replays and re-evaluations is what the store does: would catch a decision that comes
    /// out otherwise when it is asked again.
    #[test]
    fn policy_and_store_cut_time_alike() {
        for window_ms in [1, 1_000, 45_000, 63_999, 64_000, 64_001, 90_000, 86_400_000, 366 * 86_400_000] {
            let widths = (chancery_policy::bucket_ms(window_ms), chancery_store::bucket_width_ms(window_ms));
            assert_eq!(widths.0, widths.1, "a window of {window_ms} ms");
        }
    }
}
