//! `bundle.toml` as it is written. Parsed strictly: an unknown key is a finding. Meaning is checked in `registry`,
//! `declared` and `bundle`; nothing here is trusted yet.

use std::collections::BTreeMap;

use chancery_intent::model::Kind;
use serde::Deserialize;
use toml::Spanned;

use crate::error::{FindingCode, Findings, Text};
use crate::limit::{Key, Measure};
use crate::officers::{DelegationEntry, OfficerEntry, WebauthnEntry};

/// The format this build reads.
pub(crate) const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub version: Spanned<u32>,
    pub name: Spanned<String>,
    #[serde(default)]
    pub utc_offset: Option<Spanned<String>>,
    #[serde(default)]
    pub approvers: Vec<Spanned<String>>,
    #[serde(default)]
    pub factors: Vec<Spanned<String>>,
    #[serde(default)]
    pub groups: Groups,
    #[serde(default, rename = "asset")]
    pub assets: Vec<Spanned<AssetEntry>>,
    #[serde(default, rename = "price")]
    pub prices: Vec<Spanned<PriceEntry>>,
    #[serde(default, rename = "address")]
    pub addresses: Vec<Spanned<AddressEntry>>,
    #[serde(default, rename = "contract")]
    pub contracts: Vec<Spanned<ContractEntry>>,
    #[serde(default, rename = "lookup_table")]
    pub lookup_tables: Vec<Spanned<LookupTableEntry>>,
    #[serde(default, rename = "limit")]
    pub limits: Vec<Spanned<LimitEntry>>,
    #[serde(default)]
    pub bitcoin: BitcoinEntry,
    #[serde(default)]
    pub webauthn: Option<Spanned<WebauthnEntry>>,
    #[serde(default, rename = "officer")]
    pub officers: Vec<Spanned<OfficerEntry>>,
    #[serde(default, rename = "delegation")]
    pub delegations: Vec<Spanned<DelegationEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BitcoinEntry {
    /// Whether inputs may be signed so that others can add more (SIGHASH_ALL | SIGHASH_ANYONECANPAY).
    #[serde(default)]
    pub anyone_can_pay: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Groups {
    #[serde(default)]
    pub clients: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    #[serde(default)]
    pub wallets: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssetEntry {
    pub id: String,
    pub name: String,
    pub decimals: u8,
    #[serde(default)]
    pub unit_decimals: Option<u8>,
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceEntry {
    pub asset: String,
    pub usd: String,
    pub expires: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressEntry {
    pub name: String,
    pub address: String,
    pub chains: Vec<String>,
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContractEntry {
    pub name: String,
    pub address: String,
    pub chains: Vec<String>,
    pub abi: String,
}

/// What an address lookup table of Solana holds, from its start; a table only ever grows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupTableEntry {
    pub name: String,
    pub address: String,
    pub chain: String,
    pub accounts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitEntry {
    pub name: String,
    pub measure: Measure,
    pub window: String,
    #[serde(default)]
    pub keys: Vec<Key>,
    #[serde(default)]
    pub actions: Vec<Kind>,
    #[serde(default)]
    pub assets: Vec<String>,
}

/// Parses a TOML file, or says where it is not TOML.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(at: Text<'_>, findings: &mut Findings) -> Option<T> {
    match toml::from_str(at.text) {
        Ok(value) => Some(value),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let hint = "the reference of every key is in docs/policy.md";
            findings.add(at, Some(offset), FindingCode::Syntax, error.message(), hint);
            None
        }
    }
}
