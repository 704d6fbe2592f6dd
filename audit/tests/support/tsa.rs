//! A time-stamping authority for tests, all of it OpenSSL: its root, its certificates, and `openssl ts` that answers. What an
//! honest one would not sign is signed with `openssl cms`.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves; each test file uses its part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What an authority's certificate must say.
pub const STAMPING: &str = "extendedKeyUsage=critical,timeStamping";
pub const P256: [&str; 2] = ["EC", "ec_paramgen_curve:P-256"];
pub const P384: [&str; 2] = ["EC", "ec_paramgen_curve:P-384"];
pub const RSA: [&str; 2] = ["RSA", "rsa_keygen_bits:2048"];
/// From when to when a certificate holds.
pub const ALWAYS: [&str; 2] = ["20200101000000Z", "20491231000000Z"];

pub struct Tsa {
    folder: TempDir,
}

impl Tsa {
    /// A root, and the signer `tsa` with an ECDSA key under it.
    pub fn new() -> Self {
        let tsa = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(tsa.at("index.txt"), "").unwrap();
        fs::write(
            tsa.at("ca.cnf"),
            "[ca]\ndefault_ca = a\n[a]\ndatabase = index.txt\nnew_certs_dir = .\nserial = serial\nrand_serial = yes\n\
             default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n",
        )
        .unwrap();
        tsa.digests("sha256");
        let root =
            ["-subj", "/CN=Test Root", "-days", "9000", "-addext", "basicConstraints=critical,CA:TRUE"];
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", P256[1], "-nodes"];
        tsa.openssl(&[&new[..], &root, &["-keyout", "root-key.pem", "-out", "root.pem"]].concat());
        tsa.issue("tsa", P256, STAMPING, ALWAYS);
        tsa
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The root, in PEM.
    pub fn root(&self) -> Vec<u8> {
        fs::read(self.at("root.pem")).unwrap()
    }

    /// Which hashes `openssl ts` takes.
    pub fn digests(&self, digests: &str) {
        fs::write(
            self.at("tsa.cnf"),
            format!(
                "[tsa]\ndefault_tsa = a\n[a]\nserial = tsa-serial\nsigner_digest = sha256\ndefault_policy = 1.2.3.4.1\n\
                 digests = {digests}\naccuracy = secs:1\nordering = yes\ntsa_name = yes\ness_cert_id_alg = sha256\n"
            ),
        )
        .unwrap();
    }

    /// A new key and a certificate under the root: `<name>-key.pem` and `<name>.pem`.
    pub fn issue(&self, name: &str, [kind, option]: [&str; 2], extensions: &str, dates: [&str; 2]) {
        let key = format!("{name}-key.pem");
        self.openssl(&["genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", &key]);
        self.certify(name, extensions, dates);
    }

    /// A certificate for the key `<name>-key.pem`.
    pub fn certify(&self, name: &str, extensions: &str, [from, until]: [&str; 2]) {
        let [key, request, certificate, extra] =
            ["-key.pem", ".csr", ".pem", ".ext"].map(|end| format!("{name}{end}"));
        let all = format!("basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n{extensions}\n");
        fs::write(self.at(&extra), all).unwrap();
        self.openssl(&[
            "req",
            "-new",
            "-key",
            &key,
            "-subj",
            &format!("/CN=Test TSA {name}"),
            "-out",
            &request,
        ]);
        let root = ["ca", "-batch", "-config", "ca.cnf", "-cert", "root.pem", "-keyfile", "root-key.pem"];
        let leaf = ["-in", &request, "-out", &certificate, "-notext", "-extfile", &extra];
        self.openssl(&[&root[..], &leaf, &["-startdate", from, "-enddate", until]].concat());
    }

    /// What `openssl ts` answers in the name of a signer; a refusal is an answer.
    pub fn answer(&self, signer: &str, query: &[u8]) -> Vec<u8> {
        fs::write(self.at("query.tsq"), query).unwrap();
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "tsa.cnf",
            "-queryfile",
            "query.tsq",
            "-out",
            "answer.tsr",
            "-signer",
            &format!("{signer}.pem"),
            "-inkey",
            &format!("{signer}-key.pem"),
        ]);
        fs::read(self.at("answer.tsr")).unwrap()
    }

    /// What an answer signs.
    pub fn content(&self, answer: &[u8]) -> Vec<u8> {
        fs::write(self.at("honest.tsr"), answer).unwrap();
        self.openssl(&["ts", "-reply", "-in", "honest.tsr", "-token_out", "-out", "honest.tst"]);
        let read = ["cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "honest.tst"];
        self.openssl(&[&read[..], &["-out", "content.der"]].concat());
        fs::read(self.at("content.der")).unwrap()
    }

    /// The content of an honest answer, signed by anybody, with a signing-certificate attribute where `named`.
    pub fn forge(&self, signer: &str, answer: &[u8], named: bool, options: &[&str]) -> Vec<u8> {
        self.content(answer);
        let sign = ["cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-outform", "DER"];
        let content = ["-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", "content.der"];
        let (certificate, key) = (format!("{signer}.pem"), format!("{signer}-key.pem"));
        let signer = ["-signer", &certificate, "-inkey", &key, "-out", "forged.tst"];
        let named: &[&str] = if named { &["-cades"] } else { &[] };
        self.openssl(&[&sign[..], &content, named, &signer, options].concat());
        let granted = [0x30, 3, 2, 1, 0].to_vec();
        sequence(&[granted, fs::read(self.at("forged.tst")).unwrap()].concat())
    }

    /// Whether OpenSSL takes an answer as one about this file.
    pub fn openssl_verifies(&self, message: &Path, answer: &Path) -> bool {
        let verify = Command::new("openssl")
            .args(["ts", "-verify", "-CAfile"])
            .arg(self.at("root.pem"))
            .arg("-data")
            .arg(message)
            .arg("-in")
            .arg(answer)
            .output()
            .unwrap();
        verify.status.success()
    }

    fn openssl(&self, arguments: &[&str]) {
        let ran = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// A DER sequence of these bytes.
fn sequence(content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    [&[0x30, 0x82, high, low], content].concat()
}
