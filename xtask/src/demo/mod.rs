//! `cargo xtask demo`: the appliance at its main work, with the real programs and a real (local) chain. Nothing is
//! pretended: each line it prints was just done, and whatever does not go as told ends the demonstration as a failure.

mod ceremony;
mod chain;
mod coins;
mod sign;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::appliance::{Appliance, Programs};
use crate::setup::{self, For};
use crate::tree::Profile;
use crate::{Stop, Tree, talk};
use chain::Chain;
use sign::{Asked, Outcome, Transfer};

const CHAIN_ID: u64 = 31_337;
/// The client, wallet, token and payee that policy/examples/treasury speaks of.
const CLIENT: &str = "backend";
const WALLET: &str = "treasury";
const TOKEN: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const ETHER: u128 = 1_000_000_000_000_000_000;
/// One USDX in its smallest unit.
const DOLLAR: u128 = 1_000_000;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub enum Story {
    /// Requests, from the client to the chain.
    Walk {
        /// Whether everything runs on afterwards.
        keep: bool,
    },
    /// A node's keys, from their making to a restore.
    Ceremony {
        /// Whether whoever sits there answers.
        interactive: bool,
    },
}

/// Tells a story in `dir`, or in a fresh folder.
///
/// # Errors
/// [`Stop`] with what did not go as told, and the end of the server's log.
pub fn run(tree: &Tree, dir: Option<&Path>, story: Story) -> Result<(), Stop> {
    setup::ensure(tree, For::Demo)?;
    talk::line("building (the first time takes some minutes)");
    tree.build(Profile::Dev)?;
    let started = Instant::now();
    let dir = folder(tree, dir)?;
    let mut log = None;
    let shown = show(tree, &dir, story, &mut log);
    match (&shown, log) {
        (Ok(()), _) => talk::line(&format!("\nshown in {}", talk::span(started.elapsed()))),
        (Err(_), Some(log)) => {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(30);
            talk::line(&format!("\nthe end of {}:", log.display()));
            talk::line(&lines.get(from..).unwrap_or_default().join("\n"));
        }
        (Err(_), None) => {}
    }
    shown
}

fn show(tree: &Tree, dir: &Path, story: Story, log: &mut Option<PathBuf>) -> Result<(), Stop> {
    let programs =
        Programs::in_folder(tree.binary(Profile::Dev, "chanceryd").parent().unwrap_or(Path::new(".")));
    step("chancery init", "a SoftHSM2 token, an authority, certificates, a configuration");
    let mut appliance = Appliance::init(&programs, dir)?;
    *log = Some(appliance.log());
    if let Some(solver) = setup::solver::binary(tree) {
        appliance.prove_with(&solver)?;
    }
    appliance.issue(CLIENT, "client")?;
    let keep = match story {
        Story::Walk { keep } => keep,
        Story::Ceremony { interactive } => {
            ceremony::show(tree, &mut appliance, interactive)?;
            talk::line(&format!("The state is in {}", dir.display()));
            return Ok(());
        }
    };
    step("chanceryd", &format!("starting: API {}, health and metrics {}", appliance.api, appliance.ops));
    appliance.start()?;

    let operator = || appliance.chancery(Some("operator"));
    let wallet = operator()
        .args(["--json", "wallet", "create", WALLET, "--chain-id", &CHAIN_ID.to_string()])
        .asked()?;
    let address = text(&document("chancery wallet create", &wallet)?, "/address")?;
    step("chancery wallet create", &format!("`{WALLET}`, a key made in the token: {address}"));
    appliance.apply(&tree.root.join("policy/examples/treasury"))?;
    step(
        "chancery policy sign, apply",
        "policy/examples/treasury, signed by an officer, after its tests have passed and its goals are proved",
    );
    let trust = dir.join("trust.json");
    operator().args(["trust", "fetch", "--out"]).arg(&trust).quiet()?;
    step("chancery trust fetch", "the log's keys, which a stranger needs to verify receipts offline");

    let chain = Chain::start(&setup::anvil(tree)?, CHAIN_ID)?;
    chain.fund(&address, 100 * ETHER)?;
    step("anvil", &format!("a local chain with id {CHAIN_ID}; the wallet has 100 ETH there"));

    let mut receipts = Vec::new();
    let mut ask = |name: &'static str, transfer: Transfer| -> Result<Asked, Stop> {
        let asked = sign::ask(tree, &appliance, name, &transfer)?;
        if !receipts.contains(&asked.receipt) {
            receipts.push(asked.receipt.clone());
        }
        Ok(asked)
    };

    let paid = chain.balance(PAYEE)?;
    let allowed = ask("one-ether", Transfer { nonce: 0, amount: ETHER, token: None })?;
    let Outcome::Released { signed } = &allowed.outcome else { return Err(allowed.unexpected("released")) };
    step("chancery sign", &format!("1 ETH to a payee of the book: allowed by {}", allowed.rules));
    let hash = chain.broadcast(signed)?;
    let moved = chain.balance(PAYEE)?.saturating_sub(paid);
    if moved != ETHER {
        return Err(Stop::Unmet(format!("the payee should have 1 ETH more, but has {moved} wei more")));
    }
    step("broadcast", &format!("{hash} is in a block; the payee has 1 ETH more"));

    let again = ask("one-ether", Transfer { nonce: 0, amount: ETHER, token: None })?;
    match &again.outcome {
        Outcome::Released { signed: same } if same == signed && again.request_id == allowed.request_id => {
            step(
                "chancery sign",
                "the same again under the same idempotency key: the first answer, no second signature",
            );
        }
        _ => return Err(again.unexpected("the first answer")),
    }

    let denied = ask("too-many-dollars", Transfer { nonce: 1, amount: 6_000 * DOLLAR, token: Some(TOKEN) })?;
    if denied.outcome != Outcome::Denied || !denied.rules.contains("usdx-daily-limit") {
        return Err(denied.unexpected("denied by usdx-daily-limit"));
    }
    step("chancery sign", &format!("6,000 USDX in a day that allows 5,000: denied by {}", denied.rules));

    let pending = ask("fifty-ether", Transfer { nonce: 1, amount: 50 * ETHER, token: None })?;
    if pending.outcome != Outcome::Pending {
        return Err(pending.unexpected("pending"));
    }
    step("chancery sign", &format!("50 ETH: pending, {}", pending.rules));

    receipts.push(coins::show(tree, &appliance)?);

    let verify = appliance.chancery(None).args(["receipt", "verify", "--trust"]).arg(&trust).args(&receipts);
    verify.quiet()?;
    step("chancery receipt verify", &format!("{} receipts, offline: every one verifies", receipts.len()));
    operator().args(["audit", "verify", "--trust"]).arg(&trust).quiet()?;
    step("chancery audit verify", "the whole log verifies");

    if keep {
        kept(appliance, chain, dir, &programs)
    } else {
        appliance.stop()?;
        step("chanceryd", "stopped in order");
        next(dir, &programs, &trust, &allowed.receipt);
        Ok(())
    }
}

/// `program: what was done`.
fn step(program: &str, what: &str) {
    talk::line(&format!("{program:<28} {what}"));
}

fn folder(tree: &Tree, dir: Option<&Path>) -> Result<PathBuf, Stop> {
    let dir = match dir {
        Some(dir) => std::path::absolute(dir).map_err(Stop::file(dir))?,
        None => tree.target.join("demo").join(format!("{}", std::process::id())),
    };
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Stop::Unmet(format!("`{}` is not empty: choose another with --dir", dir.display())));
    }
    Ok(dir)
}

fn document(command: &'static str, said: &str) -> Result<Value, Stop> {
    serde_json::from_str(said).map_err(|error| Stop::answer(command, format!("{error}: {said}")))
}

fn text(document: &Value, pointer: &str) -> Result<String, Stop> {
    let text = document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Stop::answer("an answer without a part of it", format!("{pointer} of {document}")))
}

/// What to try after a demonstration that left nothing running.
fn next(dir: &Path, programs: &Programs, trust: &Path, receipt: &Path) {
    let (chancery, trust, receipt) = (programs.chancery.display(), trust.display(), receipt.display());
    talk::line("\nTry next:");
    talk::line(&format!(
        "  {chancery} receipt verify --trust {trust} {receipt}   # then change a byte of it, and again"
    ));
    talk::line("  cargo xtask demo --keep            # the same, and leave it running");
    talk::line("  cargo xtask assurance --quick      # try to break what was just shown");
    talk::line(&format!("The state is in {}", dir.display()));
}

/// What to try with a running appliance.
fn kept(appliance: Appliance, chain: Chain, dir: &Path, programs: &Programs) -> Result<(), Stop> {
    let client = appliance.client(CLIENT);
    let operator = appliance.client("operator");
    let (rpc, ops) = (chain.rpc, appliance.ops);
    let pids: Vec<String> = [appliance.leave_running(), chain.leave_running()]
        .into_iter()
        .flatten()
        .map(|pid| pid.to_string())
        .collect();
    let chancery = programs.chancery.display();
    talk::line("\nIt runs on. Try next:");
    talk::line(&format!("  export CHANCERY_CLIENT={}", client.display()));
    talk::line(&format!("  {chancery} request list"));
    talk::line(&format!(
        "  {chancery} sign --wallet {WALLET} --message hello   # no rule allows messages: denied"
    ));
    talk::line(&format!("  {chancery} --client {} audit list", operator.display()));
    talk::line(&format!("  {chancery} --client {} policy show", operator.display()));
    talk::line(&format!("  curl -s http://{ops}/metrics | grep chancery"));
    talk::line(&format!("The chain's JSON-RPC is http://{rpc}; the state is in {}", dir.display()));
    talk::line(&format!("To end it: kill {}", pids.join(" ")));
    Ok(())
}
