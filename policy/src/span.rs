//! Spans of time as people write them: `90s`, `15m`, `24h`, `7d`.

/// LIMIT: the longest span, in milliseconds: 366 days.
pub(crate) const LONGEST_MS: i64 = 366 * 24 * 60 * 60 * 1_000;

/// How a span is written, for hints.
pub(crate) const FORM: &str = "a span is a whole number and one of s, m, h, d, such as `24h`; at most `366d`";

/// Milliseconds of a span such as `24h`; `None` unless it is 1 s to [`LONGEST_MS`].
pub(crate) fn parse_ms(text: &str) -> Option<i64> {
    let unit_ms = match text.bytes().last()? {
        b's' => 1_000,
        b'm' => 60 * 1_000,
        b'h' => 60 * 60 * 1_000,
        b'd' => 24 * 60 * 60 * 1_000,
        _ => return None,
    };
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let span_ms = digits.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    (1..=LONGEST_MS).contains(&span_ms).then_some(span_ms)
}

/// The offset from UTC, such as `+05:30`, in seconds; within 14 hours.
pub(crate) fn parse_offset_s(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || !rest.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    let seconds = hours * 3_600 + minutes * 60;
    (minutes < 60 && seconds <= 14 * 3_600).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        assert_eq!(parse_ms("1s"), Some(1_000));
        assert_eq!(parse_ms("15m"), Some(900_000));
        assert_eq!(parse_ms("24h"), Some(86_400_000));
        assert_eq!(parse_ms("000000001d"), Some(86_400_000), "nine digits");
        assert_eq!(parse_ms("366d"), Some(LONGEST_MS));
        for bad in
            ["", "h", "24", "24 h", "-1h", "+1h", "1.5h", "0s", "367d", "24H", "1w", "0000000001s", "1é"]
        {
            assert_eq!(parse_ms(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn offsets_are_signed_hours_and_minutes() {
        assert_eq!(parse_offset_s("+00:00"), Some(0));
        assert_eq!(parse_offset_s("+05:30"), Some(19_800));
        assert_eq!(parse_offset_s("-08:00"), Some(-28_800));
        assert_eq!(parse_offset_s("+14:00"), Some(50_400), "the easternmost there is");
        for bad in
            ["", "Z", "05:30", "+5:30", "+05:3", "+05:60", "+14:01", "+15:00", "+0530", "+05:3a", "++5:30"]
        {
            assert_eq!(parse_offset_s(bad), None, "{bad:?}");
        }
    }
}
