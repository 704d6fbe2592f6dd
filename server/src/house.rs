//! `chanceryd house`: what a ceremony asks of the house while no daemon serves. Started by `chancery ceremony run`, which hands
//! over the PIN at standard input and reads the answer, a JSON document, from standard output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use chancery_audit::Digest;
use chancery_core::config::SecretSource;
use chancery_core::{KeyId, SystemClock, WalletId};
use chancery_enclave::Quiet;
use chancery_secret::harden_process;
use clap::{Args, Subcommand};

use crate::setup;

/// What is asked.
#[derive(Args, Debug)]
pub struct House {
    /// The configuration file
    #[arg(long, default_value = "chancery.toml")]
    config: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Other keys for the log
    Log {
        /// The Ed25519 key of the token that shall sign
        #[arg(long)]
        key: KeyId,
        /// The ceremony's script
        #[arg(long)]
        script: Digest,
    },
    /// Other keys that encrypt: for the log, for logins, for wallets' seeds
    Kek {
        /// Three keys of the token
        #[arg(long, num_args = 3)]
        key: Vec<KeyId>,
    },
    /// The encrypted seed of a wallet
    Seed {
        /// The wallet
        #[arg(long)]
        wallet: WalletId,
    },
}

/// Does it, and tells what was done.
#[must_use]
pub fn run(house: &House) -> ExitCode {
    setup::report(done(&house.config, &house.what))
}

fn done(path: &Path, what: &What) -> Result<(), setup::Failure> {
    harden_process().map_err(|error| format!("the process cannot be hardened: {error}"))?;
    let config = setup::read_config(path)?;
    let pin = setup::read_pin(&SecretSource::Fd(0))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let told = runtime.block_on(async {
        let clock = Arc::new(SystemClock::default());
        let house = Quiet::open(&config, pin, setup::own_program()?, clock).await?;
        let told = match what {
            What::Log { key, script } => house.log_keys(*key, *script).await,
            What::Seed { wallet } => house.seed(wallet),
            What::Kek { key } => {
                let keys = <[KeyId; 3]>::try_from(key.as_slice()).map_err(|_| "three keys are needed")?;
                house.encrypting_keys(keys).await
            }
        };
        house.close().await;
        Ok::<_, setup::Failure>(told?)
    })?;
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}
