//! `chancery sign` and `chancery preview`. The idempotency key is fixed before the first byte is sent, so whatever
//! happens on the way, the same command with the same key asks for the same signature and not for a second one.

use std::path::{Path, PathBuf};

use chancery_core::{IdempotencyKey, Payload, WalletId};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::{show_intent, time_cell};
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::{cell, one_line};
use crate::payload::PayloadArgs;
use crate::recheck::recheck;
use crate::{Error, Exit, Output, file};

/// `chancery sign`.
#[derive(Args, Debug)]
#[command(
    after_help = "Prints the signed transaction, or the signature where there is no transaction. While the \
    request is pending the exit code is 3; a denial is 4.\n\nExamples:\n  \
    chancery sign --wallet treasury --transaction @unsigned.hex --receipt receipt.json\n  \
    chancery sign --wallet treasury --message hello --idempotency-key order-42\n  \
    chancery sign --wallet treasury --typed-data permit.json --wait --timeout 10m"
)]
pub struct Sign {
    /// The wallet whose key shall sign
    #[arg(long)]
    wallet: WalletId,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Your name for this one intended effect; a retry carries the same. A fresh one without
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    /// Where to write the receipt
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Wait while the request is pending, for at most `--timeout`
    #[arg(long)]
    wait: bool,
}

impl Sign {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let payload = self.payload.read()?;
        let api = Api::open(connection, output)?;
        let key = match &self.idempotency_key {
            Some(key) => key.clone(),
            None => {
                let key: IdempotencyKey = uuid::Uuid::new_v4().to_string().parse()?;
                output.say(&format!("idempotency key: {key}"));
                key
            }
        };
        let deadline = api.deadline();
        let body = body(&self.wallet, &payload);
        let answer = api.call_until(&Call::post(&["sign"], body).key(&key), deadline)?;
        let (answer, mut document) = self.settled(&api, answer, deadline)?;
        if let Some(members) = document.as_object_mut() {
            members.insert("idempotency_key".to_owned(), json!(key));
        }
        self.tell(&answer, &document, &payload, output)
    }

    /// The answer once it is no longer pending, or the pending one when nobody waits for it.
    fn settled(
        &self,
        api: &Api<'_>,
        mut answer: Answer,
        deadline: Instant,
    ) -> Result<(Answer, Value), Error> {
        let mut document = answer.json()?;
        while self.wait && is_open(&answer.text(&document, "/state")?) && api.wait(deadline) {
            let id = answer.text(&document, "/request_id")?;
            answer = api.call_until(&Call::get(&["requests", &id]), deadline)?;
            document = answer.json()?;
        }
        Ok((answer, document))
    }

    fn tell(
        &self,
        answer: &Answer,
        document: &Value,
        payload: &Payload,
        output: &Output,
    ) -> Result<Exit, Error> {
        let state = answer.text(document, "/state")?;
        let released = state == "released";
        let signed = match released {
            true => Some(signed(answer, document, payload, output)?),
            false => None,
        };
        if let (Some(path), Some(receipt)) = (&self.receipt, document.get("receipt")) {
            write_receipt(path, receipt)?;
        } else if let Some(path) = &self.receipt {
            output.say(&format!("no receipt in the answer: `{}` was not written", path.display()));
        }
        if output.is_json() {
            output.document(document)?;
        } else if let Some(signed) = signed {
            output.line(&signed)?;
        }
        if !released {
            output.say(&format!("request {} is {state}", cell(document, "/request_id")));
            list("missing", document.get("missing"), output);
            list("rule", document.get("rules"), output);
            if document.get("expires_ms").is_some() {
                output.say(&format!("  expires {}", time_cell(document, "/expires_ms")));
            }
        }
        Ok(match state.as_str() {
            "released" => Exit::Ok,
            "denied" => Exit::Denied,
            "expired" => Exit::Refused,
            "failed" => Exit::Unavailable,
            _ => Exit::Pending,
        })
    }
}

fn is_open(state: &str) -> bool {
    matches!(state, "pending" | "permitted")
}

fn body(wallet: &WalletId, payload: &Payload) -> Value {
    json!({ "wallet": wallet, "payload": payload })
}

/// The text to hand on: the signed transaction, or the bare signature. What was signed is compared with what was sent.
fn signed(answer: &Answer, document: &Value, payload: &Payload, output: &Output) -> Result<String, Error> {
    let stated = answer.text(document, "/signing_digest")?;
    let mut digest = [0; 32];
    hex::decode_to_slice(stated.trim_start_matches("0x"), &mut digest)
        .map_err(|_| answer.unexpected("has a signing digest that is none"))?;
    let intent = document.get("intent").ok_or_else(|| answer.unexpected("has no intent"))?;
    if let Err(difference) = recheck(payload, intent, &digest, None) {
        // The signature exists by now; hiding it would lose it. The receipt is what settles who is wrong.
        output.say(&format!("WARNING: do not rely on this signature: {difference}"));
    }
    match document.get("signed_transaction").and_then(Value::as_str) {
        Some(transaction) => Ok(transaction.to_owned()),
        None => answer.text(document, "/signature/bytes"),
    }
}

/// Writes a receipt so that people can read it too.
///
/// # Errors
/// [`Error::File`].
pub fn write_receipt(path: &Path, receipt: &Value) -> Result<(), Error> {
    file::write_result(path, format!("{receipt:#}\n").as_bytes())
}

fn list(name: &str, items: Option<&Value>, output: &Output) {
    for item in items.and_then(Value::as_array).into_iter().flatten() {
        output.say(&format!("  {name}: {}", one_line(item)));
    }
}

/// `chancery preview`.
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is recorded, reserved or signed. Exit codes are those of the decision: 0 allowed, 3 \
    pending, 4 denied.\n\nExamples:\n  chancery preview --wallet treasury --transaction @unsigned.hex\n  \
    chancery preview --wallet treasury --message hello --json"
)]
pub struct Preview {
    /// The wallet whose key would sign
    #[arg(long)]
    wallet: WalletId,
    #[command(flatten)]
    payload: PayloadArgs,
}

impl Preview {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let payload = self.payload.read()?;
        let api = Api::open(connection, output)?;
        let answer = api.call(&Call::post(&["preview"], body(&self.wallet, &payload)).harmless())?;
        let document = answer.json()?;
        let outcome = answer.text(&document, "/decision/outcome")?;
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.line(&format!("decision  {outcome}"))?;
            output.line(&format!("rules     {}", cell(&document, "/decision/rules")))?;
            for item in document.pointer("/decision/missing").and_then(Value::as_array).into_iter().flatten()
            {
                output.line(&format!("missing   {}", one_line(item)))?;
            }
            show_intent(document.get("intent").unwrap_or(&Value::Null), output)?;
        }
        match outcome.as_str() {
            "allowed" => Ok(Exit::Ok),
            "pending" => Ok(Exit::Pending),
            "denied" => Ok(Exit::Denied),
            _ => Err(answer.unexpected("has a decision this program does not know")),
        }
    }
}
