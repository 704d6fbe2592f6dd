//! `chancery wallet`: keys and what they may be used on.

use chancery_core::{KeyId, WalletId};
use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery wallet`.
#[derive(Subcommand, Debug)]
pub enum Wallet {
    /// Make a key in the HSM, for use on the chains named (operator)
    #[command(
        after_help = "Examples:\n  chancery wallet create treasury --chain-id 1\n  \
        chancery wallet create ops --chain-id 1 --chain-id 10 --json\n  \
        chancery wallet create vault --bitcoin mainnet\n  \
        chancery wallet create joint --bitcoin signet --descriptor 'wsh(sortedmulti(2,@0,02..,03..))'",
        group(ArgGroup::new("where").required(true).args(["chain_id", "bitcoin"]))
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
        /// Its output descriptor, with `@0` for the key that is made
        #[arg(long, value_name = "DESCRIPTOR", requires = "bitcoin", default_value = "wpkh(@0)")]
        descriptor: String,
        /// A key that a ceremony made for it; without, a fresh one is made
        #[arg(long, value_name = "ID")]
        key: Option<KeyId>,
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

impl Wallet {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        match self {
            Self::Create { id, chain_id, bitcoin, descriptor, key } => {
                let mut body = match bitcoin {
                    None => json!({ "id": id, "chain": "ethereum", "chain_ids": chain_id }),
                    Some(network) => {
                        json!({ "id": id, "chain": "bitcoin", "network": network, "descriptor": descriptor })
                    }
                };
                if let (Some(key), Some(members)) = (key, body.as_object_mut()) {
                    members.insert("key".to_owned(), json!(key));
                }
                let answer = api.call(&Call::post(&["wallets"], body))?;
                show(&answer, output)?;
            }
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
        ("address", "/address"),
        ("chains", chains(&wallet)),
        ("descriptor", "/descriptor"),
        ("public key", "/public_key"),
        ("algorithm", "/algorithm"),
    ] {
        if pointer == "/descriptor" && wallet.get("descriptor").is_none() {
            continue;
        }
        output.line(&format!("{name:<10}  {}", cell(&wallet, pointer)))?;
    }
    Ok(())
}
