//! EIP-191 personal messages (version `0x45`): the prefix keeps them apart from transactions and typed data, so the worst
//! they can do is convince whoever reads signed messages.

use serde_json::{Map, Value};

use super::{ANY_CHAIN, Account, Document, Understood, checked_size, decimal, prefixed_hex};
use crate::IntentError;
use crate::model::{self, Description, Effect, Kind};
use crate::text::readable;

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
        effects: vec![Effect::bare(Kind::Message)],
        fee: None,
        nonce: None,
        detail,
    };
    Ok(Understood { description, preimage, document: Document::Message })
}
