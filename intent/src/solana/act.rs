//! What an instruction does. A known program's known instructions are told exactly; one with other bytes is refused, since the
//! program might still act on it; everything else may do anything with what the wallet has, because its signature goes along,
//! and is told as a call without a bound.

use std::collections::BTreeMap;

use alloy_primitives::U256;
use solana_message::compiled_instruction::CompiledInstruction;

use super::associated::Known;
use super::budget::Budget;
use super::message::Place;
use super::program::{ASSOCIATED, COMPUTE_BUDGET, MEMO, MEMO_1, SYSTEM, TOKEN_2022, is_token};
use super::token;
use super::{Account, Pubkey};
use crate::IntentError;
use crate::contracts::Contracts;
use crate::model::{Effect, Kind, Method};

/// Lamports that a token account of SPL Token locks up: 165 bytes, at the rent of every cluster.
const DEPOSIT: u64 = 2_039_280;
/// The most that one of Token-2022 does, with every extension there is.
const DEPOSIT_2022: u64 = 10_000_000;

/// An instruction with its accounts.
pub(super) struct Call<'a> {
    pub program: Pubkey,
    pub accounts: Vec<Place>,
    pub data: &'a [u8],
}

/// What keeps a transaction valid until it is used.
pub(super) struct Nonce {
    pub account: Pubkey,
    pub authority: Pubkey,
}

/// What was found so far.
pub(super) struct Acts<'a> {
    pub account: &'a Account,
    contracts: &'a dyn Contracts,
    pub known: Known,
    pub budget: Budget,
    pub nonce: Option<Nonce>,
    /// What policy must allow.
    pub effects: Vec<Effect>,
    /// What moves nothing out of the wallet: an effect where there is no other.
    pub quiet: Vec<Effect>,
    /// Lamports of the wallet that new token accounts lock up at most.
    pub deposits: u64,
    pub memos: Vec<Vec<u8>>,
    /// What was read in lookup tables.
    pub tables: BTreeMap<String, BTreeMap<u8, String>>,
}

impl<'a> Call<'a> {
    /// An instruction of a message with these accounts.
    pub fn of(instruction: &'a CompiledInstruction, places: &[Place]) -> Result<Self, IntentError> {
        let at = |index: &u8| {
            let place = places.get(usize::from(*index)).copied();
            place.ok_or_else(|| IntentError::malformed("an index leads to no account"))
        };
        // No table lends a program.
        let Place::Here(program) = at(&instruction.program_id_index)? else {
            return Err(IntentError::malformed("a program in a lookup table"));
        };
        let accounts = instruction.accounts.iter().map(at).collect::<Result<_, _>>()?;
        Ok(Self { program, accounts, data: &instruction.data })
    }

    /// Whether it makes a token account: who pays, the account, its owner, its mint, and behind another the token program.
    fn creates(&self) -> bool {
        let makes = matches!(self.data, [] | [0] | [1]) && self.accounts.len() >= 6;
        self.program == ASSOCIATED && makes
    }
}

impl<'a> Acts<'a> {
    pub fn new(account: &'a Account, contracts: &'a dyn Contracts, known: Known) -> Self {
        Self {
            account,
            contracts,
            known,
            budget: Budget::default(),
            nonce: None,
            effects: Vec::new(),
            quiet: Vec::new(),
            deposits: 0,
            memos: Vec::new(),
            tables: BTreeMap::new(),
        }
    }

    /// The account at a place of an instruction.
    pub fn at(&mut self, call: &Call<'_>, index: usize) -> Result<Pubkey, IntentError> {
        match call.accounts.get(index) {
            None => Err(IntentError::malformed("an instruction lacks accounts")),
            Some(Place::Here(account)) => Ok(*account),
            Some(Place::Table { table, index }) => {
                let held = self.contracts.lookup_table(self.account.cluster, table);
                let found = held.and_then(|held| held.get(usize::from(*index)));
                let found = *found.ok_or(IntentError::LookupTable { table: *table, index: *index })?;
                self.tables.entry(table.to_string()).or_default().insert(*index, found.to_string());
                Ok(found)
            }
        }
    }

    /// Who acts, where it is not the wallet.
    pub fn other(&self, who: &Pubkey) -> Option<String> {
        (*who != self.account.address).then(|| who.to_string())
    }

    /// Learns of a token account that an instruction makes, before anything is sent to it.
    pub fn foresee(&mut self, call: &Call<'_>) -> Result<(), IntentError> {
        if !call.creates() {
            return Ok(());
        }
        let [made, owner, mint, program] = [1, 2, 3, 5].map(|index| self.at(call, index));
        let (made, owner, mint, program) = (made?, owner?, mint?, program?);
        if is_token(&program) && !self.known.made(&made, owner, mint, program) {
            return Err(IntentError::malformed(
                "a token account is made that is not its owner's for its mint",
            ));
        }
        Ok(())
    }

    /// Reads an instruction, and says which it is where that is known. `first` is the one at which a nonce counts.
    pub fn read(&mut self, call: &Call<'_>, first: bool) -> Result<Option<&'static str>, IntentError> {
        self.budget.count(call);
        let name = match call.program {
            SYSTEM => self.system(call, first)?,
            COMPUTE_BUDGET => Some(self.budget.set(call.data)?),
            ASSOCIATED if call.creates() => self.create(call)?,
            MEMO | MEMO_1 => {
                self.memos.push(call.data.to_vec());
                self.effects.push(Effect::bare(Kind::Data));
                Some("memo")
            }
            program if is_token(&program) => token::read(self, call)?,
            _ => None,
        };
        if name.is_none() {
            let selector = call.data.get(..call.data.len().min(8)).unwrap_or_default();
            let coin = self.account.cluster.coin();
            let effect = called(call, &format!("0x{}", hex::encode(selector)), None);
            self.effects.push(Effect { asset: Some(coin), unlimited: true, ..effect });
        }
        Ok(name)
    }

    /// The system program's instructions: bincode, four bytes say which.
    fn system(&mut self, call: &Call<'_>, first: bool) -> Result<Option<&'static str>, IntentError> {
        match call.data {
            [2, 0, 0, 0, lamports @ ..] => {
                let (from, to) = (self.at(call, 0)?, self.at(call, 1)?);
                self.effects.push(Effect {
                    asset: Some(self.account.cluster.coin()),
                    amount: Some(number(lamports)?),
                    destination: Some(to.to_string()),
                    owner: self.other(&from),
                    ..Effect::bare(Kind::Transfer)
                });
                Ok(Some("transfer"))
            }
            [4, 0, 0, 0, rest @ ..] => {
                let (account, authority) = (self.at(call, 0)?, self.at(call, 2)?);
                if !rest.is_empty() {
                    return Err(IntentError::malformed("bytes follow `advanceNonceAccount`"));
                }
                if first {
                    self.nonce = Some(Nonce { account, authority });
                }
                self.quiet(call, "advanceNonceAccount");
                Ok(Some("advanceNonceAccount"))
            }
            _ => Ok(None),
        }
    }

    fn create(&mut self, call: &Call<'_>) -> Result<Option<&'static str>, IntentError> {
        let (payer, program) = (self.at(call, 0)?, self.at(call, 5)?);
        if !is_token(&program) {
            return Ok(None);
        }
        if payer == self.account.address {
            let deposit = if program == TOKEN_2022 { DEPOSIT_2022 } else { DEPOSIT };
            self.deposits = self.deposits.saturating_add(deposit);
        }
        self.quiet(call, "createAssociatedTokenAccount");
        Ok(Some("createAssociatedTokenAccount"))
    }

    /// Takes up what moves nothing out of the wallet.
    pub fn quiet(&mut self, call: &Call<'_>, name: &str) {
        let selector = format!("0x{}", hex::encode(call.data.get(..1).unwrap_or_default()));
        self.quiet.push(called(call, &selector, Some(name)));
    }
}

fn called(call: &Call<'_>, selector: &str, signature: Option<&str>) -> Effect {
    let method = Method {
        selector: selector.to_owned(),
        signature: signature.map(str::to_owned),
        arguments: Vec::new(),
    };
    let program = Some(call.program.to_string());
    let effect = Effect::bare(Kind::ContractCall);
    Effect { destination: program.clone(), contract: program, method: Some(method), ..effect }
}

/// A little-endian number of 64 bits, and nothing after it.
pub(super) fn number(bytes: &[u8]) -> Result<U256, IntentError> {
    let bytes = bytes.try_into().map_err(|_| IntentError::malformed("an amount that is not of 8 bytes"))?;
    Ok(U256::from(u64::from_le_bytes(bytes)))
}
