//! What the network takes: so much a signature, and the price of computing times its limit, whether it is used up or not.
//! Where a message does not say, the most that the cluster allows is counted, so the bound holds.

use super::act::Call;
use super::program::{COMPUTE_BUDGET, ED25519, SECP256K1, SECP256R1};
use crate::IntentError;

/// Lamports for one signature.
pub(super) const LAMPORTS_PER_SIGNATURE: u64 = 5_000;
/// Compute units that an instruction gets at most where the message sets no limit.
const DEFAULT_UNITS: u64 = 200_000;
/// Compute units that a transaction gets at most.
const MOST_UNITS: u64 = 1_400_000;

/// What the instructions of the compute budget say, and what counts towards the fee.
#[derive(Default)]
pub(super) struct Budget {
    pub units: Option<u32>,
    /// In millionths of a lamport for each unit.
    pub price: Option<u64>,
    heap: Option<u32>,
    loaded: Option<u32>,
    /// Instructions beside these.
    others: u64,
    /// Signatures that instructions have checked.
    checked: u64,
}

impl Budget {
    /// Takes up an instruction of the compute budget, and says which it is.
    pub fn set(&mut self, data: &[u8]) -> Result<&'static str, IntentError> {
        let (name, before) = match data {
            [1, bytes @ ..] => ("requestHeapFrame", put(&mut self.heap, bytes, u32::from_le_bytes)),
            [2, bytes @ ..] => ("setComputeUnitLimit", put(&mut self.units, bytes, u32::from_le_bytes)),
            [3, bytes @ ..] => ("setComputeUnitPrice", put(&mut self.price, bytes, u64::from_le_bytes)),
            [4, bytes @ ..] => {
                ("setLoadedAccountsDataSizeLimit", put(&mut self.loaded, bytes, u32::from_le_bytes))
            }
            _ => ("", None),
        };
        match before {
            Some(false) => Ok(name),
            Some(true) => Err(IntentError::malformed(format!("`{name}` stands in it twice"))),
            None => Err(IntentError::malformed("an instruction of the compute budget that is none")),
        }
    }

    /// Counts an instruction.
    pub fn count(&mut self, call: &Call<'_>) {
        if call.program == COMPUTE_BUDGET {
            return;
        }
        self.others = self.others.saturating_add(1);
        if [ED25519, SECP256K1, SECP256R1].contains(&call.program) {
            let checked = call.data.first().copied().unwrap_or_default();
            self.checked = self.checked.saturating_add(checked.into());
        }
    }

    /// The most that the network takes for it, in lamports.
    pub fn fee(&self, signatures: u8) -> u128 {
        let default = DEFAULT_UNITS.saturating_mul(self.others);
        let units = self.units.map_or(default, u64::from).min(MOST_UNITS);
        let signatures = u64::from(signatures).saturating_add(self.checked);
        let priority = u128::from(units).saturating_mul(self.price.unwrap_or(0).into()).div_ceil(1_000_000);
        priority.saturating_add(u128::from(signatures.saturating_mul(LAMPORTS_PER_SIGNATURE)))
    }
}

/// Sets a number once; answers whether it was set before, and nothing where the bytes are no such number.
fn put<T, const N: usize>(slot: &mut Option<T>, bytes: &[u8], of: fn([u8; N]) -> T) -> Option<bool> {
    let number = of(bytes.try_into().ok()?);
    Some(slot.replace(number).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fee_is_never_told_too_low() {
        let fee = |units, price, others| Budget { units, price, others, ..Budget::default() }.fee(2);
        assert_eq!(fee(None, None, 3), 10_000, "no price, no priority");
        assert_eq!(fee(Some(1), Some(1), 3), 10_001, "a part of a lamport is a lamport");
        assert_eq!(fee(Some(300_000), Some(20_000), 3), 16_000);
        assert_eq!(fee(None, Some(1_000_000), 3), 610_000, "what is not limited gets the default");
        assert_eq!(fee(Some(u32::MAX), Some(1_000_000), 3), 1_410_000, "and no more than there is");
        assert_eq!(fee(None, Some(1_000_000), 60), 1_410_000);
        assert!(fee(Some(u32::MAX), Some(u64::MAX), 3) > u64::MAX.into(), "nothing wraps around");
    }

    #[test]
    fn a_budget_is_set_once_and_exactly() {
        let mut budget = Budget::default();
        assert_eq!(budget.set(&[2, 1, 0, 0, 0]).unwrap(), "setComputeUnitLimit");
        assert!(
            budget.set(&[2, 1, 0, 0, 0]).is_err(),
            "the second would count, or none: the network refuses"
        );
        for bad in [&[3, 1, 0, 0, 0][..], &[3, 1, 0, 0, 0, 0, 0, 0, 0, 0], &[0], &[5, 0, 0, 0, 0], &[]] {
            assert!(Budget::default().set(bad).is_err(), "{bad:?}");
        }
    }
}
