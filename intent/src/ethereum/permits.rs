//! Typed data that moves tokens or lets somebody move them: EIP-2612, DAI's permit, ERC-3009, Permit2. Recognised by the
//! whole type string, which a token's own type hash fixes. What is not recognised stays `typed_data`, which policy has to
//! allow by that name.

use alloy_dyn_abi::DynSolValue as D;
use alloy_primitives::{Address, U256};
use chancery_core::limit;

use super::Account;
use super::tokens::{approved, moved};
use super::{PERMIT2, token};
use crate::IntentError;
use crate::contracts::{Contracts, Standard};
use crate::model::Effect;

const PERMIT: &str = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
const PERMIT_DAI: &str = "Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)";
const TRANSFER: &str = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
const RECEIVE: &str = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";

const SINGLE: &str = "PermitSingle(PermitDetails details,address spender,uint256 sigDeadline)PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)";
const BATCH: &str = "PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline)PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)";
/// Permit2's one-time permits, alone or with a witness of any type behind these members.
const ONE_TIME: [&str; 4] = [
    "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)",
    "PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline)",
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,",
    "PermitBatchWitnessTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline,",
];
const TOKEN_PERMISSIONS: &str = ")TokenPermissions(address token,uint256 amount)";

/// A coerced document.
pub(super) struct Signed<'a> {
    pub chain_id: Option<u64>,
    /// CAIP-2, `eip155:*` where the domain names none.
    pub chain: &'a str,
    pub contract: Option<Address>,
    /// EIP-712 `encodeType` of the primary type.
    pub type_text: &'a str,
    pub message: &'a D,
}

/// What signing the document gives away; none where it is not a known permit.
pub(super) fn recognise(
    signed: &Signed<'_>,
    account: &Account<'_>,
    contracts: &dyn Contracts,
) -> Result<Option<Vec<Effect>>, IntentError> {
    let (Some(contract), Some((_, _, values))) = (signed.contract, signed.message.as_custom_struct()) else {
        return Ok(None);
    };
    // Only ERC-20 tokens follow these; under another standard the contract's item would be misnamed.
    let asset = |address: &Address| {
        let standard = signed
            .chain_id
            .and_then(|chain_id| contracts.standard(chain_id, address))
            .filter(|standard| *standard == Standard::Erc20);
        token(signed.chain, standard, address, None)
    };
    let effect = match (signed.type_text, values) {
        (PERMIT, [D::Address(owner), D::Address(spender), D::Uint(value, _), ..]) => {
            approved(account, &contract, asset(&contract), owner, spender, value, 256)
        }
        (PERMIT_DAI, [D::Address(holder), D::Address(spender), _, _, D::Bool(allowed)]) => {
            let amount = if *allowed { U256::MAX } else { U256::ZERO };
            approved(account, &contract, asset(&contract), holder, spender, &amount, 256)
        }
        (TRANSFER | RECEIVE, [D::Address(from), D::Address(to), D::Uint(value, _), ..]) => {
            moved(account, &contract, asset(&contract), from, to, value)
        }
        (text, [permitted, D::Address(spender), ..]) if contract == PERMIT2 => {
            let Some(bits) = permit2_bits(text) else {
                return Ok(None);
            };
            let permits = match permitted {
                D::Array(permits) => permits.as_slice(),
                permit => std::slice::from_ref(permit),
            };
            return permit2(permits, spender, bits, account, asset).map(Some);
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![effect]))
}

/// The width of the amounts in a Permit2 document.
fn permit2_bits(text: &str) -> Option<usize> {
    if matches!(text, SINGLE | BATCH) {
        return Some(160);
    }
    let one_time = ONE_TIME.iter().any(|start| text.starts_with(start)) && text.contains(TOKEN_PERMISSIONS);
    one_time.then_some(256)
}

fn permit2(
    permits: &[D],
    spender: &Address,
    bits: usize,
    account: &Account<'_>,
    asset: impl Fn(&Address) -> String,
) -> Result<Vec<Effect>, IntentError> {
    if permits.len() > limit::EFFECTS {
        return Err(IntentError::TooComplex { what: "tokens in one permit", limit: limit::EFFECTS });
    }
    if permits.is_empty() {
        return Err(IntentError::malformed("a permit for no token"));
    }
    permits
        .iter()
        .map(|permit| match permit.as_custom_struct() {
            Some((_, _, [D::Address(token), D::Uint(amount, _), ..])) => {
                Ok(approved(account, &PERMIT2, asset(token), &account.address, spender, amount, bits))
            }
            _ => Err(IntentError::malformed("a permit with members of other types")),
        })
        .collect()
}
