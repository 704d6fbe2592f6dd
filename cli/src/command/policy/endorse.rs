//! `chancery policy keygen` and `sign`: what an officer does, on a machine that needs no network. The private key lives in
//! one file that only its owner may read; it is never an argument, a variable of the environment, or shown.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_audit::{Digest, Endorsed, Endorsement, VerifierKey};
use chancery_core::Tenant;
use chancery_policy::Tested;
use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::compile;
use crate::http::{Api, Call};
use crate::{Error, Exit, Output, file};

/// How a file of a private key begins; the form is the one that Go's `note` package writes.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The type of an Ed25519 key in a signed note.
const ED25519: u8 = 1;

/// `chancery policy keygen`.
#[derive(Args, Debug)]
#[command(
    after_help = "The file holds the private key in the clear: keep it on an offline or encrypted medium. The line on \
    standard output is the public key; it goes into `policy.keys` of the appliance's configuration.\n\n\
    Examples:\n  chancery policy keygen ann --out ann.key"
)]
pub struct Keygen {
    /// Who will sign with it: no spaces, no `+`
    #[arg(value_name = "NAME")]
    name: String,
    /// The file to make, for its owner only; one that exists is not written over
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// `chancery policy sign`.
#[derive(Args, Debug)]
#[command(
    after_help = "The signature is a signed note over the bundle's hash, for one appliance, named by its log's origin. \
    `chancery policy diff` shows what is signed. A bundle that does not compile or fails its tests is not signed.\n\n\
    Examples:\n  chancery policy sign policies/treasury --key ann.key --origin signer.example.com/chancery --out ann.note"
)]
pub struct Sign {
    /// The bundle's folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The private key, as `chancery policy keygen` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The appliance's log, as in `log.origin` of its configuration and in `trust.json`
    #[arg(long, value_name = "NAME")]
    origin: String,
    /// The tenant
    #[arg(long, default_value_t = Tenant::default())]
    tenant: Tenant,
    /// Where to write the signed note, a file that does not exist yet; standard output without
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A private key with its name.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl Signer {
    fn of(name: &str, seed: &[u8]) -> Result<Self, String> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| "holds no Ed25519 seed of 32 bytes")?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| "holds another kind of key")?;
        Ok(Self { pair, key: VerifierKey::new(name, public).map_err(|error| error.to_string())? })
    }

    /// `PRIVATE+KEY+<name>+<hash>+<base64(type, seed)>`.
    fn parse(text: &str) -> Result<Self, String> {
        let form = "is not a private key as `chancery policy keygen` makes it";
        let rest = text.strip_suffix('\n').unwrap_or(text).strip_prefix(PRIVATE).ok_or(form)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(hash), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form.to_owned());
        };
        let blob = Zeroizing::new(STANDARD.decode(blob).map_err(|_| form)?);
        let seed = blob.strip_prefix(&[ED25519]).ok_or(form)?;
        let signer = Self::of(name, seed)?;
        if signer.key.to_string().split('+').nth(1) == Some(hash) {
            Ok(signer)
        } else {
            Err("has a hash that is not of its name and key".to_owned())
        }
    }

    /// Reads a private key as `chancery policy keygen` makes it.
    ///
    /// # Errors
    /// [`Error::Content`] for what is none, or can be read by others.
    pub fn read(path: &Path) -> Result<Self, Error> {
        if file::open_to_others(path)? != 0 {
            return Err(Error::content(
                path,
                "can be read by others; `chmod go-rwx` it, and think of it as known",
            ));
        }
        let text = Zeroizing::new(file::read_text(path)?);
        Self::parse(&text).map_err(|what| Error::content(path, what))
    }
}

impl Signer {
    /// Its public key.
    pub fn public(&self) -> &VerifierKey {
        &self.key
    }

    /// Signs with Ed25519.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl Keygen {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *seed).map_err(Error::Random)?;
        let signer = Signer::of(&self.name, &*seed).map_err(|detail| Error::Usage {
            detail: format!("`{}` cannot name a key: {detail}", self.name),
            hint: "a name has no spaces and no `+`, such as `ann` or `example.com/ann`",
        })?;
        let public = signer.key.to_string();
        let hash = public.split('+').nth(1).unwrap_or_default();
        let blob = Zeroizing::new([&[ED25519][..], &*seed].concat());
        let text = Zeroizing::new(format!("{PRIVATE}{}+{hash}+{}\n", self.name, STANDARD.encode(&*blob)));
        file::write_new(&self.out, text.as_bytes(), file::SECRET)?;
        if output.is_json() {
            output.document(&json!({ "key": public, "file": self.out }))?;
        } else {
            output.say(&format!("private key in `{}`; its public key:", self.out.display()));
            output.line(&public)?;
        }
        Ok(Exit::Ok)
    }
}

impl Sign {
    pub fn run(&self, output: &Output) -> Result<Exit, Error> {
        let signer = Signer::read(&self.key)?;
        let tested = Tested::of(compile(&self.directory, output)?)
            .map_err(|error| Error::Failed(error.to_string()))?;
        let hash = digest(tested.bundle().hash())?;
        let text = Endorsed { origin: &self.origin, tenant: &self.tenant, bundle: &hash }.text();
        let note = format!("{text}\n{}", signer.key.line(signer.pair.sign(text.as_bytes()).as_ref()));
        // What the appliance would refuse to read is not written.
        chancery_audit::Note::parse(note.as_bytes())
            .and_then(|note| note.verify(std::slice::from_ref(&signer.key)).map(drop))
            .map_err(|error| Error::Failed(format!("the origin cannot be signed for: {error}")))?;
        if let Some(path) = &self.out {
            file::write_new(path, note.as_bytes(), file::PUBLIC)?;
        }
        let signed = format!("bundle `{}`, {hash}, signed by {}", tested.bundle().name(), signer.key.name());
        if output.is_json() {
            output.document(&json!({ "bundle": hash, "key": signer.key.to_string(), "note": note }))?;
        } else {
            output.say(&signed);
            if self.out.is_none() {
                output.bytes(note.as_bytes())?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// A bundle's hash, as the log writes it.
fn digest(hash: &str) -> Result<Digest, Error> {
    hash.parse().map_err(|_| Error::Failed(format!("`{hash}` is not a bundle's hash")))
}

/// The signatures that an answer of `/v1/policy` shows, each verified here over the bundle's hash. Which keys they should
/// be by is the reader's to know.
pub fn signatures(api: &Api<'_>, document: &Value, bundle: &str) -> Result<Vec<Endorsement>, Error> {
    let shown = document.get("signatures").cloned().unwrap_or_else(|| json!([]));
    let shown: Vec<Endorsement> = serde_json::from_value(shown)
        .map_err(|error| Error::Failed(format!("the bundle's signatures cannot be read: {error}")))?;
    if shown.is_empty() {
        return Ok(shown);
    }
    let answer = api.call(&Call::get(&["trust"]))?;
    let trust = answer.json()?;
    let (origin, tenant, bundle) = (answer.text(&trust, "/origin")?, Tenant::default(), digest(bundle)?);
    let of = Endorsed { origin: &origin, tenant: &tenant, bundle: &bundle };
    for one in &shown {
        one.signer(of).map_err(|error| Error::Failed(format!("bundle {bundle}: {error}")))?;
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The key pair of the example of golang.org/x/mod/sumdb/note, with its name; the text form is its `GenerateKey`'s.
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_key_made_elsewhere_reads_the_same() {
        assert_eq!(Signer::parse(SECRET).unwrap().key.to_string(), PUBLIC);
        for bad in [
            SECRET.replace("c74f20a3", "c74f20a4"),
            SECRET.replace("PeterNeumann", "Peter"),
            SECRET.replace("PRIVATE", "PUBLIC"),
            SECRET.replace("+AYEK", "+AoEK"),
            PUBLIC.to_owned(),
            String::new(),
        ] {
            assert!(Signer::parse(&bad).is_err(), "{bad}");
        }
    }
}
