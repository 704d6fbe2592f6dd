//! Several appliances that are parties of each other's keys, and a client whom all of them know.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chancery_audit::Trust;
use chancery_identity::{Algorithm, Draft, Fingerprint, Message};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::appliance::{Answer, Appliance, Peer, finish};

/// The parties, from number 1.
pub struct Parties {
    appliances: Vec<Appliance>,
    /// A client of the first one's authority, which all accept: certificate and key.
    client: (String, String),
}

impl Parties {
    /// So many parties that know each other; party 1 may propose to all. `None` without SoftHSM2.
    pub async fn open(count: u8) -> Option<Self> {
        let mut appliances = Vec::new();
        for _ in 0..count {
            appliances.push(Appliance::prepare()?);
        }
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let common = std::fs::read_to_string(appliances[0].at("pki/ca.pem")).unwrap();
        let mut identities = Vec::new();
        for (at, appliance) in appliances.iter_mut().enumerate() {
            let number = at + 1;
            let origin = format!("test.example/party-{number}");
            appliance.reconfigure("test.example/chancery", &origin);
            if at > 0 {
                append(appliance, "pki/ca.pem", &common);
            }
            let own = format!("\n[mpc]\nparty = {number}\nlisten = \"127.0.0.1:{}\"\n", ports[at]);
            append(appliance, "chancery.toml", &own);
            appliance.start();
            let standing = appliance.peer("operator", "op").get("/v1/mpc").await;
            assert_eq!(standing.status, 200, "{standing:?}");
            identities.push(standing.body["identity"].clone());
            appliance.stop();
            for state in STATE {
                copy(&appliance.at(state), &appliance.at(&format!("{state}.before")));
            }
        }
        for (at, appliance) in appliances.iter_mut().enumerate() {
            for (other, identity) in identities.iter().enumerate().filter(|(other, _)| *other != at) {
                let number = other + 1;
                std::fs::write(appliance.at(&format!("party-{number}.json")), identity.to_string()).unwrap();
                let peer = format!(
                    "\n[[mpc.peer]]\nparty = {number}\nurl = \"https://127.0.0.1:{}\"\nidentity = \"party-{number}.json\"\n\
                     hosts = [\"localhost\"]\nmay_propose = {}\n",
                    ports[other],
                    number == 1
                );
                append(appliance, "chancery.toml", &peer);
            }
            appliance.start();
        }
        let client = appliances[0].peer("client", "backend");
        Some(Self { client: (client.certificate, client.key), appliances })
    }

    pub fn appliance(&self, number: usize) -> &Appliance {
        &self.appliances[number - 1]
    }

    pub fn operator(&self, number: usize) -> Peer {
        self.appliance(number).peer("operator", "op")
    }

    pub fn client(&self, number: usize) -> Peer {
        let (certificate, key) = self.client.clone();
        self.appliance(number).peer_with(certificate, key)
    }

    /// What a stranger verifies this party's receipts with.
    pub async fn trust(&self, number: usize) -> Trust {
        self.appliance(number).trust().await
    }

    /// Where a request stands at a party.
    pub async fn state(&self, number: usize, id: &str) -> Value {
        self.operator(number).get(&format!("/v1/requests/{id}")).await.body["state"].clone()
    }

    pub fn signal(&self, number: usize, signal: &str) {
        let id = self.appliance(number).running().child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        assert!(status.success());
    }

    pub fn kill(&mut self, number: usize) {
        self.appliances[number - 1].kill();
    }

    pub fn start(&mut self, number: usize) {
        self.appliances[number - 1].start();
    }

    /// What all that run have said, for a failure.
    pub fn logs(&self) -> String {
        let running = self.appliances.iter().filter_map(Appliance::said);
        running.collect::<Vec<_>>().join("\n---\n")
    }

    /// Sets a party's whole state back to before any key was made, and what it says when it is started then.
    pub fn set_back(&mut self, number: usize) -> String {
        let appliance = &mut self.appliances[number - 1];
        appliance.kill();
        for state in STATE {
            std::fs::remove_dir_all(appliance.at(state)).unwrap();
            copy(&appliance.at(&format!("{state}.before")), &appliance.at(state));
        }
        appliance.start_in_vain()
    }

    /// Stops a party and changes a byte of everything in its store that is no text: of its share.
    pub fn tamper(&mut self, number: usize) {
        let appliance = &mut self.appliances[number - 1];
        appliance.stop();
        let path = appliance.at("store/store.sqlite");
        let mut bytes = std::fs::read(&path).unwrap();
        let mut changed = 0;
        for page in bytes.chunks_mut(4096) {
            if page.iter().collect::<BTreeSet<_>>().len() > 240 {
                page[2048] ^= 1;
                changed += 1;
            }
        }
        assert!(changed > 0, "there is a share in the store");
        std::fs::write(path, bytes).unwrap();
    }

    /// Asks a party for the treasury's signature, as a client that signs its requests.
    pub async fn sign(&self, number: usize, data: &[u8], key: &str) -> Answer {
        let payload = json!({"type": "ethereum.transaction", "data": format!("0x{}", hex::encode(data))});
        self.sign_with(number, &json!({"wallet": "treasury", "payload": payload}), key).await
    }

    /// The same of any wallet.
    pub async fn sign_with(&self, number: usize, ask: &Value, key: &str) -> Answer {
        let peer = self.client(number);
        let body = ask.to_string();
        let certificate = CertificateDer::from_pem_slice(peer.certificate.as_bytes()).unwrap();
        let pem = PrivateKeyDer::from_pem_slice(peer.key.as_bytes()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pem.secret_der()).unwrap();
        let message = Message {
            method: "POST",
            authority: peer.base.trim_start_matches("https://"),
            path: "/v1/sign",
            idempotency_key: key,
            body: body.as_bytes(),
        };
        let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let nonce = chancery_core::RequestId::fresh().to_string();
        let of = Fingerprint::of(&certificate);
        let draft = Draft::new(&message, &of, Algorithm::EcdsaP256Sha256, now_s, &nonce).unwrap();
        let signature = pair.sign(&SystemRandom::new(), draft.base().as_bytes()).unwrap();
        let mut request = peer.client.post(format!("{}/v1/sign", peer.base));
        for (name, value) in draft.fields(signature.as_ref()) {
            request = request.header(name, value);
        }
        let request = request.header("content-type", "application/json").header("idempotency-key", key);
        finish(request.body(body.clone())).await
    }
}

/// What a party has on its disk, beside what the token keeps.
const STATE: [&str; 2] = ["store", "log"];

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success(), "{}", from.display());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn append(appliance: &Appliance, file: &str, text: &str) {
    let path = appliance.at(file);
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, before + text).unwrap();
}
