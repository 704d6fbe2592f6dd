//! `chancery client`: who may come in. A certificate is asked of the appliance, whose own authority issues it as its policy
//! lets; or it is made here, with an authority whose key lies in a file. The server believes the one URI in it and nothing
//! else.

mod csr;
mod online;

use std::path::{Path, PathBuf};

use chancery_core::config::Config;
use chancery_core::{ClientId, Role, Subject, Tenant};
use clap::{ArgGroup, Args, Subcommand, value_parser};
use serde_json::json;

use crate::connection::{CLIENT_FILE, ClientFile, Connection};
use crate::pki::Authority;
use crate::{Error, Exit, Output, file, pki, when};

/// `chancery client`.
#[derive(Subcommand, Debug)]
pub enum Client {
    /// Make a key and a certificate request, for `chancery client add`
    #[command(
        after_help = "The key stays in the directory; what leaves it is `csr.pem`. Tell the officers the digest that is printed \
        by another way: they see it when they are asked.\n\nExamples:\n  chancery client csr payments --role client --out payments\n  \
        chancery client csr ada --role officer --out ada-2027"
    )]
    Csr(csr::Csr),
    /// Ask the appliance for a certificate: beside those of the same name that hold (operator)
    #[command(
        after_help = "Where the policy in force governs changes, the certificate waits for whom its rules name (exit code 3), and is \
        issued by itself after their last word. `chancery client fetch` gets it then. A certificate in use is replaced by asking \
        for another with a fresh key, and revoking the old one once the new is in use.\n\nExamples:\n  \
        chancery client add payments/csr.pem --client state/clients/operator\n  \
        chancery client add payments/csr.pem --days 30 --client state/clients/operator"
    )]
    Add(online::Add),
    /// Get a certificate that was issued, and complete the directory that `chancery client csr` made (auditor, operator, officer)
    #[command(
        after_help = "Exit codes: 0 when the directory is complete, 3 when the request still waits, 4 when it was denied.\n\nExamples:\n  \
        chancery client fetch 019a0000-0000-7000-8000-000000000000 --out payments --client state/clients/operator"
    )]
    Fetch(online::Fetch),
    /// List the certificates that the appliance itself issued, each with its end (auditor, operator, officer)
    #[command(
        after_help = "Examples:\n  chancery client list\n  chancery client list --name payments --json"
    )]
    List(online::List),
    /// Issue a certificate with the authority of a folder, and make a client directory
    #[command(after_help = "Examples:\n  chancery client issue payments --role client --dir state\n  \
        chancery client issue alice --role auditor --dir state --out alice --days 30")]
    Issue(Issue),
    /// Revoke certificates; a running server takes it within a second
    #[command(
        after_help = "Without `--dir`, the appliance is asked to take back what its own authority issued (operator): it waits for whom \
        the policy in force names (exit code 3), and connections are cut with their last word.\n\n\
        With `--dir`, the revocation list of that folder's authority is signed again. It holds as long as the authority itself, \
        unless `--days` says less. When it ends nobody is admitted: `--renew` signs it again.\n\nExamples:\n  \
        chancery client revoke --serial 51a2b3 --reason replaced --client state/clients/operator\n  \
        chancery client revoke --name payments --role client --reason machine-sold\n  \
        chancery client revoke --dir state --cert state/clients/backend/cert.pem\n  \
        chancery client revoke --dir state --renew"
    )]
    Revoke(Revoke),
    /// Print what the certificate of `--client` says
    #[command(after_help = "Examples:\n  chancery client show --client state/clients/operator")]
    Show,
}

/// `chancery client issue`.
#[derive(Args, Debug)]
pub struct Issue {
    /// The client's name: a-z, 0-9, `-`, `_` and `.`
    name: ClientId,
    /// What it may do
    #[arg(long, value_parser = pki::roles())]
    role: Role,
    /// The folder that `chancery init` made
    #[arg(long, value_name = "STATE")]
    dir: PathBuf,
    /// The client directory to make; `STATE/clients/NAME` without
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How long the certificate lasts
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The tenant it belongs to
    #[arg(long, default_value_t = Tenant::default())]
    tenant: Tenant,
}

impl Client {
    pub fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        match self {
            Self::Csr(csr) => csr.run(output),
            Self::Add(add) => add.run(connection, output),
            Self::Fetch(fetch) => fetch.run(connection, output),
            Self::List(list) => list.run(connection, output),
            Self::Issue(issue) => issue.run(connection, output),
            Self::Revoke(revoke) => match &revoke.dir {
                Some(dir) => revoke.list(dir, output),
                None => revoke.ask(connection, output),
            },
            Self::Show => show(connection, output),
        }
    }
}

impl Issue {
    fn run(&self, connection: &Connection, output: &Output) -> Result<Exit, Error> {
        let authority = Authority::open(&self.dir.join("pki"))?;
        let url = match &connection.url {
            Some(url) => url.clone(),
            None => server_url(&self.dir)?,
        };
        let subject = Subject { tenant: self.tenant.clone(), role: self.role, name: self.name.clone() };
        let out = self.out.clone().unwrap_or_else(|| self.dir.join("clients").join(self.name.as_str()));
        write(&authority, &subject, self.days, &url, &out)?;
        if output.is_json() {
            output.document(
                &json!({ "client": subject.to_string(), "directory": out, "url": url, "days": self.days }),
            )?;
        } else {
            output.say(&format!("`{subject}` for {} days, in `{}`", self.days, out.display()));
            output.say(&format!("use it with `--client {}`", out.display()));
        }
        Ok(Exit::Ok)
    }
}

/// `chancery client revoke`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["cert", "serial", "name", "renew"]))]
pub struct Revoke {
    /// The folder that `chancery init` made: its authority revokes what it issued
    #[arg(long, value_name = "STATE")]
    dir: Option<PathBuf>,
    /// A certificate to revoke; give it again for more
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,
    /// A serial number to revoke, in hexadecimal; give it again for more
    #[arg(long, value_name = "HEX")]
    serial: Vec<String>,
    /// Whose certificates to revoke, all that hold
    #[arg(long, requires = "role", conflicts_with = "dir")]
    name: Option<ClientId>,
    /// The role of that name
    #[arg(long, requires = "name", value_parser = pki::roles())]
    role: Option<Role>,
    /// Why, for those who must agree
    #[arg(long, value_name = "TEXT", required_unless_present = "dir", conflicts_with = "dir")]
    reason: Option<String>,
    /// Sign the list again as it is
    #[arg(long, requires = "dir")]
    renew: bool,
    /// The list; `STATE/pki/ca.crl` without
    #[arg(long, value_name = "FILE", requires = "dir")]
    crl: Option<PathBuf>,
    /// How long the list holds, if not as long as the authority
    #[arg(long, value_name = "DAYS", requires = "dir", value_parser = value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
}

impl Revoke {
    /// Signs the list of a folder's authority.
    fn list(&self, dir: &Path, output: &Output) -> Result<Exit, Error> {
        let pki = dir.join("pki");
        let authority = Authority::open(&pki)?;
        let mut serials = Vec::new();
        for path in &self.cert {
            let bytes = file::read(path)?;
            if !authority.issued(&bytes) {
                return Err(Error::content(path, "was not issued by the authority of this folder"));
            }
            serials.push(pki::read_one(path, &bytes)?.serial);
        }
        serials.extend(self.serial.iter().cloned());
        let bytes = serials.iter().map(|serial| serial_bytes(serial)).collect::<Result<Vec<_>, _>>()?;
        let path = self.crl.clone().unwrap_or_else(|| pki.join("ca.crl"));
        let (count, until) = authority.revoke(&path, &bytes, self.days, when::now())?;
        if output.is_json() {
            output.document(
                &json!({ "crl": path, "revoked_now": serials, "revoked": count, "valid_until": when::show(until) }),
            )?;
        } else {
            output.say(&format!(
                "`{}` revokes {count} certificates until {}",
                path.display(),
                when::show(until)
            ));
            output.say("a server whose `tls.crl` names it takes it within a second");
        }
        Ok(Exit::Ok)
    }
}

/// A serial number as it stands in a certificate (RFC 5280 4.1.2.2: at most 20 bytes).
fn serial_bytes(text: &str) -> Result<Vec<u8>, Error> {
    let bytes = hex::decode(text.replace(':', "")).ok().filter(|bytes| (1..=21).contains(&bytes.len()));
    bytes.ok_or_else(|| Error::Usage {
        detail: format!("`{text}` is no serial number"),
        hint: "`chancery client show` prints one, in hexadecimal",
    })
}

/// Makes a client directory: certificate, key, authority and address.
///
/// # Errors
/// [`Error::File`] also when one of the files exists.
pub fn write(
    authority: &Authority,
    subject: &Subject,
    days: u32,
    url: &str,
    out: &Path,
) -> Result<(), Error> {
    let issued = authority.issue_client(subject, days, when::now())?;
    file::make_directory(out)?;
    // ORDER: the key first, so that a directory made before is left whole.
    file::write_new(&out.join(KEY_FILE), issued.key.as_bytes(), file::SECRET)?;
    complete(out, &issued.certificate, authority.certificate().as_bytes(), url)
}

/// The files of a client directory.
const KEY_FILE: &str = "key.pem";
const CERTIFICATE_FILE: &str = "cert.pem";
const CA_FILE: &str = "ca.pem";

/// Adds certificate, the server's authority and its address to a directory with a key.
fn complete(out: &Path, certificate: &str, ca: &[u8], url: &str) -> Result<(), Error> {
    let client = ClientFile {
        v: 1,
        url: url.to_owned(),
        ca: CA_FILE.into(),
        certificate: CERTIFICATE_FILE.into(),
        key: KEY_FILE.into(),
    };
    let text = toml::to_string(&client)
        .map_err(|error| Error::content(&out.join(CLIENT_FILE), error.to_string()))?;
    file::write_new(&out.join(CERTIFICATE_FILE), certificate.as_bytes(), file::PUBLIC)?;
    file::write_new(&out.join(CA_FILE), ca, file::PUBLIC)?;
    // ORDER: last, because it names the others.
    file::write_new(&out.join(CLIENT_FILE), text.as_bytes(), file::PUBLIC)
}

/// The server's address, from the name in its certificate and the port it listens on.
fn server_url(state: &Path) -> Result<String, Error> {
    let path = state.join("chancery.toml");
    let config = Config::parse(&file::read_text(&path)?, state)
        .map_err(|error| Error::content(&path, format!("is refused: {error}")))?;
    let seen = pki::read_one(&config.tls.certificate, &file::read(&config.tls.certificate)?)?;
    let host = seen.hosts.first().ok_or_else(|| Error::content(&config.tls.certificate, "names no host"))?;
    Ok(url(host, config.listen.api.port()))
}

/// `https://HOST:PORT`, an IPv6 address in brackets.
#[must_use]
pub fn url(host: &str, port: u16) -> String {
    if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
}

fn show(connection: &Connection, output: &Output) -> Result<Exit, Error> {
    let directory = connection.directory()?;
    let client = ClientFile::read(directory)?;
    let seen = pki::read_one(&client.certificate, &file::read(&client.certificate)?)?;
    let left_ms = seen.not_after.0.saturating_sub(when::now().0);
    let holds = left_ms > 0 && seen.not_before <= when::now();
    if output.is_json() {
        output.document(&json!({ "url": client.url, "valid_now": holds, "certificate": seen }))?;
    } else {
        output.line(&format!("identity  {}", seen.uris.join(", ")))?;
        output.line(&format!("server    {}", client.url))?;
        output.line(&format!(
            "valid     {} to {}",
            when::show(seen.not_before),
            when::show(seen.not_after)
        ))?;
        output.line(&format!("issuer    {}", seen.issuer))?;
        output.line(&format!("serial    {}", seen.serial))?;
        if !holds {
            output.say("warning: the certificate is not valid now; `chancery client issue` makes a new one");
        }
    }
    Ok(Exit::Ok)
}
