//! A cold wallet for tests: an appliance, people, and a machine apart that is given no appliance.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use std::process::Command;
use std::time::Duration;

use alloy_consensus::SignableTransaction as _;
use alloy_primitives::U256;
use bitcoin::secp256k1::Secp256k1;
use chancery_audit::{Act, Digest, Matter};
use chancery_core::Tenant;
use serde_json::{Value, json};

use crate::appliance::{self, Answer, Appliance, Peer, chancery, run, treasury};
use crate::passkey::Passkey;

const ORIGIN: &str = "https://chancery.example";
pub const PASSWORD: &str = "a long walk to the vault";

/// Allows cold wallets what one of the treasury approves and risk does not veto, 100 ETH a day; and to other wallets nothing.
pub const RULES: &str = r#"
@id("cold-eth")
@quorum("treasury, 1")
@veto("risk")
@expires("12h")
permit (principal in ClientGroup::"backends", action == Action::"transfer", resource)
when { context.tier == "cold" && context has asset && context.spent has daily && context.spent.daily <= 100000000000 };

@id("cold-coins")
@quorum("treasury, 1")
permit (principal in ClientGroup::"backends", action == Action::"transfer", resource == Wallet::"default/coins");

@id("cold-message")
@veto("risk")
permit (principal in ClientGroup::"backends", action == Action::"message", resource) when { context.tier == "cold" };
"#;

const PEOPLE: [(&str, &str, &str); 3] = [
    ("ann", "approver", "treasury"),
    ("rex", "approver", "risk"),
    ("ada", "administrator", "administrators"),
];

pub struct Scene {
    pub appliance: Appliance,
    pub client: Peer,
    pub operator: Peer,
    officers: Vec<(&'static str, Peer, Passkey)>,
    pub bundle: Value,
}

impl Scene {
    /// An appliance with these rules in force, and a trust file beside it; `None` without SoftHSM2 or command line.
    pub async fn open(rules: &str) -> Option<Self> {
        chancery()?;
        let mut appliance = Appliance::prepare()?;
        appliance.start();
        let mut bundle = treasury();
        let files = bundle["files"].as_object_mut().unwrap();
        files.retain(|path, _| path == "bundle.toml");
        files.insert("policies/cold.cedar".to_owned(), rules.into());
        let mut manifest = files["bundle.toml"].as_str().unwrap().to_owned();
        manifest = manifest.replace("\"risk\"]", "\"risk\", \"administrators\"]");
        manifest += &format!("\n[webauthn]\nrp_id = \"chancery.example\"\norigins = [\"{ORIGIN}\"]\n");
        let mut officers = Vec::new();
        for (name, role, group) in PEOPLE {
            let passkey = Passkey::fresh("chancery.example", ORIGIN);
            manifest += &format!(
                "\n[[officer]]\nid = \"{name}\"\nroles = [\"{role}\"]\ngroups = [\"{group}\"]\n{}",
                passkey.entry()
            );
            officers.push((name, appliance.peer("officer", name), passkey));
        }
        files["bundle.toml"] = manifest.into();
        let operator = appliance.peer("operator", "op");
        let applied = operator.apply(&bundle).await;
        assert_eq!(applied.status, 200, "{applied:?}");
        std::fs::write(appliance.at("password"), PASSWORD).unwrap();
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(appliance.at("password"), only_owner).unwrap();
        let trust = operator.get("/v1/trust").await.body;
        std::fs::write(appliance.at("trust.json"), trust.to_string()).unwrap();
        let client = appliance.peer("client", "backend");
        Some(Self { appliance, client, operator, officers, bundle })
    }

    pub fn at(&self, name: &str) -> String {
        self.appliance.at(name).to_str().unwrap().to_owned()
    }

    pub fn restart(&mut self) {
        self.appliance.stop();
        self.appliance.start();
        self.client = self.appliance.peer("client", "backend");
        self.operator = self.appliance.peer("operator", "op");
        for (name, peer, _) in &mut self.officers {
            *peer = self.appliance.peer("officer", name);
        }
    }

    /// The command line on the machine apart: it is given no appliance.
    pub fn apart(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = Command::new(chancery().unwrap())
            .args(["--json", "--client", "/nowhere"])
            .args(arguments)
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), talk)
    }

    /// Makes a cold wallet's folder, and has it in the appliance.
    pub fn make(&self, wallet: &str, of: &[&str], on: &[&str]) -> Value {
        let (password, folder) = (self.at("password"), self.at(wallet));
        let init = ["cold", "init", "--dir", &folder, "--password-file", &password];
        let (code, _, talk) = self.apart(&[&init, of].concat());
        assert_eq!(code, 0, "{talk}");
        let (operator, public) = (self.as_operator(), self.at(&format!("{wallet}/public.json")));
        let create = ["wallet", "create", wallet, "--cold", &public];
        let (code, made, talk) = run(&operator, &[&create, on].concat());
        assert_eq!((code, &made["tier"]), (0, &json!("cold")), "{made} {talk}");
        made
    }

    pub fn as_operator(&self) -> std::path::PathBuf {
        self.appliance.client_directory("operator", "op")
    }

    pub fn as_client(&self) -> std::path::PathBuf {
        self.appliance.client_directory("client", "backend")
    }

    pub fn sign(&self, wallet: &str, request: &str, out: &str, more: &[&str]) -> (i32, Value, String) {
        let at = |name: &str| self.at(name);
        let sign = ["cold", "sign", &at(request), "--key", &at(wallet), "--trust", &at("trust.json")];
        let how = ["--password-file", &at("password"), "--yes", "--out", &at(out)];
        self.apart(&[&sign, &how[..], more].concat())
    }

    pub fn export(&self, id: &str, out: &str, more: &[&str]) -> (i32, Value, String) {
        let out = self.at(out);
        run(&self.as_client(), &[&["cold", "export", id, "--out", &out], more].concat())
    }

    pub fn signed(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.at(name)).unwrap()).unwrap()
    }

    pub async fn submit(&self, peer: &Peer, id: &str, signed: &Value) -> Answer {
        peer.post(&format!("/v1/requests/{id}/cold"), signed, None).await
    }

    /// What one officer says, computed by their own client.
    pub async fn say(&self, name: &str, id: &str, act: &str, group: &str) -> Answer {
        let (_, peer, passkey) = self.officers.iter().find(|(known, ..)| *known == name).unwrap();
        let sheet = peer.get(&format!("/v1/approvals/{id}")).await.body;
        let text = |name: &str| sheet[name].as_str().unwrap_or_default();
        let (tenant, bundle): (_, Digest) = (Tenant::default(), text("bundle").parse().unwrap());
        let (client, wallet) = (text("client").parse().unwrap(), text("wallet").parse().unwrap());
        let word: Act = serde_json::from_value(json!(act)).unwrap();
        let request = id.parse().unwrap();
        let matter = Matter::new(word, group, &tenant, request, &client, &wallet, &sheet["intent"], &bundle);
        let assertion = passkey.assert(&matter.challenge().unwrap());
        let body = json!({ "act": act, "group": group, "bundle": bundle, "assertion": assertion });
        peer.post(&format!("/v1/approvals/{id}"), &body, None).await
    }

    /// A payment of the wallet `vault` that waits.
    pub async fn ask(&self, nonce: u64, eth: u64, key: &str) -> String {
        let answer = self.client.sign("vault", &transfer(nonce, eth), key).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["request_id"].as_str().unwrap().to_owned()
    }

    pub async fn approved(&self, id: &str) {
        let said = self.say("ann", id, "approve", "treasury").await;
        assert_eq!((said.status, &said.body["state"]), (200, &json!("pending")), "{said:?}");
        assert_eq!(said.body["missing"][0]["needs"], json!([{ "need": "signature" }]));
    }

    /// Whether the client hears of this soon: events wait for a checkpoint.
    pub async fn told(&self, what: &str) -> bool {
        for _ in 0..50 {
            if self.client.get("/v1/events").await.body.to_string().contains(what) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }

    pub async fn state(&self, id: &str) -> Value {
        self.client.get(&format!("/v1/requests/{id}")).await.body
    }
}

pub fn transfer(nonce: u64, eth: u64) -> Vec<u8> {
    appliance::transfer(nonce, U256::from(eth) * U256::from(10_u64.pow(18))).encoded_for_signing()
}

#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[track_caller]
pub fn failed((code, document, talk): &(i32, Value, String), why: &str) {
    assert!(*code != 0 && talk.contains(why), "`{why}`: {code} {document} {talk}");
}

/// The address that a signed transaction of [`transfer`] recovers to.
pub fn signer_of(raw: &str, nonce: u64, eth: u64) -> String {
    let raw = hex::decode(raw.strip_prefix("0x").unwrap()).unwrap();
    // EIP-2718: the type, then a list of the unsigned members and parity, r, s.
    let digest = alloy_primitives::keccak256(transfer(nonce, eth));
    let (s, r) = (&raw[raw.len() - 32..], &raw[raw.len() - 65..raw.len() - 33]);
    let parity = i32::from(raw[raw.len() - 67] == 1);
    let id = bitcoin::secp256k1::ecdsa::RecoveryId::from_i32(parity).unwrap();
    let compact = [r, s].concat();
    let signature = bitcoin::secp256k1::ecdsa::RecoverableSignature::from_compact(&compact, id).unwrap();
    let message = bitcoin::secp256k1::Message::from_digest(digest.0);
    let key = Secp256k1::verification_only().recover_ecdsa(&message, &signature).unwrap();
    chancery_intent::address_of(&key.serialize()).unwrap().to_string()
}
