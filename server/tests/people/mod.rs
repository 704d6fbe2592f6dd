//! Officers for tests: who they are, and the bundle that names them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "test code; each file uses its part"
)]

use chancery_core::{ClientId, Tenant, UnixMillis};
use chancery_identity::login::Code;
use serde_json::Value;

use crate::appliance::treasury;
use crate::passkey::Passkey;

pub const ORIGIN: &str = "https://chancery.example";

/// One person: a passkey, and the code of an enrolment.
pub struct Person {
    pub name: &'static str,
    pub roles: &'static str,
    pub passkey: Passkey,
    pub code: Code,
    pub until: &'static str,
}

impl Person {
    pub fn new(name: &'static str, roles: &'static str) -> Self {
        let passkey = Passkey::fresh("chancery.example", ORIGIN);
        Self { name, roles, passkey, code: Code::fresh().unwrap(), until: "2100-01-01T00:00:00Z" }
    }

    pub fn entry(&self) -> String {
        let id: ClientId = self.name.parse().unwrap();
        let digest = hex::encode(self.code.digest(&Tenant::default(), &id));
        format!(
            "\n[[officer]]\nid = \"{}\"\nroles = [\"{}\"]\nenrolment = {{ code_sha256 = \"{digest}\", until = \"{}\" }}\n{}",
            self.name,
            self.roles,
            self.until,
            self.passkey.entry()
        )
    }
}

/// The example bundle with these people.
pub fn bundle<'a>(people: impl IntoIterator<Item = &'a Person>) -> Value {
    with_officers(&people.into_iter().map(Person::entry).collect::<String>())
}

/// The example bundle without its quorum, which nobody here stands in, and with these entries.
pub fn with_officers(entries: &str) -> Value {
    let mut bundle = treasury();
    let files = bundle["files"].as_object_mut().unwrap();
    files.retain(|path, _| !path.starts_with("tests/"));
    let ether = files["policies/ether.cedar"].as_str().unwrap().replace("@quorum(\"treasury, 2\")\n", "");
    files["policies/ether.cedar"] = ether.into();
    let manifest = files["bundle.toml"].as_str().unwrap();
    let party = format!("[webauthn]\nrp_id = \"chancery.example\"\norigins = [\"{ORIGIN}\"]\n");
    files["bundle.toml"] = format!("{manifest}\n{party}{entries}").into();
    bundle
}

pub fn now() -> UnixMillis {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(i64::try_from(now.as_millis()).unwrap())
}
