//! One sign request of the demonstration, made with the command line as a backend would.

use std::path::PathBuf;

use serde_json::Value;

use super::{CHAIN_ID, CLIENT, PAYEE, WALLET, document, text};
use crate::appliance::Appliance;
use crate::run::Cmd;
use crate::tree::Profile;
use crate::{Stop, Tree};

/// Exit codes of `chancery sign`.
const RELEASED: i32 = 0;
const PENDING: i32 = 3;
const DENIED: i32 = 4;

/// What to move to the payee.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The account's nonce.
    pub nonce: u64,
    /// In the smallest unit.
    pub amount: u128,
    /// The token; without, ether.
    pub token: Option<&'static str>,
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Signed and handed out.
    Released {
        /// The signed transaction, in hexadecimal.
        signed: String,
    },
    /// Waits for its obligations.
    Pending,
    /// Refused by policy.
    Denied,
}

/// What came of one request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request.
    pub request_id: String,
    /// How it stands.
    pub outcome: Outcome,
    /// The rules that decided, or what is missing.
    pub rules: String,
    /// Its receipt.
    pub receipt: Option<PathBuf>,
    whole: String,
}

impl Asked {
    /// This is not what the demonstration told.
    pub fn unexpected(&self, told: &str) -> Stop {
        Stop::Unmet(format!("should be {told}, but is: {}", self.whole))
    }
}

/// Asks for the signature under the idempotency key `name`, and fetches the receipt.
pub fn ask(tree: &Tree, appliance: &Appliance, name: &str, transfer: &Transfer) -> Result<Asked, Stop> {
    let ended = appliance
        .chancery(Some(CLIENT))
        .args(["--json", "sign", "--wallet", WALLET, "--idempotency-key", name])
        .args(["--transaction", &unsigned(tree, transfer)?])
        .ended()?;
    let (whole, outcome) = match ended.code {
        Some(RELEASED) => {
            let whole = document("chancery sign", &ended.stdout)?;
            let signed = text(&whole, "/signed_transaction")?;
            (whole, Outcome::Released { signed })
        }
        Some(PENDING) => (document("chancery sign", &ended.stdout)?, Outcome::Pending),
        Some(DENIED) => {
            // Talk may come before the error object, which is the last line.
            let error = ended.stderr.lines().last().unwrap_or_default();
            let mut whole = document("chancery sign", error)?;
            (whole.get_mut("error").map(Value::take).unwrap_or_default(), Outcome::Denied)
        }
        _ => return Err(Stop::answer("chancery sign", format!("exit {:?}: {}", ended.code, ended.stderr))),
    };
    let request_id = text(&whole, "/request_id")?;
    let path = appliance.dir.join(format!("{name}.receipt.json"));
    if !path.exists() {
        appliance
            .chancery(Some(CLIENT))
            .args(["receipt", "fetch", &request_id, "--out"])
            .arg(&path)
            .quiet()?;
    }
    Ok(Asked { request_id, outcome, rules: rules(&whole), receipt: Some(path), whole: whole.to_string() })
}

fn unsigned(tree: &Tree, transfer: &Transfer) -> Result<String, Stop> {
    let mut command = Cmd::new(tree.binary(Profile::Dev, "chancery-load"))
        .args(["unsigned", "--to", PAYEE, "--chain-id", &CHAIN_ID.to_string()])
        .args(["--nonce", &transfer.nonce.to_string(), "--amount", &transfer.amount.to_string()]);
    if let Some(token) = transfer.token {
        command = command.args(["--token", token]);
    }
    Ok(command.asked()?.trim().to_owned())
}

/// Names of rules, wherever the answer has them; else what is missing.
fn rules(whole: &Value) -> String {
    let names = |pointer: &str| -> Option<String> {
        let names: Vec<&str> = whole.pointer(pointer)?.as_array()?.iter().filter_map(Value::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    names("/rules")
        .or_else(|| names("/receipt/decision/rules"))
        .or_else(|| whole.get("missing").map(|missing| format!("missing {missing}")))
        .unwrap_or_else(|| "no named rule".into())
}
