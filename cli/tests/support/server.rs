//! A server that answers as a test tells it, over mutual TLS with the authority that `chancery init` made. It stands
//! for `chanceryd` only here: what the real one answers is tested with the real one.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::{Ran, chancery, init, text};

/// One answer.
pub enum Reply {
    /// Status, extra headers, body.
    Answer(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// The connection breaks after the request was read.
    Broken,
    /// Nothing, for ever.
    Silence,
}

pub fn json(status: u16, body: &Value) -> Reply {
    Reply::Answer(status, &[], body.to_string().into_bytes())
}

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The client's certificate as it was presented.
    pub certificate: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

type Answers = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// An appliance's folder and a server on its certificates.
pub struct Server {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers with these, in order; whoever asks more finds the connection broken.
    pub fn scripted(replies: Vec<Reply>) -> Self {
        let mut replies = replies.into_iter();
        Self::answering(Box::new(move |_| replies.next().unwrap_or(Reply::Broken)))
    }

    pub fn answering(mut answers: Answers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        init(&folder.path().join("state"), &["--listen", &address]).ends(0);
        let config = Arc::new(tls(&folder.path().join("state/pki")));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A connection that is refused, by us or by the client, is what some tests are about.
                let _ = serve(stream.unwrap(), &config, &seen, &mut answers);
            }
        });
        Self { folder, asked }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Runs the program as the operator of this server.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let client = self.path("state/clients/operator");
        let mut all = vec!["--client", text(&client)];
        all.extend(arguments);
        chancery(&all)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn tls(pki: &Path) -> ServerConfig {
    let certificates = |name| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(pki.join(name)).unwrap().map(Result::unwrap).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("ca.pem").remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            certificates("server.pem"),
            PrivateKeyDer::from_pem_file(pki.join("server-key.pem")).unwrap(),
        )
        .unwrap()
}

fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    seen: &Mutex<Vec<Asked>>,
    answers: &mut Answers,
) -> std::io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let certificate = stream.get_ref().conn.peer_certificates().unwrap()[0].to_vec();
    let asked = Asked {
        line: line.trim_end().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
        certificate,
    };
    seen.lock().unwrap().push(asked.clone());
    match answers(&asked) {
        Reply::Broken => Ok(()),
        Reply::Silence => {
            // Until the client gives up.
            let _ = stream.read(&mut [0]);
            Ok(())
        }
        Reply::Answer(status, headers, body) => {
            let mut head =
                format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let stream = stream.get_mut();
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}
