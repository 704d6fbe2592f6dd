//! What shall be signed, as the command line gives it. Nothing is rounded or repaired on the way: what cannot be sent
//! exactly as it was written is refused here.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chancery_core::{Payload, TokenAccount, limit};
use clap::Args;
use serde_json::Value;

use crate::{Error, file};

/// The flags of which one makes a payload.
pub const PAYLOAD_FLAGS: [&str; 7] =
    ["transaction", "message", "typed_data", "authorization", "psbt", "bitcoin_message", "solana"];

/// One payload. A command that cannot do without says so with a group of [`PAYLOAD_FLAGS`].
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct PayloadArgs {
    /// An unsigned Ethereum transaction: hexadecimal, `@FILE` that holds it, or `-` for standard input
    #[arg(long, value_name = "HEX|@FILE|-", help_heading = "Payload")]
    transaction: Option<String>,
    /// A message to sign as EIP-191 `personal_sign`
    #[arg(long, value_name = "TEXT", help_heading = "Payload")]
    message: Option<String>,
    /// An EIP-712 document in JSON; `-` for standard input
    #[arg(long, value_name = "FILE", help_heading = "Payload")]
    typed_data: Option<PathBuf>,
    /// An EIP-7702 authorization to sign: `0x05 || rlp([chain_id, address, nonce])` in hexadecimal
    #[arg(long, value_name = "HEX", help_heading = "Payload")]
    authorization: Option<String>,
    /// A PSBT: base64, `@FILE` that holds it (also as bytes), or `-` for standard input
    #[arg(long, value_name = "BASE64|@FILE|-", help_heading = "Payload")]
    psbt: Option<String>,
    /// A message to sign for a Bitcoin wallet's own script (BIP-322)
    #[arg(long, value_name = "TEXT", help_heading = "Payload")]
    bitcoin_message: Option<String>,
    /// The message of an unsigned Solana transaction: base64, `@FILE` that holds it, or `-` for standard input
    #[arg(long, value_name = "BASE64|@FILE|-", help_heading = "Payload")]
    solana: Option<String>,
}

/// What goes with a Solana transaction.
#[derive(Args, Debug)]
pub struct TokenAccounts {
    /// With `--solana`: the owner and mint of a token account that it names; give it again for more
    #[arg(long = "token-account", value_name = "OWNER:MINT", requires = "solana", help_heading = "Payload", value_parser = token_account)]
    claimed: Vec<TokenAccount>,
}

impl PayloadArgs {
    /// Reads the payload.
    ///
    /// # Errors
    /// [`Error::Usage`] for a flag that is not what it should be, [`Error::File`] and [`Error::Content`] for a file.
    pub fn read(&self, accounts: &TokenAccounts) -> Result<Payload, Error> {
        if let Some(text) = &self.solana {
            let data = base64("--solana", text)?;
            return Ok(Payload::SolanaTransaction { data, token_accounts: accounts.claimed.clone() });
        }
        if let Some(text) = &self.transaction {
            let data = match (text.strip_prefix('@'), text.as_str()) {
                (Some(path), _) => hex_file(Path::new(path))?,
                (None, "-") => hex_file(Path::new("-"))?,
                (None, digits) => hex_flag("--transaction", digits)?,
            };
            return Ok(Payload::EthereumTransaction { data });
        }
        if let Some(text) = &self.message {
            return Ok(Payload::EthereumMessage { data: text.clone().into_bytes() });
        }
        if let Some(path) = &self.typed_data {
            return typed_data(path);
        }
        if let Some(digits) = &self.authorization {
            return Ok(Payload::EthereumAuthorization { data: hex_flag("--authorization", digits)? });
        }
        if let Some(text) = &self.psbt {
            return psbt(text).map(|data| Payload::BitcoinPsbt { data });
        }
        if let Some(text) = &self.bitcoin_message {
            return Ok(Payload::BitcoinMessage { data: text.clone().into_bytes() });
        }
        Err(Error::Usage {
            detail: "no payload".to_owned(),
            hint: "give one of `--transaction`, `--message`, `--typed-data`, `--authorization`, `--psbt`, `--bitcoin-message`, `--solana`",
        })
    }
}

/// A PSBT as wallets hand it around: base64, or the bytes themselves in a file.
fn psbt(text: &str) -> Result<Vec<u8>, Error> {
    let path = match (text.strip_prefix('@'), text) {
        (Some(path), _) => Path::new(path),
        (None, "-") => Path::new("-"),
        (None, text) => {
            return unbase64(text.as_bytes()).ok_or_else(|| Error::Usage {
                detail: "`--psbt` is not base64".to_owned(),
                hint: "write base64 with its padding; a file is `@FILE`",
            });
        }
    };
    let bytes = file::read_or_stdin(path)?;
    if bytes.starts_with(b"psbt\xff") {
        return Ok(bytes);
    }
    unbase64(&bytes).ok_or_else(|| Error::content(path, "is neither a PSBT nor base64"))
}

fn base64(flag: &str, text: &str) -> Result<Vec<u8>, Error> {
    let path = match (text.strip_prefix('@'), text) {
        (Some(path), _) => Path::new(path),
        (None, "-") => Path::new("-"),
        (None, text) => {
            return unbase64(text.as_bytes()).ok_or_else(|| Error::Usage {
                detail: format!("`{flag}` is not base64"),
                hint: "write base64 with its padding; a file is `@FILE`",
            });
        }
    };
    unbase64(file::read_text_or_stdin(path)?.as_bytes()).ok_or_else(|| Error::content(path, "is not base64"))
}

fn token_account(text: &str) -> Result<TokenAccount, String> {
    let (owner, mint) = text.split_once(':').ok_or("write it as `OWNER:MINT`")?;
    Ok(TokenAccount { owner: owner.to_owned(), mint: mint.to_owned() })
}

fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim_ascii()).ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim();
    hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).ok()
}

fn hex_flag(flag: &str, text: &str) -> Result<Vec<u8>, Error> {
    unhex(text).ok_or_else(|| Error::Usage {
        detail: format!("`{flag}` is not an even number of hexadecimal digits"),
        hint: "write hexadecimal, with or without `0x`; a file is `@FILE`",
    })
}

fn hex_file(path: &Path) -> Result<Vec<u8>, Error> {
    unhex(&file::read_text_or_stdin(path)?)
        .ok_or_else(|| Error::content(path, "is not an even number of hexadecimal digits"))
}

fn typed_data(path: &Path) -> Result<Payload, Error> {
    let text = file::read_text_or_stdin(path)?;
    let document: Value =
        serde_json::from_str(&text).map_err(|error| Error::content(path, format!("is not JSON: {error}")))?;
    if document.to_string().len() > limit::TYPED_DATA_BYTES {
        return Err(Error::content(path, format!("is longer than {} bytes", limit::TYPED_DATA_BYTES)));
    }
    if let Some(number) = inexact(&document) {
        let what = format!("holds the number {number}, which JSON does not keep exactly: write it as text");
        return Err(Error::content(path, what));
    }
    Ok(Payload::EthereumTypedData { document })
}

/// The first number beyond ±(2^53 - 1), or with a fraction: readers of JSON disagree about those (RFC 8259, 6).
fn inexact(value: &Value) -> Option<&serde_json::Number> {
    match value {
        Value::Number(number) => {
            let exact = number.as_i64().is_some_and(|n| n.unsigned_abs() <= chancery_audit::SAFE_INTEGER);
            (!exact).then_some(number)
        }
        Value::Array(items) => items.iter().find_map(inexact),
        Value::Object(members) => members.values().find_map(inexact),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_that_json_would_round_are_found() {
        assert!(inexact(&json!({ "a": [1, -5, 9_007_199_254_740_991_i64] })).is_none());
        for text in
            ["9007199254740993", "1.5", "1e3", "100000000000000000000", "[{\"a\":[18446744073709551616]}]"]
        {
            assert!(
                inexact(&serde_json::from_str(text).unwrap()).is_some(),
                "{text} would be signed as another number"
            );
        }
    }

    #[test]
    fn base64_is_read_strictly_but_for_the_line_it_stands_on() {
        assert_eq!(unbase64(b"cHNidP8=\n"), Some(b"psbt\xff".to_vec()));
        for bad in [&b"cHNidP8"[..], b"cHNi dP8=", b"70736274ff=="] {
            assert_eq!(unbase64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hexadecimal_comes_with_and_without_a_prefix() {
        assert_eq!(unhex("0x02c0\n"), Some(vec![2, 0xc0]));
        assert_eq!(unhex("02C0"), Some(vec![2, 0xc0]));
        assert_eq!(unhex("0x2"), None);
        assert_eq!(unhex("zz"), None);
    }
}
