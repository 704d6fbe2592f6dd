//! `chancery receipt`: fetch receipts, and verify them with no network at all: the trust file is the only thing
//! believed. A failure of one file does not keep the others from being verified.

use std::path::PathBuf;

use chancery_audit::{End, HexBytes, Trust, Verdict};
use chancery_core::{ClientId, RequestId, UnixMillis, WalletId, causes};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{sign, trust};
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::recheck::recheck;
use crate::{Error, Exit, Output, file};

/// `chancery receipt`.
#[derive(Subcommand, Debug)]
pub enum Receipt {
    /// Fetch the receipt of one request
    #[command(after_help = "Examples:\n  \
        chancery receipt fetch 019a0000-0000-7000-8000-000000000000 --out receipt.json")]
    Fetch {
        /// The request
        id: RequestId,
        /// Where to write it; standard output without
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Verify receipts against a trust file; needs no network and makes no connection
    #[command(
        after_help = "Verified: that the log holds decision and outcome, that they are about this payload, \
        intent, client and wallet, that the client's own signature is over this request where it made one, that the \
        signature is the wallet's, and that the payload decodes to the stated intent and signing digest. What a policy bundle said about contracts is named as an assumption.\n\n\
        Examples:\n  chancery receipt verify receipt.json --trust trust.json\n  \
        chancery receipt verify a.json b.json --trust trust.json --json"
    )]
    Verify(Verify),
}

/// `chancery receipt verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// The receipts
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The log's name and keys, from a source you trust
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
}

impl Receipt {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Verify(verify) => verify.run(output),
            Self::Fetch { id, out } => {
                let api = Api::open(connection, output)?;
                let receipt = api.call(&Call::get(&["requests", &id.to_string(), "receipt"]))?.json()?;
                match out {
                    None => output.document(&receipt)?,
                    Some(path) => {
                        sign::write_receipt(path, &receipt)?;
                        output.say(&format!("receipt of {id} in `{}`", path.display()));
                    }
                }
                Ok(Exit::Ok)
            }
        }
    }
}

/// What became of one file.
#[derive(Serialize)]
struct Verified {
    file: PathBuf,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten)]
    found: Option<Found>,
}

/// What a receipt that verifies has shown.
#[derive(Serialize)]
struct Found {
    request_id: RequestId,
    time_ms: UnixMillis,
    client: ClientId,
    wallet: WalletId,
    decision: Verdict,
    outcome: Option<End>,
    checked: Vec<String>,
    assumed: Vec<String>,
}

impl Verify {
    fn run(&self, output: &Output) -> Result<Exit, Error> {
        let trust = trust::read(&self.trust)?;
        let (mut results, mut unread) = (Vec::new(), Vec::new());
        for path in &self.files {
            let checked = match file::read(path) {
                Ok(bytes) => check(&bytes, &trust),
                Err(error) => {
                    let reason = error.chain();
                    unread.push(error);
                    Err(reason)
                }
            };
            let (found, reason) = match checked {
                Ok(found) => (Some(found), None),
                Err(reason) => (None, Some(reason)),
            };
            let result = Verified { file: path.clone(), ok: found.is_some(), reason, found };
            if !output.is_json() {
                result.tell(output)?;
            }
            results.push(result);
        }
        let failed = results.iter().filter(|result| !result.ok).count();
        if output.is_json() {
            output.document(&json!({ "ok": failed == 0, "receipts": results }))?;
        }
        if failed == 0 {
            return Ok(Exit::Ok);
        }
        // A receipt that fails weighs more than one that cannot be read.
        let only_unread = failed == unread.len();
        match unread.into_iter().next() {
            Some(error) if only_unread => Err(error),
            _ => Err(Error::Failed(format!("{failed} of {} receipts do not verify", self.files.len()))),
        }
    }
}

/// Verifies one receipt.
///
/// # Errors
/// A sentence about the first thing that does not hold.
fn check(bytes: &[u8], trust: &Trust) -> Result<Found, String> {
    let verified = chancery_audit::verify(bytes, trust).map_err(|error| causes(&error))?;
    let receipt = verified.receipt();
    let decision = &receipt.decision;
    let key = decision.public_key.as_bytes();
    let again = recheck(&receipt.payload, &receipt.intent, decision.signing_digest.as_bytes(), Some(key))?;
    let mut checked = verified.findings();
    if !decision.signers.iter().map(HexBytes::as_bytes).eq(again.signers.iter().map(Vec::as_slice)) {
        return Err("the keys that sign are not those that the descriptor derives".to_owned());
    }
    checked.extend(again.checked);
    Ok(Found {
        request_id: decision.request_id,
        time_ms: decision.time_ms,
        client: decision.client.clone(),
        wallet: decision.wallet.clone(),
        decision: decision.outcome,
        outcome: receipt.outcome.as_ref().map(|outcome| outcome.outcome),
        checked,
        assumed: again.assumed,
    })
}

impl Verified {
    fn tell(&self, output: &Output) -> Result<(), Error> {
        let file = self.file.display();
        let Some(found) = &self.found else {
            return output.line(&format!("{file}: FAILED: {}", self.reason.as_deref().unwrap_or_default()));
        };
        output.line(&format!("{file}: ok"))?;
        for sentence in &found.checked {
            output.line(&format!("  checked: {sentence}"))?;
        }
        for sentence in &found.assumed {
            output.line(&format!("  assumed: {sentence}"))?;
        }
        Ok(())
    }
}
