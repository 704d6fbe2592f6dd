//! A PSBT of version 0 (BIP-174) or 2 (BIP-370) with the taproot fields of BIP-371, as one thing: the transaction to sign and
//! what is said about each input and output. Nothing said is believed here. A field that is not read is refused, and what
//! is written out again is what was sent; otherwise a field could mean something to others that nobody decided about.

mod fields;
mod pairs;
mod transaction;

use bitcoin::taproot::ControlBlock;
use bitcoin::{NetworkKind, PublicKey, ScriptBuf, Transaction, TxOut, XOnlyPublicKey, ecdsa, taproot};
use chancery_core::{Taproot, limit};

use crate::IntentError;
use fields::LastStep;
use pairs::{Map, Reader};

const MAGIC: &[u8] = b"psbt\xff";

const GLOBALS: &str = "globals";
const INPUTS: &str = "inputs";
const OUTPUTS: &str = "outputs";

/// PSBT_IN_PARTIAL_SIG.
const PARTIAL_SIG: u64 = 0x02;
/// PSBT_IN_FINAL_SCRIPTSIG.
const FINAL_SCRIPT_SIG: u64 = 0x07;
/// PSBT_IN_FINAL_SCRIPTWITNESS.
const FINAL_SCRIPT_WITNESS: u64 = 0x08;
/// PSBT_IN_TAP_KEY_SIG.
const TAP_KEY_SIG: u64 = 0x13;
/// PSBT_IN_TAP_SCRIPT_SIG.
const TAP_SCRIPT_SIG: u64 = 0x14;
/// PSBT_GLOBAL_TX_MODIFIABLE.
const MODIFIABLE: u64 = 0x06;

/// The format's two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V0,
    V2,
}

/// A PSBT as it was read.
#[derive(Clone, Debug)]
pub(super) struct Psbt {
    pub version: Version,
    /// Without signatures; of version 2 it was put together from the fields.
    pub transaction: Transaction,
    /// The networks of the extended keys in it.
    pub networks: Vec<NetworkKind>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    globals: Map,
}

/// What is said about one input.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    pub spent_transaction: Option<Transaction>,
    pub spent_output: Option<TxOut>,
    pub signatures: Vec<(PublicKey, ecdsa::Signature)>,
    pub sighash: Option<u32>,
    pub redeem_script: Option<ScriptBuf>,
    pub witness_script: Option<ScriptBuf>,
    /// The last step of each key's path.
    pub steps: Vec<u32>,
    pub finalised: bool,
    /// Whether a Schnorr signature is there.
    pub schnorr_signed: bool,
    /// Those that were added here.
    pub schnorr: Vec<(Taproot, taproot::Signature)>,
    pub internal_key: Option<XOnlyPublicKey>,
    pub merkle_root: Option<[u8; 32]>,
    pub leaves: Vec<(ControlBlock, ScriptBuf)>,
    map: Map,
}

/// What is said about one output.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pub redeem_script: Option<ScriptBuf>,
    pub witness_script: Option<ScriptBuf>,
    pub internal_key: Option<XOnlyPublicKey>,
    pub steps: Vec<u32>,
    map: Map,
}

impl Psbt {
    /// Reads a PSBT, every byte of it.
    pub fn read(bytes: &[u8]) -> Result<Self, IntentError> {
        match bytes.len() {
            0 => return Err(IntentError::Empty),
            bytes if bytes > limit::PSBT_BYTES => {
                return Err(IntentError::TooLarge { bytes, limit: limit::PSBT_BYTES });
            }
            _ => {}
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| IntentError::malformed("not a PSBT"))?;
        let mut reader = Reader(rest);
        let globals = Map::read(&mut reader)?;
        let stated = transaction::Stated::read(&globals)?;
        let (inputs, outputs) = stated.counts();
        checked_count("inputs", inputs, limit::PSBT_INPUTS)?;
        checked_count("outputs", outputs, limit::PSBT_OUTPUTS)?;
        let input_maps = (0..inputs).map(|_| Map::read(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let output_maps = (0..outputs).map(|_| Map::read(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.ended()?;

        let networks = stated.networks.clone();
        let (version, transaction) = stated.transaction(&input_maps, &output_maps)?;
        let psbt = Self {
            version,
            transaction,
            networks,
            inputs: input_maps.into_iter().map(Input::read).collect::<Result<_, _>>()?,
            outputs: output_maps.into_iter().map(Output::read).collect::<Result<_, _>>()?,
            globals,
        };
        // INVARIANT: what is described and signed is what was sent.
        if psbt.write() == bytes {
            Ok(psbt)
        } else {
            Err(IntentError::not_canonical("it encodes to other bytes"))
        }
    }

    /// The bytes, in the order in which they were sent.
    pub fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        self.globals.write(&mut out);
        self.inputs.iter().for_each(|input| input.map.write(&mut out));
        self.outputs.iter().for_each(|output| output.map.write(&mut out));
        out
    }

    /// BIP-370's duty of a signer: what a signature fixes may not be changed any more. `inputs_too` where the signature
    /// commits to all inputs.
    pub fn fix(&mut self, inputs_too: bool) {
        let fixed = if inputs_too { 0b11 } else { 0b10 };
        let flags = self.globals.0.iter_mut().find(|pair| pair.keytype == MODIFIABLE);
        if let (Version::V2, Some([flags])) = (self.version, flags.map(|pair| pair.value.as_mut_slice())) {
            *flags &= !fixed;
        }
    }
}

fn checked_count(what: &'static str, count: u64, limit: usize) -> Result<(), IntentError> {
    if usize::try_from(count).is_ok_and(|count| count <= limit) {
        Ok(())
    } else {
        Err(IntentError::TooComplex { what, limit })
    }
}

impl Input {
    fn read(map: Map) -> Result<Self, IntentError> {
        let mut input = Self::default();
        for pair in &map.0 {
            let (key, value) = (pair.key.as_slice(), pair.value.as_slice());
            let keyless = || fields::no_key(key);
            match pair.keytype {
                0x00 => {
                    keyless()?;
                    input.spent_transaction = Some(fields::transaction(value)?);
                }
                0x01 => {
                    keyless()?;
                    input.spent_output = Some(fields::output(value)?);
                }
                PARTIAL_SIG => {
                    input.signatures.push((fields::public_key(key)?, fields::ecdsa_signature(value)?));
                }
                0x03 => {
                    keyless()?;
                    input.sighash = Some(fields::number(value)?);
                }
                0x04 => {
                    keyless()?;
                    input.redeem_script = Some(fields::script(value));
                }
                0x05 => {
                    keyless()?;
                    input.witness_script = Some(fields::script(value));
                }
                0x06 => {
                    fields::public_key(key)?;
                    remember(&mut input.steps, fields::origin(value)?);
                }
                FINAL_SCRIPT_SIG | FINAL_SCRIPT_WITNESS => {
                    keyless()?;
                    input.finalised = true;
                }
                TAP_KEY_SIG => {
                    keyless()?;
                    fields::schnorr_signature(value)?;
                    input.schnorr_signed = true;
                }
                TAP_SCRIPT_SIG => {
                    fields::leaf_key(key)?;
                    fields::schnorr_signature(value)?;
                    input.schnorr_signed = true;
                }
                0x15 => input.leaves.push(fields::leaf(key, value)?),
                0x16 => {
                    fields::x_only_key(key)?;
                    remember(&mut input.steps, fields::taproot_origin(value)?);
                }
                0x17 => {
                    keyless()?;
                    input.internal_key = Some(fields::x_only_key(value)?);
                }
                0x18 => {
                    keyless()?;
                    input.merkle_root = Some(fields::array(value)?);
                }
                // Version 2 says here what version 0 says in the transaction: `transaction` has read it.
                0x0e..=0x12 => keyless()?,
                // Preimages and proof-of-reserves commitments are not read: a signature would be asked for with them.
                keytype => return Err(IntentError::FieldUnknown { map: INPUTS, keytype }),
            }
        }
        input.map = map;
        Ok(input)
    }

    /// Adds a signature.
    pub fn sign(&mut self, key: &PublicKey, signature: &ecdsa::Signature) {
        self.map.put(PARTIAL_SIG, key.to_bytes(), signature.to_vec());
        self.signatures.push((*key, *signature));
    }

    /// Adds a Schnorr signature.
    pub fn sign_taproot(&mut self, key: &PublicKey, taproot: Taproot, signature: &taproot::Signature) {
        let owner = key.inner.x_only_public_key().0.serialize();
        let (keytype, owner) = match taproot {
            Taproot::Key(_) => (TAP_KEY_SIG, Vec::new()),
            Taproot::Leaf(leaf) => (TAP_SCRIPT_SIG, [owner, leaf].concat()),
        };
        self.map.put(keytype, owner, signature.to_vec());
        self.schnorr.push((taproot, *signature));
    }
}

impl Output {
    fn read(map: Map) -> Result<Self, IntentError> {
        let mut output = Self::default();
        for pair in &map.0 {
            let (key, value) = (pair.key.as_slice(), pair.value.as_slice());
            let keyless = || fields::no_key(key);
            match pair.keytype {
                0x00 => {
                    keyless()?;
                    output.redeem_script = Some(fields::script(value));
                }
                0x01 => {
                    keyless()?;
                    output.witness_script = Some(fields::script(value));
                }
                0x02 => {
                    fields::public_key(key)?;
                    remember(&mut output.steps, fields::origin(value)?);
                }
                0x05 => {
                    keyless()?;
                    output.internal_key = Some(fields::x_only_key(value)?);
                }
                0x06 => {
                    keyless()?;
                    fields::tree(value)?;
                }
                0x07 => {
                    fields::x_only_key(key)?;
                    remember(&mut output.steps, fields::taproot_origin(value)?);
                }
                // Version 2's amount and script: `transaction` has read them.
                0x03 | 0x04 => keyless()?,
                keytype => return Err(IntentError::FieldUnknown { map: OUTPUTS, keytype }),
            }
        }
        output.map = map;
        Ok(output)
    }
}

/// Keeps each step once, and no more of them than are tried.
fn remember(steps: &mut Vec<u32>, step: LastStep) {
    if let Some(step) = step
        && steps.len() < limit::PSBT_INDEXES
        && !steps.contains(&step)
    {
        steps.push(step);
    }
}

#[cfg(test)]
mod tests;
