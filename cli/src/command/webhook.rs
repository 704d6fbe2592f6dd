//! `chancery webhook`: what an operator needs to have somebody told by HTTP.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chancery_secret::SecretBytes;
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{Error, Exit, Output, file};

/// A secret's bytes: as many as its HMAC has (Standard Webhooks: 24 to 64).
const SECRET_BYTES: usize = 32;

/// `chancery webhook`.
#[derive(Subcommand, Debug)]
pub enum Webhook {
    /// Make the secret that deliveries are signed with
    #[command(
        after_help = "The receiver needs the same secret to verify deliveries: bring it there by a way that nobody else reads.\n\n\
        Examples:\n  chancery webhook secret --out ledger.secret"
    )]
    Secret {
        /// The file to make, for its owner only; one that exists is not written over
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Webhook {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let Self::Secret { out } = self;
        let bytes = SecretBytes::random(SECRET_BYTES).map_err(|error| Error::Failed(error.to_string()))?;
        let text = Zeroizing::new(format!("whsec_{}\n", &*Zeroizing::new(BASE64.encode(bytes.expose()))));
        file::write_new(out, text.as_bytes(), file::SECRET)?;
        if output.is_json() {
            output.document(&json!({ "secret": out }))?;
        } else {
            output.say(&format!("`{}` is made: name it as `secret` of a `[[webhook]]`", out.display()));
        }
        Ok(Exit::Ok)
    }
}
