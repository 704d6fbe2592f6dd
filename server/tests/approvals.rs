//! Approvals against the real appliance: two of three officers release a payment with WebAuthn assertions, and everything
//! that must not count is tried: oneself, twice, somebody else's, another request's, another policy's, too late, vetoed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;
mod passkey;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use alloy_consensus::SignableTransaction as _;
use alloy_primitives::U256;
use appliance::{Answer, Appliance, EXCHANGE, Peer, chancery, run, treasury};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_audit::{Act, Digest, Matter};
use chancery_core::{ClientId, Tenant, WalletId};
use passkey::Passkey;
use serde_json::{Value, json};

const ORIGIN: &str = "https://chancery.example";

/// `eth` to the exchange: more than ten wait for two of the treasury.
fn transfer(nonce: u64, eth: u64) -> Vec<u8> {
    appliance::transfer(nonce, U256::from(eth) * U256::from(10_u64.pow(18))).encoded_for_signing()
}

/// One person: a certificate, and a passkey.
struct Officer {
    peer: Peer,
    passkey: Passkey,
}

/// Ann, Bob and Cy approve for the treasury, Rex vetoes for risk; Dee would approve too, but holds the client's key; Eve is
/// in the bundle and in no group, Gus in both.
struct Scene {
    appliance: Appliance,
    client: Peer,
    bundle: Value,
    officers: Vec<(&'static str, Officer)>,
}

const PEOPLE: [(&str, &str, &str); 7] = [
    ("ann", "groups = [\"treasury\"]", ""),
    ("bob", "groups = [\"treasury\"]", ""),
    ("cy", "groups = [\"treasury\"]", ""),
    ("dee", "groups = [\"treasury\"]", "clients = [\"backend\"]"),
    ("rex", "groups = [\"risk\"]", ""),
    ("eve", "", ""),
    ("gus", "groups = [\"treasury\", \"risk\"]", ""),
];

impl Scene {
    async fn open() -> Option<Self> {
        Self::with(|text| text).await
    }

    /// The example bundle with these people, and the policies as `change` leaves them.
    async fn with(change: impl FnOnce(String) -> String) -> Option<Self> {
        let mut appliance = Appliance::prepare()?;
        appliance.start();
        let passkeys: Vec<_> = PEOPLE.iter().map(|_| Passkey::fresh("chancery.example", ORIGIN)).collect();
        let mut bundle = treasury();
        let files = bundle["files"].as_object_mut().unwrap();
        let mut manifest = files["bundle.toml"].as_str().unwrap().to_owned();
        manifest += &format!("\n[webauthn]\nrp_id = \"chancery.example\"\norigins = [\"{ORIGIN}\"]\n");
        for ((name, groups, clients), passkey) in PEOPLE.iter().zip(&passkeys) {
            manifest += &format!(
                "\n[[officer]]\nid = \"{name}\"\nroles = [\"approver\"]\n{groups}\n{clients}\n{}",
                passkey.entry()
            );
        }
        files["bundle.toml"] = manifest.into();
        let ether = files["policies/ether.cedar"].as_str().unwrap().to_owned();
        files["policies/ether.cedar"] = change(ether).into();
        files.retain(|path, _| !path.starts_with("tests/"));
        appliance.furnish("treasury", &bundle).await;
        let client = appliance.peer("client", "backend");
        let officers = PEOPLE
            .iter()
            .zip(passkeys)
            .map(|((name, ..), passkey)| (*name, Officer { peer: appliance.peer("officer", name), passkey }));
        Some(Self { client, bundle, officers: officers.collect(), appliance })
    }

    fn officer(&self, name: &str) -> &Officer {
        &self.officers.iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// After a restart, everybody connects again.
    fn restart(&mut self) {
        self.appliance.stop();
        self.appliance.start();
        self.client = self.appliance.peer("client", "backend");
        for (name, officer) in &mut self.officers {
            officer.peer = self.appliance.peer("officer", name);
        }
    }

    /// A payment that waits.
    async fn pending(&self, nonce: u64, eth: u64, key: &str) -> String {
        let answer = self.client.sign("treasury", &transfer(nonce, eth), key).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["request_id"].as_str().unwrap().to_owned()
    }

    async fn sheet(&self, name: &str, id: &str) -> Value {
        let answer = self.officer(name).peer.get(&format!("/v1/approvals/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn say(&self, name: &str, id: &str, act: &str, group: &str) -> Answer {
        let sheet = self.sheet(name, id).await;
        let body = self.word(name, &sheet, act, group);
        self.send(name, id, &body).await
    }

    fn word(&self, name: &str, sheet: &Value, act: &str, group: &str) -> Value {
        let assertion = self.officer(name).passkey.assert(&challenge(sheet, act, group));
        json!({ "act": act, "group": group, "bundle": sheet["bundle"], "assertion": assertion })
    }

    async fn send(&self, name: &str, id: &str, body: &Value) -> Answer {
        self.officer(name).peer.post(&format!("/v1/approvals/{id}"), body, None).await
    }

    async fn state(&self, id: &str) -> Value {
        self.client.get(&format!("/v1/requests/{id}")).await.body
    }

    /// The request once nothing more happens to it.
    async fn ends(&self, id: &str) -> Value {
        for _ in 0..100 {
            let request = self.state(id).await;
            if request["state"] != "pending" && request["state"] != "permitted" {
                return request;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("no end after 20 s");
    }
}

/// What an officer's client computes for itself.
fn challenge(sheet: &Value, act: &str, group: &str) -> [u8; 32] {
    let text = |name: &str| sheet[name].as_str().unwrap();
    let (tenant, client): (_, ClientId) = (Tenant::default(), text("client").parse().unwrap());
    let (wallet, bundle): (WalletId, Digest) =
        (text("wallet").parse().unwrap(), text("bundle").parse().unwrap());
    let act: Act = serde_json::from_value(json!(act)).unwrap();
    let id = text("request_id").parse().unwrap();
    Matter::new(act, group, &tenant, id, &client, &wallet, &sheet["intent"], &bundle).challenge().unwrap()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// Would catch an approval that counts although it should not, a release before the last one, and a receipt that does not show
/// who approved.
#[tokio::test]
async fn two_of_three_release_a_payment_and_nothing_else_does() {
    let Some(mut scene) = Scene::open().await else { return };
    let id = scene.pending(0, 50, "large").await;
    let other = scene.pending(1, 40, "other").await;

    let listed = scene.officer("ann").peer.get("/v1/approvals").await;
    assert_eq!(listed.body["approvals"].as_array().unwrap().len(), 2, "{listed:?}");
    assert_eq!(listed.body["approvals"][0]["groups"], json!(["treasury"]));
    let nothing = scene.officer("eve").peer.get("/v1/approvals").await;
    assert_eq!(nothing.body["approvals"], json!([]), "eve can speak for nobody");
    for (role, name) in [("operator", "op"), ("auditor", "aud"), ("client", "backend")] {
        let other = scene.appliance.peer(role, name).get("/v1/approvals").await;
        refused(&other, 403, "forbidden");
    }
    refused(&scene.appliance.peer("officer", "zoe").get("/v1/approvals").await, 403, "approval-not-asked");

    // One is not enough, however often.
    let first = scene.say("ann", &id, "approve", "treasury").await;
    assert_eq!((first.status, &first.body["state"]), (200, &json!("pending")), "{first:?}");
    assert_eq!(
        first.body["missing"][0]["needs"][0],
        json!({"need": "quorum", "group": "treasury", "needed": 2, "have": 1})
    );
    refused(&scene.say("ann", &id, "approve", "treasury").await, 409, "already-exists");
    // The next one is told so, and what the request holds is not counted twice for it.
    assert_eq!(scene.sheet("bob", &id).await["missing"], first.body["missing"]);

    // Who holds the client's key, who is in no group, for another group than one's own, and a group nobody asked.
    refused(&scene.say("dee", &id, "approve", "treasury").await, 403, "self-approval");
    refused(&scene.say("eve", &id, "approve", "treasury").await, 403, "approval-not-asked");
    refused(&scene.say("bob", &id, "approve", "risk").await, 403, "approval-not-asked");
    refused(&scene.say("rex", &id, "approve", "risk").await, 403, "approval-not-asked");

    // Somebody else's assertion, one about another request, another act, another intent, and one that was changed.
    let sheet = scene.sheet("bob", &id).await;
    let by_ann = scene.word("ann", &sheet, "approve", "treasury");
    refused(&scene.send("bob", &id, &by_ann).await, 403, "assertion-invalid");
    let elsewhere = scene.sheet("bob", &other).await;
    let of_other = scene.word("bob", &elsewhere, "approve", "treasury");
    refused(&scene.send("bob", &id, &of_other).await, 403, "assertion-invalid");
    let mut veto = scene.word("bob", &sheet, "veto", "treasury");
    veto["act"] = "approve".into();
    refused(&scene.send("bob", &id, &veto).await, 403, "assertion-invalid");
    let mut swapped = sheet.clone();
    swapped["intent"]["effects"][0]["amount"] = "1".into();
    let of_swapped = scene.word("bob", &swapped, "approve", "treasury");
    refused(&scene.send("bob", &id, &of_swapped).await, 403, "assertion-invalid");
    for (wrong, passkey) in [
        ("another party", scene.officer("bob").passkey.at("other.example", ORIGIN)),
        ("another origin", scene.officer("bob").passkey.at("chancery.example", "https://evil.example")),
        ("nobody touched it", scene.officer("bob").passkey.with_flags(0x04)),
        ("nobody was verified", scene.officer("bob").passkey.with_flags(0x01)),
    ] {
        let mut word = scene.word("bob", &sheet, "approve", "treasury");
        word["assertion"] = json!(passkey.assert(&challenge(&sheet, "approve", "treasury")));
        let answer = scene.send("bob", &id, &word).await;
        assert_eq!((answer.status, answer.code()), (403, "assertion-invalid"), "{wrong}: {answer:?}");
    }
    let mut stale = scene.word("bob", &sheet, "approve", "treasury");
    stale["bundle"] = "00".repeat(32).into();
    refused(&scene.send("bob", &id, &stale).await, 409, "approval-stale");
    assert_eq!(scene.state(&id).await["state"], "pending", "nothing of that counted");

    // What was said is still there after a restart, and the second of three is enough.
    scene.restart();
    let last = scene.say("bob", &id, "approve", "treasury").await;
    assert_eq!((last.status, &last.body["state"]), (200, &json!("released")), "{last:?}");
    refused(&scene.say("cy", &id, "approve", "treasury").await, 409, "request-not-pending");
    let request = scene.state(&id).await;
    assert!(request["signed_transaction"].as_str().unwrap().starts_with("0x02"), "{request}");
    let again = scene.client.sign("treasury", &transfer(0, 50), "large").await;
    assert_eq!(again.status, 200, "a retry is answered with the release: {again:?}");

    // A stranger sees who approved, and notices a word that was changed or left out.
    let trust = scene.appliance.trust().await;
    let verified = again.verified(&trust);
    let said: Vec<_> =
        verified.receipt().approvals.iter().map(|one| one.approval.officer.to_string()).collect();
    assert_eq!(said, ["ann", "bob"]);
    assert!(
        verified.findings().iter().any(|line| line.contains("`bob` approved exactly this")),
        "{verified:?}"
    );
    let receipt = again.body["receipt"].clone();
    let mut spoiled = vec![receipt.clone(); 5];
    spoiled[0]["approvals"].as_array_mut().unwrap().pop();
    spoiled[1]["approvals"].as_array_mut().unwrap().reverse();
    spoiled[2]["approvals"][1]["assertion"] = receipt["approvals"][0]["assertion"].clone();
    spoiled[3]["approvals"][1] = receipt["approvals"][0].clone();
    spoiled[4]["decision"].as_object_mut().unwrap().remove("review");
    for (at, receipt) in spoiled.iter().enumerate() {
        assert!(chancery_audit::verify(receipt.to_string().as_bytes(), &trust).is_err(), "{at}");
    }
    assert_eq!(scene.state(&other).await["state"], "pending");
}

/// Would catch a veto that only delays, and one that is taken although no rule heeds it.
#[tokio::test]
async fn a_veto_ends_it() {
    let Some(scene) = Scene::open().await else { return };
    let id = scene.pending(0, 50, "large").await;
    scene.say("ann", &id, "approve", "treasury").await;
    refused(&scene.say("cy", &id, "veto", "treasury").await, 403, "approval-not-asked");
    let vetoed = scene.say("rex", &id, "veto", "risk").await;
    assert_eq!((vetoed.status, &vetoed.body["state"]), (200, &json!("denied")), "{vetoed:?}");
    assert_eq!(vetoed.body["rules"], json!(["large-eth-with-approvals"]));
    refused(&scene.say("bob", &id, "approve", "treasury").await, 409, "request-not-pending");
    let retry = scene.client.sign("treasury", &transfer(0, 50), "large").await;
    refused(&retry, 403, "policy-denied");
    // What it held is free again: the day's ten are there.
    let small = scene.client.sign("treasury", &transfer(0, 10), "small").await;
    assert_eq!(small.status, 200, "{small:?}");
    let receipt = scene.client.get(&format!("/v1/requests/{id}/receipt")).await;
    let verified = receipt.verified(&scene.appliance.trust().await);
    assert_eq!(verified.receipt().approvals.len(), 2, "the approval and the veto are on record");
}

/// Would catch approvals that outlive the request, and a bundle that is swapped under those who approved.
#[tokio::test]
async fn expired_and_stale_requests_are_not_released() {
    let short = |text: String| text.replace("@expires(\"12h\")", "@expires(\"4s\")");
    let Some(scene) = Scene::with(short).await else { return };
    let id = scene.pending(0, 50, "large").await;
    scene.say("ann", &id, "approve", "treasury").await;
    let sheet = scene.sheet("bob", &id).await;
    let late = scene.word("bob", &sheet, "approve", "treasury");
    assert_eq!(scene.ends(&id).await["state"], "expired");
    refused(&scene.send("bob", &id, &late).await, 410, "request-expired");

    let id = scene.pending(1, 50, "again").await;
    scene.say("ann", &id, "approve", "treasury").await;
    let sheet = scene.sheet("bob", &id).await;
    let before = scene.word("bob", &sheet, "approve", "treasury");
    let mut changed = scene.bundle.clone();
    let text = changed["files"]["bundle.toml"]
        .as_str()
        .unwrap()
        .replace("\"treasury\"\napprovers", "\"next\"\napprovers");
    changed["files"]["bundle.toml"] = text.into();
    let applied = scene.appliance.peer("operator", "op").put("/v1/policy", &changed).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    refused(&scene.send("bob", &id, &before).await, 409, "approval-stale");
    // Under the new bundle what ann said under the old one does not count.
    let anew = scene.say("bob", &id, "approve", "treasury").await;
    assert_eq!(anew.body["missing"][0]["needs"][0]["have"], 1, "{anew:?}");
    let last = scene.say("ann", &id, "approve", "treasury").await;
    assert_eq!(last.body["state"], "released", "{last:?}");
}

/// Would catch a later group that is heard before the earlier one is done, and one person who counts for two.
#[tokio::test]
async fn groups_follow_each_other_and_nobody_counts_twice() {
    let staged = |text: String| text.replace("\"treasury, 2\"", "\"treasury, 2 then risk, 1\"");
    let Some(scene) = Scene::with(staged).await else { return };
    let id = scene.pending(0, 50, "large").await;
    refused(&scene.say("rex", &id, "approve", "risk").await, 403, "approval-not-asked");
    assert_eq!(scene.say("ann", &id, "approve", "treasury").await.body["state"], "pending");
    let second = scene.say("gus", &id, "approve", "treasury").await;
    let needs = json!([{"need": "quorum", "group": "risk", "needed": 1, "have": 0}]);
    assert_eq!((second.status, &second.body["missing"][0]["needs"]), (200, &needs), "{second:?}");
    assert_eq!(
        scene.sheet("rex", &id).await["missing"][0]["needs"],
        needs,
        "rex is told that it is his turn"
    );
    refused(&scene.say("bob", &id, "approve", "treasury").await, 403, "approval-not-asked");
    refused(&scene.say("gus", &id, "approve", "risk").await, 409, "already-exists");
    assert_eq!(scene.say("rex", &id, "approve", "risk").await.body["state"], "released");
}

/// Would catch a request that waits for its delay for ever, one that does not wait for it, and limits that are not asked again.
#[tokio::test]
async fn what_waits_for_time_goes_on_by_itself() {
    let delayed = |text: String| text.replace("@quorum(\"treasury, 2\")", "@delay(\"3s\")");
    let Some(mut scene) = Scene::with(delayed).await else { return };
    let id = scene.pending(0, 50, "large").await;
    let vetoed = scene.pending(1, 50, "vetoed").await;
    assert_eq!(scene.say("rex", &vetoed, "veto", "risk").await.body["state"], "denied");
    scene.restart();
    let request = scene.ends(&id).await;
    assert_eq!(request["state"], "released", "{request}");
    assert_eq!(scene.state(&vetoed).await["state"], "denied");
    let receipt = scene.client.get(&format!("/v1/requests/{id}/receipt")).await;
    let verified = receipt.verified(&scene.appliance.trust().await);
    let waited = verified.receipt().decision.review.as_ref().unwrap().waited_ms;
    assert!(waited >= 3_000, "{waited}");
}

/// Would catch a stand-in who counts beside the one stood in for, or after the end.
#[tokio::test]
async fn a_delegate_speaks_for_the_group_until_the_end() {
    let Some(scene) = Scene::open().await else { return };
    let delegate = |until: &str| {
        let mut bundle = scene.bundle.clone();
        let text = bundle["files"]["bundle.toml"].as_str().unwrap();
        let text = format!("{text}\n[[delegation]]\nfrom = \"ann\"\nto = \"eve\"\nuntil = \"{until}\"\n");
        bundle["files"]["bundle.toml"] = text.into();
        bundle
    };
    let operator = scene.appliance.peer("operator", "op");
    let over = operator.put("/v1/policy", &delegate("2020-01-01T00:00:00Z")).await;
    assert_eq!(over.status, 200, "{over:?}");
    let id = scene.pending(0, 50, "large").await;
    refused(&scene.say("eve", &id, "approve", "treasury").await, 403, "approval-not-asked");
    assert_eq!(operator.put("/v1/policy", &delegate("2100-01-01T00:00:00Z")).await.status, 200);
    let first = scene.say("eve", &id, "approve", "treasury").await;
    assert_eq!(first.body["state"], "pending", "{first:?}");
    refused(&scene.say("ann", &id, "approve", "treasury").await, 409, "already-exists");
    assert_eq!(scene.say("bob", &id, "approve", "treasury").await.body["state"], "released");
}

/// The way of an officer with the real command line, and what auditors find afterwards: would catch a client that approves what
/// the server says instead of what the payload does, and a review that cannot be asked again.
#[tokio::test]
async fn officers_and_auditors_use_the_command_line() {
    if chancery().is_none() {
        return;
    }
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let mut bundle = treasury();
    let mut manifest = bundle["files"]["bundle.toml"].as_str().unwrap().to_owned();
    manifest += &format!("\n[webauthn]\nrp_id = \"chancery.example\"\norigins = [\"{ORIGIN}\"]\n");
    let made = Command::new(chancery().unwrap())
        .args(["officer", "passkey", "ann", "--rp-id", "chancery.example", "--origin", ORIGIN, "--out"])
        .arg(appliance.at("ann.passkey"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    manifest += &String::from_utf8(made.stdout).unwrap().replace("groups = []", "groups = [\"treasury\"]");
    let elsewhere = Passkey::fresh("chancery.example", ORIGIN);
    manifest += &format!(
        "\n[[officer]]\nid = \"bob\"\nroles = [\"approver\"]\ngroups = [\"treasury\"]\n{}",
        elsewhere.entry()
    );
    bundle["files"]["bundle.toml"] = manifest.into();
    appliance.furnish("treasury", &bundle).await;
    let client = appliance.peer("client", "backend");
    let answer = client.sign("treasury", &transfer(0, 50), "large").await;
    let id = answer.body["request_id"].as_str().unwrap();
    let at = |name: &str| appliance.at(name).to_str().unwrap().to_owned();
    let ann = appliance.client_directory("officer", "ann");
    let bob = appliance.client_directory("officer", "bob");

    let (code, listed, talk) = run(&ann, &["approval", "list"]);
    assert_eq!((code, listed["approvals"].as_array().unwrap().len()), (0, 1), "{talk}");
    let words = format!("send 50 ETH to exchange ({EXCHANGE})");
    assert_eq!(listed["approvals"][0]["words"][0], words, "{listed}");
    let (code, shown, talk) = run(&ann, &["approval", "show", id]);
    assert_eq!(code, 0, "{talk}");
    assert_eq!(shown["words"][0], words, "{shown}");
    let (code, _, talk) =
        run(&ann, &["approval", "approve", id, "--group", "treasury", "--passkey", &at("ann.passkey")]);
    assert_eq!(code, 2, "nobody was asked: {talk}");
    let say = |client: &Path, with: &str, file: &str| {
        run(client, &["approval", "approve", id, "--group", "treasury", with, file, "--yes"])
    };
    let (code, _, talk) = say(&bob, "--passkey", &at("ann.passkey"));
    assert!(code != 0 && talk.contains("assertion-invalid"), "{talk}");
    let first = client.get(&format!("/v1/requests/{id}")).await.body["missing"].clone();
    let (code, said, talk) = say(&ann, "--passkey", &at("ann.passkey"));
    assert_eq!((code, &said["state"]), (0, &json!("pending")), "{talk}");
    let left = client.get(&format!("/v1/requests/{id}")).await.body["missing"].clone();
    assert!(left == said["missing"] && left != first, "the client is told of now: {first} {left} {said}");

    // The second with an assertion as a browser elsewhere makes it, over the challenge that was printed.
    let (_, options, _) = run(&bob, &["approval", "challenge", id, "--group", "treasury"]);
    assert_eq!(options["userVerification"], "required", "{options}");
    let made = |challenge: &[u8; 32]| {
        let made = elsewhere.assert(challenge);
        let browser = json!({ "id": made["credential"], "type": "public-key", "response": {
            "clientDataJSON": made["client_data"], "authenticatorData": made["authenticator_data"],
            "signature": made["signature"],
        } });
        std::fs::write(at("assertion.json"), browser.to_string()).unwrap();
        say(&bob, "--assertion", &at("assertion.json"))
    };
    let (code, _, talk) = made(&[7; 32]);
    assert!(code != 0 && talk.contains("assertion-invalid"), "over another challenge: {talk}");
    let challenge = URL_SAFE_NO_PAD.decode(options["challenge"].as_str().unwrap()).unwrap();
    let (code, said, talk) = made(&challenge.try_into().unwrap());
    assert_eq!((code, &said["state"]), (0, &json!("released")), "{talk}");

    let auditor = appliance.client_directory("auditor", "aud");
    let trust = appliance.peer("auditor", "aud").get("/v1/trust").await.body;
    std::fs::write(at("trust.json"), trust.to_string()).unwrap();
    let (code, verified, talk) = run(&auditor, &["audit", "verify", "--trust", &at("trust.json")]);
    assert_eq!(code, 0, "{verified} {talk}");
    let (code, again, talk) = run(&auditor, &["audit", "re-evaluate", id]);
    assert_eq!((code, &again["differ"]), (0, &json!([])), "{again} {talk}");
    let receipt = client.get(&format!("/v1/requests/{id}/receipt")).await.body;
    std::fs::write(at("r.json"), receipt.to_string()).unwrap();
    let (code, found, talk) =
        run(&auditor, &["receipt", "verify", &at("r.json"), "--trust", &at("trust.json")]);
    assert_eq!(code, 0, "{found} {talk}");
    assert!(found.to_string().contains("officer `bob` approved"), "{found}");
}
