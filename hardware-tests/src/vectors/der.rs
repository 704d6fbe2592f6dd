//! `ECDSA-Sig-Value` (RFC 3279) in its one DER form, to 64 bytes `r || s`. Tokens answer with 64 bytes; this is for the
//! vectors whose signatures are written in DER.

/// `None` for what is not DER, or has a number that does not fit 32 bytes.
pub(super) fn compact(signature: &[u8]) -> Option<[u8; 64]> {
    let [0x30, len, inner @ ..] = signature else { return None };
    if usize::from(*len) != inner.len() || *len >= 0x80 {
        return None;
    }
    let (r, rest) = number(inner)?;
    let (s, rest) = number(rest)?;
    let whole = [r, s].concat();
    if rest.is_empty() { whole.try_into().ok() } else { None }
}

/// An INTEGER that is not negative and has no needless zero in front.
fn number(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let [0x02, len, rest @ ..] = der else { return None };
    let (digits, rest) = rest.split_at_checked(usize::from(*len))?;
    let digits = match digits {
        [] | [0x80..=0xff, ..] => return None,
        [0, 0x80..=0xff, ..] => digits.get(1..)?,
        [0, _, ..] => return None,
        digits => digits,
    };
    let mut number = [0; 32];
    number.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_der_is_read() {
        let good = [0x30, 6, 2, 1, 1, 2, 1, 0x7f];
        let read = compact(&good).unwrap();
        assert_eq!((read[31], read[63]), (1, 0x7f));
        assert_eq!(compact(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]).unwrap()[31], 0x80);
        for bad in [
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1][..],
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1],
            &[0x30, 5, 2, 0, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 7, 2, 1, 1, 2, 1, 1, 0],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
            &[0x31, 6, 2, 1, 1, 2, 1, 1],
            &[],
        ] {
            assert_eq!(compact(bad), None, "{bad:02x?}");
        }
    }
}
