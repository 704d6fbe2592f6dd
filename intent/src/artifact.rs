//! What a client sends on: the forms that signatures take on each chain. Nothing here is secret or checked.

use serde_json::Value;

/// What signatures make of their payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// A transaction to broadcast. Blobs are not part of it: their sender adds the sidecar.
    Transaction {
        /// The EIP-2718 bytes.
        raw: Vec<u8>,
        /// Its hash, by which chains name it.
        hash: [u8; 32],
    },
    /// An EIP-7702 authorization to put into a transaction.
    Authorization {
        /// `rlp([chain_id, address, nonce, y_parity, r, s])`.
        rlp: Vec<u8>,
        /// The JSON-RPC object: `chainId`, `address`, `nonce`, `yParity`, `r`, `s` as hexadecimal quantities.
        json: Value,
    },
    /// A message, typed data or a change: the signature is all there is.
    Signature {
        /// `r || s || v` with `v` 27 or 28: what `eth_sign` and `eth_signTypedData` answer with.
        bytes: [u8; 65],
    },
    /// A PSBT with our signatures in it.
    Psbt {
        /// The bytes, of the version that was sent.
        psbt: Vec<u8>,
        /// Where nobody else has to sign: the transaction for the network, and the hash by which explorers name it.
        transaction: Option<(Vec<u8>, [u8; 32])>,
    },
    /// A Solana transaction's signature.
    Solana {
        /// `R || S`; where the wallet pays, it names the transaction.
        signature: [u8; 64],
        /// Where nobody else has to sign: the transaction for the network.
        transaction: Option<Vec<u8>>,
    },
    /// A signed BIP-322 message.
    Proof {
        /// The witness in base64: the BIP's format `simple`, without the prefix that not every verifier knows.
        simple: String,
    },
}
