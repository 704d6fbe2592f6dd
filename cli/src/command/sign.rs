//! `chancery sign` and `chancery preview`. The idempotency key is fixed before the first byte is sent, so whatever
//! happens on the way, the same command with the same key asks for the same signature and not for a second one.

use std::path::{Path, PathBuf};

use chancery_core::{IdempotencyKey, Payload, WalletId};
use chancery_policy::Missing;
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::request::{show_intent, time_cell};
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::{cell, one_line};
use crate::payload::{PAYLOAD_FLAGS, PayloadArgs, TokenAccounts};
use crate::recheck::{is_bitcoin, recheck};
use crate::{Error, Exit, Output, file};

const SIGN_HELP: &str = "\
Prints the signed transaction, the signed authorization, the PSBT that others still have to sign, or the bare signature. While the request is pending the exit \
code is 3; a denial is 4. With `--wait`, a request that expires is 5.

Examples:
  chancery sign --wallet treasury --transaction @unsigned.hex --receipt receipt.json
  chancery sign --wallet treasury --message hello --idempotency-key order-42
  chancery sign --wallet treasury --typed-data permit.json --wait --timeout 10m
  chancery sign --wallet vault --psbt @payment.psbt --receipt receipt.json
  chancery sign --wallet payouts --solana @message.base64 --token-account OWNER:MINT";

/// `chancery sign`.
#[derive(Args, Debug)]
#[command(after_help = SIGN_HELP, group(ArgGroup::new("asked").required(true).args(PAYLOAD_FLAGS)))]
pub struct Sign {
    /// The wallet whose key shall sign
    #[arg(long)]
    wallet: WalletId,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    token_accounts: TokenAccounts,
    /// Your name for this one intended effect; a retry carries the same. A fresh one without
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<IdempotencyKey>,
    /// Where to write the receipt
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Wait while the request is pending, for at most `--timeout`
    #[arg(long)]
    wait: bool,
    /// Send the request without the client's own signature (RFC 9421); policy may ask for it
    #[arg(long)]
    unsigned: bool,
}

impl Sign {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let payload = self.payload.read(&self.token_accounts)?;
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
        let call = Call::post(&["sign"], body(&self.wallet, &payload)).key(&key).signed(!self.unsigned);
        let mut answer = api.call_until(&call, deadline)?;
        let mut document = answer.json()?;
        // The same request under the same key answers with how the first one stands by then.
        while self.wait && answer.text(&document, "/state")? == "pending" && api.wait(deadline) {
            match api.call_until(&call, deadline) {
                // The time is up: what was last known stands.
                Err(Error::Timeout { .. }) => break,
                later => answer = later?,
            }
            document = answer.json()?;
        }
        if let Some(members) = document.as_object_mut() {
            members.insert("idempotency_key".to_owned(), json!(key));
        }
        self.tell(&answer, &document, &payload, output)
    }

    fn tell(
        &self,
        answer: &Answer,
        document: &Value,
        payload: &Payload,
        output: &Output,
    ) -> Result<Exit, Error> {
        let signed = match answer.text(document, "/state")?.as_str() {
            "released" => Some(signed(answer, document, payload, output)?),
            "pending" => None,
            _ => return Err(answer.unexpected("has a state this program does not know")),
        };
        if output.is_json() {
            output.document(document)?;
        } else if let Some(signed) = &signed {
            output.line(signed)?;
        }
        if let Some(path) = &self.receipt {
            match (document.get("receipt"), &signed) {
                (Some(receipt), _) => write_receipt(path, receipt)?,
                (None, Some(_)) => return Err(answer.unexpected("has a signature without its receipt")),
                (None, None) => {
                    output.say("no receipt of a release yet; `chancery receipt fetch` has the decision's");
                }
            }
        }
        if signed.is_some() {
            return Ok(Exit::Ok);
        }
        Ok(waits(document, output))
    }
}

/// Says what a pending request waits for.
fn waits(document: &Value, output: &Output) -> Exit {
    output.say(&format!("request {} is pending", cell(document, "/request_id")));
    for item in missing(document.get("missing")) {
        output.say(&format!("  missing: {item}"));
    }
    if document.get("expires_ms").is_some() {
        output.say(&format!("  expires {}", time_cell(document, "/expires_ms")));
    }
    Exit::Pending
}

/// A change that waits for those who must agree: its request on standard output.
///
/// # Errors
/// When standard output is gone.
pub fn asked(document: &Value, output: &Output) -> Result<Exit, Error> {
    if output.is_json() {
        output.document(document)?;
    } else {
        output.line(&cell(document, "/request_id"))?;
    }
    Ok(waits(document, output))
}

fn body(wallet: &WalletId, payload: &Payload) -> Value {
    json!({ "wallet": wallet, "payload": payload })
}

/// The text to hand on: the signed transaction or authorization, or the bare signature. What was signed is compared
/// with what was sent.
///
/// # Errors
/// [`Error::Answer`] where none of them is there.
pub fn signed(
    answer: &Answer,
    document: &Value,
    payload: &Payload,
    output: &Output,
) -> Result<String, Error> {
    let stated = answer.text(document, "/signing_digest")?;
    let mut digest = [0; 32];
    hex::decode_to_slice(&stated, &mut digest)
        .map_err(|_| answer.unexpected("has a signing digest that is none"))?;
    let intent = document.get("intent").ok_or_else(|| answer.unexpected("has no intent"))?;
    // Of a Bitcoin wallet the receipt says the key, which its descriptor is read with.
    let key = document.pointer("/receipt/decision/public_key").and_then(Value::as_str).map(hex::decode);
    let key = key.and_then(Result::ok).filter(|_| is_bitcoin(payload));
    if let Err(difference) = recheck(payload, intent, &digest, key.as_deref()) {
        // The signature exists by now; hiding it would lose it. The receipt is what settles who is wrong.
        output.say(&format!("WARNING: do not rely on this signature: {difference}"));
    }
    if let Some(authorization) = document.get("signed_authorization").filter(|value| value.is_object()) {
        return Ok(authorization.to_string());
    }
    // In the order of use: what the network takes, what other signers take, what a verifier takes.
    let forms = ["signed_transaction", "signed_psbt", "message_signature"];
    match forms.into_iter().find_map(|form| document.get(form).and_then(Value::as_str)) {
        Some(text) => Ok(text.to_owned()),
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

/// What a pending request needs, a line for each rule that would permit it.
#[must_use]
pub fn missing(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items
        .map(|item| match serde_json::from_value::<Missing>(item.clone()) {
            Ok(Missing { rule, effect, needs }) => {
                let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
                format!("{} (rule {rule}, effect {effect})", needs.join(" and "))
            }
            Err(_) => one_line(item),
        })
        .collect()
}

const PREVIEW_HELP: &str = "\
Nothing is recorded, reserved or signed. The exit code is that of the decision: 0 allowed, 3 pending, 4 denied. \
`--json` shows what every rule said.

Examples:
  chancery preview --wallet treasury --transaction @unsigned.hex
  chancery preview --wallet treasury --message hello --json";

/// `chancery preview`.
#[derive(Args, Debug)]
#[command(after_help = PREVIEW_HELP, group(ArgGroup::new("asked").required(true).args(PAYLOAD_FLAGS)))]
pub struct Preview {
    /// The wallet whose key would sign
    #[arg(long)]
    wallet: WalletId,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    token_accounts: TokenAccounts,
    /// Suppose that `sign` is called with `--unsigned`
    #[arg(long)]
    unsigned: bool,
}

impl Preview {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let payload = self.payload.read(&self.token_accounts)?;
        let api = Api::open(connection, output)?;
        let mut asked = body(&self.wallet, &payload);
        if !self.unsigned
            && let Some(members) = asked.as_object_mut()
        {
            members.insert("request_signed".to_owned(), json!(true));
        }
        let answer = api.call(&Call::post(&["preview"], asked).harmless())?;
        let document = answer.json()?;
        let outcome = answer.text(&document, "/decision/outcome")?;
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.line(&format!("decision  {outcome}"))?;
            output.line(&format!("rules     {}", cell(&document, "/decision/rules")))?;
            for item in missing(document.pointer("/decision/missing")) {
                output.line(&format!("missing   {item}"))?;
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
