//! `chancery ceremony run`.

use std::path::PathBuf;

use chancery_audit::VerifierKey;
use chancery_ceremony::{Door, Hand, Room, SCRIPT, Script, Stage};
use clap::Args;
use serde_json::json;

use crate::command::policy::Signer;
use crate::daemon::chanceryd;
use crate::{Error, Exit, Output, file, when};

/// `chancery ceremony run`.
#[derive(Args, Debug)]
#[command(
    after_help = "PINs and age identities are asked for on the terminal and not shown. Whatever ends it, the same command goes on with the \
    step that has no end on record.\n\n\
    Examples:\n  chancery ceremony run --dir ceremonies/1 --hash 4f1c... --key ann.key --key ben.key\n  \
    chancery ceremony run --dir ceremonies/2 --hash 88ab... --key ann.key --key ben.key --shares ceremonies/1"
)]
pub struct Run {
    /// The ceremony's folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The script's hash, as it was agreed
    #[arg(long, value_name = "HASH")]
    hash: String,
    /// The private key of somebody who signs, as `chancery policy keygen` makes it
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The appliance's configuration, which says how tokens are reached
    #[arg(long, value_name = "FILE", default_value = "chancery.toml")]
    config: PathBuf,
    /// The folder of the ceremony that dealt the shares there are
    #[arg(long, value_name = "DIR")]
    shares: Option<PathBuf>,
    /// The folder with the backup to restore; the one with the shares without
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    /// Read answers, a line each, from this inherited descriptor instead of the terminal
    #[arg(long, value_name = "FD")]
    answers: Option<i32>,
    /// The `chanceryd` whose worker reaches the token; the one beside this program without
    #[arg(long, value_name = "PATH")]
    chanceryd: Option<PathBuf>,
}

impl Hand for Signer {
    fn key(&self) -> &VerifierKey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        Signer::sign(self, message)
    }
}

impl Run {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let script = Script::parse(&file::read(&self.dir.join(SCRIPT))?)?;
        let mut hands: Vec<Box<dyn Hand>> = Vec::new();
        for path in &self.key {
            hands.push(Box::new(Signer::read(path)?));
        }
        let config = super::configuration(&self.config)?;
        let room = Room {
            folder: self.dir.clone(),
            shares: self.shares.clone(),
            backup: self.backup.clone(),
            hsm: config.hsm,
            config: self.config.clone(),
            door: Door { certificate: config.tls.certificate, key: config.tls.key },
            worker: chanceryd(self.chanceryd.as_deref(), "reaches the token by its worker")?,
            hands,
            console: super::console(self.answers)?,
            now: when::now,
        };
        let mut stage = Stage::set(script, &self.hash, room)?;
        let ended = super::wait(stage.run())?;
        if output.is_json() {
            output.document(&json!({
                "script": ended.script, "transcript": ended.transcript, "entries": ended.entries,
            }))?;
        } else {
            output.line(&ended.transcript.to_string())?;
        }
        Ok(Exit::Ok)
    }
}
