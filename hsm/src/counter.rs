//! Numbers that the token keeps and that only grow: what a store remembers can be held against them. Whoever has the token's PIN
//! can lower them, as it can destroy keys. If this is wrong, an older copy of a store is believed.

use chancery_core::KeyId;

use crate::error::HsmError;
use crate::handle::{Hsm, UNEXPECTED};
use crate::wire::{Reply, Request};

impl Hsm {
    /// The number of this name; 0 where it was never raised.
    ///
    /// # Errors
    /// See [`HsmError`].
    pub async fn count(&self, counter: KeyId) -> Result<u64, HsmError> {
        match self.call(counter, Request::Count { counter: *counter.as_bytes() }).await? {
            Reply::Count(value) => Ok(value),
            _ => Err(UNEXPECTED),
        }
    }

    /// Raises it to `to`, if it is lower.
    ///
    /// # Errors
    /// [`HsmError::Refused`] where the token keeps no such objects.
    pub async fn raise(&self, counter: KeyId, to: u64) -> Result<(), HsmError> {
        match self.call(counter, Request::Raise { counter: *counter.as_bytes(), to }).await? {
            Reply::Done => Ok(()),
            _ => Err(UNEXPECTED),
        }
    }
}
