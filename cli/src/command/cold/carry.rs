//! `chancery cold export` and `chancery cold submit`: where the appliance is reached.

use std::path::PathBuf;

use chancery_audit::{ColdRequest, ColdSigned};
use chancery_core::{Payload, RequestId, causes};
use clap::Args;
use serde_json::json;

use crate::command::sign::{signed, write_receipt};
use crate::connection::Connection;
use crate::http::{Api, Call};
use crate::ur::{self, Form, Found, Message};
use crate::{Error, Exit, Output, device};

/// `chancery cold export`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  chancery cold export 019a0000-0000-7000-8000-000000000000 --out request.json\n  \
    chancery cold export 019a0000-0000-7000-8000-000000000000 --qr"
)]
pub struct Export {
    /// The request
    id: RequestId,
    #[command(flatten)]
    form: Form,
}

impl Export {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        let answer = api.call(&Call::get(&["requests", &self.id.to_string(), "cold"]))?;
        let request: ColdRequest = serde_json::from_value(answer.json()?)
            .map_err(|_| answer.unexpected("is no request for a cold wallet"))?;
        if request.receipt.decision.request_id != self.id {
            return Err(answer.unexpected("is another request"));
        }
        let bytes = request.bytes().map_err(|error| answer.unexpected(&causes(&error)))?;
        self.form.write(&bytes, output)?;
        if output.is_json() {
            output
                .document(&json!({ "request_id": self.id, "sha256": chancery_audit::Digest::of(&bytes) }))?;
        }
        Ok(Exit::Ok)
    }
}

/// `chancery cold submit`.
#[derive(Args, Debug)]
#[command(after_help = "Prints what `chancery sign` prints.\n\n\
    Examples:\n  chancery cold submit signed.json --receipt receipt.json\n  \
    chancery cold submit answer.ur --request request.json")]
pub struct Submit {
    /// What `chancery cold sign` wrote, or its UR parts, one a line; or a device's: a PSBT, `crypto-psbt`, `eth-signature`; `-` for
    /// standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The request that a device of another maker answers
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Where to write the receipt
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

impl Submit {
    fn brought(&self) -> Result<ColdSigned, Error> {
        let wrong =
            |path: &PathBuf, what: &str, error| Error::content(path, format!("{what}: {}", causes(&error)));
        let answer = match ur::read_any(&self.file)? {
            Found::Plain(bytes) if bytes.starts_with(b"psbt\xff") => Message::of_bytes(device::PSBT, &bytes),
            Found::Plain(bytes) => {
                return ColdSigned::parse(&bytes)
                    .map_err(|error| wrong(&self.file, "is nothing that was signed", error));
            }
            Found::Typed(message) => message,
        };
        let request = self.request.as_ref().ok_or_else(|| Error::Usage {
            detail: format!("a device's answer (`{}`) does not name its request", answer.kind),
            hint: "give the request's file with `--request`",
        })?;
        let asked = ColdRequest::parse(&ur::read(request)?)
            .map_err(|error| wrong(request, "is no request for a cold wallet", error))?;
        device::brought(&answer, &asked)
    }

    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let brought = self.brought()?;
        let api = Api::open(connection, output)?;
        let id = brought.request_id.to_string();
        let answer = api.call(&Call::post(&["requests", &id, "cold"], json!(brought)))?;
        let document = answer.json()?;
        let receipt = document.get("receipt").ok_or_else(|| answer.unexpected("has no receipt"))?;
        let payload: Payload = receipt
            .get("payload")
            .and_then(|payload| serde_json::from_value(payload.clone()).ok())
            .ok_or_else(|| answer.unexpected("has a receipt without its payload"))?;
        let text = signed(&answer, &document, &payload, output)?;
        if let Some(path) = &self.receipt {
            write_receipt(path, receipt)?;
        }
        if output.is_json() {
            output.document(&document)?
        } else {
            output.line(&text)?
        }
        Ok(Exit::Ok)
    }
}
