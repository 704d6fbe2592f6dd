//! The transaction that a PSBT is about: of version 0 it stands in one field, of version 2 it is put together from many
//! (BIP-370), its lock time by the rule of that BIP. Fields of the other version are refused.
//! If this put together another transaction than other signers do, signatures would not fit.

use bitcoin::{
    Amount, NetworkKind, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute,
    hashes::Hash as _, transaction,
};

use super::pairs::Map;
use super::{GLOBALS, MODIFIABLE, Version, fields};
use crate::IntentError;

/// Lock times below are heights, from here on times (BIP-65).
const FIRST_TIME: u32 = 500_000_000;

/// What the globals state.
#[derive(Default)]
pub(super) struct Stated {
    pub networks: Vec<NetworkKind>,
    unsigned: Option<Transaction>,
    version: u32,
    transaction_version: Option<u32>,
    fallback_lock_time: Option<u32>,
    inputs: Option<u64>,
    outputs: Option<u64>,
    modifiable: bool,
}

impl Stated {
    pub fn read(globals: &Map) -> Result<Self, IntentError> {
        let mut stated = Self::default();
        for pair in &globals.0 {
            let (key, value) = (pair.key.as_slice(), pair.value.as_slice());
            if pair.keytype != 0x01 && matches!(pair.keytype, 0x00..=0x06 | 0xfb) {
                fields::no_key(key)?;
            }
            match pair.keytype {
                0x00 => stated.unsigned = Some(fields::unsigned_transaction(value)?),
                0x01 => stated.networks.push(fields::extended_key(key, value)?.network),
                0x02 => stated.transaction_version = Some(fields::number(value)?),
                0x03 => stated.fallback_lock_time = Some(fields::number(value)?),
                0x04 => stated.inputs = Some(fields::count(value)?),
                0x05 => stated.outputs = Some(fields::count(value)?),
                MODIFIABLE => {
                    let [flags] = fields::array(value)?;
                    if flags > 0b111 {
                        return Err(IntentError::malformed("an unknown flag of modifiable parts"));
                    }
                    stated.modifiable = true;
                }
                0xfb => stated.version = fields::number(value)?,
                keytype => return Err(IntentError::FieldUnknown { map: GLOBALS, keytype }),
            }
        }
        stated.checked()
    }

    /// Each version with its own fields, and only those.
    fn checked(self) -> Result<Self, IntentError> {
        let wrong = |reason: &'static str| Err(IntentError::malformed(reason));
        match self.version {
            0 => {
                let other = self.transaction_version.is_some()
                    || self.fallback_lock_time.is_some()
                    || self.inputs.is_some()
                    || self.outputs.is_some()
                    || self.modifiable;
                match &self.unsigned {
                    None => wrong("a PSBT of version 0 without its transaction"),
                    Some(_) if other => wrong("a PSBT of version 0 with a global field of version 2"),
                    Some(_) => Ok(self),
                }
            }
            2 if self.unsigned.is_some() => wrong("a PSBT of version 2 with an unsigned transaction"),
            2 if self.transaction_version.is_none() => wrong("no transaction version"),
            2 if self.inputs.is_none() => wrong("no count of inputs"),
            2 if self.outputs.is_none() => wrong("no count of outputs"),
            2 => Ok(self),
            _ => wrong("a PSBT of neither version 0 nor 2"),
        }
    }

    pub fn counts(&self) -> (u64, u64) {
        match &self.unsigned {
            Some(transaction) => (transaction.input.len() as u64, transaction.output.len() as u64),
            None => (self.inputs.unwrap_or(0), self.outputs.unwrap_or(0)),
        }
    }

    pub fn transaction(self, inputs: &[Map], outputs: &[Map]) -> Result<(Version, Transaction), IntentError> {
        if let Some(transaction) = self.unsigned {
            let strange =
                inputs.iter().any(|map| map.0.iter().any(|pair| matches!(pair.keytype, 0x0e..=0x12)))
                    || outputs.iter().any(|map| map.0.iter().any(|pair| matches!(pair.keytype, 0x03 | 0x04)));
            return if strange {
                Err(IntentError::malformed("a PSBT of version 0 with a field of version 2"))
            } else {
                Ok((Version::V0, transaction))
            };
        }
        let inputs = inputs.iter().map(Spending::read).collect::<Result<Vec<_>, _>>()?;
        let lock_time = lock_time(&inputs, self.fallback_lock_time.unwrap_or(0))?;
        let version = i32::from_le_bytes(self.transaction_version.unwrap_or(0).to_le_bytes());
        let transaction = Transaction {
            version: transaction::Version(version),
            lock_time: absolute::LockTime::from_consensus(lock_time),
            input: inputs.into_iter().map(|input| input.spends).collect(),
            output: outputs.iter().map(paying).collect::<Result<_, _>>()?,
        };
        Ok((Version::V2, transaction))
    }
}

/// An input of version 2.
struct Spending {
    spends: TxIn,
    time: Option<u32>,
    height: Option<u32>,
}

impl Spending {
    fn read(map: &Map) -> Result<Self, IntentError> {
        let (mut txid, mut vout, mut sequence) = (None, None, Sequence::MAX);
        let (mut time, mut height) = (None, None);
        for pair in &map.0 {
            let value = pair.value.as_slice();
            match pair.keytype {
                0x0e => txid = Some(Txid::from_byte_array(fields::array(value)?)),
                0x0f => vout = Some(fields::number(value)?),
                0x10 => sequence = Sequence(fields::number(value)?),
                0x11 => time = Some(fields::number(value)?),
                0x12 => height = Some(fields::number(value)?),
                _ => {}
            }
        }
        if time.is_some_and(|time| time < FIRST_TIME) {
            return Err(IntentError::malformed("a required lock time that is no time"));
        }
        if height.is_some_and(|height| !(1..FIRST_TIME).contains(&height)) {
            return Err(IntentError::malformed("a required lock height that is no height"));
        }
        let (Some(txid), Some(vout)) = (txid, vout) else {
            return Err(IntentError::malformed("an input without its outpoint"));
        };
        let spends = TxIn {
            previous_output: OutPoint { txid, vout },
            script_sig: ScriptBuf::new(),
            sequence,
            witness: Witness::new(),
        };
        Ok(Self { spends, time, height })
    }
}

/// An output of version 2.
fn paying(map: &Map) -> Result<TxOut, IntentError> {
    let value = |keytype| map.0.iter().find(|pair| pair.keytype == keytype).map(|pair| pair.value.as_slice());
    let (Some(amount), Some(script)) = (value(0x03), value(0x04)) else {
        return Err(IntentError::malformed("an output without its amount or script"));
    };
    let amount = u64::from_le_bytes(fields::array(amount)?);
    Ok(TxOut { value: Amount::from_sat(amount), script_pubkey: fields::script(script) })
}

/// BIP-370, Determining Lock Time: the kind that all inputs which require one can have, heights first; the largest of it.
fn lock_time(inputs: &[Spending], fallback: u32) -> Result<u32, IntentError> {
    let requiring = || inputs.iter().filter(|input| input.time.is_some() || input.height.is_some());
    if requiring().next().is_none() {
        return Ok(fallback);
    }
    let largest = |of: fn(&Spending) -> Option<u32>| {
        requiring().map(of).try_fold(0, |largest, one| one.map(|one| largest.max(one)))
    };
    largest(|input| input.height)
        .or_else(|| largest(|input| input.time))
        .ok_or_else(|| IntentError::malformed("inputs require lock times of both kinds"))
}
