//! Changes of the appliance against the real one: from the first bundle on whose rules speak of them, nobody puts policy in
//! force or makes a wallet without two administrators, who see what differs with the real command line. Everything that would
//! be a way around is tried.
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
mod people;

use appliance::{Answer, Appliance, Peer, chancery, read};
use chancery_audit::{Act, Digest, Matter};
use chancery_core::Tenant;
use passkey::Passkey;
use people::{ORIGIN, with_officers};
use serde_json::{Value, json};

/// Who may change what: two administrators, while none objects.
const RULE: &str = r#"
@id("change-by-administrators")
@quorum("administrators, 2")
@veto("administrators")
permit (principal == Client::"default/op", action == Action::"change", resource);

// Names no action, and so no change: the bundle's own test `nobody else asks` holds it to that.
@id("anything")
permit (principal == Client::"default/backend", action, resource == Wallet::"default/seal");
"#;

/// The bundle's own tests of it.
const CASES: &str = r#"
[[case]]
name = "a change waits"
client = "default/op"
wallet = "default/seal"
chain = "chancery:default"
expect = "pending"
effect = [{ kind = "change" }]

[[case]]
name = "two administrators are enough"
client = "default/op"
wallet = "default/seal"
chain = "chancery:default"
form = "wallet.create"
approvals = { administrators = 2 }
expect = "allow"
rules = ["change-by-administrators"]
effect = [{ kind = "change" }]

[[case]]
name = "nobody else asks"
client = "default/backend"
wallet = "default/seal"
chain = "chancery:default"
approvals = { administrators = 2 }
expect = "deny"
effect = [{ kind = "change" }]
"#;

/// Ada, Ben and Cleo are administrators; Cleo also holds the operator's key; Max stands in their group and is an approver.
const PEOPLE: [(&str, &str, &str); 4] = [
    ("ada", "administrator", ""),
    ("ben", "administrator", ""),
    ("cleo", "administrator", "clients = [\"op\"]"),
    ("max", "approver", ""),
];

struct Scene {
    appliance: Appliance,
    operator: Peer,
    officers: Vec<(&'static str, Peer, Passkey)>,
    bundle: Value,
}

impl Scene {
    async fn open() -> Option<Self> {
        let mut appliance = Appliance::prepare()?;
        appliance.start();
        let (mut entries, mut officers) = (String::new(), Vec::new());
        for (name, role, clients) in PEOPLE {
            let passkey = Passkey::fresh("chancery.example", ORIGIN);
            entries += &format!(
                "\n[[officer]]\nid = \"{name}\"\nroles = [\"{role}\"]\ngroups = [\"administrators\"]\n{clients}\n{}",
                passkey.entry()
            );
            officers.push((name, appliance.peer("officer", name), passkey));
        }
        let mut bundle = with_officers(&entries);
        let files = bundle["files"].as_object_mut().unwrap();
        let manifest = files["bundle.toml"].as_str().unwrap();
        files["bundle.toml"] = manifest.replace("\"risk\"]", "\"risk\", \"administrators\"]").into();
        files.insert("policies/change.cedar".to_owned(), RULE.into());
        files.insert("tests/change.toml".to_owned(), CASES.into());
        appliance.furnish("treasury", &bundle).await;
        Some(Self { operator: appliance.peer("operator", "op"), officers, bundle, appliance })
    }

    fn restart(&mut self, kill: bool) {
        if kill {
            self.appliance.kill();
        } else {
            self.appliance.stop();
        }
        self.appliance.start();
        self.operator = self.appliance.peer("operator", "op");
        for (name, peer, _) in &mut self.officers {
            *peer = self.appliance.peer("officer", name);
        }
    }

    /// The bundle in force with one more address.
    fn draft(&self, name: &str) -> Value {
        let mut draft = self.bundle.clone();
        let manifest = draft["files"]["bundle.toml"].as_str().unwrap().to_owned();
        let address = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
        draft["files"]["bundle.toml"] = format!(
            "{manifest}\n[[address]]\nname = \"{name}\"\naddress = \"{address}\"\nchains = [\"eip155:1\"]\n"
        )
        .into();
        draft
    }

    async fn bring(&self, bundle: &Value) -> String {
        let asked = self.operator.apply(bundle).await;
        assert_eq!((asked.status, &asked.body["state"]), (202, &json!("pending")), "{asked:?}");
        asked.body["request_id"].as_str().unwrap().to_owned()
    }

    async fn in_force(&self) -> Value {
        self.operator.get("/v1/policy").await.body["bundle"].clone()
    }

    async fn state(&self, id: &str) -> Value {
        self.operator.get(&format!("/v1/requests/{id}")).await.body["state"].clone()
    }

    async fn say(&self, name: &str, id: &str, act: &str) -> Answer {
        let (_, peer, passkey) = self.officers.iter().find(|(known, ..)| *known == name).unwrap();
        let sheet = peer.get(&format!("/v1/approvals/{id}")).await.body;
        let assertion = passkey.assert(&challenge(&sheet, act));
        let word = json!({ "act": act, "group": "administrators", "bundle": sheet["bundle"], "assertion": assertion });
        peer.post(&format!("/v1/approvals/{id}"), &word, None).await
    }
}

fn challenge(sheet: &Value, act: &str) -> [u8; 32] {
    let text = |name: &str| sheet[name].as_str().unwrap();
    let act: Act = serde_json::from_value(json!(act)).unwrap();
    let bundle: Digest = text("bundle").parse().unwrap();
    let (id, client) = (text("request_id").parse().unwrap(), text("client").parse().unwrap());
    let wallet = text("wallet").parse().unwrap();
    Matter::new(act, "administrators", &Tenant::default(), id, &client, &wallet, &sheet["intent"], &bundle)
        .challenge()
        .unwrap()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// Would catch a bundle that comes into force by its operator alone, one approval, the wrong role or the operator's own voice,
/// a receipt that does not verify, and a change that a restart loses.
#[tokio::test]
async fn policy_changes_with_two_administrators_and_leaves_a_receipt() {
    let Some(mut scene) = Scene::open().await else { return };
    let (old, draft) = (scene.in_force().await, scene.draft("newcomer"));
    let id = scene.bring(&draft).await;
    assert_eq!(scene.in_force().await, old, "asking changes nothing");
    refused(&scene.say("max", &id, "approve").await, 403, "approval-not-asked");
    refused(&scene.say("cleo", &id, "approve").await, 403, "self-approval");
    let first = scene.say("ada", &id, "approve").await;
    assert_eq!((first.status, &first.body["state"]), (200, &json!("pending")), "{first:?}");
    refused(&scene.say("ada", &id, "approve").await, 409, "already-exists");
    assert_eq!(scene.in_force().await, old);
    scene.restart(true);
    let second = scene.say("ben", &id, "approve").await;
    assert_eq!((second.status, &second.body["state"]), (200, &json!("released")), "{second:?}");
    let new = scene.in_force().await;
    assert_ne!(new, old);
    let receipt = scene.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    assert_eq!(receipt["payload"]["change"]["bundle"], new, "{receipt}");
    assert_eq!(receipt["approvals"].as_array().unwrap().len(), 2);
    scene.restart(false);
    assert_eq!(scene.in_force().await, new, "what was agreed to outlives the process");
    let trust = scene.appliance.trust().await;
    chancery_audit::verify(receipt.to_string().as_bytes(), &trust).unwrap();
}

/// Would catch a wallet without a word, a veto that does not end it, and a key that stays behind.
#[tokio::test]
async fn a_wallet_is_made_with_two_administrators_or_not_at_all() {
    let Some(scene) = Scene::open().await else { return };
    let body = json!({ "id": "second", "chain": "ethereum", "chain_ids": [1] });
    let ask = async |key: &str| scene.operator.post("/v1/wallets", &body, Some(key)).await;
    let asked = ask("one").await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let id = asked.body["request_id"].as_str().unwrap();
    assert_eq!(ask("one").await.body["request_id"], id, "one key, one change");
    assert_eq!(scene.operator.get("/v1/wallets/second").await.status, 404);
    assert_eq!(scene.say("ada", id, "veto").await.body["state"], "denied");
    refused(&scene.say("ben", id, "approve").await, 409, "request-not-pending");
    refused(&ask("one").await, 403, "policy-denied");

    let again = ask("two").await.body["request_id"].as_str().unwrap().to_owned();
    let twin = ask("three").await.body["request_id"].as_str().unwrap().to_owned();
    for name in ["ada", "ben"] {
        assert_eq!(scene.say(name, &again, "approve").await.status, 200);
    }
    let made = scene.operator.get("/v1/wallets/second").await;
    assert_eq!((made.status, &made.body["chain_ids"]), (200, &json!([1])), "{made:?}");
    assert_eq!(ask("two").await.body["id"], "second", "asked again, it is there");
    refused(&ask("four").await, 409, "already-exists");
    // The other request was for the same name: its second approval comes too late.
    scene.say("ada", &twin, "approve").await;
    refused(&scene.say("ben", &twin, "approve").await, 409, "already-exists");
    assert_eq!(scene.state(&twin).await, "failed");
}

/// Would catch each way around: the seal asked for a change by a client, a change under rules that are gone, rules that let
/// everything happen, and a bundle that takes the rule away without asking.
#[tokio::test]
async fn there_is_no_way_around() {
    let Some(scene) = Scene::open().await else { return };
    let (first, second) = (scene.draft("one"), scene.draft("two"));
    let (one, two) = (scene.bring(&first).await, scene.bring(&second).await);
    let sheet = scene.officers[0].1.get(&format!("/v1/approvals/{two}")).await.body;
    let backend = scene.appliance.peer("client", "backend");
    let ask = json!({ "wallet": "seal", "payload": sheet["payload"] });
    refused(&backend.post("/v1/sign", &ask, Some("forged")).await, 403, "forbidden");
    let message = json!({ "wallet": "seal", "payload": { "type": "ethereum.message", "data": "0x00" } });
    refused(&backend.post("/v1/sign", &message, Some("other")).await, 422, "chain-id-mismatch");

    for name in ["ada", "ben"] {
        assert_eq!(scene.say(name, &one, "approve").await.status, 200);
    }
    let now = scene.in_force().await;
    // Asked for against a bundle that is gone: whoever approved it now would undo what came between unseen.
    scene.say("ada", &two, "approve").await;
    refused(&scene.say("ben", &two, "approve").await, 409, "approval-stale");
    assert_eq!((scene.state(&two).await, scene.in_force().await), (json!("failed"), now.clone()));

    let mut lax = scene.bundle.clone();
    lax["files"]["policies/change.cedar"] =
        r#"@id("lax") permit (principal, action == Action::"change", resource);"#.into();
    let answer = scene.operator.apply(&lax).await;
    refused(&answer, 422, "bundle-invalid");
    assert!(answer.body.to_string().contains("change-unguarded"), "{answer:?}");
    // A permit that names no action says nothing of changes, so this one takes the rule away: it must be asked for.
    lax["files"]["policies/change.cedar"] = r#"@id("lax") permit (principal, action, resource);"#.into();
    lax["files"].as_object_mut().unwrap().remove("tests/change.toml");
    let id = scene.bring(&lax).await;
    assert_eq!((scene.state(&id).await, scene.in_force().await), (json!("pending"), now));
}

/// Would catch a change that undoes, unseen, what came into force between its last approval and its own turn.
#[tokio::test]
async fn of_two_changes_approved_at_once_one_takes_effect() {
    let Some(scene) = Scene::open().await else { return };
    let (one, two) = (scene.bring(&scene.draft("one")).await, scene.bring(&scene.draft("two")).await);
    for id in [&one, &two] {
        assert_eq!(scene.say("ada", id, "approve").await.status, 200);
    }
    let (first, second) = tokio::join!(scene.say("ben", &one, "approve"), scene.say("ben", &two, "approve"));
    let ended = [&first, &second].map(|answer| answer.status);
    assert!(ended == [200, 409] || ended == [409, 200], "{first:?} {second:?}");
    let late = if first.status == 409 { first } else { second };
    refused(&late, 409, "approval-stale");
    let states = [scene.state(&one).await, scene.state(&two).await];
    assert_eq!(states.iter().filter(|state| **state == "released").count(), 1, "{states:?}");
}

/// Would catch a wallet that takes the seal's name, so that nothing could be changed any more.
#[tokio::test]
async fn the_seal_has_its_name_to_itself() {
    let Some(mut appliance) = Appliance::prepare() else { return };
    appliance.start();
    let body = json!({ "id": "seal", "chain": "ethereum", "chain_ids": [1] });
    refused(&appliance.peer("operator", "op").post("/v1/wallets", &body, None).await, 400, "bad-request");
}

/// The same with the real command line: would catch an officer who approves a change unseen, or one that differs from what is
/// said, and an auditor who cannot verify it afterwards.
#[tokio::test]
async fn administrators_and_auditors_use_the_command_line() {
    let Some(scene) = Scene::open().await else { return };
    if chancery().is_none() {
        return;
    }
    let at = |name: &str| scene.appliance.at(name).to_str().unwrap().to_owned();
    let draft = scene.draft("newcomer");
    for (path, text) in draft["files"].as_object().unwrap() {
        let path = scene.appliance.at("draft").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().unwrap()).unwrap();
    }
    let operator = scene.appliance.client_directory("operator", "op");
    let (code, out, talk) = read(&operator, &["policy", "apply", &at("draft")]);
    let id = out.trim();
    assert!(code == 3 && talk.contains("2 approvals by `administrators`"), "{code} {out} {talk}");
    let ada = scene.appliance.client_directory("officer", "ada");
    let (code, shown, talk) = read(&ada, &["approval", "show", id]);
    assert_eq!(code, 0, "{shown} {talk}");
    for told in ["put policy bundle", "differs   + address eip155:1:0x90F7", "no goal was proved"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let (code, out, talk) = read(&operator, &["wallet", "create", "hot", "--chain-id", "1"]);
    assert_eq!(code, 3, "{out} {talk}");
    for name in ["ada", "ben"] {
        assert_eq!(scene.say(name, id, "approve").await.status, 200);
    }
    let auditor = scene.appliance.client_directory("auditor", "aud");
    let trust = scene.appliance.peer("auditor", "aud").get("/v1/trust").await.body;
    std::fs::write(at("trust.json"), trust.to_string()).unwrap();
    let (code, out, talk) = read(&auditor, &["audit", "verify", "--trust", &at("trust.json")]);
    assert_eq!(code, 0, "{out} {talk}");
    let (code, out, talk) = read(&auditor, &["audit", "re-evaluate", id]);
    assert_eq!(code, 0, "{out} {talk}");
    let receipt = scene.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    std::fs::write(at("r.json"), receipt.to_string()).unwrap();
    let (code, out, talk) =
        read(&auditor, &["receipt", "verify", &at("r.json"), "--trust", &at("trust.json")]);
    assert!(code == 0 && out.contains("officer `ben` approved"), "{out} {talk}");
}
