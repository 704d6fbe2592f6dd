//! EIP-191 personal messages (version `0x45`): the prefix keeps them apart from transactions and typed data, so the worst
//! they can do is convince whoever reads signed messages.

use serde_json::{Map, Value};

use super::{ANY_CHAIN, Document, Understood, checked_size, decimal, prefixed_hex};
use crate::model::{self, Description, Effect, Kind};
use crate::{Account, IntentError};

const PREFIX: &[u8] = b"\x19Ethereum Signed Message:\n";

pub(crate) fn understand(data: &[u8], account: &Account<'_>) -> Result<Understood, IntentError> {
    checked_size(data)?;
    let preimage = [PREFIX, data.len().to_string().as_bytes(), data].concat();
    let mut detail = Map::new();
    detail.insert("data".into(), Value::String(prefixed_hex(data)));
    detail.insert("data_bytes".into(), decimal(data.len()));
    if let Some(text) = readable(data) {
        detail.insert("text".into(), Value::String(text.to_owned()));
    }
    let description = Description {
        v: model::VERSION,
        payload: "ethereum.message".into(),
        chain: ANY_CHAIN.into(),
        form: "eip191".into(),
        account: account.address.to_string(),
        effects: vec![Effect {
            kind: Kind::Message,
            asset: None,
            amount: None,
            unlimited: false,
            destination: None,
            owner: None,
            contract: None,
            method: None,
        }],
        fee: None,
        nonce: None,
        detail,
    };
    Ok(Understood { description, preimage, document: Document::Message })
}

/// The message as text, where showing it cannot deceive: UTF-8 without control characters but line ends and tabs, and
/// without the marks that reorder text (Unicode UAX #9).
fn readable(data: &[u8]) -> Option<&str> {
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
