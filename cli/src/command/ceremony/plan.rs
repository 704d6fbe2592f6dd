//! `chancery ceremony plan`.

use std::path::PathBuf;

use chancery_ceremony::{Backup, Custodian, Kind, Person, PlannedKey, Role, SCRIPT, Script, Shares, Source};
use chancery_core::KeyId;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::{Error, Exit, Output, file, when};

/// `chancery ceremony plan`.
#[derive(Args, Debug)]
#[command(
    after_help = "Everybody who signs brings a key that `chancery policy keygen` made; every custodian an age recipient (`chancery ceremony custodian`). \
    Hand the script round, and agree on its hash by another way than the file came.\n\n\
    Examples:\n  chancery ceremony plan initialise --dir ceremonies/1 --operator ann+... --witness ben+... --wallet treasury --threshold 2 --custodian cy=age1... --custodian di=age1...\n  chancery ceremony plan restore --dir ceremonies/2 --operator ann+... --witness ben+... --shares ceremonies/1"
)]
pub struct Plan {
    /// What for
    #[arg(value_name = "KIND", value_parser = kinds())]
    kind: Kind,
    /// The appliance's configuration
    #[arg(long, value_name = "FILE", default_value = "chancery.toml")]
    config: PathBuf,
    /// A new folder for script, transcript and what the ceremony makes
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The token's label; the configuration's without
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// The public key of somebody who acts, and signs
    #[arg(long, value_name = "KEY", required = true)]
    operator: Vec<String>,
    /// The public key of somebody who looks on, and signs
    #[arg(long, value_name = "KEY", required = true)]
    witness: Vec<String>,
    /// How many custodians must come together
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    threshold: usize,
    /// Somebody who shall hold a share, with an age recipient
    #[arg(long, value_name = "NAME=RECIPIENT", value_parser = pair)]
    custodian: Vec<(String, String)>,
    /// A wallet to make a key for, or the one whose seed is dealt
    #[arg(long, value_name = "NAME")]
    wallet: Vec<chancery_core::WalletId>,
    /// A key to destroy, with its label
    #[arg(long, value_name = "ID=LABEL", value_parser = pair)]
    destroy: Vec<(String, String)>,
    /// The folder of the ceremony that dealt the shares there are
    #[arg(long, value_name = "DIR")]
    shares: Option<PathBuf>,
    /// The folder with the backup to restore; the one with the shares without
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
}

/// Reads a kind of ceremony by its name.
fn kinds() -> impl TypedValueParser<Value = Kind> {
    let named = |kind: Kind| PossibleValue::new(kind.as_str()).help(kind.purpose());
    PossibleValuesParser::new(Kind::ALL.map(named)).try_map(|name| Kind::named(&name).ok_or("no such kind"))
}

pub fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("needs a `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Plan {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let (config, kind) = (super::configuration(&self.config)?, self.kind);
        let person = |role| move |key: &String| Person { role, key: key.clone() };
        let signers = self.operator.iter().map(person(Role::Operator));
        let signers = signers.chain(self.witness.iter().map(person(Role::Witness))).collect();
        let custodian = |(name, recipient): &(String, String)| Custodian {
            name: name.clone(),
            recipient: recipient.clone(),
        };
        let doomed = |(id, label): &(String, String)| -> Result<PlannedKey, Error> {
            Ok(PlannedKey { id: id.parse()?, label: label.clone(), uses: None })
        };
        let (backup_key, from) = self.before(kind)?;
        let script = Script::plan(chancery_ceremony::Plan {
            kind,
            now: when::now(),
            origin: config.log.origin.clone(),
            token: self.token.clone().unwrap_or_else(|| config.hsm.token.clone()),
            signers,
            threshold: self.threshold,
            custodians: self.custodian.iter().map(custodian).collect(),
            wallets: self.wallet.iter().map(ToString::to_string).collect(),
            destroy: self.destroy.iter().map(doomed).collect::<Result<_, _>>()?,
            backup_key,
            from,
        })?;
        file::make_directory(&self.dir)?;
        let path = self.dir.join(SCRIPT);
        file::write_new(&path, &script.bytes()?, file::PUBLIC)?;
        let hash = script.hash()?;
        if output.is_json() {
            output.document(&json!({ "script": hash, "file": path, "keys": script.keys }))?;
        } else {
            output
                .say(&format!("the script is in `{}`; its hash, for everybody to agree on:", path.display()));
            output.line(&hash.to_string())?;
        }
        Ok(Exit::Ok)
    }

    /// What is there already.
    fn before(&self, kind: Kind) -> Result<(Option<KeyId>, Option<Source>), Error> {
        let Some(folder) = &self.shares else { return Ok((None, None)) };
        let shares = Shares::read(folder)?;
        let backup = match kind {
            Kind::Restore => Some(Backup::read(self.backup.as_ref().unwrap_or(folder))?.hash()?),
            _ => None,
        };
        let from = match kind {
            Kind::Restore | Kind::Reshare => Some(Source { shares: shares.hash()?, backup }),
            _ => None,
        };
        Ok((Some(shares.backup_key), from))
    }
}
