//! Signed messages as people read them. Text that shows itself otherwise than it is would have them approve something else.

/// The message as text, where showing it cannot deceive: UTF-8 without control characters but line ends and tabs, and
/// without the marks that reorder text (Unicode UAX #9).
pub(crate) fn readable(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let deceives = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (!text.chars().any(deceives)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_reorders_itself_is_shown_as_bytes_only() {
        assert_eq!(readable("Grüße\n".as_bytes()), Some("Grüße\n"));
        for bad in [&b"\xff"[..], b"a\0", "pay \u{202e}001 ETH".as_bytes(), b"\x1b[2J"] {
            assert_eq!(readable(bad), None, "{bad:02x?}");
        }
    }
}
