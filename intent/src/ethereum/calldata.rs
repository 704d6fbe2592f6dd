//! What the call at the heart of a transaction does: coin that moves, a contract that is made, a token method, a method of
//! a registered ABI, or a call of which only the selector is known. Every wei is told in exactly one effect.

use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{Address, TxKind, U256};

use super::Account;
use super::abi::Method;
use super::tokens::{self, Call};
use super::{chain, coin, prefixed_hex};
use crate::IntentError;
use crate::contracts::Contracts;
use crate::model::{self, Effect, Kind};

/// The outer call of a transaction.
pub(super) struct Outer<'a> {
    pub chain_id: u64,
    pub nonce: u64,
    pub to: TxKind,
    pub value: U256,
    pub input: &'a [u8],
}

/// The effects of the outer call, at least one.
pub(super) fn effects(
    outer: &Outer<'_>,
    account: &Account<'_>,
    contracts: &dyn Contracts,
) -> Result<Vec<Effect>, IntentError> {
    let TxKind::Call(to) = outer.to else {
        return Ok(vec![with_coin(outer, Kind::Deployment, &account.address.create(outer.nonce))]);
    };
    if outer.input.is_empty() {
        return Ok(vec![with_coin(outer, Kind::Transfer, &to)]);
    }
    let Some((selector, arguments)) = outer.input.split_first_chunk::<4>() else {
        let method = model::Method { selector: "0x".into(), signature: None, arguments: Vec::new() };
        return Ok(vec![called(outer, &to, method)]);
    };
    let call = Call { chain_id: outer.chain_id, account, contract: to, selector: *selector, arguments };
    if let Some(mut effects) = tokens::recognise(&call, contracts)? {
        if !outer.value.is_zero() {
            effects.insert(0, with_coin(outer, Kind::Transfer, &to));
        }
        return Ok(effects);
    }
    let known = contracts.abi(outer.chain_id, &to).and_then(|abi| abi.method(*selector));
    let method = match known {
        Some(known) => method(*selector, known, &known.decode(arguments)?),
        None => model::Method { selector: prefixed_hex(selector), signature: None, arguments: Vec::new() },
    };
    Ok(vec![called(outer, &to, method)])
}

/// A decoded call as it stands in a description.
pub(super) fn method(selector: [u8; 4], known: &Method, values: &[DynSolValue]) -> model::Method {
    model::Method {
        selector: prefixed_hex(selector),
        signature: Some(known.signature().to_owned()),
        arguments: known.arguments(values),
    }
}

fn called(outer: &Outer<'_>, contract: &Address, method: model::Method) -> Effect {
    let effect = with_coin(outer, Kind::ContractCall, contract);
    Effect { contract: effect.destination.clone(), method: Some(method), ..effect }
}

fn with_coin(outer: &Outer<'_>, kind: Kind, destination: &Address) -> Effect {
    Effect {
        kind,
        asset: Some(coin(&chain(outer.chain_id))),
        amount: Some(outer.value),
        unlimited: false,
        destination: Some(destination.to_string()),
        owner: None,
        contract: None,
        method: None,
    }
}
