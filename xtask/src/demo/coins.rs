//! The demonstration's Bitcoin part: a PSBT with change, signed, and judged by Bitcoin's own consensus code.

use std::path::PathBuf;

use super::{CLIENT, document, step, text};
use crate::appliance::Appliance;
use crate::run::Cmd;
use crate::tree::Profile;
use crate::{Stop, Tree};

/// The wallet and payee that policy/examples/vault speaks of.
const VAULT: &str = "vault";
const PAYEE: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
/// A fifth of a bitcoin.
const AMOUNT_SAT: u64 = 20_000_000;

/// Makes the vault, pays from it, and hands out the payment's receipt.
pub fn show(tree: &Tree, appliance: &Appliance) -> Result<PathBuf, Stop> {
    let operator = || appliance.chancery(Some("operator"));
    let wallet = operator().args(["--json", "wallet", "create", VAULT, "--bitcoin", "regtest"]).asked()?;
    let address = text(&document("chancery wallet create", &wallet)?, "/address")?;
    step("chancery wallet create", &format!("`{VAULT}`, a Bitcoin wallet: {address}"));
    appliance.apply(&tree.root.join("policy/examples/vault"))?;
    step("chancery policy sign, apply", "policy/examples/vault");

    let load = || Cmd::new(tree.binary(Profile::Dev, "chancery-load"));
    let psbt = load()
        .args(["psbt", "--from", &address, "--to", PAYEE, "--amount", &AMOUNT_SAT.to_string()])
        .asked()?;
    let psbt = psbt.trim();
    let receipt = appliance.dir.join("payment.receipt.json");
    let signed = appliance
        .chancery(Some(CLIENT))
        .args([
            "--json",
            "sign",
            "--wallet",
            VAULT,
            "--idempotency-key",
            "payment",
            "--psbt",
            psbt,
            "--receipt",
        ])
        .arg(&receipt)
        .asked()?;
    let signed = document("chancery sign", &signed)?;
    let effects = signed.pointer("/intent/effects").and_then(serde_json::Value::as_array).map(Vec::len);
    if effects != Some(1) {
        return Err(Stop::Unmet(format!("change should be no effect, but there are {effects:?}")));
    }
    step(
        "chancery sign",
        "0.2 BTC to a payee of the book from two inputs, with change: allowed, two signatures",
    );
    let transaction = text(&signed, "/signed_transaction")?;
    let txid =
        load().args(["accepted", "--psbt", psbt, "--transaction", &transaction]).asked()?.trim().to_owned();
    step("consensus", &format!("Bitcoin's own code accepts {txid}"));
    Ok(receipt)
}
