//! Exact amounts to Cedar's 64-bit numbers. Every conversion rounds up and saturates, so a rule that compares with an
//! upper bound can refuse too much by a fraction of a unit but never too little.

use alloy_primitives::U256;

/// LIMIT: decimals of an asset.
pub const DECIMALS: u8 = 36;
/// Decimals of a policy unit when the registry does not say: min(decimals, 9).
pub const UNIT_DECIMALS: u8 = 9;
/// Decimals of a price in USD.
pub(crate) const PRICE_DECIMALS: u8 = 8;

fn power(exponent: u8) -> Option<U256> {
    U256::from(10).checked_pow(U256::from(exponent))
}

fn divide_up(amount: U256, divisor: U256) -> i64 {
    if divisor.is_zero() {
        return i64::MAX;
    }
    let (quotient, rest) = amount.div_rem(divisor);
    let rounded = if rest.is_zero() { quotient } else { quotient.saturating_add(U256::ONE) };
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

/// `amount` base units of an asset with `decimals`, in policy units of `unit_decimals <= decimals`.
pub(crate) fn policy_units(amount: U256, decimals: u8, unit_decimals: u8) -> i64 {
    match decimals.checked_sub(unit_decimals).and_then(power) {
        Some(divisor) => divide_up(amount, divisor),
        None => i64::MAX,
    }
}

/// The value of `amount` base units in US cents, at `price` USD for a whole one, in 10^-8 USD.
pub(crate) fn usd_cents(amount: U256, decimals: u8, price: U256) -> i64 {
    // amount / 10^decimals * price / 10^8 * 100
    let divisor = decimals.checked_add(PRICE_DECIMALS - 2).and_then(power);
    match (amount.checked_mul(price), divisor) {
        (Some(product), Some(divisor)) => divide_up(product, divisor),
        _ => i64::MAX,
    }
}

/// Decimal text such as `3150.25` in 10^-`decimals`; `None` when it is no such number.
pub(crate) fn decimal(text: &str, decimals: u8) -> Option<U256> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let too_long = fraction.len() > usize::from(decimals) || whole.len() > 30;
    if whole.is_empty() || text.ends_with('.') || too_long || !digits(whole) || !digits(fraction) {
        return None;
    }
    let padded = format!("{whole}{fraction:0<width$}", width = usize::from(decimals));
    U256::from_str_radix(&padded, 10).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> U256 {
        U256::from_str_radix(text, 10).unwrap()
    }

    #[test]
    fn units_round_up_and_saturate() {
        let ether = number("1000000000000000000");
        assert_eq!(policy_units(ether, 18, 9), 1_000_000_000);
        assert_eq!(policy_units(ether + U256::ONE, 18, 9), 1_000_000_001, "one wei more is one unit more");
        assert_eq!(policy_units(U256::ONE, 18, 9), 1);
        assert_eq!(policy_units(U256::ZERO, 18, 9), 0);
        assert_eq!(policy_units(number("9223372036854775807"), 0, 0), i64::MAX);
        assert_eq!(policy_units(number("9223372036854775808"), 0, 0), i64::MAX);
        assert_eq!(policy_units(U256::MAX, 36, 0), i64::MAX);
        assert_eq!(
            policy_units(U256::ONE, 6, 9),
            i64::MAX,
            "finer units than the asset has are refused upstream"
        );
    }

    #[test]
    fn cents_round_up_and_saturate() {
        let price = decimal("3150.25", PRICE_DECIMALS).unwrap();
        assert_eq!(usd_cents(number("1000000000000000000"), 18, price), 315_025);
        assert_eq!(usd_cents(U256::ONE, 18, price), 1);
        assert_eq!(usd_cents(U256::ZERO, 18, price), 0);
        assert_eq!(usd_cents(U256::MAX, 18, price), i64::MAX, "an overflowing product is the largest value");
    }

    #[test]
    fn decimals_have_one_reading() {
        assert_eq!(decimal("1", 8), Some(number("100000000")));
        assert_eq!(decimal("0.00000001", 8), Some(U256::ONE));
        assert_eq!(decimal(&"9".repeat(30), 0), Some(number(&"9".repeat(30))));
        assert_eq!(decimal(&"9".repeat(31), 0), None, "longer than any amount");
        assert_eq!(decimal(&"0".repeat(32), 0), None);
        for bad in
            ["", ".5", "1.", "1e3", "-1", "+1", "1.000000001", " 1", "1_0", "0x1", "1.2.3", "1.-2", "1.2_"]
        {
            assert_eq!(decimal(bad, 8), None, "{bad:?}");
        }
    }

    proptest! {
        /// Would catch rounding down or wrapping: units times their size are never below the exact amount.
        #[test]
        fn never_under(bytes in any::<[u8; 32]>(), shift in 0_usize..256, decimals in 0_u8..=DECIMALS, unit in 0_u8..=18) {
            prop_assume!(unit <= decimals);
            let amount = U256::from_be_bytes(bytes) >> shift;
            let units = policy_units(amount, decimals, unit);
            let size = power(decimals - unit).unwrap();
            if units == i64::MAX {
                prop_assert!(amount.div_ceil(size) >= U256::from(i64::MAX.unsigned_abs()));
            } else {
                let covered = U256::from(units.unsigned_abs()) * size;
                prop_assert!(covered >= amount);
                prop_assert!(covered - amount < size, "rounded up by a whole unit or more");
            }
        }
    }
}
