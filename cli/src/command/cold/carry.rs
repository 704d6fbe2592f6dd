//! `chancery cold export` and `chancery cold submit`: where the appliance is reached.

use std::path::PathBuf;

use chancery_audit::{ColdRequest, ColdSigned};
use chancery_core::{Payload, RequestId};
use clap::Args;
use serde_json::json;

use crate::command::sign::{signed, write_receipt};
use crate::connection::Connection;
use crate::error::causes;
use crate::http::{Api, Call};
use crate::ur::{self, Form};
use crate::{Error, Exit, Output};

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
    Examples:\n  chancery cold submit signed.json --receipt receipt.json")]
pub struct Submit {
    /// What `chancery cold sign` wrote, or its UR parts, one a line; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to write the receipt
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

impl Submit {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let brought = ColdSigned::parse(&ur::read(&self.file)?).map_err(|error| {
            Error::content(&self.file, format!("is nothing that was signed: {}", causes(&error)))
        })?;
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
