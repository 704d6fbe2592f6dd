//! Times and spans as people write them: RFC 3339, milliseconds since 1970, or relative to now (`-24h`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chancery_core::UnixMillis;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The wall clock. A clock before 1970 reads 0.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// A time, such as `2026-11-01T00:00:00Z`, `1793491200000`, `-24h`, `+90m` or `now`.
///
/// # Errors
/// Says which forms there are.
pub fn parse(text: &str) -> Result<UnixMillis, String> {
    parse_at(text, now())
}

fn parse_at(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let wrong = || "neither RFC 3339, nor milliseconds since 1970, nor relative such as `-24h`".to_owned();
    if text == "now" {
        return Ok(now);
    }
    if let Some(back) = text.strip_prefix('-') {
        return Ok(now.plus_ms(-span_ms(back).ok_or_else(wrong)?));
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return Ok(now.plus_ms(span_ms(ahead).ok_or_else(wrong)?));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(UnixMillis).map_err(|_| wrong());
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).map(UnixMillis).map_err(|_| wrong())
}

/// A span, such as `30s`, `500ms` or `2m`.
///
/// # Errors
/// Says which units there are.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    span_ms(text)
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis)
        .ok_or_else(|| "a number and one of ms, s, m, h, d, w, such as `30s`".to_owned())
}

fn span_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

/// RFC 3339 in UTC, to the millisecond where there is one; the bare number where no calendar has it.
#[must_use]
pub fn show(at: UnixMillis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_793_491_200_000);

    #[test]
    fn every_form_of_time_is_read() {
        for (text, at) in [
            ("now", NOW.0),
            ("1793491200001", NOW.0 + 1),
            ("-24h", NOW.0 - 86_400_000),
            ("+90m", NOW.0 + 5_400_000),
            ("-500ms", NOW.0 - 500),
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T01:00:00.250+01:00", 250),
        ] {
            assert_eq!(parse_at(text, NOW), Ok(UnixMillis(at)), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "-",
            "-24",
            "-h",
            "24h",
            "2026-11-01",
            "99999999999999999999",
            "-9999999999999w",
        ] {
            assert!(parse_at(bad, NOW).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for at in [UnixMillis(0), UnixMillis(250), NOW] {
            assert_eq!(parse_at(&show(at), NOW), Ok(at));
        }
    }
}
