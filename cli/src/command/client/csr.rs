//! `chancery client csr`: a key that never leaves the directory it is made in, and the request that names it.

use std::path::PathBuf;

use chancery_core::{ClientId, Role, Subject, Tenant};
use chancery_identity::Application;
use clap::Args;
use serde_json::json;

use super::KEY_FILE;
use crate::{Error, Exit, Output, file, pki};

/// The request beside the key.
pub const REQUEST_FILE: &str = "csr.pem";

/// `chancery client csr`.
#[derive(Args, Debug)]
pub struct Csr {
    /// The client's name: a-z, 0-9, `-`, `_` and `.`
    name: ClientId,
    /// What it may do
    #[arg(long, value_parser = pki::roles())]
    role: Role,
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The tenant it belongs to
    #[arg(long, default_value_t = Tenant::default())]
    tenant: Tenant,
}

impl Csr {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let subject = Subject { tenant: self.tenant.clone(), role: self.role, name: self.name.clone() };
        let (request, key) = pki::request(&subject)?;
        let path = self.out.join(REQUEST_FILE);
        // Read as the appliance will: what it would refuse is not written.
        let application =
            Application::read(&request).map_err(|error| Error::content(&path, error.to_string()))?;
        let digest = hex::encode(application.key_digest());
        file::make_directory(&self.out)?;
        file::write_new(&self.out.join(KEY_FILE), key.as_bytes(), file::SECRET)?;
        file::write_new(&path, request.as_bytes(), file::PUBLIC)?;
        if output.is_json() {
            output.document(
                &json!({ "client": subject.to_string(), "csr": path, "public_key_sha256": digest }),
            )?;
        } else {
            output.line(&digest)?;
            output
                .say(&format!("`{}` asks for `{subject}`; above is the SHA-256 of its key", path.display()));
            output.say("an operator brings it: `chancery client add`");
        }
        Ok(Exit::Ok)
    }
}
