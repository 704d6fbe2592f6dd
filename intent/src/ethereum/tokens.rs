//! The token methods that are known without an ABI (ERC-20, 721, 1155, 2612, 3009, DAI's permit, Permit2), and what a call
//! of one does. Recognised by selector and strict arguments; a known selector with other bytes is refused, since the
//! contract might still act on it. If a method is missing here its calls are `contract_call`, never a token effect.

use std::collections::HashMap;
use std::sync::LazyLock;

use alloy_dyn_abi::DynSolValue as D;
use alloy_json_abi::Function;
use alloy_primitives::{Address, U256};
use chancery_core::limit;

use super::Account;
use super::abi::Method;
use super::{PERMIT2, chain, other_owner, token};
use crate::IntentError;
use crate::contracts::{Contracts, Standard};
use crate::model::{Effect, Kind};

/// A call of a contract.
pub(super) struct Call<'a> {
    pub chain_id: u64,
    pub account: &'a Account<'a>,
    pub contract: Address,
    pub selector: [u8; 4],
    /// The calldata after the selector.
    pub arguments: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Transfer,
    TransferFrom,
    SafeTransferItem,
    SafeTransferMany,
    SafeTransferBatch,
    Approve,
    Increase,
    Decrease,
    ApproveAll,
    Permit,
    PermitDai,
    TransferAuthorized,
    Permit2Approve,
    Permit2Permit,
    Permit2Transfer,
}

const METHODS: &[(Verb, &str)] = &[
    (Verb::Transfer, "transfer(address to, uint256 value)"),
    (Verb::TransferFrom, "transferFrom(address from, address to, uint256 value)"),
    (Verb::SafeTransferItem, "safeTransferFrom(address from, address to, uint256 tokenId)"),
    (Verb::SafeTransferItem, "safeTransferFrom(address from, address to, uint256 tokenId, bytes data)"),
    (
        Verb::SafeTransferMany,
        "safeTransferFrom(address from, address to, uint256 id, uint256 value, bytes data)",
    ),
    (
        Verb::SafeTransferBatch,
        "safeBatchTransferFrom(address from, address to, uint256[] ids, uint256[] values, bytes data)",
    ),
    (Verb::Approve, "approve(address spender, uint256 value)"),
    (Verb::Increase, "increaseAllowance(address spender, uint256 addedValue)"),
    (Verb::Decrease, "decreaseAllowance(address spender, uint256 subtractedValue)"),
    (Verb::ApproveAll, "setApprovalForAll(address operator, bool approved)"),
    (
        Verb::Permit,
        "permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)",
    ),
    (
        Verb::PermitDai,
        "permit(address holder, address spender, uint256 nonce, uint256 expiry, bool allowed, uint8 v, bytes32 r, bytes32 s)",
    ),
    (
        Verb::TransferAuthorized,
        "transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
    ),
    (
        Verb::TransferAuthorized,
        "receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
    ),
    (Verb::Permit2Approve, "approve(address token, address spender, uint160 amount, uint48 expiration)"),
    (
        Verb::Permit2Permit,
        "permit(address owner, ((address,uint160,uint48,uint48),address,uint256) permitSingle, bytes signature)",
    ),
    (Verb::Permit2Transfer, "transferFrom(address from, address to, uint160 amount, address token)"),
];

static KNOWN: LazyLock<HashMap<[u8; 4], (Verb, Method)>> =
    LazyLock::new(|| METHODS.iter().map(known).collect());

#[expect(clippy::expect_used, reason = "constant text above; a test compiles each of them")]
fn known((verb, text): &(Verb, &str)) -> ([u8; 4], (Verb, Method)) {
    let function = Function::parse(text).expect("a method's text parses");
    let method = Method::compile(&function).expect("a method's types have a size");
    (function.selector().0, (*verb, method))
}

impl Verb {
    /// Whether a contract of this standard has the method. An unregistered contract may have any, but Permit2's methods
    /// mean something at Permit2's own address only.
    fn belongs_to(self, contract: &Address, standard: Option<Standard>) -> bool {
        let standards: &[Standard] = match self {
            Self::Permit2Approve | Self::Permit2Permit | Self::Permit2Transfer => {
                return *contract == PERMIT2;
            }
            Self::Transfer | Self::TransferFrom | Self::Approve => &[Standard::Erc20, Standard::Erc721],
            Self::Increase | Self::Decrease | Self::Permit | Self::PermitDai | Self::TransferAuthorized => {
                &[Standard::Erc20]
            }
            Self::SafeTransferItem => &[Standard::Erc721],
            Self::SafeTransferMany | Self::SafeTransferBatch => &[Standard::Erc1155],
            Self::ApproveAll => &[Standard::Erc721, Standard::Erc1155],
        };
        standard.is_none_or(|standard| standards.contains(&standard))
    }
}

/// What a call of a token method does; none where the method is not one of the contract's standard.
pub(super) fn recognise(
    call: &Call<'_>,
    contracts: &dyn Contracts,
) -> Result<Option<Vec<Effect>>, IntentError> {
    let standard = contracts.standard(call.chain_id, &call.contract);
    let Some((verb, method)) =
        KNOWN.get(&call.selector).filter(|(verb, _)| verb.belongs_to(&call.contract, standard))
    else {
        return Ok(None);
    };
    let values = method.decode(call.arguments)?;
    let mut effects = effects(call, *verb, &values, standard, contracts)?;
    if let Some(first) = effects.first_mut() {
        first.method = Some(super::calldata::method(call.selector, method, &values));
    }
    Ok(Some(effects))
}

fn effects(
    call: &Call<'_>,
    verb: Verb,
    values: &[D],
    standard: Option<Standard>,
    contracts: &dyn Contracts,
) -> Result<Vec<Effect>, IntentError> {
    let parties = Parties { call, standard };
    let account = &call.account.address;
    let one = U256::ONE;
    let effect = match (verb, values) {
        (Verb::Transfer, [D::Address(to), D::Uint(value, _)]) => parties.moved(account, to, value),
        (Verb::TransferFrom, [D::Address(from), D::Address(to), D::Uint(value, _)]) => {
            parties.moved(from, to, value)
        }
        (Verb::TransferAuthorized, [D::Address(from), D::Address(to), D::Uint(value, _), ..]) => {
            parties.moved(from, to, value)
        }
        (Verb::SafeTransferItem, [D::Address(from), D::Address(to), D::Uint(id, _), ..]) => {
            parties.moved_item(from, to, id, &one)
        }
        (
            Verb::SafeTransferMany,
            [D::Address(from), D::Address(to), D::Uint(id, _), D::Uint(value, _), _],
        ) => parties.moved_item(from, to, id, value),
        (
            Verb::SafeTransferBatch,
            [D::Address(from), D::Address(to), D::Array(ids), D::Array(amounts), _],
        ) => {
            return parties.moved_batch(from, to, ids, amounts);
        }
        (Verb::Approve, [D::Address(spender), D::Uint(value, _)]) => {
            parties.approved(account, spender, value)
        }
        // What the allowance becomes is the contract's to know; what is granted anew is told.
        (Verb::Increase, [D::Address(spender), D::Uint(added, _)]) => {
            parties.approved(account, spender, added)
        }
        (Verb::Decrease, [D::Address(spender), D::Uint(..)]) => {
            parties.approved(account, spender, &U256::ZERO)
        }
        (Verb::ApproveAll, [D::Address(operator), D::Bool(all)]) => {
            parties.approved_all(account, operator, *all)
        }
        (Verb::Permit, [D::Address(owner), D::Address(spender), D::Uint(value, _), ..]) => {
            parties.approved(owner, spender, value)
        }
        (Verb::PermitDai, [D::Address(holder), D::Address(spender), _, _, D::Bool(allowed), ..]) => {
            parties.approved_all(holder, spender, *allowed)
        }
        (Verb::Permit2Approve, [D::Address(token), D::Address(spender), D::Uint(amount, _), _]) => {
            through_permit2(call, contracts, token).approved_160(account, spender, amount)
        }
        (Verb::Permit2Permit, [D::Address(owner), D::Tuple(permit), _]) => match permit.as_slice() {
            [D::Tuple(details), D::Address(spender), _] => match details.as_slice() {
                [D::Address(token), D::Uint(amount, _), ..] => {
                    through_permit2(call, contracts, token).approved_160(owner, spender, amount)
                }
                _ => return Err(unread()),
            },
            _ => return Err(unread()),
        },
        (
            Verb::Permit2Transfer,
            [D::Address(from), D::Address(to), D::Uint(amount, _), D::Address(token)],
        ) => through_permit2(call, contracts, token).moved(from, to, amount),
        _ => return Err(unread()),
    };
    Ok(vec![effect])
}

/// A defect of the table above, which its test excludes; refused rather than guessed at.
fn unread() -> IntentError {
    IntentError::malformed("a token method with arguments of other types")
}

fn through_permit2<'a>(call: &'a Call<'a>, contracts: &dyn Contracts, token: &Address) -> Permit2Token<'a> {
    // Permit2 moves ERC-20 tokens only; another standard under that address would not be moved by it.
    let standard = contracts.standard(call.chain_id, token).filter(|standard| *standard == Standard::Erc20);
    Permit2Token { call, asset: super::token(&chain(call.chain_id), standard, token, None) }
}

struct Permit2Token<'a> {
    call: &'a Call<'a>,
    asset: String,
}

impl Permit2Token<'_> {
    fn moved(self, from: &Address, to: &Address, amount: &U256) -> Effect {
        moved(self.call.account, &self.call.contract, self.asset, from, to, amount)
    }

    fn approved_160(self, owner: &Address, spender: &Address, amount: &U256) -> Effect {
        approved(self.call.account, &self.call.contract, self.asset, owner, spender, amount, 160)
    }
}

struct Parties<'a> {
    call: &'a Call<'a>,
    standard: Option<Standard>,
}

impl Parties<'_> {
    fn asset(&self, id: Option<&U256>) -> String {
        token(&chain(self.call.chain_id), self.standard, &self.call.contract, id)
    }

    /// `number` is an amount in ERC-20 and an item's id in ERC-721, where one of it moves.
    fn moved(&self, from: &Address, to: &Address, number: &U256) -> Effect {
        if self.standard == Some(Standard::Erc721) {
            return self.moved_item(from, to, number, &U256::ONE);
        }
        moved(self.call.account, &self.call.contract, self.asset(None), from, to, number)
    }

    fn moved_item(&self, from: &Address, to: &Address, id: &U256, amount: &U256) -> Effect {
        moved(self.call.account, &self.call.contract, self.asset(Some(id)), from, to, amount)
    }

    fn moved_batch(
        &self,
        from: &Address,
        to: &Address,
        ids: &[D],
        amounts: &[D],
    ) -> Result<Vec<Effect>, IntentError> {
        if ids.len() > limit::EFFECTS {
            return Err(IntentError::TooComplex { what: "tokens in one batch", limit: limit::EFFECTS });
        }
        if ids.is_empty() || ids.len() != amounts.len() {
            return Err(IntentError::malformed("a batch of tokens without an amount for each"));
        }
        ids.iter()
            .zip(amounts)
            .map(|pair| match pair {
                (D::Uint(id, _), D::Uint(amount, _)) => Ok(self.moved_item(from, to, id, amount)),
                _ => Err(unread()),
            })
            .collect()
    }

    fn approved(&self, owner: &Address, spender: &Address, number: &U256) -> Effect {
        let Call { account, contract, .. } = self.call;
        if self.standard == Some(Standard::Erc721) {
            // Approving the zero address is how ERC-721 revokes.
            let amount = if spender.is_zero() { U256::ZERO } else { U256::ONE };
            return approved(account, contract, self.asset(Some(number)), owner, spender, &amount, 256);
        }
        approved(account, contract, self.asset(None), owner, spender, number, 256)
    }

    fn approved_all(&self, owner: &Address, spender: &Address, all: bool) -> Effect {
        let amount = if all { U256::MAX } else { U256::ZERO };
        approved(self.call.account, &self.call.contract, self.asset(None), owner, spender, &amount, 256)
    }
}

pub(super) fn moved(
    account: &Account<'_>,
    contract: &Address,
    asset: String,
    from: &Address,
    to: &Address,
    amount: &U256,
) -> Effect {
    Effect {
        kind: Kind::TokenTransfer,
        asset: Some(asset),
        amount: Some(*amount),
        unlimited: false,
        destination: Some(to.to_string()),
        owner: other_owner(account, from),
        contract: Some(contract.to_string()),
        method: None,
    }
}

/// An approval of an amount that has `bits` bits; it has no bound where the highest of them is set.
pub(super) fn approved(
    account: &Account<'_>,
    contract: &Address,
    asset: String,
    owner: &Address,
    spender: &Address,
    amount: &U256,
    bits: usize,
) -> Effect {
    Effect {
        kind: Kind::TokenApproval,
        asset: Some(asset),
        amount: Some(*amount),
        unlimited: amount.bit_len() >= bits,
        destination: Some(spender.to_string()),
        owner: other_owner(account, owner),
        contract: Some(contract.to_string()),
        method: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_published_selector() {
        let published = [
            "a9059cbb", "23b872dd", "42842e0e", "b88d4fde", "f242432a", "2eb2c2d6", "095ea7b3", "39509351",
            "a457c2d7", "a22cb465", "d505accf", "8fcbaf0c", "e3ee160e", "ef55bec6", "87517c45", "2b67b570",
            "36c78516",
        ];
        assert_eq!(KNOWN.len(), published.len(), "two methods share a selector, or one is untested");
        for ((_, text), selector) in METHODS.iter().zip(published) {
            let function = Function::parse(text).unwrap();
            assert_eq!(hex::encode(function.selector()), selector, "{text}");
        }
    }
}
