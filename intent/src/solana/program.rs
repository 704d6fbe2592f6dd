//! The programs that are known here, by their addresses. Each is one of the cluster itself, or of the Solana Program Library.
//! A wrong one would have its instructions read as another program's.

use solana_address::Address;

macro_rules! programs {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        $($(#[$doc])+ pub(super) const $name: Address = Address::from_str_const($text);)+
    };
}

programs! {
    /// Moves SOL, makes accounts, keeps nonces.
    SYSTEM = "11111111111111111111111111111111";
    /// Limits and prices of computing.
    COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111";
    /// SPL Token.
    TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
    /// Token-2022, whose first instructions are SPL Token's.
    TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb";
    /// Makes the token account of an owner for a mint.
    ASSOCIATED = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL";
    /// Memo, as of today.
    MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";
    /// Memo, the first one.
    MEMO_1 = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo";
    /// Checks Ed25519 signatures.
    ED25519 = "Ed25519SigVerify111111111111111111111111111";
    /// Checks secp256k1 signatures.
    SECP256K1 = "KeccakSecp256k11111111111111111111111111111";
    /// Checks P-256 signatures.
    SECP256R1 = "Secp256r1SigVerify1111111111111111111111111";
}

/// Whether it is one of the two token programs.
pub(super) fn is_token(program: &Address) -> bool {
    [TOKEN, TOKEN_2022].contains(program)
}
