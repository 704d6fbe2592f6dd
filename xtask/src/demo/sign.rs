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
    pub receipt: PathBuf,
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
    Ok(Asked { request_id, outcome, rules: rules(&whole), receipt: path, whole: whole.to_string() })
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

/// Names of the rules that decided; for a pending request, what each of them still needs.
fn rules(whole: &Value) -> String {
    let list = |pointer: &str| whole.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let missing: Vec<String> = list("/missing").iter().map(missing).collect();
    if !missing.is_empty() {
        return missing.join("; ");
    }
    let names = [list("/rules"), list("/receipt/decision/rules")].concat();
    names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// `rule: 0 of 2 approvals by treasury`.
fn missing(missing: &Value) -> String {
    let rule = missing.get("rule").and_then(Value::as_str).unwrap_or_default();
    let needs = missing.get("needs").and_then(Value::as_array).cloned().unwrap_or_default();
    let needs: Vec<String> = needs
        .iter()
        .map(|need| match (need.get("have"), need.get("needed"), need.get("group").and_then(Value::as_str)) {
            (Some(have), Some(needed), Some(group)) => format!("{have} of {needed} approvals by {group}"),
            _ => need.to_string(),
        })
        .collect();
    format!("{rule} has {}", needs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_and_what_they_need_are_told_in_words() {
        assert_eq!(rules(&json!({ "rules": ["a", "b"] })), "a, b");
        assert_eq!(rules(&json!({ "receipt": { "decision": { "rules": ["c"] } } })), "c");
        let need = json!({ "need": "quorum", "group": "treasury", "needed": 2, "have": 0 });
        let pending = json!({ "missing": [{ "rule": "large", "effect": 0, "needs": [need] }] });
        assert_eq!(rules(&pending), "large has 0 of 2 approvals by treasury");
    }
}
