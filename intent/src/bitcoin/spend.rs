//! What a PSBT spends: whose each input is, what it holds, and which digest signs it. An amount counts only where the
//! signatures commit to it or the transaction that pays it is there; a segwit v0 signature commits to its own input alone
//! (BIP-143), so two requests could each lie about another one. If an amount were believed here, the difference would be a fee.

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::{Amount, EcdsaSighashType, TapSighashType, Transaction, TxOut};
use chancery_core::{Taproot, limit};
use miniscript::{Descriptor, ToPublicKey as _};

use super::psbt::{Input, Output, Psbt};
use super::wallet::{Finder, Own, SECP, Wallet};
use crate::IntentError;
use crate::signing::{Scheme, Signing};

/// SIGHASH_ALL | SIGHASH_ANYONECANPAY.
const ALL_ANYONE_CAN_PAY: u32 = 0x81;

/// A PSBT with everything about it computed.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    pub psbt: Psbt,
    /// What each input spends.
    pub spent: Vec<Spent>,
    /// For each output, what it is of the wallet.
    pub change: Vec<Option<Arc<Own>>>,
    /// What the network takes.
    pub fee: Amount,
    /// The largest size that the signed transaction can have, in virtual bytes; other people's signatures count nothing.
    pub virtual_bytes: u64,
    /// One for each signature, in the order of the inputs.
    pub signings: Vec<Signing>,
    /// The input of each.
    pub signed_inputs: Vec<usize>,
    /// Whether other inputs may be added to the signed transaction.
    pub open: bool,
}

/// What an input spends.
#[derive(Clone, Debug)]
pub(super) struct Spent {
    pub output: TxOut,
    /// What it is of the wallet; nothing where it is somebody else's.
    pub own: Option<Arc<Own>>,
    /// The sighash type of our signature.
    pub sighash: Option<Sighash>,
}

/// The sighash types that are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighash {
    /// Taproot's own.
    Default,
    All,
    /// Fixes all outputs, and of the inputs only its own.
    AllAnyoneCanPay,
}

impl Sighash {
    fn of(
        input: usize,
        stated: Option<u32>,
        taproot: bool,
        anyone_can_pay: bool,
    ) -> Result<Self, IntentError> {
        match stated {
            None if taproot => Ok(Self::Default),
            Some(0) if taproot => Ok(Self::Default),
            None | Some(1) => Ok(Self::All),
            Some(ALL_ANYONE_CAN_PAY) if anyone_can_pay => Ok(Self::AllAnyoneCanPay),
            Some(sighash) => Err(IntentError::Sighash { input, sighash }),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::All => "all",
            Self::AllAnyoneCanPay => "all|anyonecanpay",
        }
    }

    pub fn ecdsa(self) -> EcdsaSighashType {
        match self {
            Self::Default | Self::All => EcdsaSighashType::All,
            Self::AllAnyoneCanPay => EcdsaSighashType::AllPlusAnyoneCanPay,
        }
    }

    pub fn taproot(self) -> TapSighashType {
        match self {
            Self::Default => TapSighashType::Default,
            Self::All => TapSighashType::All,
            Self::AllAnyoneCanPay => TapSighashType::AllPlusAnyoneCanPay,
        }
    }
}

impl Spending {
    /// Computes it all, or refuses.
    pub fn of(psbt: Psbt, wallet: &Wallet, anyone_can_pay: bool) -> Result<Self, IntentError> {
        if psbt.networks.iter().any(|kind| *kind != wallet.network().kind()) {
            return Err(IntentError::ChainIdMismatch("of an extended key in the PSBT".to_owned()));
        }
        let mut outpoints = HashSet::new();
        if !psbt.transaction.input.iter().all(|input| outpoints.insert(input.previous_output)) {
            return Err(IntentError::malformed("one output is spent twice"));
        }
        if psbt.transaction.output.is_empty() {
            return Err(IntentError::malformed("the transaction has no outputs"));
        }
        let mut finder = Finder::of(wallet);
        let mut spent = Vec::with_capacity(psbt.inputs.len());
        for (index, input) in psbt.inputs.iter().enumerate() {
            let output = said_spent(&psbt.transaction, index, input)?;
            let own = finder.find(&output.script_pubkey, &input.steps)?;
            let sighash = own
                .as_ref()
                .map(|own| Sighash::of(index, input.sighash, is_taproot(own), anyone_can_pay))
                .transpose()?;
            if let Some(own) = &own {
                checked_input(index, input, own, &output)?;
            }
            spent.push(Spent { output, own, sighash });
        }
        if spent.iter().all(|spent| spent.own.is_none()) {
            return Err(IntentError::NothingToSign);
        }
        proved(&psbt, &spent)?;

        let mut change = Vec::with_capacity(psbt.outputs.len());
        for (index, (paid, output)) in psbt.transaction.output.iter().zip(&psbt.outputs).enumerate() {
            let own = finder.find(&paid.script_pubkey, &output.steps)?;
            if let Some(own) = &own {
                checked_output(index, output, own)?;
            }
            change.push(own);
        }
        let fee = fee(&spent, &psbt.transaction)?;
        let virtual_bytes = virtual_bytes(&psbt.transaction, &spent)?;
        let open = spent.iter().any(|spent| spent.sighash == Some(Sighash::AllAnyoneCanPay));
        let mut spending = Self {
            psbt,
            spent,
            change,
            fee,
            virtual_bytes,
            signings: Vec::new(),
            signed_inputs: Vec::new(),
            open,
        };
        spending.checked_fee()?;
        spending.digest()?;
        Ok(spending)
    }

    /// What the inputs hold.
    pub fn held(&self) -> Amount {
        self.spent.iter().map(|spent| spent.output.value).sum()
    }

    fn checked_fee(&self) -> Result<(), IntentError> {
        let fee_sat = self.fee.to_sat();
        let above = |above: String| Err(IntentError::Fee { fee_sat, above });
        if fee_sat > self.virtual_bytes.saturating_mul(limit::FEE_RATE_SAT_PER_VB) {
            return above(format!("above {} sat for each virtual byte", limit::FEE_RATE_SAT_PER_VB));
        }
        if fee_sat.saturating_mul(limit::FEE_PART) > self.held().to_sat() {
            return above(format!("more than one part in {} of what the inputs hold", limit::FEE_PART));
        }
        Ok(())
    }

    /// The digests to sign, and whether the signatures that are there already are over them.
    fn digest(&mut self) -> Result<(), IntentError> {
        let outputs: Vec<TxOut> = self.spent.iter().map(|spent| spent.output.clone()).collect();
        let mut cache = SighashCache::new(&self.psbt.transaction);
        for (index, (spent, input)) in self.spent.iter().zip(&self.psbt.inputs).enumerate() {
            let (Some(own), Some(sighash)) = (&spent.own, spent.sighash) else { continue };
            let digests = match &own.descriptor {
                Descriptor::Tr(_) => schnorr_digests(&mut cache, index, &outputs, own, sighash)?,
                _ => vec![ecdsa_digest(&mut cache, index, &spent.output, own, sighash)?],
            };
            if let [Signing { scheme: Scheme::Ecdsa, digest, .. }] = digests.as_slice() {
                checked_signatures(input, own, sighash, digest)?;
            }
            self.signed_inputs.extend(digests.iter().map(|_| index));
            self.signings.extend(digests);
        }
        Ok(())
    }
}

pub(super) fn is_taproot(own: &Own) -> bool {
    matches!(own.descriptor, Descriptor::Tr(_))
}

/// What an input says that it spends. A whole transaction is the one that the outpoint names, or it is refused.
fn said_spent(transaction: &Transaction, input: usize, said: &Input) -> Result<TxOut, IntentError> {
    let mismatch = |reason| IntentError::UtxoMismatch { input, reason };
    let outpoint = transaction
        .input
        .get(input)
        .map(|input| input.previous_output)
        .ok_or_else(|| mismatch("the transaction has no such input"))?;
    let output = match (&said.spent_transaction, &said.spent_output) {
        (None, None) => {
            return Err(IntentError::UtxoMissing { input, reason: "it says nothing of what it spends" });
        }
        (None, Some(output)) => output.clone(),
        (Some(spent), output) => {
            if spent.compute_txid() != outpoint.txid {
                return Err(mismatch("the transaction it brings is not the one it spends from"));
            }
            let paid = usize::try_from(outpoint.vout).ok().and_then(|vout| spent.output.get(vout));
            let paid = paid.ok_or_else(|| mismatch("the transaction it spends from has no such output"))?;
            if output.as_ref().is_some_and(|output| output != paid) {
                return Err(mismatch("the output it brings is not the one in the transaction it brings"));
            }
            paid.clone()
        }
    };
    if output.value > Amount::MAX_MONEY {
        return Err(IntentError::Amount("an input holds more than there is"));
    }
    Ok(output)
}

/// Whether every amount is one that the signatures commit to, or that a transaction proves.
fn proved(psbt: &Psbt, spent: &[Spent]) -> Result<(), IntentError> {
    let closed = !spent.iter().any(|spent| spent.sighash == Some(Sighash::AllAnyoneCanPay));
    // BIP-341: a taproot signature of ours commits to all amounts and scripts, so no lie survives it.
    let all_taproot = spent.iter().all(|spent| spent.output.script_pubkey.is_p2tr());
    // BIP-143: a v0 signature commits to its own amount, and there is no other.
    let one_v0 = match spent {
        [one] => one.own.as_ref().is_some_and(|own| own.descriptor.desc_type().segwit_version().is_some()),
        _ => false,
    };
    let committed = closed && (all_taproot || one_v0);
    match psbt.inputs.iter().position(|input| input.spent_transaction.is_none()) {
        Some(input) if !committed => Err(IntentError::UtxoMissing {
            input,
            reason: "the whole transaction that it spends from is needed",
        }),
        _ => Ok(()),
    }
}

fn checked_input(index: usize, said: &Input, own: &Own, output: &TxOut) -> Result<(), IntentError> {
    if said.finalised || said.schnorr_signed || said.signatures.iter().any(|(signer, _)| *signer == own.key) {
        return Err(IntentError::AlreadySigned);
    }
    // BIP-322 signs for an output of nothing: through this door a message would pass for a transaction.
    if output.value == Amount::ZERO {
        return Err(IntentError::Amount("an input holds nothing; a message is signed as `bitcoin.message`"));
    }
    let wrong = |reason| IntentError::ScriptMismatch { place: "input", index, reason };
    checked_scripts(said.redeem_script.as_deref(), said.witness_script.as_deref(), own).map_err(wrong)?;
    let Descriptor::Tr(tr) = &own.descriptor else {
        let none = said.internal_key.is_none() && said.merkle_root.is_none() && said.leaves.is_empty();
        return if none { Ok(()) } else { Err(wrong("it has taproot fields, and its script is none")) };
    };
    let info = tr.spend_info();
    if said.internal_key.is_some_and(|key| key != info.internal_key()) {
        return Err(wrong("its internal key is not the wallet's"));
    }
    if said.merkle_root.is_some_and(|root| info.merkle_root().map(|hash| hash.to_byte_array()) != Some(root))
    {
        return Err(wrong("its root of scripts is not the wallet's"));
    }
    let known = |block: &_, script: &_| {
        info.leaves().any(|leaf| leaf.control_block() == block && leaf.script() == script)
    };
    if said.leaves.iter().all(|(block, script)| known(block, script.as_script())) {
        Ok(())
    } else {
        Err(wrong("a leaf is none of the wallet's"))
    }
}

fn checked_output(index: usize, said: &Output, own: &Own) -> Result<(), IntentError> {
    let wrong = |reason| IntentError::ScriptMismatch { place: "output", index, reason };
    checked_scripts(said.redeem_script.as_deref(), said.witness_script.as_deref(), own).map_err(wrong)?;
    let internal = match &own.descriptor {
        Descriptor::Tr(tr) => Some(tr.internal_key().to_x_only_pubkey()),
        _ => None,
    };
    if said.internal_key.is_some() && said.internal_key != internal {
        return Err(wrong("its internal key is not the wallet's"));
    }
    Ok(())
}

/// Scripts that are stated are those that the descriptor derives, or there are none to state.
fn checked_scripts(
    redeem: Option<&bitcoin::Script>,
    witness: Option<&bitcoin::Script>,
    own: &Own,
) -> Result<(), &'static str> {
    let explicit = own.descriptor.explicit_script().ok();
    let (our_redeem, our_witness) = match &own.descriptor {
        Descriptor::Sh(_) => (explicit, None),
        Descriptor::Wsh(_) => (None, explicit),
        _ => (None, None),
    };
    if redeem.is_some() && redeem != our_redeem.as_deref() {
        return Err("its redeem script is not the wallet's");
    }
    if witness.is_some() && witness != our_witness.as_deref() {
        return Err("its witness script is not the wallet's");
    }
    Ok(())
}

/// What goes in and does not come out.
fn fee(spent: &[Spent], transaction: &Transaction) -> Result<Amount, IntentError> {
    let held = sum(spent.iter().map(|spent| spent.output.value))
        .ok_or(IntentError::Amount("the inputs hold more than there is"))?;
    let paid = sum(transaction.output.iter().map(|output| output.value))
        .ok_or(IntentError::Amount("the outputs pay more than there is"))?;
    held.checked_sub(paid).ok_or(IntentError::Amount("the outputs pay more than the inputs hold"))
}

/// A sum of no more than there will ever be.
fn sum(mut amounts: impl Iterator<Item = Amount>) -> Option<Amount> {
    let sum = amounts.try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount))?;
    (sum <= Amount::MAX_MONEY).then_some(sum)
}

fn virtual_bytes(transaction: &Transaction, spent: &[Spent]) -> Result<u64, IntentError> {
    let mut weight = transaction.weight().to_wu();
    for own in spent.iter().filter_map(|spent| spent.own.as_ref()) {
        let most = own
            .descriptor
            .max_weight_to_satisfy()
            .map_err(|error| IntentError::Descriptor(error.to_string().into()))?;
        weight = weight.saturating_add(most.to_wu());
    }
    // The form with witnesses has a marker and a flag, and counts each input's witness.
    let counts = transaction.input.len() as u64;
    Ok(weight.saturating_add(counts).saturating_add(2).div_ceil(4))
}

fn undigestible<E: std::fmt::Display>(error: E) -> IntentError {
    IntentError::malformed(format!("no digest can be computed: {error}"))
}

pub(super) fn ecdsa_digest(
    cache: &mut SighashCache<&Transaction>,
    index: usize,
    output: &TxOut,
    own: &Own,
    sighash: Sighash,
) -> Result<Signing, IntentError> {
    let code = own.descriptor.script_code().map_err(undigestible)?;
    let digest = match &own.descriptor {
        Descriptor::Pkh(_) => cache
            .legacy_signature_hash(index, &code, sighash.ecdsa().to_u32())
            .map_err(undigestible)?
            .to_byte_array(),
        // The same digest for every script code of version 0.
        _ => cache
            .p2wsh_signature_hash(index, &code, output.value, sighash.ecdsa())
            .map_err(undigestible)?
            .to_byte_array(),
    };
    Ok(own.signing(Scheme::Ecdsa, digest))
}

/// The key path where the key is the internal one, else every leaf that it stands in.
pub(super) fn schnorr_digests(
    cache: &mut SighashCache<&Transaction>,
    index: usize,
    outputs: &[TxOut],
    own: &Own,
    sighash: Sighash,
) -> Result<Vec<Signing>, IntentError> {
    let Descriptor::Tr(tr) = &own.descriptor else { return Ok(Vec::new()) };
    let all = Prevouts::All(outputs);
    let schnorr =
        |digest: bitcoin::TapSighash, taproot| own.signing(Scheme::Schnorr(taproot), digest.to_byte_array());
    let key = own.key.inner.x_only_public_key().0;
    if tr.internal_key().to_x_only_pubkey() == key {
        let digest =
            cache.taproot_key_spend_signature_hash(index, &all, sighash.taproot()).map_err(undigestible)?;
        let root = tr.spend_info().merkle_root().map(|root| root.to_byte_array());
        return Ok(vec![schnorr(digest, Taproot::Key(root))]);
    }
    tr.spend_info()
        .leaves()
        .filter(|leaf| leaf.miniscript().iter_pk().any(|other| other.to_x_only_pubkey() == key))
        .map(|leaf| {
            cache
                .taproot_script_spend_signature_hash(index, &all, leaf.leaf_hash(), sighash.taproot())
                .map(|digest| schnorr(digest, Taproot::Leaf(leaf.leaf_hash().to_byte_array())))
                .map_err(undigestible)
        })
        .collect()
}

/// Other signers' signatures of our input are valid ones of the same sighash type; a finalised transaction will hold them.
fn checked_signatures(
    said: &Input,
    own: &Own,
    sighash: Sighash,
    digest: &[u8; 32],
) -> Result<(), IntentError> {
    let message = Message::from_digest(*digest);
    for (signer, signature) in &said.signatures {
        let holds = own.descriptor.iter_pk().any(|key| key == *signer)
            && signature.sighash_type == sighash.ecdsa()
            && SECP.verify_ecdsa(&message, &signature.signature, &signer.inner).is_ok();
        if !holds {
            return Err(IntentError::malformed("another signer's signature is not one of this transaction"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
