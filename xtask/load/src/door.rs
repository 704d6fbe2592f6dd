//! The client's side of the door: HTTP/1.1 over TLS 1.3 with a client certificate, blocking, one connection a thread.
//! Plain on purpose: in a load test every microsecond of the client is taken from the server beside it.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Deserialize;
use xtask::http::{self, Answer};

use crate::Error;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// `client.toml` of a client directory, as `chancery client issue` makes it.
#[derive(Deserialize)]
struct ClientFile {
    url: String,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Where the door is and who knocks.
#[derive(Clone, Debug)]
pub struct Door {
    address: SocketAddr,
    host: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Door {
    /// Reads a client directory.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Client`].
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::Client { path: directory.into(), what };
        let path = directory.join("client.toml");
        let text = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        let file: ClientFile = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let host = file.url.strip_prefix("https://").map(|host| host.trim_end_matches('/').to_owned());
        let host = host.ok_or_else(|| wrong(format!("`{}` is not an https address", file.url)))?;
        let address = host.to_socket_addrs().map_err(Error::file(&host))?.find(SocketAddr::is_ipv4);
        let address = address.ok_or_else(|| wrong(format!("`{host}` has no address")))?;
        let domain = host.rsplit_once(':').map_or(host.as_str(), |(domain, _)| domain);
        let name = ServerName::try_from(domain.to_owned()).map_err(|error| wrong(error.to_string()))?;

        let pem = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Error> {
            let path = directory.join(path);
            let wrong =
                |error: rustls::pki_types::pem::Error| wrong(format!("`{}`: {error}", path.display()));
            CertificateDer::pem_file_iter(&path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
        };
        let mut roots = RootCertStore::empty();
        for certificate in pem(&file.ca)? {
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        let key = PrivateKeyDer::from_pem_file(directory.join(&file.key))
            .map_err(|error| wrong(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(pem(&file.certificate)?, key)
            .map_err(|error| wrong(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, host, name, config: Arc::new(config) })
    }

    /// The bytes of one request, ready to be sent any number of times.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, key: Option<&str>, body: Option<&[u8]>) -> Vec<u8> {
        let headers: Vec<String> = key.map(|key| format!("idempotency-key: {key}")).into_iter().collect();
        http::request(method, &self.host, path, &headers, body)
    }

    /// Opens a connection. The handshake is done with the first call.
    ///
    /// # Errors
    /// The socket's.
    pub fn connect(&self) -> io::Result<Line> {
        let socket = TcpStream::connect_timeout(&self.address, ANSWER)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER))?;
        socket.set_write_timeout(Some(ANSWER))?;
        let connection =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(io::Error::other)?;
        Ok(Line { stream: StreamOwned::new(connection, socket), left: Vec::new() })
    }

    /// One call over a connection of its own; any status is an answer.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn call(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&[u8]>,
    ) -> Result<Answer, Error> {
        let request = self.request(method, path, key, body);
        let answer = self.connect().and_then(|mut line| line.call(&request));
        answer.map_err(|source| Error::Connection { call: format!("{method} {path}"), source })
    }

    /// As [`Door::call`] without a body, but only 200 is an answer.
    ///
    /// # Errors
    /// [`Error::Connection`] or [`Error::Answer`].
    pub fn read_document(&self, path: &str) -> Result<Answer, Error> {
        let answer = self.call("GET", path, None, None)?;
        if answer.status == 200 { Ok(answer) } else { Err(unexpected(&format!("GET {path}"), &answer)) }
    }
}

/// An [`Error::Answer`].
#[must_use]
pub fn unexpected(call: &str, answer: &Answer) -> Error {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Error::Answer { call: call.to_owned(), status: answer.status, body }
}

/// One connection, kept open between calls.
#[derive(Debug)]
pub struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
    left: Vec<u8>,
}

impl Line {
    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The connection's; what happened to the request is not known then.
    pub fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        http::read_answer(&mut self.stream, &mut self.left)
    }

    /// Sends the beginning of a request and waits for nothing.
    ///
    /// # Errors
    /// The connection's.
    pub fn begin(&mut self, part: &[u8]) -> io::Result<()> {
        self.stream.write_all(part)?;
        self.stream.flush()
    }
}
