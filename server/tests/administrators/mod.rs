//! An appliance whose changes two administrators agree to, and those two.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use chancery_audit::{Act, Digest, Matter};
use chancery_core::Tenant;
use serde_json::{Value, json};

use crate::appliance::{Answer, Appliance, Peer};
use crate::passkey::Passkey;
use crate::people::{ORIGIN, with_officers};

/// Two administrators, while none objects; one is enough to take somebody's certificate back.
const RULES: &str = r#"
@id("change-by-administrators")
@quorum("administrators, 2")
@veto("administrators")
permit (principal == Client::"default/op", action == Action::"change", resource)
when { context.form != "client.revoke" };

@id("revoke-by-administrator")
@quorum("administrators, 1")
permit (principal == Client::"default/op", action == Action::"change", resource)
when { context.form == "client.revoke" };
"#;

/// A name, a role, and what else stands in the bundle of one who speaks for the administrators.
pub type Seat = (&'static str, &'static str, &'static str);

const SEATS: [Seat; 2] = [("ada", "administrator", ""), ("ben", "administrator", "")];

/// The two, at an appliance.
pub struct Administrators(Vec<(&'static str, Peer, Passkey)>);

impl Administrators {
    /// With fresh passkeys, and the bundle that names them and asks them about changes.
    pub fn of(appliance: &Appliance) -> (Self, Value) {
        Self::seated(appliance, &SEATS, RULES)
    }

    /// Others, under other rules.
    pub fn seated(appliance: &Appliance, seats: &[Seat], rules: &str) -> (Self, Value) {
        let (mut entries, mut officers) = (String::new(), Vec::new());
        for (name, role, more) in seats {
            let passkey = Passkey::fresh("chancery.example", ORIGIN);
            entries += &format!(
                "\n[[officer]]\nid = \"{name}\"\nroles = [\"{role}\"]\ngroups = [\"administrators\"]\n{more}\n{}",
                passkey.entry()
            );
            officers.push((*name, appliance.peer("officer", name), passkey));
        }
        let mut bundle = with_officers(&entries);
        let files = bundle["files"].as_object_mut().unwrap();
        let manifest = files["bundle.toml"].as_str().unwrap();
        files["bundle.toml"] = manifest.replace("\"risk\"]", "\"risk\", \"administrators\"]").into();
        files.insert("policies/change.cedar".to_owned(), rules.into());
        (Self(officers), bundle)
    }

    fn seat(&self, name: &str) -> (&Peer, &Passkey) {
        self.0.iter().find(|(known, ..)| *known == name).map(|(_, peer, passkey)| (peer, passkey)).unwrap()
    }

    /// What an officer is asked.
    pub async fn sheet(&self, name: &str, id: &str) -> Value {
        self.seat(name).0.get(&format!("/v1/approvals/{id}")).await.body
    }

    pub async fn approve(&self, name: &str, id: &str) -> Answer {
        self.say(name, id, "approve").await
    }

    pub async fn say(&self, name: &str, id: &str, act: &str) -> Answer {
        let (peer, passkey) = self.seat(name);
        let sheet = self.sheet(name, id).await;
        let assertion = passkey.assert(&challenge(&sheet, act));
        let word = json!({ "act": act, "group": "administrators", "bundle": sheet["bundle"], "assertion": assertion });
        peer.post(&format!("/v1/approvals/{id}"), &word, None).await
    }
}

/// What `act` is said over, for the administrators.
pub fn challenge(sheet: &Value, act: &str) -> [u8; 32] {
    let text = |name: &str| sheet[name].as_str().unwrap();
    let act: Act = serde_json::from_value(json!(act)).unwrap();
    let bundle: Digest = text("bundle").parse().unwrap();
    let (id, client) = (text("request_id").parse().unwrap(), text("client").parse().unwrap());
    let wallet = text("wallet").parse().unwrap();
    Matter::new(act, "administrators", &Tenant::default(), id, &client, &wallet, &sheet["intent"], &bundle)
        .challenge()
        .unwrap()
}

/// They, an appliance, and its operator.
pub struct Council {
    pub appliance: Appliance,
    pub operator: Peer,
    /// The bundle in force at first.
    pub bundle: Value,
    officers: Administrators,
}

impl Council {
    /// A running appliance with the wallet `treasury`, or `None` without SoftHSM2.
    pub async fn open() -> Option<Self> {
        Self::seated(&SEATS, RULES, "").await
    }

    /// Others, under other rules that hold these cases.
    pub async fn seated(seats: &[Seat], rules: &str, cases: &str) -> Option<Self> {
        let mut appliance = Appliance::prepare()?;
        appliance.start();
        let (officers, mut bundle) = Administrators::seated(&appliance, seats, rules);
        if !cases.is_empty() {
            bundle["files"].as_object_mut().unwrap().insert("tests/change.toml".to_owned(), cases.into());
        }
        appliance.furnish("treasury", &bundle).await;
        Some(Self { operator: appliance.peer("operator", "op"), officers, bundle, appliance })
    }

    /// Stops or kills it, and starts it again.
    pub fn restart(&mut self, kill: bool) {
        if kill {
            self.appliance.kill();
        } else {
            self.appliance.stop();
        }
        self.appliance.start();
        self.operator = self.appliance.peer("operator", "op");
        for (name, peer, _) in &mut self.officers.0 {
            *peer = self.appliance.peer("officer", name);
        }
    }

    pub async fn state(&self, id: &str) -> Value {
        self.operator.get(&format!("/v1/requests/{id}")).await.body["state"].clone()
    }

    /// What an officer is asked.
    pub async fn sheet(&self, name: &str, id: &str) -> Value {
        self.officers.sheet(name, id).await
    }

    pub async fn approve(&self, name: &str, id: &str) -> Answer {
        self.say(name, id, "approve").await
    }

    pub async fn say(&self, name: &str, id: &str, act: &str) -> Answer {
        self.officers.say(name, id, act).await
    }

    /// Both agree.
    pub async fn agree(&self, id: &str) {
        for (name, ..) in SEATS {
            let answer = self.approve(name, id).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert_eq!(self.state(id).await, "released");
    }
}
