//! `chancery cold init`.

use std::path::PathBuf;

use chancery_ceremony::ColdSeed;
use chancery_intent::bitcoin::Network;
use chancery_secret::Pin;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::harden;
use crate::cold::{DERIVED, Of, PUBLIC, Public};
use crate::typed::PasswordFrom;
use crate::{Error, Exit, Output, file};

/// LIMIT: the shortest password, in bytes: whoever finds the folder tries as long as they like.
const PASSWORD_BYTES: usize = 12;

/// `chancery cold init`.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("for").required(true).args(["ethereum", "bitcoin"])),
    after_help = "The seed is made in secret memory and written to the folder under the password alone. Carry `public.json` to the \
    appliance: `chancery wallet create NAME --cold public.json`. Then make a backup: `chancery cold backup`.\n\n\
    Examples:\n  chancery cold init --dir cold --ethereum\n  chancery cold init --dir vault --bitcoin mainnet"
)]
pub struct Init {
    /// A new folder, on the machine without a network
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// For Ethereum and its kin
    #[arg(long)]
    ethereum: bool,
    /// For Bitcoin, on this network
    #[arg(long, value_name = "NETWORK", value_parser = ["mainnet", "testnet4", "signet", "regtest"])]
    bitcoin: Option<String>,
    /// The output descriptor, with `@0` for the account; `wpkh(@0/<0;1>/*)` without
    #[arg(long, value_name = "DESCRIPTOR", requires = "bitcoin")]
    descriptor: Option<String>,
    /// The account (BIP-44)
    #[arg(long, value_name = "N", default_value_t = 0)]
    account: u32,
    #[command(flatten)]
    password: PasswordFrom,
}

impl Init {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let of = match &self.bitcoin {
            None => Of::Ethereum,
            Some(network) => Of::Bitcoin {
                network: serde_json::from_value::<Network>(json!(network))
                    .map_err(|error| Error::Failed(error.to_string()))?,
                descriptor: self.descriptor.clone().unwrap_or_else(|| DERIVED.to_owned()),
            },
        };
        let path = of.path(self.account)?;
        harden()?;
        let password = new_password(&self.password)?;
        let seed = ColdSeed::make()?;
        let public = Public::of(of, &seed, &path)?;
        // ORDER: the seed first. What only the public file named would be keys that nobody has.
        seed.keep(&self.dir, &password)?;
        file::write_new(&self.dir.join(PUBLIC), public.text().as_bytes(), file::PUBLIC)?;
        if output.is_json() {
            output.document(&json!({ "dir": self.dir, "public": public }))?;
        } else {
            output.say(&format!(
                "seed and public file are in `{}`; the appliance is given:",
                self.dir.display()
            ));
            output.line(public.text().trim_end())?;
        }
        Ok(Exit::Ok)
    }
}

/// The password of a new folder.
///
/// # Errors
/// As [`PasswordFrom::read`], and for one that is too short.
pub fn new_password(from: &PasswordFrom) -> Result<Pin, Error> {
    let password = from.read(true)?;
    if password.expose().len() < PASSWORD_BYTES {
        return Err(Error::Failed(format!("the password has fewer than {PASSWORD_BYTES} bytes")));
    }
    Ok(password)
}
