//! Where the server is and who asks: the global flags, and the client directory that `chancery client issue` makes.
//! The private key is read here and goes nowhere but into the TLS stack and the signer of requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::session::Session;
use crate::signer::Signer;
use crate::{Error, Output, file, when};

/// The file in a client directory that says what the others are.
pub const CLIENT_FILE: &str = "client.toml";

/// Flags of every command that talks to the server.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// The client directory: certificate, key, authority and address, as `chancery client issue` makes it
    #[arg(long, global = true, help_heading = "Connection", value_name = "DIR", env = "CHANCERY_CLIENT")]
    pub client: Option<PathBuf>,
    /// The server's address, in place of the one in the client directory
    #[arg(long, global = true, help_heading = "Connection", value_name = "URL")]
    pub url: Option<String>,
    /// How long one call may take, retries and `--wait` included
    #[arg(long, global = true, help_heading = "Connection", value_name = "SPAN", default_value = "30s", value_parser = when::parse_span)]
    pub timeout: Duration,
}

/// `client.toml`. Relative paths are relative to the file's own folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// The format: 1.
    pub v: u8,
    /// The server's address, such as `https://localhost:8443`.
    pub url: String,
    /// The authority that signed the server's certificate.
    pub ca: PathBuf,
    /// The client's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl ClientFile {
    /// Reads `client.toml` of a client directory.
    ///
    /// # Errors
    /// [`Error::File`], or [`Error::Content`] when it is not version 1 of this format.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(CLIENT_FILE);
        let mut read: Self = toml::from_str(&file::read_text(&path)?)
            .map_err(|error| Error::content(&path, format!("is not a client file: {}", error.message())))?;
        if read.v != 1 {
            return Err(Error::content(&path, format!("has format {}; this program reads format 1", read.v)));
        }
        for path in [&mut read.ca, &mut read.certificate, &mut read.key] {
            *path = directory.join(&*path);
        }
        Ok(read)
    }
}

/// Everything one TLS client needs.
pub struct Prepared {
    /// The server.
    pub url: reqwest::Url,
    /// TLS 1.3 with the client's certificate; trusts the one authority.
    pub tls: rustls::ClientConfig,
    /// Signs requests with the same key, where it is of a kind that can.
    pub signer: Option<Signer>,
    /// The session that `chancery officer login` opened, while it lasts.
    pub session: Option<Session>,
}

impl Connection {
    /// The client directory that was named.
    ///
    /// # Errors
    /// [`Error::Usage`] when none was.
    pub fn directory(&self) -> Result<&Path, Error> {
        self.client.as_deref().ok_or_else(|| Error::Usage {
            detail: "no client directory".to_owned(),
            hint: "give `--client DIR` or set CHANCERY_CLIENT; `chancery client issue` makes one",
        })
    }

    /// Reads the client directory.
    ///
    /// # Errors
    /// [`Error::Usage`], [`Error::File`], [`Error::Content`] or [`Error::Tls`]: what is missing or wrong.
    pub fn prepare(&self, output: &Output) -> Result<Prepared, Error> {
        let directory = self.directory()?;
        let client = ClientFile::read(directory)?;
        let url = base_url(self.url.as_deref().unwrap_or(&client.url))?;
        if file::open_to_others(&client.key)? != 0 {
            output.say(&format!(
                "warning: others on this machine may read `{}`; `chmod 600` it",
                client.key.display()
            ));
        }
        let tls = |source: Box<dyn std::error::Error + Send + Sync>| Error::Tls {
            path: directory.to_owned(),
            source,
        };
        let mut roots = rustls::RootCertStore::empty();
        for der in certificates(&client.ca)? {
            roots.add(der).map_err(|error| tls(error.into()))?;
        }
        let pem = Zeroizing::new(file::read(&client.key)?);
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| Error::content(&client.key, "holds no private key in PEM"))?;
        let chain = certificates(&client.certificate)?;
        let signer = chain.first().and_then(|leaf| Signer::new(leaf, &key));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| tls(error.into()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| tls(error.into()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Prepared { url, tls: config, signer, session: Session::read(directory)? })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = file::read(path)?;
    let all: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::content(path, "is not PEM"))?;
    if all.is_empty() { Err(Error::content(path, "holds no certificate")) } else { Ok(all) }
}

fn base_url(text: &str) -> Result<reqwest::Url, Error> {
    let url = reqwest::Url::parse(text).ok().filter(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or_else(|| Error::Usage {
        detail: format!("`{text}` is not the address of a server"),
        hint: "an address is `https://HOST:PORT`, without a path and without a password",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_https_addresses_are_servers() {
        assert!(base_url("https://localhost:8443").is_ok());
        assert!(base_url("https://[::1]:8443/").is_ok());
        for bad in [
            "http://localhost",
            "localhost:8443",
            "https://a/v1",
            "https://a?x",
            "https://u:p@a",
            "https://a#f",
            "",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
