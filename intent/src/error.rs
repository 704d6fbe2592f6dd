//! Why a payload is not understood. Each class of malformed input has its own stable code on the wire, so a client can
//! tell a truncated transaction from one for another chain. Nothing here carries payload bytes beyond a few numbers.

use std::borrow::Cow;

use alloy_primitives::Address;
use chancery_core::Code;

use crate::solana::Pubkey;

/// Why a payload was refused, or why a contract could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// The payload has no bytes.
    #[error("the payload is empty")]
    Empty,
    /// The payload is larger than `limit` bytes.
    #[error("the payload has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is read.
        limit: usize,
    },
    /// The payload does not have the form it claims.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// The RLP structure stands, but a field does not decode.
    #[error("a field does not decode")]
    Field(#[source] alloy_rlp::Error),
    /// Bytes follow the payload.
    #[error("{bytes} bytes follow the payload")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The same content has another, shorter or stricter, encoding.
    #[error("not in canonical form: {0}")]
    NotCanonical(Cow<'static, str>),
    /// The first byte names no transaction type that is decoded here.
    #[error("transaction type 0x{0:02x} is not known")]
    TypeUnknown(u8),
    /// The payload carries a signature already.
    #[error("the payload is signed already")]
    AlreadySigned,
    /// The payload is valid on any chain.
    #[error("the payload names no chain: {0}")]
    ChainIdMissing(&'static str),
    /// The payload is for a chain that the wallet may not sign for.
    #[error("the payload is for chain `{0}`")]
    ChainIdMismatch(String),
    /// The payload has too many parts or is too deeply nested.
    #[error("more than {limit} {what}")]
    TooComplex {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// A field of a PSBT that is not read here.
    #[error("field {keytype:#04x} of the PSBT's {map} is not one that is read here")]
    FieldUnknown {
        /// `globals`, `inputs` or `outputs`.
        map: &'static str,
        /// The field's type.
        keytype: u64,
    },
    /// An input without the output it spends, or with less of it than its signature needs.
    #[error("input {input} does not prove what it spends: {reason}")]
    UtxoMissing {
        /// The input.
        input: usize,
        /// What is missing.
        reason: &'static str,
    },
    /// An input whose spent output contradicts the outpoint or itself.
    #[error("input {input} contradicts itself: {reason}")]
    UtxoMismatch {
        /// The input.
        input: usize,
        /// What contradicts what.
        reason: &'static str,
    },
    /// A script or key that is not the one of the wallet's descriptor.
    #[error("{place} {index}: {reason}")]
    ScriptMismatch {
        /// `input` or `output`.
        place: &'static str,
        /// Which.
        index: usize,
        /// What differs.
        reason: &'static str,
    },
    /// A sighash type that leaves parts of the transaction open.
    #[error("input {input} asks for sighash type {sighash:#04x}")]
    Sighash {
        /// The input.
        input: usize,
        /// The type as it stands there.
        sighash: u32,
    },
    /// A fee beyond the written limits.
    #[error("a fee of {fee_sat} sat is {above}")]
    Fee {
        /// The fee, in satoshi.
        fee_sat: u64,
        /// Which limit it passes.
        above: String,
    },
    /// Amounts that cannot be.
    #[error("{0}")]
    Amount(&'static str),
    /// None of the inputs is the wallet's.
    #[error("no input spends an output of this wallet")]
    NothingToSign,
    /// A descriptor that a wallet cannot have.
    #[error("not a descriptor for a wallet: {0}")]
    Descriptor(Cow<'static, str>),
    /// Not an account of an HD wallet.
    #[error("not an account: {0}")]
    Account(&'static str),
    /// An instruction takes an account from a lookup table that nobody vouches for.
    #[error(
        "an instruction takes account {index} of the lookup table `{table}`, which the policy bundle does not know"
    )]
    LookupTable {
        /// The table.
        table: Pubkey,
        /// Where in it.
        index: u8,
    },
    /// Tokens move, and nothing says which.
    #[error(
        "tokens of `{source_account}` move and nothing says which: send `transferChecked`, or name the account's owner and mint \
         in `token_accounts`"
    )]
    Mint {
        /// The token account that they come from.
        source_account: Pubkey,
    },
    /// The payload is for another kind of chain than the account.
    #[error("the account is not of the payload's chain")]
    OtherChain,
    /// Other signatures than the intent asked for.
    #[error("the signatures are not those that the intent asks for")]
    Signatures,
    /// The public key is not a point of secp256k1 in SEC1 form.
    #[error("not a secp256k1 public key in SEC1 form")]
    PublicKey(#[source] secp256k1::Error),
    /// A registered ABI is not usable.
    #[error("the ABI of `{contract}` is not usable: {reason}")]
    Abi {
        /// The contract it was given for.
        contract: Address,
        /// What is wrong with it.
        reason: String,
    },
    /// A contract is registered twice.
    #[error("`{contract}` on chain {chain_id} is registered twice")]
    RegisteredTwice {
        /// The chain.
        chain_id: u64,
        /// The contract.
        contract: Address,
    },
}

impl IntentError {
    /// The stable code of the wire.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Empty => Code::PayloadEmpty,
            Self::TooLarge { .. } => Code::PayloadTooLarge,
            Self::Malformed(_) | Self::Field(_) => Code::PayloadMalformed,
            Self::Trailing { .. } => Code::PayloadTrailingBytes,
            Self::NotCanonical(_) => Code::PayloadNotCanonical,
            Self::TypeUnknown(_) => Code::TransactionTypeUnknown,
            Self::AlreadySigned => Code::AlreadySigned,
            Self::ChainIdMissing(_) => Code::ChainIdMissing,
            Self::ChainIdMismatch(_) => Code::ChainIdMismatch,
            Self::TooComplex { .. } => Code::PayloadTooComplex,
            Self::FieldUnknown { .. } => Code::PsbtFieldUnknown,
            Self::UtxoMissing { .. } => Code::UtxoMissing,
            Self::UtxoMismatch { .. } => Code::UtxoMismatch,
            Self::ScriptMismatch { .. } => Code::ScriptMismatch,
            Self::Sighash { .. } => Code::SighashNotAllowed,
            Self::Fee { .. } => Code::FeeAbsurd,
            Self::Amount(_) => Code::AmountOutOfRange,
            Self::NothingToSign => Code::NothingToSign,
            Self::Descriptor(_) | Self::Account(_) => Code::BadRequest,
            Self::LookupTable { .. } => Code::LookupTableUnknown,
            Self::Mint { .. } => Code::MintUnknown,
            Self::OtherChain => Code::ChainIdMismatch,
            Self::PublicKey(_) | Self::Signatures => Code::Internal,
            Self::Abi { .. } | Self::RegisteredTwice { .. } => Code::BundleInvalid,
        }
    }

    pub(crate) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed(reason.into())
    }

    pub(crate) fn not_canonical(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotCanonical(reason.into())
    }
}
