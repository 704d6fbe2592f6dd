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

const NAMES: [&str; 2] = ["ada", "ben"];

/// The two, at an appliance.
pub struct Administrators(Vec<(&'static str, Peer, Passkey)>);

impl Administrators {
    /// With fresh passkeys, and the bundle that names them and asks them about changes.
    pub fn of(appliance: &Appliance) -> (Self, Value) {
        let (mut entries, mut officers) = (String::new(), Vec::new());
        for name in NAMES {
            let passkey = Passkey::fresh("chancery.example", ORIGIN);
            entries += &format!(
                "\n[[officer]]\nid = \"{name}\"\nroles = [\"administrator\"]\ngroups = [\"administrators\"]\n{}",
                passkey.entry()
            );
            officers.push((name, appliance.peer("officer", name), passkey));
        }
        let mut bundle = with_officers(&entries);
        let files = bundle["files"].as_object_mut().unwrap();
        let manifest = files["bundle.toml"].as_str().unwrap();
        files["bundle.toml"] = manifest.replace("\"risk\"]", "\"risk\", \"administrators\"]").into();
        files.insert("policies/change.cedar".to_owned(), RULES.into());
        (Self(officers), bundle)
    }

    /// What an officer is asked.
    pub async fn sheet(&self, name: &str, id: &str) -> Value {
        let (_, peer, _) = self.0.iter().find(|(known, ..)| *known == name).unwrap();
        peer.get(&format!("/v1/approvals/{id}")).await.body
    }

    pub async fn approve(&self, name: &str, id: &str) -> Answer {
        let (_, peer, passkey) = self.0.iter().find(|(known, ..)| *known == name).unwrap();
        let sheet = self.sheet(name, id).await;
        let text = |name: &str| sheet[name].as_str().unwrap();
        let bundle: Digest = text("bundle").parse().unwrap();
        let (request, client) = (text("request_id").parse().unwrap(), text("client").parse().unwrap());
        let (tenant, wallet) = (Tenant::default(), text("wallet").parse().unwrap());
        let group = "administrators";
        let matter =
            Matter::new(Act::Approve, group, &tenant, request, &client, &wallet, &sheet["intent"], &bundle);
        let assertion = passkey.assert(&matter.challenge().unwrap());
        let word = json!({ "act": "approve", "group": group, "bundle": bundle, "assertion": assertion });
        peer.post(&format!("/v1/approvals/{id}"), &word, None).await
    }
}

pub struct Council {
    pub appliance: Appliance,
    pub operator: Peer,
    officers: Administrators,
}

impl Council {
    /// A running appliance with the wallet `treasury`, or `None` without SoftHSM2.
    pub async fn open() -> Option<Self> {
        let mut appliance = Appliance::prepare()?;
        appliance.start();
        let (officers, bundle) = Administrators::of(&appliance);
        appliance.furnish("treasury", &bundle).await;
        Some(Self { operator: appliance.peer("operator", "op"), officers, appliance })
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
        self.officers.approve(name, id).await
    }

    /// Both agree.
    pub async fn agree(&self, id: &str) {
        for name in NAMES {
            let answer = self.approve(name, id).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert_eq!(self.state(id).await, "released");
    }
}
