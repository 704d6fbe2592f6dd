//! `chancery receipt`: fetch receipts, and verify them with no network at all: the trust file is the only thing
//! believed. A failure of one file does not keep the others from being verified.

use std::path::{Path, PathBuf};

use chancery_audit::Trust;
use chancery_core::RequestId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

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
        intent, client and wallet, that the signature is the wallet's, and that the payload decodes to the stated \
        intent and signing digest. What a policy bundle said about contracts is named as an assumption.\n\n\
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

impl Verify {
    fn run(&self, output: &Output) -> Result<Exit, Error> {
        let trust = trust::read(&self.trust)?;
        let mut results = Vec::new();
        for path in &self.files {
            let bytes = file::read(path)?;
            let result = match check(&bytes, &trust) {
                Ok(found) => found,
                Err(reason) => json!({ "ok": false, "reason": reason }),
            };
            if !output.is_json() {
                tell(path, &result, output)?;
            }
            results.push((path, result));
        }
        let failed = results.iter().filter(|(_, result)| result["ok"] != true).count();
        if output.is_json() {
            let receipts: Vec<Value> = results
                .into_iter()
                .map(|(path, mut result)| {
                    result["file"] = json!(path);
                    result
                })
                .collect();
            output.document(&json!({ "ok": failed == 0, "receipts": receipts }))?;
        }
        if failed == 0 {
            return Ok(Exit::Ok);
        }
        Err(Error::Failed(format!("{failed} of {} receipts do not verify", self.files.len())))
    }
}

/// Verifies one receipt.
///
/// # Errors
/// A sentence about the first thing that does not hold.
fn check(bytes: &[u8], trust: &Trust) -> Result<Value, String> {
    let verified = chancery_audit::verify(bytes, trust).map_err(|error| chain(&error))?;
    let receipt = verified.receipt();
    let decision = &receipt.decision;
    let account =
        chancery_intent::address_of(decision.public_key.as_bytes()).map_err(|error| error.to_string())?;
    let again =
        recheck(&receipt.payload, &receipt.intent, decision.signing_digest.as_bytes(), Some(account))?;
    let mut checked = verified.findings();
    checked.extend(again.checked);
    Ok(json!({
        "ok": true,
        "request_id": decision.request_id,
        "time_ms": decision.time_ms,
        "client": decision.client,
        "wallet": decision.wallet,
        "decision": decision.outcome,
        "outcome": receipt.outcome.as_ref().map(|outcome| outcome.outcome),
        "checked": checked,
        "assumed": again.assumed,
    }))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let link = error.to_string();
        if !text.contains(&link) {
            text = format!("{text}: {link}");
        }
        cause = error.source();
    }
    text
}

fn tell(path: &Path, result: &Value, output: &Output) -> Result<(), Error> {
    if let Some(reason) = result["reason"].as_str() {
        return output.line(&format!("{}: FAILED: {reason}", path.display()));
    }
    output.line(&format!("{}: ok", path.display()))?;
    for (mark, list) in [("checked", "checked"), ("assumed", "assumed")] {
        for sentence in result[list].as_array().into_iter().flatten() {
            output.line(&format!("  {mark}: {}", sentence.as_str().unwrap_or_default()))?;
        }
    }
    Ok(())
}
