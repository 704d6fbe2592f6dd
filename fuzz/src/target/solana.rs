//! Solana messages. What is understood must be the same to a second reader, which is written here: its instructions, and every
//! lamport that a transfer of the system program moves.

use alloy_primitives::U256;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_core::Payload;
use chancery_intent::contracts::Registry;
use chancery_intent::solana::{self, Cluster, Pubkey};
use chancery_intent::{Account, understand};
use serde_json::Value;

use super::ethereum::holds;
use crate::Seen;

const SYSTEM: [u8; 32] = [0; 32];

pub(super) fn message(data: &[u8]) -> Seen {
    // Whoever pays asks, where there is one: a fixed wallet would have nothing to sign.
    let start = usize::from(data.first().is_some_and(|first| first & 0x80 != 0)) + 4;
    let Some(payer) = data.get(start..start + 32) else { return Seen::refused(&"no payer") };
    let address = Pubkey::try_from(payer).unwrap();
    let table = Pubkey::new_from_array([9; 32]);
    let held = (0..=u8::MAX).map(|byte| Pubkey::new_from_array([byte; 32])).collect();
    let registry = Registry::default().with_lookup_tables([((Cluster::Devnet, table), held)]);
    let payload = Payload::SolanaTransaction { data: data.to_vec(), token_accounts: Vec::new() };
    let account = Account::Solana(solana::Account { address, cluster: Cluster::Devnet });
    let intent = match understand(&payload, &account, &registry) {
        Ok(intent) => intent,
        Err(error) => return Seen::refused(&error),
    };
    assert_eq!(intent.preimage(), data, "what is signed is what was sent");
    let read = Reader(data).message().expect("understood, and no message to another reader");
    let description = intent.description();
    let told = description.detail["instructions"].as_array().unwrap();
    assert_eq!(told.len(), read.len());
    for (told, (program, _)) in told.iter().zip(&read) {
        assert_eq!(told["program"], Pubkey::new_from_array(*program).to_string());
    }
    let lamports = read.iter().filter_map(|(program, data)| match (program, *data) {
        (&SYSTEM, [2, 0, 0, 0, lamports @ ..]) => Some(u64::from_le_bytes(lamports.try_into().unwrap())),
        _ => None,
    });
    let coin = Cluster::Devnet.coin();
    let moved = description.effects.iter().filter(|effect| effect.asset.as_ref() == Some(&coin));
    let moved = moved.filter_map(|effect| effect.amount).fold(U256::ZERO, |sum, amount| sum + amount);
    assert_eq!(moved, lamports.map(U256::from).fold(U256::ZERO, |sum, amount| sum + amount));
    holds(&intent)
}

/// The second reader: the layout as the documentation of Solana has it.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A compact-u16.
    fn count(&mut self) -> Option<usize> {
        let mut count = 0;
        for shift in [0, 7, 14] {
            let byte = usize::from(self.take(1)?[0]);
            count |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(count);
            }
        }
        None
    }

    /// The program and data of each instruction.
    fn message(mut self) -> Option<Vec<([u8; 32], &'a [u8])>> {
        let versioned = self.0.first()? & 0x80 != 0;
        self.take(usize::from(versioned) + 3)?;
        let count = self.count()?;
        let keys: Vec<[u8; 32]> = self.take(32 * count)?.as_chunks().0.to_vec();
        self.take(32)?;
        let mut instructions = Vec::new();
        for _ in 0..self.count()? {
            let program = *keys.get(usize::from(self.take(1)?[0]))?;
            let accounts = self.count()?;
            self.take(accounts)?;
            let length = self.count()?;
            instructions.push((program, self.take(length)?));
        }
        for _ in 0..if versioned { self.count()? } else { 0 } {
            self.take(32)?;
            for _ in 0..2 {
                let indexes = self.count()?;
                self.take(indexes)?;
            }
        }
        self.0.is_empty().then_some(instructions)
    }
}

pub(super) fn messages() -> Vec<Vec<u8>> {
    let file: Value =
        serde_json::from_str(include_str!("../../../intent/tests/vectors/solana.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap().iter();
    vectors
        .map(|vector| {
            let raw = STANDARD.decode(vector["transaction"].as_str().unwrap()).unwrap();
            raw[1 + 64 * usize::from(raw[0])..].to_vec()
        })
        .collect()
}
