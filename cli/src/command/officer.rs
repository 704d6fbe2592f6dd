//! `chancery officer`: what a policy bundle says of an officer, made from the officer's own authenticator; and the officer's
//! own login, which is in `login`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_core::ClientId;
use chancery_identity::webauthn::CredentialKey;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::login::{Enrol, Invite, Login, logout};
use crate::connection::Connection;
use crate::passkey::Passkey;
use crate::{Error, Exit, Output, file};

/// `chancery officer`.
#[derive(Subcommand, Debug)]
pub enum Officer {
    /// Make a passkey in a file, and print the bundle's entry for it. For development: production refuses it
    Passkey(Make),
    /// Print the bundle's entry for a credential that a browser registered
    Credential(Credential),
    /// Make the one-time code of an enrolment, and print the bundle's line for it
    Invite(Invite),
    /// Set your password with the code of an enrolment (officer, auditor)
    Enrol(Enrol),
    /// Log in (officer, auditor)
    Login(Login),
    /// End the session of this client directory (officer, auditor)
    #[command(after_help = "Examples:\n  chancery officer logout")]
    Logout,
}

/// `chancery officer passkey`.
#[derive(Args, Debug)]
#[command(
    after_help = "The file holds the private key in the clear. The entry on standard output goes into `bundle.toml`, beside \
    `[webauthn]` with the same relying party.\n\n\
    Examples:\n  chancery officer passkey ann --rp-id chancery.example --origin https://chancery.example --out ann.passkey"
)]
pub struct Make {
    /// The officer, as in the certificate
    #[arg(value_name = "NAME")]
    name: ClientId,
    /// The relying party's domain
    #[arg(long, value_name = "DOMAIN")]
    rp_id: String,
    /// The origin that asks for assertions
    #[arg(long, value_name = "URL")]
    origin: String,
    /// The file to make, for its owner only; one that exists is not written over
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `chancery officer credential`.
#[derive(Args, Debug)]
#[command(
    after_help = "Reads what `JSON.stringify(credential)` gives of a `PublicKeyCredential` that `navigator.credentials.create` made: \
    its `id` and `response.publicKey`.\n\n\
    Examples:\n  chancery officer credential ann registration.json\n  chancery officer credential ann -"
)]
pub struct Credential {
    /// The officer, as in the certificate
    #[arg(value_name = "NAME")]
    name: ClientId,
    /// The registration as JSON; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What is read of a registration (WebAuthn Level 3, `RegistrationResponseJSON`).
#[derive(Deserialize)]
struct Registration {
    id: String,
    response: RegistrationResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationResponse {
    public_key: Option<String>,
}

impl Officer {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Invite(invite) => invite.run(output),
            Self::Enrol(enrol) => enrol.run(connection, output),
            Self::Login(login) => login.run(connection, output),
            Self::Logout => logout(connection, output),
            Self::Passkey(Make { name, rp_id, origin, out }) => {
                let passkey = Passkey::make(out, rp_id, origin)?;
                output.say(&format!("private key in `{}`; the bundle's entry:", out.display()));
                let key = format!("es256:{}", hex::encode(passkey.public_key()));
                entry(name, passkey.credential(), &key, "software", output)
            }
            Self::Credential(Credential { name, file }) => {
                let wrong = |what: &str| Error::content(file, what);
                let text = file::read_text_or_stdin(file)?;
                let registration: Registration = serde_json::from_str(&text)
                    .map_err(|_| wrong("is not a registration as a browser writes it"))?;
                let spki = registration.response.public_key.as_deref();
                let spki = spki.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                let spki = spki.ok_or_else(|| wrong("has no `response.publicKey` in base64url"))?;
                let key = CredentialKey::from_spki(&spki)
                    .map_err(|_| wrong("holds a key that is neither ES256 nor Ed25519"))?;
                entry(name, &registration.id, &key.to_string(), "device", output)
            }
        }
    }
}

fn entry(name: &ClientId, credential: &str, key: &str, held: &str, output: &Output) -> Result<Exit, Error> {
    if output.is_json() {
        output.document(&json!({ "officer": name, "id": credential, "key": key, "held": held }))?;
        return Ok(Exit::Ok);
    }
    for line in [
        "[[officer]]".to_owned(),
        format!("id = \"{name}\""),
        "roles = [\"approver\"]".to_owned(),
        "groups = []".to_owned(),
        String::new(),
        "[[officer.credential]]".to_owned(),
        format!("id = \"{credential}\""),
        format!("key = \"{key}\""),
        format!("held = \"{held}\""),
    ] {
        output.line(&line)?;
    }
    Ok(Exit::Ok)
}
