//! `chancery wallet`: keys and what they may be used on.

use chancery_core::WalletId;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output};

/// `chancery wallet`.
#[derive(Subcommand, Debug)]
pub enum Wallet {
    /// Make a key in the HSM, for use on the chains named (operator)
    #[command(after_help = "Examples:\n  chancery wallet create treasury --chain-id 1\n  \
        chancery wallet create ops --chain-id 1 --chain-id 10 --json")]
    Create {
        /// The wallet's name: a-z, 0-9, `-`, `_` and `.`
        id: WalletId,
        /// An EIP-155 chain it may sign for; give it again for more
        #[arg(long, value_name = "N", required = true)]
        chain_id: Vec<u64>,
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
            Self::Create { id, chain_id } => {
                let body = json!({ "id": id, "chain": "ethereum", "chain_ids": chain_id });
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
    ["/id", "/address", "/chain_ids"].map(|pointer| cell(wallet, pointer))
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
        ("chains", "/chain_ids"),
        ("public key", "/public_key"),
        ("algorithm", "/algorithm"),
    ] {
        output.line(&format!("{name:<10}  {}", cell(&wallet, pointer)))?;
    }
    Ok(())
}
