//! Unsigned Ethereum transactions, as a wallet backend would send them: EIP-1559 envelopes without signature fields.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use serde_json::{Value, json};

/// `transfer(address,uint256)` of ERC-20.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// Gas of a transfer of the chain's own asset.
const GAS_PLAIN: u64 = 21_000;
/// Enough for a transfer of a token.
const GAS_TOKEN: u64 = 100_000;

/// What to move.
#[derive(Clone, Debug)]
pub enum Moves {
    /// The chain's own asset, in wei.
    Ether {
        /// To whom.
        to: Address,
        /// How much.
        wei: U256,
    },
    /// An ERC-20 token, in its smallest unit.
    Token {
        /// Its contract.
        token: Address,
        /// To whom.
        to: Address,
        /// How much.
        amount: U256,
    },
}

/// `0x02 || rlp([...])` without signature fields. Source: EIP-1559.
#[must_use]
pub fn unsigned(chain_id: u64, nonce: u64, moves: &Moves) -> Vec<u8> {
    let (to, value, input, gas_limit) = match moves {
        Moves::Ether { to, wei } => (*to, *wei, Bytes::new(), GAS_PLAIN),
        Moves::Token { token, to, amount } => {
            let mut input = TRANSFER.to_vec();
            input.extend_from_slice(to.into_word().as_slice());
            input.extend_from_slice(&amount.to_be_bytes::<32>());
            (*token, U256::ZERO, Bytes::from(input), GAS_TOKEN)
        }
    };
    TxEip1559 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value,
        input,
        ..TxEip1559::default()
    }
    .encoded_for_signing()
}

/// The body of `POST /v1/sign` and `/v1/preview`.
#[must_use]
pub fn body(wallet: &str, transaction: &[u8]) -> Value {
    let data = format!("0x{}", hex::encode(transaction));
    json!({ "wallet": wallet, "payload": { "type": "ethereum.transaction", "data": data } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ether_transfer_is_its_nine_fields() {
        let to = Address::repeat_byte(0x11);
        let bytes = unsigned(31_337, 7, &Moves::Ether { to, wei: U256::from(1_000) });
        assert_eq!(
            hex::encode(bytes),
            "02ec827a6907843b9aca008504a817c800825208941111111111111111111111111111111111111111\
             8203e880c0"
        );
    }

    #[test]
    fn a_token_transfer_calls_the_token() {
        let (token, to) = (Address::repeat_byte(0x22), Address::repeat_byte(0x33));
        let bytes = hex::encode(unsigned(1, 0, &Moves::Token { token, to, amount: U256::from(5) }));
        let call = format!("a9059cbb{}{}{:064x}", "00".repeat(12), "33".repeat(20), 5);
        assert!(bytes.contains(&format!("94{}80b844{call}c0", "22".repeat(20))), "{bytes}");
    }
}
