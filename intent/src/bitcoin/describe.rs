//! A PSBT in the words that policy reads: what leaves the wallet, to whom, and what the network takes. Change is no effect;
//! everything else is one, also what other people's inputs pay for, so a limit counts too much and never too little.

use alloy_primitives::U256;
use bitcoin::{Amount, TxOut};
use chancery_core::limit;
use serde_json::{Map, Value, json};

use super::psbt::Version;
use super::spend::Spending;
use super::wallet::{Own, Wallet};
use crate::IntentError;
use crate::model::{self, Description, Effect, Fee, Kind};
use crate::text::readable;

impl Spending {
    pub(super) fn describe(&self, wallet: &Wallet) -> Result<Description, IntentError> {
        let network = wallet.network();
        let paid = || self.psbt.transaction.output.iter().zip(&self.change);
        let mut effects: Vec<Effect> =
            paid().filter(|(_, own)| own.is_none()).map(|(output, _)| effect(output, wallet)).collect();
        if effects.is_empty() {
            // A payment to oneself alone is still one that policy must allow.
            effects = paid().map(|(output, _)| effect(output, wallet)).collect();
        }
        if effects.len() > limit::EFFECTS {
            return Err(IntentError::TooComplex { what: "payments", limit: limit::EFFECTS });
        }
        let form = match self.psbt.version {
            Version::V0 => "psbt0",
            Version::V2 => "psbt2",
        };
        Ok(Description {
            v: model::VERSION,
            payload: "bitcoin.psbt".into(),
            chain: network.chain().into(),
            form: form.into(),
            account: wallet.address()?,
            effects,
            fee: Some(Fee { asset: network.coin(), maximum: U256::from(self.fee.to_sat()) }),
            nonce: None,
            detail: self.detail(wallet),
        })
    }

    fn detail(&self, wallet: &Wallet) -> Map<String, Value> {
        let transaction = &self.psbt.transaction;
        let mut detail = Map::new();
        let mut put = |name: &str, value: Value| detail.insert(name.to_owned(), value);
        put("descriptor", wallet.descriptor().into());
        put("version", transaction.version.0.into());
        put("lock_time", transaction.lock_time.to_consensus_u32().into());
        put("unsigned_txid", transaction.compute_txid().to_string().into());
        put("replaceable", transaction.is_explicitly_rbf().into());
        put("most_virtual_bytes", self.virtual_bytes.into());
        if self.open {
            put("open_to_more_inputs", true.into());
        }
        put("inputs", self.inputs(wallet).into());
        let change: Vec<Value> = transaction
            .output
            .iter()
            .zip(&self.change)
            .enumerate()
            .filter_map(|(index, (output, own))| {
                own.as_ref().map(|own| {
                    let mut line = place(own);
                    line.insert("output".into(), index.into());
                    line.insert("amount".into(), decimal(output.value));
                    line.insert("destination".into(), wallet.network().spelled(&output.script_pubkey).into());
                    Value::Object(line)
                })
            })
            .collect();
        if !change.is_empty() {
            put("change", change.into());
        }
        detail
    }

    fn inputs(&self, wallet: &Wallet) -> Vec<Value> {
        self.spent
            .iter()
            .zip(&self.psbt.transaction.input)
            .map(|(spent, input)| {
                let mut line = spent.own.as_deref().map(place).unwrap_or_default();
                line.insert("outpoint".into(), input.previous_output.to_string().into());
                line.insert("sequence".into(), input.sequence.0.into());
                line.insert("amount".into(), decimal(spent.output.value));
                line.insert("source".into(), wallet.network().spelled(&spent.output.script_pubkey).into());
                line.insert("own".into(), spent.own.is_some().into());
                if let Some(sighash) = spent.sighash {
                    line.insert("sighash".into(), sighash.as_str().into());
                }
                Value::Object(line)
            })
            .collect()
    }
}

/// Where a script stands in the wallet, of a wallet with many.
fn place(own: &Own) -> Map<String, Value> {
    let mut line = Map::new();
    if let Some(index) = own.index {
        line.insert("branch".into(), own.branch.into());
        line.insert("index".into(), index.into());
    }
    line
}

fn decimal(amount: Amount) -> Value {
    Value::String(amount.to_sat().to_string())
}

fn effect(output: &TxOut, wallet: &Wallet) -> Effect {
    let data = output.script_pubkey.is_op_return();
    // Data that carries coins burns them: then it is asset and amount as well.
    let moves = !data || output.value > Amount::ZERO;
    Effect {
        kind: if data { Kind::Data } else { Kind::Transfer },
        asset: moves.then(|| wallet.network().coin()),
        amount: moves.then(|| U256::from(output.value.to_sat())),
        unlimited: false,
        destination: Some(wallet.network().spelled(&output.script_pubkey)),
        owner: None,
        contract: None,
        method: None,
    }
}

pub(super) fn message(wallet: &Wallet, data: &[u8]) -> Result<Description, IntentError> {
    let mut detail = Map::new();
    detail.insert("descriptor".into(), wallet.descriptor().into());
    detail.insert("data".into(), format!("0x{}", hex::encode(data)).into());
    detail.insert("data_bytes".into(), json!(data.len().to_string()));
    if let Some(text) = readable(data) {
        detail.insert("text".into(), text.into());
    }
    Ok(Description {
        v: model::VERSION,
        payload: "bitcoin.message".into(),
        chain: wallet.network().chain().into(),
        form: "bip322".into(),
        account: wallet.address()?,
        effects: vec![Effect::bare(Kind::Message)],
        fee: None,
        nonce: None,
        detail,
    })
}
