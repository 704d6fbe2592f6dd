//! Certificates that the appliance itself issues and takes back, against the real one: only as its policy lets, for nobody else
//! and for nothing more than was agreed to; and what was taken back is cut off at once and for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod administrators;
mod appliance;
mod passkey;
mod people;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use administrators::Council;
use appliance::{Answer, Appliance, Peer, chancery, one_ether, read};
use chancery_core::config::Config;
use chancery_core::{ManualClock, limit};
use chancery_enclave::{Enclave, Issued, Programs};
use chancery_identity::Authority;
use chancery_secret::Pin;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use serde_json::{Value, json};

/// Longer than any of this takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);

const BACKEND: &str = "chancery://default/client/backend";

/// A certificate request with these names, signed by `key`.
fn request(names: &[&str], key: &KeyPair) -> String {
    request_with(names, key, |_| {})
}

fn request_with(names: &[&str], key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

async fn ask(operator: &Peer, csr: &str) -> Answer {
    operator.post("/v1/clients", &json!({ "csr": csr, "days": 30 }), None).await
}

async fn take_back(operator: &Peer, serial: &Value) -> Answer {
    operator.post("/v1/clients/revocations", &json!({ "serials": [serial], "reason": "lost" }), None).await
}

fn id(asked: &Answer) -> String {
    assert_eq!((asked.status, &asked.body["state"]), (202, &json!("pending")), "{asked:?}");
    asked.body["request_id"].as_str().unwrap().to_owned()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// A holder of a certificate that two administrators agreed to.
struct Holder {
    serial: Value,
    peer: Peer,
}

async fn admitted(council: &Council, uri: &str) -> Holder {
    let key = KeyPair::generate().unwrap();
    let asked = id(&ask(&council.operator, &request(&[uri], &key)).await);
    council.agree(&asked).await;
    let found = council.operator.get(&format!("/v1/clients?request_id={asked}")).await;
    let row = &found.body["clients"][0];
    assert_eq!(row["client"], uri, "{found:?}");
    let certificate = row["certificate"].as_str().unwrap().to_owned();
    Holder {
        serial: row["serial"].clone(),
        peer: council.appliance.peer_with(certificate, key.serialize_pem()),
    }
}

impl Holder {
    /// The same at the appliance that runs now, with a connection of its own.
    fn again(&self, appliance: &Appliance) -> Peer {
        appliance.peer_with(self.peer.certificate.clone(), self.peer.key.clone())
    }
}

/// Whether the door lets somebody in.
async fn comes_in(peer: &Peer) -> bool {
    match peer.client.get(format!("{}/v1/trust", peer.base)).send().await {
        Ok(response) => response.status() == 200,
        Err(_) => false,
    }
}

/// The whole way with the real command line: would catch a certificate without a quorum, officers who do not see whom they let
/// in, a certificate that does not sign, and a log or receipt that does not tell.
#[tokio::test]
async fn a_client_is_let_in_by_two_administrators() {
    let Some(council) = Council::open().await else { return };
    if chancery().is_none() {
        return;
    }
    let at = |name: &str| council.appliance.at(name).to_str().unwrap().to_owned();
    let operator = council.appliance.client_directory("operator", "op");
    let (new, csr) = (at("new"), at("new/csr.pem"));
    let (code, digest, talk) =
        read(&operator, &["client", "csr", "backend", "--role", "client", "--out", &new]);
    assert_eq!(code, 0, "{talk}");
    let (code, out, talk) = read(&operator, &["client", "add", &csr, "--days", "30"]);
    let id = out.trim();
    assert!(code == 3 && talk.contains("2 approvals by `administrators`"), "{code} {out} {talk}");
    let fetch = ["client", "fetch", id, "--out", &new];
    assert_eq!(read(&operator, &fetch).0, 3, "it waits");
    assert_eq!(council.operator.get("/v1/clients").await.body, json!({ "clients": [] }));

    let ada = council.appliance.client_directory("officer", "ada");
    let (code, shown, talk) = read(&ada, &["approval", "show", id]);
    assert_eq!(code, 0, "{shown} {talk}");
    for told in [BACKEND, "for 30 days", digest.trim(), "no other certificate of that name holds"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    council.agree(id).await;
    let (code, out, talk) = read(&operator, &fetch);
    assert_eq!(code, 0, "{out} {talk}");
    let (code, out, talk) = read(Path::new(&new), &["client", "show"]);
    assert!(code == 0 && out.contains(BACKEND), "{out} {talk}");

    // The new client signs, and policy sees the name that was agreed to.
    let transaction = format!("0x{}", hex::encode(one_ether(0)));
    let sign = ["sign", "--wallet", "treasury", "--transaction", &transaction];
    let (code, out, talk) = read(Path::new(&new), &sign);
    assert_eq!(code, 0, "{out} {talk}");

    let (code, out, talk) = read(&operator, &["client", "list"]);
    assert!(code == 0 && out.contains(BACKEND) && out.contains("holds"), "{out} {talk}");
    let auditor = council.appliance.client_directory("auditor", "aud");
    let events = council.appliance.peer("auditor", "aud").get("/v1/events?after=0").await.body;
    let told = |kind: &str| {
        let all = events["events"].as_array().unwrap();
        all.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind}: {events}")).clone()
    };
    let added = told("client.added")["data"]["record"].clone();
    assert_eq!((&added["request_id"], &added["added"]["subject"]), (&json!(id), &json!(BACKEND)));
    assert_eq!(added["added"]["public_key"], digest.trim());
    assert_eq!(told("authority.created")["data"]["record"]["request_id"], id);
    let trust = council.appliance.peer("auditor", "aud").get("/v1/trust").await.body;
    std::fs::write(at("trust.json"), trust.to_string()).unwrap();
    let verify = ["audit", "verify", "--trust", &at("trust.json"), "--json"];
    let (code, out, talk) = read(&auditor, &verify);
    let verified: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((code, &verified["clients"]), (0, &json!(2)), "{out} {talk}");
    let receipt = council.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    std::fs::write(at("r.json"), receipt.to_string()).unwrap();
    let (code, out, talk) =
        read(&auditor, &["receipt", "verify", &at("r.json"), "--trust", &at("trust.json")]);
    assert!(code == 0 && out.contains("officer `ben` approved"), "{out} {talk}");

    let revoke = ["client", "revoke", "--name", "backend", "--role", "client", "--reason", "lost"];
    let (code, out, talk) = read(&operator, &revoke);
    assert_eq!(code, 3, "{out} {talk}");
    let (code, shown, talk) = read(&ada, &["approval", "show", out.trim()]);
    assert!(code == 0 && shown.contains(&format!("of `{BACKEND}`: lost")), "{shown} {talk}");
    assert_eq!(council.approve("ada", out.trim()).await.status, 200);
    let (code, out, talk) = read(&operator, &["client", "list", "--name", "backend"]);
    assert!(code == 0 && out.contains("revoked"), "{out} {talk}");
    assert_ne!(read(&operator, &revoke).0, 0, "none is left");
    let (code, _, talk) = read(Path::new(&new), &["wallet", "list", "--json"]);
    assert!(code == 5 && talk.contains("not-admitted"), "its holder is out, and is told so: {code} {talk}");
}

/// Would catch a certificate for a key that the asker does not hold, for another tenant, for a role that there is not, for two
/// names, for more than a name, for a weak key, or for longer than is allowed.
#[tokio::test]
async fn what_nobody_may_have_is_refused_at_once() {
    let Some(council) = Council::open().await else { return };
    let operator = &council.operator;
    let key = KeyPair::generate().unwrap();
    let other = KeyPair::generate().unwrap();
    // The request of one key with the signature of another: the last bytes are the signature's.
    let stolen = pem_of(&{
        let (ours, theirs) = (der_of(&request(&[BACKEND], &key)), der_of(&request(&[BACKEND], &other)));
        let at = position(&theirs, &other.public_key_raw()[1..]);
        let mut forged = ours.clone();
        let from = position(&ours, &key.public_key_raw()[1..]);
        forged[from..from + 64].copy_from_slice(&theirs[at..at + 64]);
        forged
    });
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let as_authority = request_with(&[BACKEND], &key, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let as_server = request_with(&[BACKEND], &key, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let named_host = request_with(&[BACKEND], &key, |params| {
        params.subject_alt_names.push(SanType::DnsName("backend.example".try_into().unwrap()));
    });
    let twice = request(&[BACKEND], &key).repeat(2);
    for (what, csr) in [
        ("another's key", &stolen),
        ("a role beyond", &request(&["chancery://default/admin/backend"], &key)),
        ("two names", &request(&[BACKEND, "chancery://default/operator/backend"], &key)),
        ("no name", &request(&[], &key)),
        ("another scheme", &request(&["spiffe://default/client/backend"], &key)),
        ("a host name", &named_host),
        ("an authority", &as_authority),
        ("a server", &as_server),
        ("another curve", &request(&[BACKEND], &p521)),
        ("two requests", &twice),
        ("a certificate", &council.operator.certificate),
        ("noise", &"noise".to_owned()),
        ("too long", &"x".repeat(20_000)),
    ] {
        let answer = ask(operator, csr).await;
        assert_eq!((answer.status, answer.code()), (400, "bad-request"), "{what}: {answer:?}");
    }
    let elsewhere = request(&["chancery://other/client/backend"], &key);
    refused(&ask(operator, &elsewhere).await, 403, "forbidden");
    for days in [0, 398] {
        let body = json!({ "csr": request(&[BACKEND], &key), "days": days });
        refused(&operator.post("/v1/clients", &body, None).await, 400, "bad-request");
    }
    let backend = council.appliance.peer("client", "backend");
    refused(&ask(&backend, &request(&[BACKEND], &key)).await, 403, "forbidden");
    refused(&backend.get("/v1/clients").await, 403, "forbidden");
    refused(&take_back(operator, &json!("40".repeat(20))).await, 404, "not-found");
    // A client that asks the seal itself gets nothing either.
    let waits = ask(operator, &request(&[BACKEND], &key)).await;
    let sheet = council.sheet("ada", &id(&waits)).await;
    let forged = json!({ "wallet": "seal", "payload": sheet["payload"] });
    refused(&backend.post("/v1/sign", &forged, Some("forged")).await, 403, "forbidden");
    for kind in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        id(&ask(operator, &request(&[BACKEND], &KeyPair::generate_for(kind).unwrap())).await);
    }
    assert_eq!(operator.get("/v1/clients").await.body, json!({ "clients": [] }));
}

fn der_of(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", lines.join("\n"))
}

fn position(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).position(|window| window == part).unwrap()
}

/// Would catch a revocation that waits for somebody to ask the door, and one that a restart or a kill forgets.
#[tokio::test]
async fn what_is_taken_back_is_cut_off_at_once_and_for_ever() {
    let Some(mut council) = Council::open().await else { return };
    let holder = admitted(&council, "chancery://default/auditor/reader").await;
    let other = admitted(&council, "chancery://default/auditor/other").await;
    let open = holder.peer.client.get(format!("{}/v1/events", holder.peer.base));
    let mut stream = open.header("accept", "text/event-stream").timeout(LONG).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let asked = id(&take_back(&council.operator, &holder.serial).await);
    assert!(comes_in(&holder.peer).await, "asking takes nothing back");
    // Whatever becomes of the files beside it.
    let file = council.appliance.at("pki/ca.pem");
    let outside = std::fs::read(&file).unwrap();
    std::fs::write(&file, "noise").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(council.approve("ada", &asked).await.body["state"], "released");
    let since = Instant::now();
    while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    let cut = since.elapsed();
    println!("cut after {} ms", cut.as_millis());
    assert!(cut < Duration::from_secs(1), "its connection stayed open for {cut:?}");
    std::fs::write(&file, outside).unwrap();
    for kill in [true, false] {
        assert!(!comes_in(&holder.again(&council.appliance)).await, "it comes in again");
        assert!(comes_in(&other.again(&council.appliance)).await, "its neighbour stays out");
        council.restart(kill);
    }
    assert!(!comes_in(&holder.again(&council.appliance)).await, "a restart let it in");
    refused(&take_back(&council.operator, &holder.serial).await, 409, "already-exists");
    let row = council.operator.get(&format!("/v1/clients/{}", holder.serial.as_str().unwrap())).await.body;
    assert!(row["revoked_ms"].is_i64(), "{row}");
}

/// Would catch a new certificate that ends the old one, an old one that cannot be ended, one key with two certificates, and a
/// certificate that officers took for the only one of its name.
#[tokio::test]
async fn a_key_is_replaced_without_a_gap() {
    let Some(council) = Council::open().await else { return };
    let old = admitted(&council, BACKEND).await;
    assert_eq!(old.peer.sign("treasury", &one_ether(0), "one").await.status, 200);
    let same_key = KeyPair::from_pem(&old.peer.key).unwrap();
    refused(&ask(&council.operator, &request(&[BACKEND], &same_key)).await, 409, "already-exists");

    let (first, second) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let one = id(&ask(&council.operator, &request(&[BACKEND], &first)).await);
    let two = id(&ask(&council.operator, &request(&[BACKEND], &second)).await);
    let sheet = council.sheet("ada", &two).await;
    assert_eq!(sheet["payload"]["change"]["beside"], json!([old.serial]), "{sheet}");
    council.agree(&one).await;
    // Whoever agrees to the second now knows nothing of the first.
    council.approve("ada", &two).await;
    refused(&council.approve("ben", &two).await, 409, "approval-stale");
    assert_eq!(council.state(&two).await, "failed");

    let found = council.operator.get(&format!("/v1/clients?request_id={one}")).await.body;
    let certificate = found["clients"][0]["certificate"].as_str().unwrap().to_owned();
    let new = council.appliance.peer_with(certificate, first.serialize_pem());
    assert_eq!(new.sign("treasury", &one_ether(1), "two").await.status, 200);
    assert!(comes_in(&old.peer).await, "both hold");
    let again = new.sign("treasury", &one_ether(0), "one").await;
    assert_eq!(again.status, 200, "policy sees one client: its key names one request. {again:?}");
    let asked = id(&take_back(&council.operator, &old.serial).await);
    council.approve("ada", &asked).await;
    assert!(!comes_in(&old.again(&council.appliance)).await && comes_in(&new).await);
}

/// Would catch a retry that asks a second time, or that is told of a key which has a certificate: its own.
#[tokio::test]
async fn asked_once_more_under_its_key_it_is_the_same() {
    let Some(council) = Council::open().await else { return };
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ask = async |key: &KeyPair, name: &str| {
        let body = json!({ "csr": request(&[BACKEND], key), "days": 30 });
        council.operator.post("/v1/clients", &body, Some(name)).await
    };
    let asked = id(&ask(&one, "one").await);
    assert_eq!(id(&ask(&one, "one").await), asked);
    refused(&ask(&other, "one").await, 409, "idempotency-conflict");
    council.agree(&asked).await;
    let again = ask(&one, "one").await;
    assert_eq!((again.status, &again.body["request_id"]), (201, &json!(asked)), "{again:?}");
    refused(&ask(&one, "two").await, 409, "already-exists");
    let serial = again.body["serial"].clone();
    let take = async |reason: &str, key: &str| {
        let body = json!({ "serials": [serial], "reason": reason });
        council.operator.post("/v1/clients/revocations", &body, Some(key)).await
    };
    refused(&take("two\nlines", "three").await, 400, "bad-request");
    let asked = id(&take("lost", "three").await);
    refused(&take("found", "three").await, 409, "idempotency-conflict");
    council.approve("ada", &asked).await;
    let again = take("lost", "three").await;
    assert_eq!((again.status, &again.body["clients"][0]["serial"]), (200, &serial), "{again:?}");
}

/// Would catch a list that ends while the daemon runs.
#[tokio::test]
async fn the_list_is_signed_anew_in_time() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let csr = request(&[BACKEND], &KeyPair::generate().unwrap());
    assert_eq!(ask(&appliance.peer("operator", "op"), &csr).await.status, 201);
    appliance.stop();
    let text = std::fs::read_to_string(appliance.at("chancery.toml")).unwrap();
    let config = Config::parse(&text, appliance.folder.path()).unwrap();
    let (now, pin) = (people::now(), Pin::read(&config.hsm.pin).unwrap());
    let clock = Arc::new(ManualClock::at(now));
    let programs = Programs::started_here(env!("CARGO_BIN_EXE_chanceryd").into());
    let enclave = Enclave::open(&config, pin, programs, Arc::clone(&clock) as _).await.unwrap();
    let mut issued = enclave.issued();
    let until = |issued: &[Issued]| {
        let Issued { tenant, authority, list, .. } = issued[0].clone();
        let known = Authority::of_tenant(tenant, authority.into(), list.into()).unwrap();
        known.lists().next().unwrap().until
    };
    let first = until(&issued.borrow_and_update());
    assert!(first >= now.plus_ms(limit::REVOCATION_LIST_MS));
    clock.set(now.plus_ms(limit::REVOCATION_LIST_AGE_MS));
    tokio::time::timeout(LONG, issued.changed()).await.expect("it was never signed anew").unwrap();
    assert!(until(&issued.borrow()) >= first.plus_ms(limit::REVOCATION_LIST_AGE_MS - 1_000));
    enclave.close().await;
}

/// Would catch an authority outside the appliance that goes on admitting when it was taken out, an appliance that shuts everybody
/// out by it, and one that starts although nobody could come in.
#[tokio::test]
async fn the_authority_outside_can_be_taken_out() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    let outside = ", client_ca = \"pki/ca.pem\"";
    appliance.reconfigure(outside, "");
    assert!(appliance.start_in_vain().contains("nobody could come in"));
    appliance.reconfigure("server-key.pem\"", &format!("server-key.pem\"{outside}"));
    appliance.start();
    // Before a policy governs changes, the operator issues alone.
    let operator = appliance.peer("operator", "op");
    let mut inside = Vec::new();
    for uri in ["chancery://default/operator/op", BACKEND, "chancery://default/client/lost"] {
        let key = KeyPair::generate().unwrap();
        let issued = ask(&operator, &request(&[uri], &key)).await;
        assert_eq!((issued.status, &issued.body["client"]), (201, &json!(uri)), "{issued:?}");
        let certificate = issued.body["certificate"].as_str().unwrap().to_owned();
        inside.push((issued.body["serial"].clone(), certificate, key.serialize_pem()));
    }
    assert_eq!(take_back(&operator, &inside[2].0).await.status, 200);
    appliance.stop();
    appliance.reconfigure(outside, "");
    if let Some(program) = chancery() {
        let check = ["serve-config", "check", "chancery.toml"];
        let said = Command::new(program).current_dir(appliance.folder.path()).args(check).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.contains("note: tls.client_ca: is not set: only clients of the appliance's own"),
            "{said}"
        );
    }
    appliance.start();
    let admitted = |at: usize| appliance.peer_with(inside[at].1.clone(), inside[at].2.clone());
    for role in ["operator", "client", "auditor", "officer"] {
        assert!(!comes_in(&appliance.peer(role, "op")).await, "{role} by the authority outside");
    }
    assert!(comes_in(&admitted(0)).await && comes_in(&admitted(1)).await && !comes_in(&admitted(2)).await);
    assert_eq!(take_back(&admitted(0), &inside[1].0).await.status, 200);
    assert!(!comes_in(&admitted(1)).await, "without files to read the door hears of it too");
    let page = admitted(0).get("/v1/clients?limit=2").await.body;
    let rest = admitted(0).get(&format!("/v1/clients?after={}", page["next"].as_str().unwrap())).await.body;
    let count = |page: &Value| page["clients"].as_array().unwrap().len();
    assert_eq!((count(&page), count(&rest)), (2, 1), "{page} {rest}");
}
