//! One appliance made ready to be loaded or killed: token, daemon, one wallet, one policy, one client.

use std::fs;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256};
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use xtask::appliance::{Appliance, Programs, Rate};
use xtask::http::Answer;

use crate::door::{Door, Line, unexpected};
use crate::transaction::{self, Moves};
use crate::{Error, officer};

/// The chain of a local development node.
pub const CHAIN_ID: u64 = 31_337;
/// The wallet and the client of a stage.
pub const NAME: &str = "load";
/// A wallet whose key is not with the appliance.
pub const COLD: &str = "cold";
/// For whom officers' passkeys are.
pub const PARTY: &str = "load.example";
/// Who agrees to large transfers. The passkey of each lies in the appliance's folder.
const OFFICER: &str = "approver";
/// Who agrees to changes, once the stage is governed.
const ADMINISTRATOR: &str = "administrator";
const GOVERNED: &str = r#"
@id("change-by-administrators")
@quorum("administrators, 1")
permit (principal == Client::"default/operator", action == Action::"change", resource);
"#;
/// The limit of the stage's bundle that counts requests.
pub const COUNTED: &str = "requests_day";

const BUNDLE: &[(&str, &str)] = &[
    ("bundle.toml", include_str!("../policy/bundle.toml")),
    ("policies/load.cedar", include_str!("../policy/policies/load.cedar")),
    ("tests/load.toml", include_str!("../policy/tests/load.toml")),
];

/// A running appliance and the ways into it.
#[derive(Debug)]
pub struct Stage {
    /// The appliance.
    pub appliance: Appliance,
    /// As the client that asks for signatures.
    pub client: Door,
    /// As the operator.
    pub operator: Door,
    /// The log's keys, fetched before anything was asked.
    pub trust: PathBuf,
}

impl Stage {
    /// Makes a new appliance in `dir`, starts it and gives it a wallet and a policy.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the programs said.
    pub fn set(programs: &Programs, dir: &Path) -> Result<Self, Error> {
        Self::on(Appliance::init(programs, dir)?, dir)
    }

    /// Starts an appliance that was made in `dir` and never served, and gives it a wallet and a policy.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn on(mut appliance: Appliance, dir: &Path) -> Result<Self, Error> {
        // The generator is one client; the bound on one client is not what is measured.
        appliance.rate(Rate { per_second: 1_000_000, burst: 1_000_000 })?;
        appliance.issue(NAME, "client")?;
        appliance.start()?;
        let operator = || appliance.chancery(Some("operator"));
        operator().args(["wallet", "create", NAME, "--chain-id", &CHAIN_ID.to_string()]).quiet()?;
        let bundle = dir.join("bundle");
        for (path, text) in BUNDLE {
            let path = bundle.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&bundle)).map_err(Error::file(&path))?;
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        let officer =
            appliance.chancery(None).args(["officer", "passkey", OFFICER, "--rp-id", PARTY, "--origin"]);
        let entry = officer
            .arg(format!("https://{PARTY}"))
            .arg("--out")
            .arg(dir.join(format!("{OFFICER}.passkey")))
            .asked()?;
        let manifest = bundle.join("bundle.toml");
        let whole = fs::read_to_string(&manifest).map_err(Error::file(&manifest))?
            + &entry.replace("groups = []", "groups = [\"officers\"]");
        fs::write(&manifest, whole).map_err(Error::file(&manifest))?;
        appliance.issue(OFFICER, "officer")?;
        appliance.apply(&bundle)?;
        let trust = dir.join("trust.json");
        operator().args(["trust", "fetch", "--out"]).arg(&trust).quiet()?;
        let client = Door::read(&appliance.client(NAME))?;
        let operator = Door::read(&appliance.client("operator"))?;
        Ok(Self { appliance, client, operator, trust })
    }

    /// The officer's word to a pending request, with the real program.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the program said.
    pub fn approve(&self, request: &str) -> Result<(), Error> {
        self.speak(OFFICER, "officers", request)
    }

    fn speak(&self, who: &str, group: &str, request: &str) -> Result<(), Error> {
        let approve = self
            .appliance
            .chancery(Some(who))
            .args(["approval", "approve", request, "--yes", "--group", group]);
        Ok(approve.arg("--passkey").arg(self.appliance.dir.join(format!("{who}.passkey"))).quiet()?)
    }

    /// From now on wallets are made with an administrator's word alone.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the programs said.
    pub fn govern(&self) -> Result<(), Error> {
        let bundle = self.appliance.dir.join("bundle");
        let rule = bundle.join("policies/change.cedar");
        fs::write(&rule, GOVERNED).map_err(Error::file(&rule))?;
        let manifest = bundle.join("bundle.toml");
        let text = fs::read_to_string(&manifest).map_err(Error::file(&manifest))?;
        let text =
            text.replace("approvers = [\"officers\"]", "approvers = [\"officers\", \"administrators\"]");
        fs::write(&manifest, text).map_err(Error::file(&manifest))?;
        let passkey =
            self.appliance.chancery(None).args(["officer", "passkey", ADMINISTRATOR, "--rp-id", PARTY]);
        let entry = passkey
            .args(["--origin", &format!("https://{PARTY}"), "--out"])
            .arg(self.appliance.dir.join(format!("{ADMINISTRATOR}.passkey")))
            .asked()?
            .replace("roles = [\"approver\"]", "roles = [\"administrator\"]")
            .replace("groups = []", "groups = [\"administrators\"]");
        self.appliance.issue(ADMINISTRATOR, "officer")?;
        officer::into_bundle(self, &entry)
    }

    /// Asks for another wallet of a governed stage; the request that waits.
    ///
    /// # Errors
    /// [`Error::Connection`] or [`Error::Answer`].
    pub fn ask_for_wallet(&self, name: &str) -> Result<String, Error> {
        let body = json!({ "id": name, "chain": "ethereum", "chain_ids": [CHAIN_ID] }).to_string();
        let answer = self.operator.call("POST", "/v1/wallets", None, Some(body.as_bytes()))?;
        let id = answer.json().get("request_id").and_then(|id| id.as_str().map(str::to_owned));
        id.filter(|_| answer.status == 202)
            .ok_or_else(|| unexpected("POST /v1/wallets (nothing waits)", &answer))
    }

    /// The administrator's word to a change that waits, with the real program.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the program said.
    pub fn agree(&self, request: &str) -> Result<(), Error> {
        self.speak(ADMINISTRATOR, "administrators", request)
    }

    /// A cold wallet, [`COLD`], whose key is this program's.
    ///
    /// # Errors
    /// [`Error::Drive`] with what the program said.
    pub fn make_cold(&self) -> Result<(), Error> {
        let key = cold_key()?.public_key(&Secp256k1::new()).to_string();
        let create = self.appliance.chancery(Some("operator")).args(["wallet", "create", COLD, "--chain-id"]);
        Ok(create.args([&CHAIN_ID.to_string(), "--public-key", &key]).quiet()?)
    }

    /// Fetches what the cold wallet is asked to sign, and signs it apart; what is to be brought.
    ///
    /// # Errors
    /// [`Error::Connection`] or [`Error::Answer`].
    pub fn sign_apart(&self, request: &str) -> Result<Vec<u8>, Error> {
        let path = format!("/v1/requests/{request}/cold");
        let answer = self.client.read_document(&path)?;
        let asked = answer.json();
        let wrong = || unexpected(&path, &answer);
        let of = |pointer: &str| asked.pointer(pointer).cloned().ok_or_else(wrong);
        // C2SP tlog-proof: the second line of a proof says where the entry stands.
        let proof = of("/receipt/decision_proof")?;
        let index =
            proof.as_str().and_then(|proof| proof.lines().find_map(|line| line.strip_prefix("index ")));
        let leaf: u64 = index.and_then(|index| index.parse().ok()).ok_or_else(wrong)?;
        let mut signatures = Vec::new();
        for signing in of("/signings")?.as_array().into_iter().flatten() {
            let digest = signing.get("digest").and_then(|digest| digest.as_str()).map(hex::decode);
            let digest = digest.and_then(Result::ok).and_then(|digest| digest.try_into().ok());
            let digest = Message::from_digest(digest.ok_or_else(wrong)?);
            let signature = Secp256k1::new().sign_ecdsa(&digest, &cold_key()?);
            signatures.push(hex::encode(signature.serialize_compact()));
        }
        let signed = json!({
            "v": 1, "kind": "chancery.cold.signed", "tenant": of("/receipt/decision/tenant")?, "request_id": request,
            "wallet": COLD, "decision_leaf": leaf,
            "request_sha256": hex::encode(Sha256::digest(&answer.body)), "signatures": signatures,
        });
        Ok(signed.to_string().into_bytes())
    }

    /// Brings it.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub fn bring(&self, request: &str, signed: &[u8]) -> Result<Answer, Error> {
        self.client.call("POST", &format!("/v1/requests/{request}/cold"), None, Some(signed))
    }

    /// Another client that the stage's bundle knows, `load-<number>`: 1 to 7.
    ///
    /// # Errors
    /// [`Error::Drive`], [`Error::File`] or [`Error::Client`].
    pub fn another_client(&self, number: u64) -> Result<Door, Error> {
        let name = format!("{NAME}-{number}");
        self.appliance.issue(&name, "client")?;
        Door::read(&self.appliance.client(&name))
    }

    /// Another wallet.
    ///
    /// # Errors
    /// [`Error::Connection`] or [`Error::Answer`].
    pub fn another_wallet(&self, operator: &mut Line, name: &str) -> Result<(), Error> {
        let body = json!({ "id": name, "chain": "ethereum", "chain_ids": [CHAIN_ID] }).to_string();
        let call = "POST /v1/wallets";
        let request = self.operator.request("POST", "/v1/wallets", None, Some(body.as_bytes()));
        let answer =
            operator.call(&request).map_err(|source| Error::Connection { call: call.into(), source })?;
        if answer.status == 201 { Ok(()) } else { Err(unexpected(call, &answer)) }
    }
}

fn cold_key() -> Result<SecretKey, Error> {
    SecretKey::from_slice(&[7; 32]).map_err(|error| Error::Option(error.to_string()))
}

/// The body of the sign request of `wallet` with this nonce.
#[must_use]
pub fn sign_body(wallet: &str, nonce: u64) -> Vec<u8> {
    body(wallet, nonce, 1_000_000_000)
}

/// The same for so much that an officer is asked.
#[must_use]
pub fn large_body(wallet: &str, nonce: u64) -> Vec<u8> {
    body(wallet, nonce, 2_000_000_000_000_000_000)
}

fn body(wallet: &str, nonce: u64, wei: u64) -> Vec<u8> {
    let moves = Moves::Ether { to: Address::repeat_byte(0x11), wei: U256::from(wei) };
    transaction::body(wallet, &transaction::unsigned(CHAIN_ID, nonce, &moves)).to_string().into_bytes()
}
