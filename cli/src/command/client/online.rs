//! `chancery client add`, `fetch`, `list`, and `revoke` without a folder: certificates of the appliance's own authority, which
//! are issued and taken back as its policy lets.

use std::path::{Path, PathBuf};

use chancery_core::{ClientId, Code, RequestId, UnixMillis, limit};
use chancery_identity::Application;
use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::csr::REQUEST_FILE;
use super::{KEY_FILE, Revoke, complete};
use crate::command::request::time_cell;
use crate::command::sign::asked;
use crate::connection::{ClientFile, Connection};
use crate::http::{Answer, Api, Call};
use crate::output::cell;
use crate::{Error, Exit, Output, file, pki, when};

/// What is not finished yet.
const ACCEPTED: u16 = 202;

/// `chancery client add`.
#[derive(Args, Debug)]
pub struct Add {
    /// The certificate request, as `chancery client csr` makes it
    #[arg(value_name = "CSR")]
    request: PathBuf,
    /// How long the certificate lasts
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = value_parser!(u32).range(1..=i64::from(limit::CERTIFICATE_DAYS)))]
    days: u32,
}

impl Add {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let csr = file::read_text(&self.request)?;
        let application =
            Application::read(&csr).map_err(|error| Error::content(&self.request, error.to_string()))?;
        let api = Api::open(connection, output)?;
        output.say(&format!(
            "`{}` for {} days, with the key {}",
            application.client(),
            self.days,
            hex::encode(application.key_digest())
        ));
        let answer = api.call(&Call::post(&["clients"], json!({ "csr": csr, "days": self.days })))?;
        let document = answer.json()?;
        if answer.status == ACCEPTED {
            return asked(&document, output);
        }
        let (serial, request) = (answer.text(&document, "/serial")?, answer.text(&document, "/request_id")?);
        if output.is_json() {
            output.document(&document)?;
        } else {
            output.line(&request)?;
            output.say(&format!("issued, with the serial number {serial}"));
        }
        Ok(Exit::Ok)
    }
}

/// `chancery client fetch`.
#[derive(Args, Debug)]
pub struct Fetch {
    /// The request that asked for it, as `chancery client add` printed it
    request: RequestId,
    /// The directory that `chancery client csr` made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Fetch {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let asked_for = key_of(&self.out)?;
        let api = Api::open(connection, output)?;
        let id = self.request.to_string();
        let answer = match api.call(&Call::get(&["clients"]).query("request_id", Some(id.clone()))) {
            Err(Error::Problem(problem)) if problem.is(Code::NotFound) => return stands(&api, &id, output),
            answer => answer?,
        };
        let document = answer.json()?;
        let certificate = answer.text(&document, "/clients/0/certificate")?;
        let seen = pki::read_one(&self.out, certificate.as_bytes())?;
        if seen.public_key != asked_for {
            return Err(Error::content(&self.out, "holds another key than the certificate is for"));
        }
        let ours = ClientFile::read(connection.directory()?)?;
        let url = connection.url.clone().unwrap_or(ours.url);
        complete(&self.out, &certificate, &file::read(&ours.ca)?, &url)?;
        let client = seen.uris.join(", ");
        if output.is_json() {
            let until = when::show(seen.not_after);
            output.document(
                &json!({ "client": client, "directory": self.out, "serial": seen.serial, "valid_until": until }),
            )?;
        } else {
            output.say(&format!(
                "`{client}` until {}, in `{}`",
                when::show(seen.not_after),
                self.out.display()
            ));
            if self.out.join(KEY_FILE).exists() {
                output.say(&format!("use it with `--client {}`", self.out.display()));
            } else {
                output.say("its key is elsewhere: carry the files to it");
            }
        }
        Ok(Exit::Ok)
    }
}

/// The public key that a directory asked a certificate for, and has the private key of where that is in it.
fn key_of(directory: &Path) -> Result<Vec<u8>, Error> {
    let path = directory.join(REQUEST_FILE);
    let application = Application::read(&file::read_text(&path)?)
        .map_err(|error| Error::content(&path, error.to_string()))?;
    Ok(application.public_key().to_vec())
}

/// How a request stands that led to no certificate.
fn stands(api: &Api<'_>, id: &str, output: &Output) -> Result<Exit, Error> {
    let answer = api.call(&Call::get(&["requests", id]))?;
    let document = answer.json()?;
    match answer.text(&document, "/state")?.as_str() {
        "pending" => asked(&document, output),
        "denied" => {
            output.say(&format!("request {id} was denied"));
            Ok(Exit::Denied)
        }
        state => Err(Error::Failed(format!("request {id} is {state}, and led to no certificate"))),
    }
}

/// `chancery client list`.
#[derive(Args, Debug)]
pub struct List {
    /// Those of this name alone
    #[arg(long)]
    name: Option<ClientId>,
}

impl List {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let mut rows = Api::open(connection, output)?.pages("clients", &["clients"], &[], usize::MAX)?;
        if let Some(name) = &self.name {
            rows.retain(|row| cell(row, "/client").rsplit('/').next() == Some(name.as_str()));
        }
        if output.is_json() {
            output.document(&json!({ "clients": rows }))?;
        } else {
            let row = |row: &Value| {
                [cell(row, "/client"), time_cell(row, "/until_ms"), standing(row), cell(row, "/serial")]
            };
            let rows: Vec<_> = rows.iter().map(row).collect();
            output.table(["CLIENT", "ENDS", "NOW", "SERIAL"], &rows)?;
        }
        Ok(Exit::Ok)
    }
}

fn standing(row: &Value) -> String {
    match (row.get("revoked_ms"), holds(row)) {
        (Some(_), _) => format!("revoked {}", time_cell(row, "/revoked_ms")),
        (None, true) => "holds".to_owned(),
        (None, false) => "ended".to_owned(),
    }
}

fn holds(row: &Value) -> bool {
    let until = row.get("until_ms").and_then(Value::as_i64).map(UnixMillis);
    row.get("revoked_ms").is_none() && until.is_some_and(|until| until >= when::now())
}

impl Revoke {
    /// Asks the appliance to take certificates back.
    pub(super) fn ask(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let api = Api::open(connection, output)?;
        let mut serials: Vec<String> =
            self.serial.iter().map(|serial| serial.replace(':', "").to_lowercase()).collect();
        for path in &self.cert {
            serials.push(pki::read_one(path, &file::read(path)?)?.serial);
        }
        if let (Some(name), Some(role)) = (&self.name, self.role) {
            let all = api.pages("clients", &["clients"], &[], usize::MAX)?;
            let theirs =
                |row: &&Value| cell(row, "/client").ends_with(&format!("/{role}/{name}")) && holds(row);
            let before = serials.len();
            serials.extend(all.iter().filter(theirs).map(|row| cell(row, "/serial")));
            if serials.len() == before {
                return Err(Error::Failed(format!("no certificate of {role} `{name}` holds")));
            }
        }
        let body = json!({ "serials": serials, "reason": self.reason });
        let answer: Answer = api.call(&Call::post(&["clients", "revocations"], body))?;
        let document = answer.json()?;
        if answer.status == ACCEPTED {
            return asked(&document, output);
        }
        if output.is_json() {
            output.document(&document)?;
        } else {
            for row in answer.rows(&document, "clients")? {
                output.line(&cell(row, "/serial"))?;
                output.say(&format!("revoked, of `{}`", cell(row, "/client")));
            }
        }
        Ok(Exit::Ok)
    }
}
