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

mod administrators;
mod appliance;
mod passkey;
mod people;

use std::time::Duration;

use administrators::{Council, Seat};
use appliance::{Answer, Appliance, chancery, read};
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
const SEATS: [Seat; 4] = [
    ("ada", "administrator", ""),
    ("ben", "administrator", ""),
    ("cleo", "administrator", "clients = [\"op\"]"),
    ("max", "approver", ""),
];

async fn open() -> Option<Council> {
    Council::seated(&SEATS, RULE, CASES).await
}

/// The bundle in force with one more address.
fn draft(council: &Council, name: &str) -> Value {
    let mut draft = council.bundle.clone();
    let manifest = draft["files"]["bundle.toml"].as_str().unwrap().to_owned();
    let address = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    draft["files"]["bundle.toml"] = format!(
        "{manifest}\n[[address]]\nname = \"{name}\"\naddress = \"{address}\"\nchains = [\"eip155:1\"]\n"
    )
    .into();
    draft
}

async fn bring(council: &Council, bundle: &Value) -> String {
    let asked = council.operator.apply(bundle).await;
    assert_eq!((asked.status, &asked.body["state"]), (202, &json!("pending")), "{asked:?}");
    asked.body["request_id"].as_str().unwrap().to_owned()
}

async fn in_force(council: &Council) -> Value {
    council.operator.get("/v1/policy").await.body["bundle"].clone()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// Would catch a bundle that comes into force by its operator alone, one approval, the wrong role or the operator's own voice,
/// a receipt that does not verify, and a change that a restart loses.
#[tokio::test]
async fn policy_changes_with_two_administrators_and_leaves_a_receipt() {
    let Some(mut council) = open().await else { return };
    let (old, draft) = (in_force(&council).await, draft(&council, "newcomer"));
    let id = bring(&council, &draft).await;
    assert_eq!(in_force(&council).await, old, "asking changes nothing");
    refused(&council.say("max", &id, "approve").await, 403, "approval-not-asked");
    refused(&council.say("cleo", &id, "approve").await, 403, "self-approval");
    let first = council.say("ada", &id, "approve").await;
    assert_eq!((first.status, &first.body["state"]), (200, &json!("pending")), "{first:?}");
    refused(&council.say("ada", &id, "approve").await, 409, "already-exists");
    assert_eq!(in_force(&council).await, old);
    council.restart(true);
    let second = council.say("ben", &id, "approve").await;
    assert_eq!((second.status, &second.body["state"]), (200, &json!("released")), "{second:?}");
    let new = in_force(&council).await;
    assert_ne!(new, old);
    let receipt = council.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    assert_eq!(receipt["payload"]["change"]["bundle"], new, "{receipt}");
    assert_eq!(receipt["approvals"].as_array().unwrap().len(), 2);
    council.restart(false);
    assert_eq!(in_force(&council).await, new, "what was agreed to outlives the process");
    let trust = council.appliance.trust().await;
    chancery_audit::verify(receipt.to_string().as_bytes(), &trust).unwrap();
}

/// Would catch a wallet without a word, a veto that does not end it, and a key that stays behind.
#[tokio::test]
async fn a_wallet_is_made_with_two_administrators_or_not_at_all() {
    let Some(council) = open().await else { return };
    let body = json!({ "id": "second", "chain": "ethereum", "chain_ids": [1] });
    let ask = async |key: &str| council.operator.post("/v1/wallets", &body, Some(key)).await;
    let asked = ask("one").await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let id = asked.body["request_id"].as_str().unwrap();
    assert_eq!(ask("one").await.body["request_id"], id, "one key, one change");
    assert_eq!(council.operator.get("/v1/wallets/second").await.status, 404);
    assert_eq!(council.say("ada", id, "veto").await.body["state"], "denied");
    refused(&council.say("ben", id, "approve").await, 409, "request-not-pending");
    refused(&ask("one").await, 403, "policy-denied");

    let again = ask("two").await.body["request_id"].as_str().unwrap().to_owned();
    let twin = ask("three").await.body["request_id"].as_str().unwrap().to_owned();
    for name in ["ada", "ben"] {
        assert_eq!(council.say(name, &again, "approve").await.status, 200);
    }
    let made = council.operator.get("/v1/wallets/second").await;
    assert_eq!((made.status, &made.body["chain_ids"]), (200, &json!([1])), "{made:?}");
    assert_eq!(ask("two").await.body["id"], "second", "asked again, it is there");
    refused(&ask("four").await, 409, "already-exists");
    // The other request was for the same name: its second approval comes too late.
    council.say("ada", &twin, "approve").await;
    refused(&council.say("ben", &twin, "approve").await, 409, "already-exists");
    assert_eq!(council.state(&twin).await, "failed");
}

/// Would catch each way around: the seal asked for a change by a client, a change under rules that are gone, rules that let
/// everything happen, and a bundle that takes the rule away without asking.
#[tokio::test]
async fn there_is_no_way_around() {
    let Some(council) = open().await else { return };
    let (first, second) = (draft(&council, "one"), draft(&council, "two"));
    let (one, two) = (bring(&council, &first).await, bring(&council, &second).await);
    let sheet = council.sheet("ada", &two).await;
    let backend = council.appliance.peer("client", "backend");
    let ask = json!({ "wallet": "seal", "payload": sheet["payload"] });
    refused(&backend.post("/v1/sign", &ask, Some("forged")).await, 403, "forbidden");
    let message = json!({ "wallet": "seal", "payload": { "type": "ethereum.message", "data": "0x00" } });
    refused(&backend.post("/v1/sign", &message, Some("other")).await, 422, "chain-id-mismatch");

    for name in ["ada", "ben"] {
        assert_eq!(council.say(name, &one, "approve").await.status, 200);
    }
    let now = in_force(&council).await;
    // Asked for against a bundle that is gone: whoever approved it now would undo what came between unseen.
    council.say("ada", &two, "approve").await;
    refused(&council.say("ben", &two, "approve").await, 409, "approval-stale");
    assert_eq!((council.state(&two).await, in_force(&council).await), (json!("failed"), now.clone()));

    let mut lax = council.bundle.clone();
    lax["files"]["policies/change.cedar"] =
        r#"@id("lax") permit (principal, action == Action::"change", resource);"#.into();
    let answer = council.operator.apply(&lax).await;
    refused(&answer, 422, "bundle-invalid");
    assert!(answer.body.to_string().contains("change-unguarded"), "{answer:?}");
    // A permit that names no action says nothing of changes, so this one takes the rule away: it must be asked for.
    lax["files"]["policies/change.cedar"] = r#"@id("lax") permit (principal, action, resource);"#.into();
    lax["files"].as_object_mut().unwrap().remove("tests/change.toml");
    let id = bring(&council, &lax).await;
    assert_eq!((council.state(&id).await, in_force(&council).await), (json!("pending"), now));
}

/// Would catch a change that undoes, unseen, what came into force between its last approval and its own turn.
#[tokio::test]
async fn of_two_changes_approved_at_once_one_takes_effect() {
    let Some(council) = open().await else { return };
    let (one, two) =
        (bring(&council, &draft(&council, "one")).await, bring(&council, &draft(&council, "two")).await);
    for id in [&one, &two] {
        assert_eq!(council.say("ada", id, "approve").await.status, 200);
    }
    let (first, second) =
        tokio::join!(council.say("ben", &one, "approve"), council.say("ben", &two, "approve"));
    let ended = [&first, &second].map(|answer| answer.status);
    assert!(ended == [200, 409] || ended == [409, 200], "{first:?} {second:?}");
    let late = if first.status == 409 { first } else { second };
    refused(&late, 409, "approval-stale");
    let states = [council.state(&one).await, council.state(&two).await];
    assert_eq!(states.iter().filter(|state| **state == "released").count(), 1, "{states:?}");
}

/// Would catch a break-glass rule that asks fewer than it says, does not wait while one may object, or rings no alarm.
#[tokio::test]
async fn the_glass_is_broken_by_more_people_and_after_a_time() {
    const GLASS: &str = r#"
@id("break-glass")
@quorum("administrators, 3")
@delay("5s")
@veto("administrators")
permit (principal, action == Action::"change", resource) when { context.form == "policy.apply" };
"#;
    let seats = ["ada", "ben", "dora"].map(|name| (name, "administrator", ""));
    let Some(mut council) = Council::seated(&seats, &(RULE.to_owned() + GLASS), "").await else { return };
    // The usual operator is away; the one of the night has no rule but this.
    council.operator = council.appliance.peer("operator", "night");
    let old = in_force(&council).await;
    let id = bring(&council, &draft(&council, "newcomer")).await;
    let vetoed = bring(&council, &draft(&council, "thief")).await;
    let auditor = council.appliance.peer("auditor", "aud");
    let rung = async || {
        let events = auditor.get("/v1/events?after=0").await.body["events"].clone();
        let rung = |event: &&Value| {
            event["type"] == "request.pending" && event["data"]["record"]["rules"] == json!(["break-glass"])
        };
        events.as_array().unwrap().iter().filter(rung).count()
    };
    // Events are told once a checkpoint covers them.
    for _ in 0..100 {
        if rung().await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rung().await, 2, "the alarm");
    for name in ["ada", "ben", "dora"] {
        assert_eq!((in_force(&council).await, council.state(&id).await), (old.clone(), json!("pending")));
        assert_eq!(council.say(name, &id, "approve").await.status, 200);
    }
    assert_eq!(council.say("dora", &vetoed, "veto").await.body["state"], "denied");
    for _ in 0..300 {
        if council.state(&id).await == "released" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        (council.state(&id).await, council.state(&vetoed).await),
        (json!("released"), json!("denied"))
    );
    assert_ne!(in_force(&council).await, old);
    let receipt = council.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    assert!(receipt["decision"]["review"]["waited_ms"].as_i64().unwrap() >= 5_000, "{receipt}");
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
    let Some(council) = open().await else { return };
    if chancery().is_none() {
        return;
    }
    let at = |name: &str| council.appliance.at(name).to_str().unwrap().to_owned();
    let draft = draft(&council, "newcomer");
    for (path, text) in draft["files"].as_object().unwrap() {
        let path = council.appliance.at("draft").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().unwrap()).unwrap();
    }
    let operator = council.appliance.client_directory("operator", "op");
    let (code, out, talk) = read(&operator, &["policy", "apply", &at("draft")]);
    let id = out.trim();
    assert!(code == 3 && talk.contains("2 approvals by `administrators`"), "{code} {out} {talk}");
    let ada = council.appliance.client_directory("officer", "ada");
    let (code, shown, talk) = read(&ada, &["approval", "show", id]);
    assert_eq!(code, 0, "{shown} {talk}");
    for told in ["put policy bundle", "differs   + address eip155:1:0x90F7", "no goal was proved"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let (code, out, talk) = read(&operator, &["wallet", "create", "hot", "--chain-id", "1"]);
    assert_eq!(code, 3, "{out} {talk}");
    for name in ["ada", "ben"] {
        assert_eq!(council.say(name, id, "approve").await.status, 200);
    }
    let auditor = council.appliance.client_directory("auditor", "aud");
    let trust = council.appliance.peer("auditor", "aud").get("/v1/trust").await.body;
    std::fs::write(at("trust.json"), trust.to_string()).unwrap();
    let (code, out, talk) = read(&auditor, &["audit", "verify", "--trust", &at("trust.json")]);
    assert_eq!(code, 0, "{out} {talk}");
    let (code, out, talk) = read(&auditor, &["audit", "re-evaluate", id]);
    assert_eq!(code, 0, "{out} {talk}");
    let receipt = council.operator.get(&format!("/v1/requests/{id}/receipt")).await.body;
    std::fs::write(at("r.json"), receipt.to_string()).unwrap();
    let (code, out, talk) =
        read(&auditor, &["receipt", "verify", &at("r.json"), "--trust", &at("trust.json")]);
    assert!(code == 0 && out.contains("officer `ben` approved"), "{out} {talk}");
}
