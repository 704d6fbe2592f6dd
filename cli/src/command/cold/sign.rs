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
use crate::{Error, Exit, Output, device, when};

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
#[command(
    after_help = "A device of another maker is shown `crypto-psbt` (BCR-2020-006) or `eth-sign-request` (EIP-4527), once the request \
    was verified here; `chancery cold submit ANSWER --request FILE` takes what it gives back.\n\n\
    Examples:\n  chancery cold show request.json --trust trust.json\n  \
    chancery cold show request.json --trust trust.json --ur psbt --qr\n  \
    chancery cold show request.json --trust trust.json --ur eth-sign-request --public public.json"
)]
pub struct Show {
    #[command(flatten)]
    request: Request,
    /// The log's name and keys; without, nothing is verified, and it says so
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Write it for a device of another maker, as UR parts, instead of showing it: `psbt` or `eth-sign-request`
    #[arg(long, value_name = "TYPE", value_parser = ["psbt", "eth-sign-request"], requires = "trust")]
    ur: Option<String>,
    /// Show these parts as QR codes
    #[arg(long, requires = "ur")]
    qr: bool,
    /// The wallet's public file: tells the device which of its master keys
    #[arg(long, value_name = "FILE", requires = "ur")]
    public: Option<PathBuf>,
}

impl Show {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let trust = self.trust.as_deref().map(trust::read).transpose()?;
        let bytes = ur::read(&self.request.file)?;
        let seen = Seen::read(&bytes, trust.as_ref(), self.request.policy.as_deref())?;
        match &self.ur {
            None => seen.show(output)?,
            Some(kind) => self.for_device(&seen, kind, output)?,
        }
        Ok(Exit::Ok)
    }

    fn for_device(&self, seen: &Seen, kind: &str, output: &Output) -> Result<(), Error> {
        seen.in_time(when::now())?;
        let public = self.public.as_deref().map(Public::read).transpose()?;
        let master = public.map(|public| public.master()).transpose()?;
        let message = device::request(seen.request(), seen.chain(), master)?;
        if message.kind != if kind == "psbt" { device::PSBT } else { device::ETH_REQUEST } {
            return Err(Error::Usage {
                detail: format!("the request is of the type `{}`", message.kind),
                hint: "a PSBT is shown with `--ur psbt`, what an Ethereum wallet signs with `--ur eth-sign-request`",
            });
        }
        let parts = ur::parts(&message)?;
        if output.is_json() {
            output.document(&json!({ "type": message.kind, "parts": parts }))
        } else if self.qr {
            output.bytes(ur::pictures(&parts)?.as_bytes())
        } else {
            parts.iter().try_for_each(|part| output.line(part))
        }
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
