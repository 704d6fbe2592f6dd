//! A message in the words that policy reads. What leaves the wallet, or may, is an effect; what only prepares it is told beside.

use alloy_primitives::U256;
use chancery_core::{TokenAccount, limit};
use serde_json::{Map, Value, json};

use super::Account;
use super::act::{Acts, Call};
use super::associated::Known;
use super::message::{Message, Place};
use crate::IntentError;
use crate::contracts::Contracts;
use crate::model::{self, Description, Fee};
use crate::text::readable;

/// What a message does.
pub(super) fn describe(
    message: &Message,
    account: &Account,
    contracts: &dyn Contracts,
    claims: &[TokenAccount],
) -> Result<Description, IntentError> {
    let places = message.places();
    let calls = message.instructions().iter().map(|instruction| Call::of(instruction, &places));
    let calls = calls.collect::<Result<Vec<_>, _>>()?;
    let mut acts = Acts::new(account, contracts, Known::of(claims, account)?);
    for call in &calls {
        acts.foresee(call)?;
    }
    let mut told = Vec::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        let name = acts.read(call, index == 0)?;
        told.push(instruction(call, name));
    }
    if acts.effects.is_empty() {
        acts.effects = std::mem::take(&mut acts.quiet);
    }
    match acts.effects.len() {
        0 => return Err(IntentError::malformed("it does nothing")),
        count if count > limit::EFFECTS => {
            return Err(IntentError::TooComplex { what: "effects", limit: limit::EFFECTS });
        }
        _ => {}
    }
    let pays = message.payer() == Some(&account.address);
    let fee = if pays { acts.budget.fee(message.required_signatures()) } else { 0 };
    let most = fee.saturating_add(acts.deposits.into());
    let form = match acts.nonce {
        Some(_) => format!("{}-nonce", message.form()),
        None => message.form().to_owned(),
    };
    Ok(Description {
        v: model::VERSION,
        payload: "solana.transaction".into(),
        chain: account.cluster.chain().into(),
        form,
        account: account.address.to_string(),
        fee: (most > 0).then(|| Fee { asset: account.cluster.coin(), maximum: U256::from(most) }),
        nonce: None,
        detail: detail(message, &acts, told)?,
        effects: acts.effects,
    })
}

fn instruction(call: &Call<'_>, name: Option<&str>) -> Value {
    let accounts = call.accounts.iter().map(|place| match place {
        Place::Here(account) => account.to_string(),
        Place::Table { table, index } => format!("{table}/{index}"),
    });
    let mut told = Map::new();
    told.insert("program".into(), call.program.to_string().into());
    told.insert("accounts".into(), accounts.collect());
    match name {
        Some(name) => told.insert("does".into(), name.into()),
        None => told.insert("data".into(), format!("0x{}", hex::encode(call.data)).into()),
    };
    Value::Object(told)
}

fn detail(message: &Message, acts: &Acts<'_>, told: Vec<Value>) -> Result<Map<String, Value>, IntentError> {
    let mut detail = Map::new();
    let mut put = |name: &str, value: Value| detail.insert(name.to_owned(), value);
    put("instructions", told.into());
    if let Some(other) = message.payer().and_then(|payer| acts.other(payer)) {
        put("fee_payer", other.into());
    }
    let others: Vec<_> = message.signers().iter().filter_map(|signer| acts.other(signer)).collect();
    if !others.is_empty() {
        put("other_signers", others.into());
    }
    match &acts.nonce {
        None => put("recent_blockhash", message.blockhash().into()),
        Some(nonce) => put(
            "durable_nonce",
            json!({
                "account": nonce.account.to_string(),
                "authority": nonce.authority.to_string(),
                "nonce": message.blockhash(),
            }),
        ),
    };
    if let Some(units) = acts.budget.units {
        put("compute_units", units.to_string().into());
    }
    if let Some(price) = acts.budget.price {
        put("micro_lamports_per_unit", price.to_string().into());
    }
    if acts.deposits > 0 {
        put("deposits", acts.deposits.to_string().into());
    }
    let memos = acts.memos.iter().map(|memo| match readable(memo) {
        Some(text) => json!({ "text": text }),
        None => json!({ "data": format!("0x{}", hex::encode(memo)) }),
    });
    let memos: Vec<_> = memos.collect();
    if !memos.is_empty() {
        put("memos", memos.into());
    }
    let claims = acts.known.told()?;
    if !claims.is_empty() {
        put("token_accounts", claims.into());
    }
    if !acts.tables.is_empty() {
        let tables = acts.tables.iter().map(|(table, held)| {
            let held: Map<_, _> =
                held.iter().map(|(index, account)| (index.to_string(), account.as_str().into())).collect();
            (table.clone(), Value::Object(held))
        });
        put("lookup_tables", Value::Object(tables.collect()));
    }
    Ok(detail)
}
