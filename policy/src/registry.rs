//! What a bundle knows of the chains: assets and their units, prices, the address book, registered contracts.
//! Everything is keyed by the spelling that `intent` uses (CAIP-19, CAIP-10, EIP-55), so that lookups are equality; another
//! spelling in a bundle is a finding. If this is wrong, amounts are measured in the wrong unit.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy_json_abi::JsonAbi;
use alloy_primitives::{Address, U256};
use chancery_core::UnixMillis;
use chancery_intent::bitcoin::Network;
use chancery_intent::contracts::{Abi, Entry as DecodingEntry, Registry as Contracts};
use chancery_intent::solana::{self, Cluster, Pubkey};
use chancery_intent::{IntentError, Standard};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Spanned;

use crate::chain::is_solana;
use crate::error::{FindingCode, Findings, Text};
use crate::manifest::{AddressEntry, AssetEntry, ContractEntry, LookupTableEntry, Manifest, PriceEntry};
use crate::name::{NAME_FORM, is_name};
use crate::source::Source;
use crate::units;

/// LIMIT: assets, addresses times their chains, and contracts times their chains.
pub const ENTRIES: usize = 20_000;
/// LIMIT: accounts of one lookup table; the network has no larger ones.
pub const LOOKUP_TABLE_ACCOUNTS: usize = 256;
/// LIMIT: groups of one asset, address, client or wallet.
pub const GROUPS_OF_ONE: usize = 16;

const CHAIN_FORM: &str = "a chain is CAIP-2, such as `eip155:1` or `bip122:000000000019d6689c085ae165831e93`";
const ASSET_FORM: &str = "an asset is CAIP-19 without a token id, such as `eip155:1/slip44:60` or `eip155:1/erc20:0x...` with \
                          the address in EIP-55 letters";
const ADDRESS_FORM: &str = "an address is `0x` and 40 hexadecimal digits with the capitals of EIP-55; on Bitcoin it is one of the \
                            network's in the letters that wallets show, or `script-` and hexadecimal where there is none; on \
                            Solana it is 32 bytes in base58";

/// An asset as registered.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    pub name: String,
    pub decimals: u8,
    pub unit_decimals: u8,
    pub groups: Vec<String>,
    pub price: Option<Price>,
    /// The part of a counter's name that says in which unit it counts.
    pub unit: String,
}

/// A price and the time it stops being fresh.
#[derive(Clone, Debug)]
pub(crate) struct Price {
    pub usd: U256,
    pub expires: UnixMillis,
}

/// A contract with a registered ABI.
#[derive(Clone, Debug)]
pub(crate) struct Contract {
    pub name: String,
    pub abi: String,
}

/// An address book entry, on one chain.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub name: String,
    pub groups: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    /// By CAIP-19.
    pub assets: HashMap<String, Asset>,
    /// By CAIP-10.
    pub addresses: HashMap<String, Known>,
    /// By CAIP-10.
    pub contracts: HashMap<String, Contract>,
    /// By CAIP-10: the name, and what is held.
    pub lookup_tables: BTreeMap<String, (String, Vec<Pubkey>)>,
    /// By path in the bundle.
    pub abis: BTreeMap<String, JsonAbi>,
    /// What `intent` decodes by: the standards of registered tokens and the ABIs of registered contracts.
    pub decoding: Contracts,
}

/// A chain: CAIP-2, or `eip155:*` for what is valid on any chain of a kind.
pub(crate) fn is_chain(text: &str) -> bool {
    text.split_once(':').is_some_and(|(namespace, reference)| {
        (3..=8).contains(&namespace.len())
            && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && (reference == "*"
                || (1..=32).contains(&reference.len())
                    && reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')))
    })
}

/// An EVM address in the one spelling that `intent` gives it.
fn is_eip55(text: &str) -> bool {
    Address::parse_checksummed(text, None).is_ok()
}

/// An address on a chain, in the one spelling that `intent` gives it: EIP-55, or what Bitcoin's network has.
pub(crate) fn is_address(chain: &str, text: &str) -> bool {
    if chain.starts_with("bip122:") {
        Network::of_chain(chain).is_some_and(|network| network.has_destination(text))
    } else if is_solana(chain) {
        solana::address(text).is_ok()
    } else {
        is_eip55(text)
    }
}

/// `chain:address` (CAIP-10).
pub(crate) fn is_account(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(chain, address)| is_chain(chain) && is_address(chain, address))
}

/// A CAIP-19 asset without a token id.
pub(crate) fn is_asset(text: &str) -> bool {
    text.split_once('/').is_some_and(|(chain, rest)| {
        is_chain(chain)
            && rest.split_once(':').is_some_and(|(namespace, reference)| {
                (3..=8).contains(&namespace.len())
                    && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && (1..=128).contains(&reference.len())
                    && reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'%'))
                    && (!reference.starts_with("0x") || is_eip55(reference))
                    && (!is_solana(chain) || namespace != "token" || solana::address(reference).is_ok())
            })
    })
}

/// A CAIP-19 asset and the id of one token of it: `eip155:1/erc721:0x.../42` is `(eip155:1/erc721:0x..., Some(42))`.
pub(crate) fn split_token(asset: &str) -> (&str, Option<&str>) {
    match asset.match_indices('/').nth(1) {
        Some((at, _)) => asset.split_at_checked(at).map_or((asset, None), |(id, token)| (id, token.get(1..))),
        None => (asset, None),
    }
}

impl Asset {
    /// An amount in this asset's policy units.
    pub fn policy_units(&self, amount: U256) -> i64 {
        units::policy_units(amount, self.decimals, self.unit_decimals)
    }

    /// Its value in US cents; `None` without a price that is fresh at `now`.
    pub fn usd_cents(&self, amount: U256, now: UnixMillis) -> Option<i64> {
        let price = self.price.as_ref().filter(|price| now < price.expires)?;
        Some(units::usd_cents(amount, self.decimals, price.usd))
    }
}

/// RFC 3339 text as milliseconds.
pub(crate) fn parse_time(text: &str) -> Option<UnixMillis> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(UnixMillis)
}

/// A time as RFC 3339 text; one that no calendar has, as milliseconds.
pub(crate) fn time_text(time: UnixMillis) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{time} ms"))
}

/// Where an entry of the manifest goes wrong.
struct Entry<'a, 'f> {
    at: Text<'a>,
    offset: usize,
    findings: &'f mut Findings,
}

impl Entry<'_, '_> {
    fn check(&mut self, holds: bool, code: FindingCode, message: impl Into<String>, hint: &str) -> bool {
        if !holds {
            self.findings.add(self.at, Some(self.offset), code, message, hint);
        }
        holds
    }

    fn name(&mut self, name: &str) -> bool {
        self.check(is_name(name), FindingCode::Value, format!("`{name}` is not a name"), NAME_FORM)
    }

    fn groups(&mut self, groups: &[String]) {
        let few = groups.len() <= GROUPS_OF_ONE;
        self.check(few, FindingCode::Size, format!("more than {GROUPS_OF_ONE} groups"), "");
        for group in groups {
            self.name(group);
        }
    }

    /// The CAIP-10 names of an address on its chains.
    fn accounts(&mut self, address: &str, chains: &[String]) -> Vec<String> {
        self.check(!chains.is_empty(), FindingCode::Value, "`chains` is empty", CHAIN_FORM);
        let mut accounts = Vec::new();
        for chain in chains {
            let message = format!("`{chain}` is not a chain");
            if !self.check(is_chain(chain), FindingCode::Value, message, CHAIN_FORM) {
                continue;
            }
            let message = format!("`{address}` is not an address on {chain}");
            if self.check(is_address(chain, address), FindingCode::Value, message, ADDRESS_FORM) {
                accounts.push(format!("{chain}:{address}"));
            }
        }
        accounts
    }
}

impl Registry {
    /// Checks the manifest's tables; what is wrong becomes findings.
    pub fn build(manifest: &Manifest, source: &Source, at: Text<'_>, findings: &mut Findings) -> Self {
        let mut registry = Self::default();
        for (count, what) in [
            (manifest.assets.len(), "assets"),
            (manifest.prices.len(), "prices"),
            (manifest.addresses.iter().map(|entry| entry.get_ref().chains.len()).sum(), "addresses"),
            (manifest.contracts.iter().map(|entry| entry.get_ref().chains.len()).sum(), "contracts"),
            (
                manifest.lookup_tables.iter().map(|entry| entry.get_ref().accounts.len()).sum(),
                "accounts of lookup tables",
            ),
        ] {
            if count > ENTRIES {
                findings.add(at, None, FindingCode::Size, format!("more than {ENTRIES} {what}"), "");
                return registry;
            }
        }
        for text in source.folder("abi") {
            registry.abi(text, findings);
        }
        let mut symbols = HashSet::new();
        for entry in &manifest.assets {
            registry.asset(entry.get_ref(), &mut symbols, &mut locate(entry, at, findings));
        }
        for entry in &manifest.prices {
            registry.price(entry.get_ref(), &mut locate(entry, at, findings));
        }
        let mut names = HashSet::new();
        for entry in &manifest.addresses {
            registry.address(entry.get_ref(), &mut names, &mut locate(entry, at, findings));
        }
        let mut names = HashSet::new();
        for entry in &manifest.contracts {
            registry.contract(entry.get_ref(), &mut names, &mut locate(entry, at, findings));
        }
        let mut names = HashSet::new();
        for entry in &manifest.lookup_tables {
            registry.lookup_table(entry.get_ref(), &mut names, &mut locate(entry, at, findings));
        }
        match registry.decoding(source) {
            Ok(decoding) => {
                registry.decoding = decoding
                    .with_anyone_can_pay(manifest.bitcoin.anyone_can_pay)
                    .with_lookup_tables(registry.held());
            }
            Err(error) => findings.add(at, None, FindingCode::Value, error.to_string(), ""),
        }
        registry
    }

    /// Tokens and contracts together: one contract may be both.
    fn decoding(&self, source: &Source) -> Result<Contracts, IntentError> {
        let mut entries: BTreeMap<(u64, Address), DecodingEntry<'_>> = BTreeMap::new();
        fn entry<'e, 's>(
            entries: &'e mut BTreeMap<(u64, Address), DecodingEntry<'s>>,
            chain: &str,
            address: &str,
        ) -> Option<&'e mut DecodingEntry<'s>> {
            let chain_id = chain.strip_prefix("eip155:")?.parse().ok()?;
            let address = Address::parse_checksummed(address, None).ok()?;
            let empty = DecodingEntry { chain_id, address, standard: None, abi: None };
            Some(entries.entry((chain_id, address)).or_insert(empty))
        }
        for id in self.assets.keys() {
            let Some((chain, (namespace, address))) =
                id.split_once('/').and_then(|(chain, rest)| Some((chain, rest.split_once(':')?)))
            else {
                continue;
            };
            let standards = [Standard::Erc20, Standard::Erc721, Standard::Erc1155];
            if let Some(standard) = standards.into_iter().find(|standard| standard.namespace() == namespace)
                && let Some(entry) = entry(&mut entries, chain, address)
            {
                entry.standard = Some(standard);
            }
        }
        for (account, contract) in &self.contracts {
            if let Some((chain, address)) = account.rsplit_once(':')
                && let Some(entry) = entry(&mut entries, chain, address)
            {
                entry.abi = source.files.get(&contract.abi).map(String::as_str);
            }
        }
        Contracts::build(entries.into_values())
    }

    fn lookup_table(
        &mut self,
        entry: &LookupTableEntry,
        names: &mut HashSet<String>,
        at: &mut Entry<'_, '_>,
    ) {
        at.name(&entry.name);
        let message = format!("`{}` names two lookup tables", entry.name);
        at.check(names.insert(entry.name.clone()), FindingCode::Duplicate, message, "");
        let message = format!("`{}` is no cluster of Solana", entry.chain);
        at.check(Cluster::of_chain(&entry.chain).is_some(), FindingCode::Value, message, "");
        let count = entry.accounts.len();
        let message = format!("a lookup table holds 1 to {LOOKUP_TABLE_ACCOUNTS} accounts");
        at.check((1..=LOOKUP_TABLE_ACCOUNTS).contains(&count), FindingCode::Size, message, "");
        let mut held = Vec::with_capacity(count);
        for text in entry.accounts.iter().chain([&entry.address]) {
            match solana::address(text) {
                Ok(account) => held.push(account),
                Err(_) => {
                    let message = format!("`{text}` is not an address on {}", entry.chain);
                    at.check(false, FindingCode::Value, message, ADDRESS_FORM);
                }
            }
        }
        held.truncate(count);
        let table = format!("{}:{}", entry.chain, entry.address);
        let message = format!("`{}` is registered twice", entry.address);
        let before = self.lookup_tables.insert(table, (entry.name.clone(), held));
        at.check(before.is_none(), FindingCode::Duplicate, message, "");
    }

    /// What lookup tables hold, as `intent` asks.
    fn held(&self) -> impl Iterator<Item = ((Cluster, Pubkey), Vec<Pubkey>)> {
        self.lookup_tables.iter().filter_map(|(table, (_, held))| {
            let (chain, address) = table.rsplit_once(':')?;
            Some(((Cluster::of_chain(chain)?, solana::address(address).ok()?), held.clone()))
        })
    }

    fn abi(&mut self, text: Text<'_>, findings: &mut Findings) {
        match serde_json::from_str::<JsonAbi>(text.text) {
            Ok(abi) => {
                // What cannot be decoded later is refused now, where its file is known.
                if let Err(reason) = Abi::parse(text.text) {
                    findings.add(
                        text,
                        None,
                        FindingCode::Value,
                        format!("the ABI cannot be decoded by: {reason}"),
                        "",
                    );
                }
                self.abis.insert(text.file.to_owned(), abi);
            }
            Err(error) => {
                let line = text
                    .text
                    .split_inclusive('\n')
                    .take(error.line().saturating_sub(1))
                    .map(str::len)
                    .sum::<usize>();
                let offset = line.saturating_add(error.column().saturating_sub(1));
                let hint = "an ABI file is the JSON array that a Solidity compiler writes";
                findings.add(text, Some(offset), FindingCode::Syntax, format!("not an ABI: {error}"), hint);
            }
        }
    }

    fn asset(&mut self, entry: &AssetEntry, symbols: &mut HashSet<(String, String)>, at: &mut Entry<'_, '_>) {
        let chain = entry.id.split_once('/').map_or("", |(chain, _)| chain).to_owned();
        let message = format!("`{}` is not an asset", entry.id);
        let mut good = at.check(is_asset(&entry.id), FindingCode::Value, message, ASSET_FORM);
        let symbol =
            (1..=16).contains(&entry.name.len()) && entry.name.bytes().all(|b| b.is_ascii_alphanumeric());
        good &= at.check(
            symbol,
            FindingCode::Value,
            format!("`{}` is not an asset's name", entry.name),
            "such a name is 1 to 16 letters and digits, such as `ETH`",
        );
        let unit_decimals = entry.unit_decimals.unwrap_or(entry.decimals.min(units::UNIT_DECIMALS));
        let message = format!("`decimals` is more than {}", units::DECIMALS);
        good &= at.check(entry.decimals <= units::DECIMALS, FindingCode::Value, message, "");
        let message = "`unit_decimals` is more than `decimals`";
        good &= at.check(
            unit_decimals <= entry.decimals,
            FindingCode::Value,
            message,
            "a policy unit is never finer than a base unit",
        );
        at.groups(&entry.groups);
        let message = format!("`{}` is registered twice", entry.id);
        good &= at.check(!self.assets.contains_key(&entry.id), FindingCode::Duplicate, message, "");
        let message = format!("`{}` names two assets of one chain", entry.name);
        good &= at.check(symbols.insert((chain, entry.name.clone())), FindingCode::Duplicate, message, "");
        if good {
            let asset = Asset {
                name: entry.name.clone(),
                decimals: entry.decimals,
                unit_decimals,
                groups: entry.groups.clone(),
                price: None,
                unit: format!("{}/{unit_decimals}", entry.decimals),
            };
            self.assets.insert(entry.id.clone(), asset);
        }
    }

    fn price(&mut self, entry: &PriceEntry, at: &mut Entry<'_, '_>) {
        let usd = units::decimal(&entry.usd, units::PRICE_DECIMALS).filter(|usd| !usd.is_zero());
        let hint = "a price is decimal text above 0 with at most 8 places, such as `3150.25`";
        at.check(usd.is_some(), FindingCode::Value, format!("`{}` is not a price", entry.usd), hint);
        let expires = parse_time(&entry.expires);
        let message = format!("`{}` is not a time", entry.expires);
        at.check(
            expires.is_some(),
            FindingCode::Value,
            message,
            "a time is RFC 3339, such as `2026-01-31T12:00:00Z`",
        );
        let Some(asset) = self.assets.get_mut(&entry.asset) else {
            let message = format!("`{}` is not a registered asset", entry.asset);
            at.check(false, FindingCode::Unknown, message, "declare it with `[[asset]]`");
            return;
        };
        let message = format!("`{}` has two prices", entry.asset);
        at.check(asset.price.is_none(), FindingCode::Duplicate, message, "");
        if let (Some(usd), Some(expires)) = (usd, expires) {
            asset.price = Some(Price { usd, expires });
        }
    }

    fn address(&mut self, entry: &AddressEntry, names: &mut HashSet<String>, at: &mut Entry<'_, '_>) {
        at.name(&entry.name);
        at.groups(&entry.groups);
        let message = format!("`{}` names two addresses", entry.name);
        at.check(names.insert(entry.name.clone()), FindingCode::Duplicate, message, "");
        for account in at.accounts(&entry.address, &entry.chains) {
            let message = format!("`{account}` is in the address book twice");
            if at.check(!self.addresses.contains_key(&account), FindingCode::Duplicate, message, "") {
                self.addresses
                    .insert(account, Known { name: entry.name.clone(), groups: entry.groups.clone() });
            }
        }
    }

    fn contract(&mut self, entry: &ContractEntry, names: &mut HashSet<String>, at: &mut Entry<'_, '_>) {
        at.name(&entry.name);
        let message = format!("`{}` names two contracts", entry.name);
        at.check(names.insert(entry.name.clone()), FindingCode::Duplicate, message, "");
        let message = format!("`{}` is not a file of this bundle", entry.abi);
        at.check(
            self.abis.contains_key(&entry.abi),
            FindingCode::Unknown,
            message,
            "an ABI is a file `abi/*.json`",
        );
        for account in at.accounts(&entry.address, &entry.chains) {
            let message = "a contract is registered on each of its chains, not on any";
            at.check(!account.contains(":*:"), FindingCode::Value, message, CHAIN_FORM);
            let message = format!("`{account}` is registered twice");
            if at.check(!self.contracts.contains_key(&account), FindingCode::Duplicate, message, "") {
                self.contracts.insert(account, Contract { name: entry.name.clone(), abi: entry.abi.clone() });
            }
        }
    }
}

fn locate<'a, 'f, T>(entry: &Spanned<T>, at: Text<'a>, findings: &'f mut Findings) -> Entry<'a, 'f> {
    Entry { at, offset: entry.span().start, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

    #[test]
    fn spellings_are_canonical() {
        assert!(is_eip55(TOKEN));
        for bad in ["", "0x", &TOKEN.to_lowercase(), &TOKEN.to_uppercase(), &TOKEN[2..], &format!("{TOKEN}0")]
        {
            assert!(!is_eip55(bad), "{bad}");
        }
        assert!(is_asset("eip155:1/slip44:60") && is_asset(&format!("eip155:1/erc20:{TOKEN}")));
        for bad in [
            "eip155:1",
            "slip44:60",
            "eip155:1/erc20:0xabc",
            &format!("eip155:1/erc721:{TOKEN}/42"),
            "EIP155:1/slip44:60",
        ] {
            assert!(!is_asset(bad), "{bad}");
        }
        assert!(is_account(&format!("eip155:1:{TOKEN}")) && is_account(&format!("eip155:*:{TOKEN}")));
        assert!(!is_account(TOKEN));

        let (solana, mint) = (Cluster::Mainnet.chain(), "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v");
        assert!(is_asset(&format!("{solana}/slip44:501")) && is_asset(&format!("{solana}/token:{mint}")));
        assert!(is_account(&format!("{solana}:{mint}")));
        for bad in [&mint[..40], &mint.replace('E', "0"), &format!("{mint}1"), TOKEN, ""] {
            assert!(!is_account(&format!("{solana}:{bad}")), "{bad}");
            assert!(!is_asset(&format!("{solana}/token:{bad}")), "{bad}");
        }

        let (mainnet, signet) =
            ("bip122:000000000019d6689c085ae165831e93", "bip122:00000008819873e925422c1ff0f99f7c");
        let address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        assert!(is_asset(&format!("{mainnet}/slip44:0")));
        assert!(is_account(&format!("{mainnet}:{address}")));
        assert!(is_account(&format!("{mainnet}:script-6a026869")));
        for bad in [
            format!("{signet}:{address}"),
            format!("{mainnet}:{}", address.to_uppercase()),
            format!("{mainnet}:{TOKEN}"),
            format!("eip155:1:{address}"),
            format!("bip122:*:{address}"),
            format!("bip122:0:{address}"),
        ] {
            assert!(!is_account(&bad), "{bad}: a rule with it could never apply");
        }
    }

    #[test]
    fn chains_and_assets_have_the_alphabets_of_caip() {
        let long = |n: usize| "a".repeat(n);
        for good in ["eip155:1", "a-b:c", "a1b:*", "abc:A-_9", &format!("{}:{}", long(8), long(32))] {
            assert!(is_chain(good), "{good}");
        }
        let bad = ["", "eip155", "eip155:", ":1", "Eip:1", "a_b:1", "ab:1", "abc:a b", "abc:a.b", "abc:*1"];
        for bad in bad.into_iter().chain([&*format!("{}:1", long(9)), &*format!("abc:{}", long(33))]) {
            assert!(!is_chain(bad), "{bad:?}");
        }
        for good in ["a-b:c", "a1b:A-.%9", &format!("{}:{}", long(8), long(128))] {
            assert!(is_asset(&format!("eip155:1/{good}")), "{good}");
        }
        let bad = ["", "abc", "abc:", ":1", "Abc:1", "a_b:1", "ab:1", "abc:a b", "abc:a_b"];
        for bad in bad.into_iter().chain([&*format!("{}:1", long(9)), &*format!("abc:{}", long(129))]) {
            assert!(!is_asset(&format!("eip155:1/{bad}")), "{bad:?}");
        }
        assert!(!is_asset("Eip:1/abc:1"), "on what is no chain");
    }

    #[test]
    fn tokens_are_told_from_their_collection() {
        assert_eq!(split_token("eip155:1/erc721:0xab/42"), ("eip155:1/erc721:0xab", Some("42")));
        assert_eq!(split_token("eip155:1/slip44:60"), ("eip155:1/slip44:60", None));
        assert_eq!(split_token("x"), ("x", None));
    }
}
