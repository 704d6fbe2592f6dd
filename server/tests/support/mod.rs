//! A door on a free port with its own authority, and clients that speak to it byte by byte.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test support; each test uses a part"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::Query;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use chancery_core::{Clock, Mode, RequestId, SystemClock, config};
use chancery_identity::Peer;
use chancery_server::door::{BodyLimits, Certificates, Door, Drained, Listening, Settings};
use chancery_server::telemetry::Metrics;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CertificateRevocationListParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

pub const CLIENT: &str = "chancery://default/client/backend";

#[derive(Clone)]
pub struct Ca {
    issuer: Arc<Issuer<'static, KeyPair>>,
    pub pem: String,
    der: CertificateDer<'static>,
}

pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivatePkcs8KeyDer<'static>,
    pub pem: String,
}

/// A certificate for TLS clients with these names, valid from a day ago for `days` more.
pub fn client_params(names: &[&str], days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(2 * 24 * 3_600)).into();
    params.not_after = if days >= 0 {
        (now + Duration::from_secs(days.unsigned_abs() * 24 * 3_600)).into()
    } else {
        (now - Duration::from_secs(days.unsigned_abs() * 24 * 3_600)).into()
    };
    params
}

/// A client's certificate with this serial number.
pub fn numbered(ca: &Ca, serial: &[u8]) -> Identity {
    let mut params = client_params(&[CLIENT], 1);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    ca.issue(&params)
}

/// A revocation list of this authority that holds for so long.
pub fn list(ca: &Ca, serials: &[&[u8]], lasts: Duration) -> CertificateRevocationList {
    let now = SystemTime::now();
    list_from(ca, serials, now - Duration::from_secs(60), now + lasts)
}

pub fn list_from(
    ca: &Ca,
    serials: &[&[u8]],
    from: SystemTime,
    until: SystemTime,
) -> CertificateRevocationList {
    let revoked = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: from.into(),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: from.into(),
        next_update: until.into(),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&ca.issuer)
    .unwrap()
}

/// Replaces a file as the documentation asks: written beside, then renamed.
pub fn replace(path: &std::path::Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// A server's certificate and key.
pub fn server_pem(ca: &Ca) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    (ca.sign(&params, &key), key.serialize_pem())
}

/// A client that trusts these roots and is this identity, and remembers no session.
pub fn tls_trusting(roots: &[CertificateDer<'static>], identity: &Identity) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(store);
    let key = PrivateKeyDer::Pkcs8(identity.key.clone_key());
    let mut config = builder.with_client_auth_cert(identity.chain.clone(), key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

impl Ca {
    pub fn new() -> Self {
        Self::named("authority")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    pub fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    pub fn root(&self) -> Vec<CertificateDer<'static>> {
        vec![self.der.clone()]
    }

    pub fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            pem: format!("{}{}", certificate.pem(), key.serialize_pem()),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        }
    }

    pub fn client(&self, name: &str) -> Identity {
        self.issue(&client_params(&[name], 1))
    }
}

/// A running door and everything needed to speak to it.
pub struct House {
    pub address: SocketAddr,
    pub ca: Ca,
    pub metrics: Arc<Metrics>,
    pub certificates: Arc<Certificates>,
    pub files: config::Tls,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<Drained>>,
    _files: tempfile::TempDir,
}

/// Writes the door's TLS files and says where they are.
pub fn tls_files(ca: &Ca, directory: &std::path::Path) -> config::Tls {
    let (certificate, key) = server_pem(ca);
    let tls = config::Tls {
        certificate: directory.join("server.pem"),
        key: directory.join("server-key.pem"),
        client_ca: Some(directory.join("ca.pem")),
        crl: Vec::new(),
    };
    std::fs::write(&tls.certificate, certificate).unwrap();
    std::fs::write(&tls.key, key).unwrap();
    std::fs::write(tls.client_ca.as_ref().unwrap(), &ca.pem).unwrap();
    tls
}

pub fn settings(tls: config::Tls) -> Settings {
    Settings {
        listen: Listening::at("127.0.0.1:0".parse().unwrap()).unwrap(),
        tls,
        issued: tokio::sync::watch::channel(Arc::default()).1,
        mode: Mode::Development,
        rate: config::Rate { per_second: 100_000, burst: 100_000 },
        bodies: BodyLimits::new().larger(http::Method::PUT, "/large", 2 * 1024 * 1024),
        clock: Arc::new(SystemClock::default()),
        metrics: Arc::new(Metrics::new()),
    }
}

impl House {
    pub fn open() -> Self {
        Self::open_with(|_| {})
    }

    pub fn open_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::open_to(router(), change)
    }

    pub fn open_to(router: Router, change: impl FnOnce(&mut Settings)) -> Self {
        let files = tempfile::tempdir().unwrap();
        Self::serve(router, Ca::new(), files, change)
    }

    /// With an authority and a folder that the test made.
    pub fn open_of(ca: &Ca, files: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        Self::serve(router(), ca.clone(), files, change)
    }

    fn serve(router: Router, ca: Ca, files: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(tls_files(&ca, files.path()));
        change(&mut settings);
        let (metrics, tls) = (Arc::clone(&settings.metrics), settings.tls.clone());
        let door = Door::bind(settings).unwrap();
        let certificates = door.certificates();
        let address = door.local_addr();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(door.serve(router, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            ca,
            metrics,
            certificates,
            files: tls,
            stop: Some(stop),
            serving: Some(serving),
            _files: files,
        }
    }

    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn drained(&mut self) -> Drained {
        self.serving.take().unwrap().await.unwrap()
    }

    /// A client's TLS configuration: who it is (or nobody) and what it offers by ALPN.
    pub fn tls(&self, identity: Option<Identity>, alpn: &[&str]) -> Arc<ClientConfig> {
        self.tls_with(identity, alpn, &[&rustls::version::TLS13]).unwrap()
    }

    pub fn tls_with(
        &self,
        identity: Option<Identity>,
        alpn: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der.clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)?
                .with_root_certificates(roots);
        let mut config = match identity {
            Some(Identity { chain, key, .. }) => {
                builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    pub async fn tcp(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    pub async fn connect(&self, tls: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        handshake(socket, tls).await
    }

    /// A client with a good certificate that speaks HTTP/1.1 or, with `h2`, HTTP/2.
    pub async fn enter(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.connect(&self.tls(Some(self.ca.client(CLIENT)), &[alpn])).await.unwrap()
    }
}

pub async fn handshake(socket: TcpStream, tls: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, socket).await
}

#[derive(serde::Deserialize)]
struct Size {
    n: u64,
}

/// Enough routes to meet every bound.
pub fn router() -> Router {
    Router::new()
        .route(
            "/who",
            get(|Extension(peer): Extension<Arc<Peer>>, Extension(id): Extension<RequestId>| async move {
                format!("{peer} {id}")
            }),
        )
        .route("/echo", post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route(
            "/large",
            axum::routing::put(|body: axum::body::Body| async move {
                axum::body::to_bytes(body, usize::MAX).await.unwrap().len().to_string()
            }),
        )
        .route("/json", post(|Json(value): Json<Size>| async move { value.n.to_string() }))
        .route(
            "/slow",
            get(|Query(ms): Query<Size>| async move {
                tokio::time::sleep(Duration::from_millis(ms.n)).await;
                "done"
            }),
        )
        .route(
            "/big",
            get(|Query(bytes): Query<Size>| async move { vec![b'x'; usize::try_from(bytes.n).unwrap()] }),
        )
        .route("/panic", get(panic_now))
}

async fn panic_now() -> &'static str {
    panic!("a secret detail")
}

/// One whole HTTP/1.1 answer: status, head and body. The body's length must be declared.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub async fn read_answer(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Answer { status, head, body })
}

pub async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> std::io::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    read_answer(stream).await
}

pub const GET_WHO: &str = "GET /who HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// HTTP/2 by hand (RFC 9113): what an honest library would not send.
pub mod h2 {
    pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The preface and SETTINGS with these parameters.
    pub fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        [PREFACE, &frame(4, 0, 0, &payload), &frame(4, 1, 0, &[])].concat()
    }

    /// HEADERS for one request (RFC 7541: static table and literals without indexing). `end` closes the stream.
    pub fn request(stream: u32, method: &str, path: &str, end: bool) -> Vec<u8> {
        let mut block = Vec::new();
        for (index, value) in [(2, method), (4, path), (6, "https"), (1, "localhost")] {
            block.extend([index, u8::try_from(value.len()).unwrap()]);
            block.extend(value.as_bytes());
        }
        frame(1, if end { 5 } else { 4 }, stream, &block)
    }

    /// The kinds of the frames in `bytes`.
    pub fn kinds(mut bytes: &[u8]) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let [_, high, low, kind, rest @ ..] = bytes {
            kinds.push(*kind);
            let skip = 5 + (usize::from(*high) << 8 | usize::from(*low));
            bytes = rest.get(skip..).unwrap_or_default();
        }
        kinds
    }

    pub fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
        frame(0, u8::from(end), stream, bytes)
    }
}

/// An honest HTTP/2 client of a real library, which connects again when its connection has ended.
#[derive(Clone)]
pub struct Library {
    tls: Arc<ClientConfig>,
    address: SocketAddr,
    sender: Arc<tokio::sync::Mutex<Option<hyper::client::conn::http2::SendRequest<Full<Bytes>>>>>,
}

pub fn library_client(house: &House, identity: Identity) -> Library {
    Library { tls: house.tls(Some(identity), &["h2"]), address: house.address, sender: Arc::default() }
}

impl Library {
    async fn sender(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let mut sender = self.sender.lock().await;
        if let Some(open) = sender.as_ref().filter(|sender| !sender.is_closed()) {
            return open.clone();
        }
        let stream = handshake(TcpStream::connect(self.address).await.unwrap(), &self.tls).await.unwrap();
        let (fresh, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        *sender = Some(fresh.clone());
        fresh
    }

    /// Sends one request and reads its whole answer.
    pub async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> hyper::Result<http::Response<Bytes>> {
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let (head, body) = self.sender().await.send_request(request).await?.into_parts();
        Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    pub async fn get(&self, path: &str) -> hyper::Result<http::Response<Bytes>> {
        self.send(asking("GET", path), Vec::new()).await
    }
}

pub fn asking(method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(format!("https://localhost{path}"))
}

pub fn clock_at(ms: i64) -> Arc<chancery_core::ManualClock> {
    Arc::new(chancery_core::ManualClock::at(chancery_core::UnixMillis(ms)))
}

pub fn now_ms() -> i64 {
    SystemClock::default().now().unwrap().0
}
