//! What is known about contracts: which token standard they follow and which methods they have. It comes from the
//! policy bundle, so officers vouch for it. A contract wrongly called a token makes its calls read as transfers.

use std::collections::HashMap;
use std::str::FromStr;

use alloy_json_abi::JsonAbi;
use alloy_primitives::Address;

use crate::IntentError;
use crate::ethereum::Method;
use crate::solana::{Cluster, Pubkey};

/// A token standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standard {
    /// Fungible tokens (ERC-20).
    Erc20,
    /// Single items (ERC-721).
    Erc721,
    /// Many kinds of items under one contract (ERC-1155).
    Erc1155,
}

impl Standard {
    /// The CAIP-19 asset namespace: `erc20`, `erc721`, `erc1155`.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Erc20 => "erc20",
            Self::Erc721 => "erc721",
            Self::Erc1155 => "erc1155",
        }
    }
}

/// What the policy bundle says about decoding: contracts mostly. Answers must depend on nothing but the bundle.
pub trait Contracts {
    /// The standard of a registered token.
    fn standard(&self, chain_id: u64, contract: &Address) -> Option<Standard>;
    /// The methods of a contract whose ABI is registered.
    fn abi(&self, chain_id: u64, contract: &Address) -> Option<&Abi>;
    /// The accounts of an address lookup table of Solana. No message says what a table holds: only officers do.
    fn lookup_table(&self, _: Cluster, _: &Pubkey) -> Option<&[Pubkey]> {
        None
    }
    /// Whether Bitcoin inputs may be signed so that others can add inputs (SIGHASH_ALL | SIGHASH_ANYONECANPAY).
    fn anyone_can_pay(&self) -> bool {
        false
    }
}

/// A contract's methods, compiled once and found by selector.
#[derive(Clone, Debug, Default)]
pub struct Abi {
    methods: HashMap<[u8; 4], Method>,
}

impl Abi {
    /// Compiles the JSON form of a contract's ABI: an array of items, or an object with an `abi` member.
    ///
    /// # Errors
    /// The reason in words: not an ABI, two methods with one selector, a type nested deeper than `limit::NESTING`,
    /// larger than a payload, or of size zero.
    pub fn parse(json: &str) -> Result<Self, String> {
        let abi: JsonAbi = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut methods = HashMap::new();
        for function in abi.functions() {
            let method = Method::compile(function)?;
            if let Some(other) = methods.insert(function.selector().0, method) {
                return Err(format!(
                    "`{}` and `{}` have one selector",
                    other.signature(),
                    function.signature()
                ));
            }
        }
        Ok(Self { methods })
    }

    /// How many methods there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.methods.len()
    }

    /// True where there are no methods.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    pub(crate) fn method(&self, selector: [u8; 4]) -> Option<&Method> {
        self.methods.get(&selector)
    }
}

impl FromStr for Abi {
    type Err = String;
    fn from_str(json: &str) -> Result<Self, String> {
        Self::parse(json)
    }
}

/// One contract to register.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The chain it is on.
    pub chain_id: u64,
    /// Where it is.
    pub address: Address,
    /// Its token standard, where it is a token.
    pub standard: Option<Standard>,
    /// The JSON text of its ABI, where methods shall be decoded.
    pub abi: Option<&'a str>,
}

/// Registered contracts, ready for look-up. The empty registry knows nothing.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    contracts: HashMap<(u64, Address), Registered>,
    lookup_tables: HashMap<(Cluster, Pubkey), Vec<Pubkey>>,
    anyone_can_pay: bool,
}

#[derive(Clone, Debug)]
struct Registered {
    standard: Option<Standard>,
    abi: Option<Abi>,
}

impl Registry {
    /// Registers each contract once and compiles its ABI.
    ///
    /// # Errors
    /// [`IntentError::Abi`] and [`IntentError::RegisteredTwice`].
    pub fn build<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Result<Self, IntentError> {
        let mut contracts = HashMap::new();
        for Entry { chain_id, address, standard, abi } in entries {
            let abi = abi
                .map(Abi::parse)
                .transpose()
                .map_err(|reason| IntentError::Abi { contract: address, reason })?;
            if contracts.insert((chain_id, address), Registered { standard, abi }).is_some() {
                return Err(IntentError::RegisteredTwice { chain_id, contract: address });
            }
        }
        Ok(Self { contracts, ..Self::default() })
    }

    /// The same, with the accounts of lookup tables.
    #[must_use]
    pub fn with_lookup_tables(
        self,
        tables: impl IntoIterator<Item = ((Cluster, Pubkey), Vec<Pubkey>)>,
    ) -> Self {
        Self { lookup_tables: tables.into_iter().collect(), ..self }
    }

    /// The same, with an answer to [`Contracts::anyone_can_pay`].
    #[must_use]
    pub fn with_anyone_can_pay(self, anyone_can_pay: bool) -> Self {
        Self { anyone_can_pay, ..self }
    }
}

impl Contracts for Registry {
    fn standard(&self, chain_id: u64, contract: &Address) -> Option<Standard> {
        self.contracts.get(&(chain_id, *contract))?.standard
    }

    fn abi(&self, chain_id: u64, contract: &Address) -> Option<&Abi> {
        self.contracts.get(&(chain_id, *contract))?.abi.as_ref()
    }

    fn lookup_table(&self, cluster: Cluster, table: &Pubkey) -> Option<&[Pubkey]> {
        self.lookup_tables.get(&(cluster, *table)).map(Vec::as_slice)
    }

    fn anyone_can_pay(&self) -> bool {
        self.anyone_can_pay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Address = Address::repeat_byte(7);

    fn with_abi(abi: &str) -> Result<Registry, IntentError> {
        Registry::build([Entry { chain_id: 1, address: TOKEN, standard: None, abi: Some(abi) }])
    }

    fn function(name: &str, ty: &str) -> String {
        format!(
            r#"[{{"type":"function","name":"{name}","stateMutability":"nonpayable","outputs":[],"inputs":[{{"name":"x","type":"{ty}"}}]}}]"#
        )
    }

    #[test]
    fn a_contract_is_known_on_its_own_chain_only() {
        let entry = Entry { chain_id: 1, address: TOKEN, standard: Some(Standard::Erc20), abi: None };
        let registry = Registry::build([entry.clone()]).unwrap();
        assert_eq!(registry.standard(1, &TOKEN), Some(Standard::Erc20));
        assert_eq!(
            registry.standard(2, &TOKEN),
            None,
            "the same address on another chain is another contract"
        );
        assert!(matches!(
            Registry::build([entry.clone(), entry]),
            Err(IntentError::RegisteredTwice { chain_id: 1, contract: TOKEN })
        ));
    }

    #[test]
    fn types_that_would_exhaust_memory_are_not_registered() {
        assert_eq!(with_abi(&function("f", "uint256")).unwrap().abi(1, &TOKEN).unwrap().len(), 1);
        let deep = format!("uint256{}", "[]".repeat(17));
        for bad in
            ["uint256[4294967295]", "uint256[65536][65536][65536][65536]", "uint256[0]", "uint257", &deep]
        {
            assert!(with_abi(&function("f", bad)).is_err(), "{bad}");
        }
        assert!(with_abi("{").is_err());
        let empty_tuple = r#"[{"type":"function","name":"f","stateMutability":"view","outputs":[],"inputs":[{"name":"x","type":"tuple[]","components":[]}]}]"#;
        assert!(with_abi(empty_tuple).is_err(), "an array of nothing has any length for free");
    }

    #[test]
    fn one_selector_names_one_method() {
        // A published collision: both are 0x42966c68.
        let [a, b] = [function("burn", "uint256"), function("collate_propagate_storage", "bytes16")]
            .map(|f| f[1..f.len() - 1].to_owned());
        assert!(with_abi(&format!("[{a},{b}]")).is_err());
        assert!(with_abi(&format!("[{a}]")).is_ok());
    }
}
