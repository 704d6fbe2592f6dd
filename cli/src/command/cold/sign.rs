//! `chancery cold show` and `chancery cold sign`: on the machine without a network.

use std::io::{BufRead, IsTerminal, stdin};
use std::path::PathBuf;

use chancery_audit::{ColdSigned, SignedKind, V1};
use chancery_ceremony::ColdSeed;
use clap::Args;
use serde_json::json;

use super::harden;
use crate::cold::{Own, PUBLIC, Public, Seen};
use crate::command::trust;
use crate::typed::PasswordFrom;
use crate::ur::{self, Form};
use crate::{Error, Exit, Output, when};

/// What is read.
#[derive(Args, Debug)]
pub struct Request {
    /// The request, as `chancery cold export` wrote it, or its UR parts, one a line; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder of the policy bundle it was agreed under: shows its names of addresses and assets
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
}

/// `chancery cold show`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  chancery cold show request.json --trust trust.json")]
pub struct Show {
    #[command(flatten)]
    request: Request,
    /// The log's name and keys; without, nothing is verified, and it says so
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl Show {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let trust = self.trust.as_deref().map(trust::read).transpose()?;
        let bytes = ur::read(&self.request.file)?;
        Seen::read(&bytes, trust.as_ref(), self.request.policy.as_deref())?.show(output)?;
        Ok(Exit::Ok)
    }
}

/// `chancery cold sign`.
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing that the file says is signed: the payload is decoded here, and what is signed is computed from it. The receipt \
    must verify under the trust file, which comes by another way than the request. The password is typed and not shown.\n\n\
    Examples:\n  chancery cold sign request.json --key cold --trust trust.json --out signed.json"
)]
pub struct Sign {
    #[command(flatten)]
    request: Request,
    /// The cold wallet's folder
    #[arg(long, value_name = "DIR")]
    key: PathBuf,
    /// The log's name and keys, from a source you trust
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    password: PasswordFrom,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Sign {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let trust = trust::read(&self.trust)?;
        let bytes = ur::read(&self.request.file)?;
        let seen = Seen::read(&bytes, Some(&trust), self.request.policy.as_deref())?;
        let decision_leaf = seen.in_time(when::now())?;
        let public = Public::read(&self.key.join(PUBLIC))?;
        let asked = seen.with(&public)?;
        if !output.is_json() {
            seen.show(output)?;
        }
        if !self.yes && !agreed(output)? {
            return Err(Error::Failed("nothing was signed".to_owned()));
        }
        harden()?;
        let seed = ColdSeed::open(&self.key, &self.password.read(false)?)?;
        let sign = |own: &Own| Ok(seed.sign(&own.path, &own.public, &own.digest)?.as_slice().into());
        let decision = &seen.request().receipt.decision;
        let signed = ColdSigned {
            v: V1,
            kind: SignedKind::Is,
            tenant: decision.tenant.clone(),
            request_id: decision.request_id,
            wallet: seen.wallet().clone(),
            decision_leaf,
            request_sha256: seen.sha256(),
            signatures: asked.iter().map(sign).collect::<Result<_, Error>>()?,
        };
        let bytes = signed.bytes().map_err(|error| Error::Failed(error.to_string()))?;
        self.form.write(&bytes, output)?;
        if output.is_json() {
            output.document(
                &json!({ "request_id": signed.request_id, "signatures": signed.signatures.len() }),
            )?;
        }
        Ok(Exit::Ok)
    }
}

/// Asks at the terminal; without one nobody can agree.
fn agreed(output: &Output) -> Result<bool, Error> {
    if !stdin().is_terminal() {
        return Err(Error::Usage {
            detail: "nobody can be asked: standard input is no terminal".to_owned(),
            hint: "`--yes` says so beforehand",
        });
    }
    output.flush()?;
    output.say("Sign this? Type `yes`.");
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(Error::Output)?;
    Ok(line.trim() == "yes")
}
