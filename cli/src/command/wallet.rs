//! `chancery wallet`: keys and what they may be used on.

use std::path::PathBuf;

use chancery_core::{KeyId, WalletId};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::sign::asked;
use crate::cold::{DERIVED, Public};
use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery wallet`.
#[derive(Subcommand, Debug)]
pub enum Wallet {
    /// Make a wallet, for use on the chains named: around a fresh key in the HSM, or another (operator)
    #[command(
        after_help = "Examples:\n  chancery wallet create treasury --chain-id 1\n  \
        chancery wallet create ops --chain-id 1 --chain-id 10 --json\n  \
        chancery wallet create vault --bitcoin mainnet\n  \
        chancery wallet create joint --bitcoin signet --descriptor 'wsh(sortedmulti(2,@0,02..,03..))'\n  \
        chancery wallet create deposits --bitcoin mainnet --hd\n  \
        chancery wallet create customer-8 --chain-id 1 --beside customer-7\n  \
        chancery wallet create vault --bitcoin mainnet --cold public.json\n  \
        chancery wallet create payouts --solana mainnet\n  \
        chancery wallet create joint --chain-id 1 --mpc 2-of-3\n  \
        chancery wallet create joint --bitcoin mainnet --mpc 2-of-3",
        group(ArgGroup::new("where").required(true).args(["chain_id", "bitcoin", "solana"]))
    )]
    Create {
        /// The wallet's name: a-z, 0-9, `-`, `_` and `.`
        id: WalletId,
        /// An EIP-155 chain it may sign for; give it again for more
        #[arg(long, value_name = "N")]
        chain_id: Vec<u64>,
        /// A Bitcoin wallet, on this network
        #[arg(long, value_name = "NETWORK", value_parser = ["mainnet", "testnet4", "signet", "regtest"])]
        bitcoin: Option<String>,
        /// A Solana wallet, on this cluster
        #[arg(long, value_name = "CLUSTER", value_parser = ["mainnet", "testnet", "devnet"], conflicts_with_all = ["cold", "public_key", "key"])]
        solana: Option<String>,
        /// Its output descriptor, with `@0` for the key that is made; without it `wpkh(@0)`, `wpkh(@0/<0;1>/*)` with an account, `tr(@0)` with `--mpc`
        #[arg(long, value_name = "DESCRIPTOR", requires = "bitcoin")]
        descriptor: Option<String>,
        /// With `--cold`: which address of its account an Ethereum wallet is; 0 without
        #[arg(long, value_name = "N", requires = "cold", conflicts_with = "bitcoin")]
        index: Option<u32>,
        #[command(flatten)]
        keys: KeysFrom,
    },
    /// Show addresses of a wallet with many
    #[command(
        after_help = "Examples:\n  chancery wallet addresses deposits\n  chancery wallet addresses deposits --branch 1 --from 40"
    )]
    Addresses {
        /// The wallet
        id: WalletId,
        /// 0 receives, 1 takes change, mostly
        #[arg(long, value_name = "N", default_value_t = 0)]
        branch: u32,
        /// The first index
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u32,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        count: u32,
    },
    /// Take the next address of a wallet with many (client)
    #[command(
        after_help = "Examples:\n  chancery wallet next deposits\n  chancery wallet next deposits --used 17"
    )]
    Next {
        /// The wallet
        id: WalletId,
        /// 0 receives, 1 takes change, mostly
        #[arg(long, value_name = "N", default_value_t = 0)]
        branch: u32,
        /// An index at which you have seen coins
        #[arg(long, value_name = "N")]
        used: Option<u32>,
    },
    /// Print what a wallet that watches needs: descriptors, or the extended public key
    #[command(after_help = "Examples:\n  chancery wallet export deposits")]
    Export {
        /// The wallet
        id: WalletId,
    },
    /// List the wallets
    #[command(after_help = "Examples:\n  chancery wallet list")]
    List,
    /// Show one wallet: its address, public key and chains
    #[command(
        after_help = "Examples:\n  chancery wallet show treasury\n  chancery wallet show treasury --json"
    )]
    Show {
        /// The wallet
        id: WalletId,
    },
}

/// Where the keys of a new wallet come from; one key in the HSM without.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct KeysFrom {
    /// From a seed that is made inside and kept encrypted by the HSM
    #[arg(long)]
    hd: bool,
    /// From the account of this Ethereum wallet its next address, or from the seed of this Solana wallet the next account
    #[arg(long, value_name = "WALLET", conflicts_with = "bitcoin")]
    beside: Option<WalletId>,
    /// A key that a ceremony made for it
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// A key that never is in the appliance: the public file that `chancery cold init` wrote
    #[arg(long, value_name = "FILE")]
    cold: Option<PathBuf>,
    /// A key that never is in the appliance, by its public key alone: compressed SEC 1, hexadecimal
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    /// A key that nobody has: all parties make shares of it, and so many sign
    #[arg(long, value_name = "T-of-N", value_parser = scheme)]
    mpc: Option<(u8, u8)>,
}

fn scheme(text: &str) -> Result<(u8, u8), String> {
    let parts = text.split_once("-of-").and_then(|(t, n)| Some((t.parse().ok()?, n.parse().ok()?)));
    parts.ok_or_else(|| "how many of how many parties sign, such as `2-of-3`".to_owned())
}

impl KeysFrom {
    fn body(&self, cold: Option<&Public>, index: Option<u32>) -> Value {
        if let Some(public) = cold {
            return public.key(index);
        }
        match self {
            Self { public_key: Some(key), .. } => json!({ "from": "cold", "public_key": key }),
            Self { hd: true, .. } => json!({ "from": "seed" }),
            Self { beside: Some(wallet), .. } => json!({ "from": "beside", "wallet": wallet }),
            Self { mpc: Some((threshold, parties)), .. } => {
                json!({ "from": "parties", "threshold": threshold, "parties": parties })
            }
            Self { key: Some(id), .. } => json!({ "from": "ceremony", "id": id }),
            _ => json!({ "from": "hsm" }),
        }
    }

    fn descriptor(&self) -> &'static str {
        match self {
            Self { hd: true, .. } => DERIVED,
            Self { mpc: Some(_), .. } => "tr(@0)",
            _ => "wpkh(@0)",
        }
    }
}

impl Wallet {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        match self {
            Self::Create { id, chain_id, bitcoin, solana, descriptor, index, keys } => {
                let cold = keys.cold.as_deref().map(Public::read).transpose()?;
                if let Some(public) = &cold {
                    public.is_for(bitcoin.as_deref())?;
                }
                let descriptor = descriptor.as_deref().or_else(|| cold.as_ref()?.descriptor());
                let key = keys.body(cold.as_ref(), *index);
                let body = match (bitcoin, solana) {
                    (None, Some(cluster)) => {
                        json!({ "id": id, "chain": "solana", "cluster": cluster, "key": key })
                    }
                    (None, None) => {
                        json!({ "id": id, "chain": "ethereum", "chain_ids": chain_id, "key": key })
                    }
                    (Some(network), _) => json!({
                        "id": id, "chain": "bitcoin", "network": network, "key": key,
                        "descriptor": descriptor.unwrap_or(keys.descriptor()),
                    }),
                };
                if keys.mpc.is_some() {
                    output.say("the parties make a key together; this takes a few seconds");
                }
                let answer = api.call(&Call::post(&["wallets"], body))?;
                let document = answer.json()?;
                if document.get("state").is_some() {
                    return asked(&document, output);
                }
                show(&answer, output)?;
            }
            Self::Addresses { id, branch, from, count } => {
                let path = ["wallets", id.as_str(), "addresses"];
                let call = [("branch", branch), ("from", from), ("count", count)]
                    .into_iter()
                    .fold(Call::get(&path), |call, (name, value)| call.query(name, Some(value.to_string())));
                let document = api.call(&call)?.json()?;
                if output.is_json() {
                    output.document(&document)?;
                } else {
                    let rows = document.get("addresses").and_then(Value::as_array).into_iter().flatten();
                    let rows: Vec<_> =
                        rows.map(|row| ["/index", "/address"].map(|at| cell(row, at))).collect();
                    output.table(["INDEX", "ADDRESS"], &rows)?;
                    let [given, used] = ["/given", "/used"].map(|at| cell(&document, at));
                    output.say(&format!("{given} were handed out, those below {used} with one that is used"));
                }
            }
            Self::Next { id, branch, used } => {
                let body = json!({ "branch": branch, "used": used });
                let answer = api.call(&Call::post(&["wallets", id.as_str(), "addresses"], body))?;
                let document = answer.json()?;
                if output.is_json() {
                    output.document(&document)?;
                } else {
                    output.line(&answer.text(&document, "/address")?)?;
                }
            }
            Self::Export { id } => export(&api.call(&Call::get(&["wallets", id.as_str()]))?, output)?,
            Self::Show { id } => show(&api.call(&Call::get(&["wallets", id.as_str()]))?, output)?,
            Self::List => {
                let wallets = api.pages("wallets", &["wallets"], &[], usize::MAX)?;
                if output.is_json() {
                    output.document(&json!({ "wallets": wallets }))?;
                } else {
                    let rows: Vec<_> = wallets.iter().map(row).collect();
                    output.table(["WALLET", "ADDRESS", "CHAINS"], &rows)?;
                }
            }
        }
        Ok(Exit::Ok)
    }
}

/// Descriptors, one a line, or the account where the wallet has none.
fn export(answer: &Answer, output: &Output) -> Result<(), Error> {
    let wallet = answer.json()?;
    let pick = |name: &str| wallet.get(name).cloned().unwrap_or(Value::Null);
    if output.is_json() {
        let names =
            ["id", "tier", "address", "public_key", "account", "index", "descriptor", "branch_descriptors"];
        let picked: serde_json::Map<_, _> = names
            .into_iter()
            .map(|name| (name.to_owned(), pick(name)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        return output.document(&Value::Object(picked));
    }
    let lines: Vec<String> = match (pick("branch_descriptors"), pick("descriptor"), pick("account")) {
        (Value::Array(lines), _, _) => lines.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        (_, Value::String(descriptor), _) => vec![descriptor],
        (_, _, Value::String(account)) => vec![account],
        _ => vec![answer.text(&wallet, "/public_key")?],
    };
    lines.iter().try_for_each(|line| output.line(line))
}

fn row(wallet: &Value) -> [String; 3] {
    ["/id", "/address", chains(wallet)].map(|pointer| cell(wallet, pointer))
}

fn chains(wallet: &Value) -> &'static str {
    if wallet.get("network").is_some() { "/network" } else { "/chain_ids" }
}

fn show(answer: &Answer, output: &Output) -> Result<(), Error> {
    let wallet = answer.json()?;
    answer.text(&wallet, "/address")?;
    if output.is_json() {
        return output.document(&wallet);
    }
    for (name, pointer) in [
        ("wallet", "/id"),
        ("tier", "/tier"),
        ("address", "/address"),
        ("chains", chains(&wallet)),
        ("descriptor", "/descriptor"),
        ("account", "/account"),
        ("public key", "/public_key"),
        ("algorithm", "/algorithm"),
        ("shares", "/share"),
    ] {
        if matches!(pointer, "/descriptor" | "/account" | "/share") && wallet.pointer(pointer).is_none() {
            continue;
        }
        output.line(&format!("{name:<10}  {}", cell(&wallet, pointer)))?;
    }
    Ok(())
}
