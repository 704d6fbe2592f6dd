//! A message as the network reads it: legacy or of version 0, every index in its place, and encoded again to the same bytes.
//! Trusts nothing but the layout. If this is wrong, an instruction is read with another's accounts.

use std::collections::HashSet;

use chancery_core::limit;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::{MessageHeader, VersionedMessage};

use super::Pubkey;
use crate::IntentError;

/// The bit of the first byte that says a version follows; without it the byte is a legacy message's first.
const VERSIONED: u8 = 0x80;

/// A message whose indexes all lead somewhere.
pub(super) struct Message(VersionedMessage);

/// An account as an instruction names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the message.
    Here(Pubkey),
    /// In a lookup table: the signature commits to this place, not to what is there.
    Table {
        /// The table.
        table: Pubkey,
        /// Where in it.
        index: u8,
    },
}

impl Message {
    /// Reads a message.
    pub fn read(data: &[u8]) -> Result<Self, IntentError> {
        match data {
            [] => return Err(IntentError::Empty),
            [first, ..] if *first > VERSIONED => return Err(IntentError::TypeUnknown(*first)),
            _ => {}
        }
        let most = limit::SOLANA_BYTES;
        if data.len() > most {
            return Err(IntentError::TooLarge { bytes: data.len(), limit: most });
        }
        let message: VersionedMessage = wincode::deserialize(data)
            .map_err(|_| IntentError::malformed("it is cut short or no Solana message"))?;
        let encoded =
            wincode::serialize(&message).map_err(|_| IntentError::malformed("it does not encode again"))?;
        if encoded != data {
            return Err(match data.strip_prefix(encoded.as_slice()) {
                Some(rest) => IntentError::Trailing { bytes: rest.len() },
                None => IntentError::not_canonical("it encodes to other bytes"),
            });
        }
        // A program outside of the message's own accounts, a table that gives nothing, an index to nowhere, a payer who only reads.
        message.sanitize().map_err(|error| IntentError::malformed(format!("its indexes: {error}")))?;
        let message = Self(message);
        let size = 1 + 64 * usize::from(message.required_signatures()) + data.len();
        if size > most {
            return Err(IntentError::TooLarge { bytes: size, limit: most });
        }
        let mut seen = HashSet::new();
        if !message.0.static_account_keys().iter().all(|key| seen.insert(*key)) {
            return Err(IntentError::malformed("an account stands in it twice"));
        }
        Ok(message)
    }

    fn header(&self) -> &MessageHeader {
        self.0.header()
    }

    pub fn required_signatures(&self) -> u8 {
        self.header().num_required_signatures
    }

    /// `legacy` or `v0`.
    pub fn form(&self) -> &'static str {
        match &self.0 {
            VersionedMessage::Legacy(_) => "legacy",
            _ => "v0",
        }
    }

    /// Who has to sign; the first pays.
    pub fn signers(&self) -> &[Pubkey] {
        self.0.static_account_keys().get(..usize::from(self.required_signatures())).unwrap_or_default()
    }

    pub fn payer(&self) -> Option<&Pubkey> {
        self.signers().first()
    }

    /// The recent blockhash, or the nonce in its place.
    pub fn blockhash(&self) -> String {
        self.0.recent_blockhash().to_string()
    }

    pub fn instructions(&self) -> &[CompiledInstruction] {
        self.0.instructions()
    }

    /// Every account in the order of the indexes: the message's own, then those that tables lend to write, then to read.
    pub fn places(&self) -> Vec<Place> {
        let tables = self.0.address_table_lookups().unwrap_or_default();
        let from = |table: Pubkey| move |index: &u8| Place::Table { table, index: *index };
        let written =
            tables.iter().flat_map(|table| table.writable_indexes.iter().map(from(table.account_key)));
        let read = tables.iter().flat_map(|table| table.readonly_indexes.iter().map(from(table.account_key)));
        self.0.static_account_keys().iter().map(|key| Place::Here(*key)).chain(written).chain(read).collect()
    }
}
