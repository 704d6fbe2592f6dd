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
