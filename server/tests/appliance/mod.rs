//! A real appliance for tests: `chanceryd` on a SoftHSM2 token of its own, in a temporary folder, with a PKI made here, and
//! clients that speak to it over mutual TLS. Prints why and steps aside where SoftHSM2 is not installed.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code; each test file uses its own part"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_primitives::{Address, TxKind, U256, address};
use chancery_audit::{Receipt, Trust, Verified};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "test-pin-4711";

/// A folder with everything an appliance needs, and the appliance when it runs.
pub struct Appliance {
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    running: Option<Running>,
    /// Of its process.
    environment: Vec<(&'static str, PathBuf)>,
}

pub struct Running {
    pub child: Child,
    pub api: String,
    pub ops: String,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Appliance {
    /// A new folder with PKI, configuration and token; `None` without SoftHSM2.
    pub fn prepare() -> Option<Self> {
        if !Path::new(MODULE).exists() {
            eprintln!("skipped: `{MODULE}` is not installed (apt-get install softhsm2)");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["pki", "tokens"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let (certificate, server_key) = issue(
            &issuer,
            ExtendedKeyUsagePurpose::ServerAuth,
            SanType::DnsName("localhost".try_into().unwrap()),
        );
        write(&at("pki/ca.pem"), &ca.pem());
        write(&at("pki/server.pem"), &certificate);
        write(&at("pki/server-key.pem"), &server_key);
        write(&at("pin"), PIN);
        write(&at("so-pin"), "security-officer-42");
        let tokens = at("tokens");
        write(
            &at("softhsm2.conf"),
            &format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            ),
        );
        let appliance = Self { issuer, ca_pem: ca.pem(), running: None, environment: Vec::new(), folder };
        appliance.configure("development", "");
        let status = Command::new(chanceryd())
            .args(["hsm-init", "--config"])
            .arg(appliance.at("chancery.toml"))
            .arg("--so-pin-file")
            .arg(appliance.at("so-pin"))
            .status()
            .unwrap();
        assert!(status.success(), "the token is made");
        Some(appliance)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration; `hsm` is added to its `[hsm]` table.
    pub fn configure(&self, mode: &str, hsm: &str) {
        let conf = self.at("softhsm2.conf");
        write(
            &self.at("chancery.toml"),
            &format!(
                r#"version = 1
mode = "{mode}"
listen = {{ api = "127.0.0.1:0", ops = "127.0.0.1:0" }}
tls = {{ certificate = "pki/server.pem", key = "pki/server-key.pem", client_ca = "pki/ca.pem" }}
store = {{ directory = "store" }}
log = {{ origin = "test.example/chancery", directory = "log" }}
rate = {{ client = {{ per_second = 100000, burst = 100000 }}, wallet = {{ per_second = 100000, burst = 100000 }} }}
[hsm]
module = "{MODULE}"
token = "chancery"
pin = {{ file = "pin" }}
environment = {{ SOFTHSM2_CONF = "{}" }}
writable = ["tokens"]
{hsm}
"#,
                conf.display()
            ),
        );
    }

    /// Changes a line of the configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.at("chancery.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        write(&self.at("chancery.toml"), &text.replace(from, to));
    }

    fn serve(&self) -> Command {
        let mut serve = Command::new(chanceryd());
        serve
            .args(["serve", "--config"])
            .arg(self.at("chancery.toml"))
            .envs(self.environment.iter().cloned());
        serve
    }

    /// Gives it, from its next start on, a clock that `turn_clock` turns; false without the library that does it.
    pub fn take_clock(&mut self) -> bool {
        let places = ["x86_64", "aarch64"]
            .map(|arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1")));
        let Some(library) = places.into_iter().find(|place| place.is_file()) else {
            eprintln!("skipped: no libfaketime; `apt-get install libfaketime`");
            return false;
        };
        // It stands beside the certificates, which are read within the walls too.
        self.turn_clock("+0");
        self.environment = vec![
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", self.at("pki/clock")),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        true
    }

    /// How far its clock is from this machine's, such as `-90s`.
    pub fn turn_clock(&self, by: &str) {
        write(&self.at("pki/clock"), by);
    }

    /// Starts it and waits until it says it is ready.
    pub fn start(&mut self) -> &Running {
        let mut child = self.serve().stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, ready) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str::<Value>(&line)
                    && event["message"] == "ready"
                {
                    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                    let _ = tell.send((text("api"), text("ops")));
                }
                kept.lock().unwrap().push(line);
            }
        });
        let Ok((api, ops)) = ready.recv_timeout(Duration::from_secs(60)) else {
            let _ = child.kill();
            panic!("the appliance did not start:\n{}", log.lock().unwrap().join("\n"));
        };
        self.running.insert(Running { child, api, ops, log })
    }

    /// What it has said since it was started, if it runs.
    pub fn said(&self) -> Option<String> {
        Some(self.running.as_ref()?.log.lock().unwrap().join("\n"))
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("started")
    }

    /// SIGTERM, and its exit.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut running = self.running.take().expect("started");
        let status = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
        assert!(status.success());
        running.child.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Starts one that must not come up, and what it said.
    pub fn start_in_vain(&self) -> String {
        let output = self.serve().output().unwrap();
        assert!(!output.status.success(), "it must not start");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// A peer with a fresh certificate of this role and name.
    pub fn peer(&self, role: &str, name: &str) -> Peer {
        let uri = format!("chancery://default/{role}/{name}");
        let (certificate, key) = issue(
            &self.issuer,
            ExtendedKeyUsagePurpose::ClientAuth,
            SanType::URI(uri.as_str().try_into().unwrap()),
        );
        self.peer_with(certificate, key)
    }

    /// The peer of this certificate and key, in PEM, at the appliance that runs now.
    pub fn peer_with(&self, certificate: String, key: String) -> Peer {
        self.peer_calling("localhost", certificate, key)
    }

    /// The same, calling the appliance by this name, whatever names its certificate has.
    pub fn peer_calling(&self, host: &str, certificate: String, key: String) -> Peer {
        self.peer_by(host, certificate, key, |client| client)
    }

    /// The same over HTTP/1.1.
    pub fn peer_over_http1(&self, certificate: String, key: String) -> Peer {
        self.peer_by("localhost", certificate, key, reqwest::ClientBuilder::http1_only)
    }

    fn peer_by(
        &self,
        host: &str,
        certificate: String,
        key: String,
        by: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Peer {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let port: u16 = self.running().api.rsplit(':').next().unwrap().parse().unwrap();
        let client = by(reqwest::Client::builder())
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca_pem.as_bytes()).unwrap()])
            .tls_danger_accept_invalid_hostnames(host != "localhost")
            .identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
            .resolve(host, ([127, 0, 0, 1], port).into())
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Peer { client, base: format!("https://{host}:{port}"), certificate, key }
    }

    /// A client directory for the `chancery` program, with a certificate of this role and name.
    pub fn client_directory(&self, role: &str, name: &str) -> PathBuf {
        let uri = format!("chancery://default/{role}/{name}");
        let (certificate, key) = issue(
            &self.issuer,
            ExtendedKeyUsagePurpose::ClientAuth,
            SanType::URI(uri.as_str().try_into().unwrap()),
        );
        let folder = self.at(&format!("client-{role}-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = self.running().api.rsplit(':').next().unwrap();
        let file = format!(
            "v = 1\nurl = \"https://localhost:{port}\"\nca = \"ca.pem\"\ncertificate = \"client.pem\"\nkey = \"client-key.pem\"\n"
        );
        for (name, text) in [
            ("client.toml", &file),
            ("ca.pem", &self.ca_pem),
            ("client.pem", &certificate),
            ("client-key.pem", &key),
        ] {
            write(&folder.join(name), text);
        }
        folder
    }

    /// What the authority makes of a request for a certificate, in PEM.
    pub fn certify(&self, request: &str) -> String {
        let request = rcgen::CertificateSigningRequestParams::from_pem(request).unwrap();
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// The log's own word on what its receipts are verified with.
    pub async fn trust(&self) -> Trust {
        let answer = self.peer("auditor", "trust").get("/v1/trust").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Trust::parse(answer.body.to_string().as_bytes()).unwrap()
    }

    /// A wallet and a bundle in force.
    pub async fn furnish(&self, wallet: &str, bundle: &Value) -> String {
        let operator = self.peer("operator", "op");
        let made = operator
            .post("/v1/wallets", &json!({"id": wallet, "chain": "ethereum", "chain_ids": [31337, 1]}), None)
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let applied = operator.apply(bundle).await;
        assert_eq!(applied.status, 200, "{applied:?}");
        made.body["address"].as_str().unwrap().to_owned()
    }
}

/// Someone with a certificate.
pub struct Peer {
    pub client: reqwest::Client,
    pub base: String,
    /// In PEM, as its key.
    pub certificate: String,
    pub key: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub body: Value,
}

impl Answer {
    /// The receipt in a release, verified with nothing but `trust`.
    pub fn verified(&self, trust: &Trust) -> Verified {
        let receipt = self.body.get("receipt").unwrap_or(&self.body);
        Receipt::parse(receipt.to_string().as_bytes()).expect("a receipt");
        chancery_audit::verify(receipt.to_string().as_bytes(), trust).expect("a receipt that verifies")
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Peer {
    pub async fn get(&self, path: &str) -> Answer {
        finish(self.client.get(format!("{}{path}", self.base))).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        finish(self.client.put(format!("{}{path}", self.base)).json(body)).await
    }

    /// Brings a bundle and waits for its end, however long it takes.
    pub async fn apply(&self, bundle: &Value) -> Answer {
        let mut answer = self.put("/v1/policy", bundle).await;
        while answer.status == 202 && answer.body.get("step").is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let id = answer.body["request_id"].as_str().unwrap();
            answer = self.get(&format!("/v1/policy/changes/{id}")).await;
        }
        answer
    }

    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Answer {
        let mut request = self.client.post(format!("{}{path}", self.base)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        finish(request).await
    }

    /// Asks for a signature on an unsigned transaction.
    pub async fn sign(&self, wallet: &str, data: &[u8], key: &str) -> Answer {
        let payload = json!({"type": "ethereum.transaction", "data": format!("0x{}", hex::encode(data))});
        self.post("/v1/sign", &json!({"wallet": wallet, "payload": payload}), Some(key)).await
    }
}

pub async fn finish(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes = response.bytes().await.expect("a body");
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    Answer { status, retry_after, body }
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    purpose: ExtendedKeyUsagePurpose,
    name: SanType,
) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![name];
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn chanceryd() -> &'static str {
    env!("CARGO_BIN_EXE_chanceryd")
}

/// A bundle's wire form from a folder.
pub fn bundle(folder: &Path) -> Value {
    let source = chancery_policy::Source::from_directory(folder).unwrap();
    json!({"files": source.files})
}

/// The example bundle without its goals, which need a solver: `policy.rs` is about those.
pub fn treasury() -> Value {
    example("treasury")
}

/// An example bundle without its goals.
pub fn example(name: &str) -> Value {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples");
    let mut bundle = bundle(&examples.join(name));
    bundle["files"].as_object_mut().unwrap().retain(|path, _| !path.starts_with("goals/"));
    bundle
}

/// Whom the example bundles know as an exchange.
pub const EXCHANGE: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

/// A transfer to the exchange on the chain of [`Appliance::furnish`].
pub fn transfer(nonce: u64, value: U256) -> TxEip1559 {
    TxEip1559 {
        chain_id: 31337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(EXCHANGE),
        value,
        ..TxEip1559::default()
    }
}

/// One ether to the exchange, as it is signed.
pub fn one_ether(nonce: u64) -> Vec<u8> {
    transfer(nonce, U256::from(10_u64.pow(18))).encoded_for_signing()
}

/// The command line that is built beside the daemon; where it is not, says so.
pub fn chancery() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_chanceryd")).with_file_name("chancery");
    if !path.is_file() {
        eprintln!("skipped: no `chancery` beside `chanceryd`; `cargo build -p chancery-cli` makes it");
    }
    path.is_file().then_some(path)
}

/// Runs it as whoever `client` is the directory of: its exit code, its document, and what it said.
pub fn run(client: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let (code, out, talk) = read(client, &[&["--json"], arguments].concat());
    (code, serde_json::from_str(&out).unwrap_or(Value::Null), talk)
}

/// The same as people read it: its exit code, its output, and what it said.
pub fn read(client: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(chancery().unwrap()).arg("--client").arg(client).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
