//! `chancery audit verify --tsa-ca` on the real binary: timestamps by OpenSSL beside a log, and everything that a mirror or a
//! log's owner could put in their place.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

#[path = "support/log.rs"]
mod log;
#[path = "support/long.rs"]
mod long;
mod support;
#[path = "../../audit/tests/support/tsa.rs"]
mod tsa;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chancery_audit::TimestampQuery;
use long::{Files, Key, grow};
use serde_json::Value;
use support::{Ran, chancery, text};
use tsa::Tsa;

/// One history only.
const ONE: u64 = u64::MAX;

struct Setting {
    folder: tempfile::TempDir,
    key: Arc<Key>,
    tsa: Tsa,
}

impl Setting {
    /// A log in `log` that was timestamped at each of these sizes as it grew.
    fn of(sizes: &[u64]) -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap(), key: Key::fresh(), tsa: Tsa::new() };
        let mut index = "chancery timestamps v1\n".to_owned();
        fs::write(setting.at("trust.json"), setting.key.trust().to_json()).unwrap();
        for (number, size) in (1..).zip(sizes) {
            grow(&setting.at("log"), &setting.key, *size, ONE);
            let note = fs::read(setting.at("log/checkpoint")).unwrap();
            setting.stamp(number, &note);
            index.push_str(&format!("{number}\n"));
        }
        setting.write("index", index.as_bytes());
        setting
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.at("log/timestamps").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn stamp(&self, number: u64, note: &[u8]) {
        let query = TimestampQuery::new(note, [5; 8]).unwrap();
        self.write(&format!("{number}.checkpoint"), note);
        self.write(&format!("{number}.tsr"), &self.tsa.answer("tsa", query.der()));
    }

    fn verify(&self, from: &[&str], more: &[&str]) -> Ran {
        let (trust, root) = (self.at("trust.json"), self.tsa.at("root.pem"));
        let always = ["audit", "verify", "--json", "--trust", text(&trust), "--tsa-ca", text(&root)];
        chancery(&[&always[..], from, more].concat())
    }

    fn verify_folder(&self) -> Ran {
        self.verify(&["--dir", text(&self.at("log"))], &[])
    }

    fn reason(&self) -> String {
        let document = self.verify_folder().ends(1).json();
        document["reason"].as_str().unwrap().to_owned()
    }
}

#[test]
fn timestamps_are_counted_wherever_the_log_is() {
    let s = Setting::of(&[3, 300, 600]);
    let here = s.verify_folder().ends(0).json();
    let newest = &here["timestamps"]["newest"];
    assert_eq!((&here["timestamps"]["count"], &newest["size"]), (&3.into(), &600.into()), "{here}");
    assert_eq!(newest["authority"], "CN=Test TSA tsa");
    assert!(newest["time_ms"].as_i64().unwrap() > 1_700_000_000_000);

    let files = Files::serve(&s.at("log"));
    assert_eq!(s.verify(&["--mirror", &files.url], &[]).ends(0).json(), here);
    let asked = files.asked();
    let at = |path: &str| asked.iter().position(|asked| asked == path).unwrap();
    assert!(at("timestamps/index") < at("checkpoint"), "what is stamped meanwhile is no rollback: {asked:?}");

    // The log grows on; what an earlier run verified is not read again, and the timestamps still hold.
    grow(&s.at("log"), &s.key, 900, ONE);
    let state = s.at("state.json");
    for resumed in [0, 900] {
        let again = s.verify(&["--dir", text(&s.at("log"))], &["--state", text(&state)]).ends(0).json();
        assert_eq!((&again["resumed_from"], &again["timestamps"]), (&resumed.into(), &here["timestamps"]));
    }
    let trust = s.at("trust.json");
    let told = chancery(&[
        "audit",
        "verify",
        "--dir",
        text(&s.at("log")),
        "--trust",
        text(&trust),
        "--tsa-ca",
        text(&s.tsa.at("root.pem")),
    ]);
    let told = told.ends(0).stdout;
    assert!(told.contains("timestamps 3: the first 600 entries were there at 20"), "{told}");

    // Without roots nobody looks.
    let unasked =
        chancery(&["audit", "verify", "--json", "--dir", text(&s.at("log")), "--trust", text(&trust)]);
    assert_eq!(unasked.ends(0).json()["timestamps"], Value::Null);
    s.verify(&["--dir", text(&s.at("log"))], &["--since", "none"]).ends(7);
    fs::remove_dir_all(s.at("log/timestamps")).unwrap();
    assert_eq!(s.verify_folder().ends(0).json()["timestamps"]["count"], 0);
}

/// The promise itself: who rewrites or cuts the log after it was timestamped is found, though every file agrees with every other.
#[test]
fn a_log_that_was_timestamped_can_be_neither_rewritten_nor_cut() {
    let s = Setting::of(&[300, 600]);
    for (size, forked_at, reason) in [
        (900, 599, "log-forked"),
        (900, 3, "log-forked"),
        (600, 599, "log-forked"),
        (599, ONE, "log-rolled-back"),
    ] {
        fs::rename(s.at("log/timestamps"), s.at("timestamps")).unwrap();
        fs::remove_dir_all(s.at("log")).unwrap();
        grow(&s.at("log"), &s.key, size, forked_at);
        let trust = s.at("trust.json");
        chancery(&["audit", "verify", "--dir", text(&s.at("log")), "--trust", text(&trust)]).ends(0);
        fs::rename(s.at("timestamps"), s.at("log/timestamps")).unwrap();
        assert_eq!(s.reason(), reason, "{size} entries, others from {forked_at} on");
    }
}

#[test]
fn each_thing_that_is_wrong_with_a_timestamp_has_its_reason() {
    let s = Setting::of(&[3, 10]);
    let read = |name: &str| fs::read(s.at("log/timestamps").join(name)).unwrap();
    let good = read("2.tsr");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let wrong: &[(&str, &[u8], &str)] = &[
        ("2.tsr", &read("1.tsr"), "timestamp-mismatch"),
        ("2.tsr", &flipped, "timestamp-signature"),
        ("2.tsr", b"", "timestamp-malformed"),
        ("2.tsr", &good[..good.len() - 1], "timestamp-malformed"),
        ("2.tsr", &[&good[..], &[0; 16 * 1024]].concat(), "timestamp-malformed"),
        ("2.checkpoint", &read("1.checkpoint"), "timestamp-mismatch"),
        ("index", b"1\n2\n", "timestamp-malformed"),
        ("index", b"chancery timestamps v1\n2\n1\n", "timestamp-malformed"),
        ("index", b"chancery timestamps v1\n1\n2\n3\n", "file-missing"),
    ];
    for (name, bytes, reason) in wrong {
        let kept = read(name);
        s.write(name, bytes);
        assert_eq!(s.reason(), *reason, "{name}");
        s.write(name, &kept);
    }
    s.verify_folder().ends(0);

    // Somebody else's root, and no root at all.
    let other = Tsa::new();
    let (trust, folder) = (s.at("trust.json"), s.at("log"));
    let under = |root: PathBuf| {
        let from = ["--dir", text(&folder), "--trust", text(&trust), "--tsa-ca", text(&root)];
        chancery(&[&["audit", "verify", "--json"][..], &from].concat())
    };
    assert_eq!(under(other.at("root.pem")).ends(1).json()["reason"], "timestamp-authority");
    under(s.tsa.at("tsa.pem")).ends(7);
    under(s.at("none.pem")).ends(7);

    // A checkpoint of another log, properly timestamped.
    let elsewhere = Setting::of(&[10]);
    s.stamp(2, &fs::read(elsewhere.at("log/checkpoint")).unwrap());
    assert_eq!(s.reason(), "timestamp-checkpoint");
}

/// Would catch roots that would keep the appliance from starting and were said to be good.
#[test]
fn a_configuration_names_roots_that_are_some() {
    let s = Setting::of(&[3]);
    let state = s.at("state");
    support::init(&state, &[]).ends(0);
    let configured = fs::read_to_string(state.join("chancery.toml")).unwrap();
    let section = "# [[log.timestamp]]\n# url = \"https://tsa.example\"\n# ca = \"tsa.pem\"";
    assert!(configured.contains(section), "{configured}");
    for (root, wrong) in [("root.pem", 0), ("tsa.pem", 1), ("none.pem", 1)] {
        let ca = s.tsa.at(root);
        let authority = format!("[[log.timestamp]]\nurl = \"https://tsa.example\"\nca = {ca:?}");
        fs::write(state.join("chancery.toml"), configured.replace(section, &authority)).unwrap();
        let found = chancery(&["serve-config", "check", text(&state.join("chancery.toml")), "--json"]).json();
        let of = |finding: &&Value| finding["key"] == "log.timestamp.ca" && finding["level"] == "error";
        assert_eq!(found["findings"].as_array().unwrap().iter().filter(of).count(), wrong, "{root}: {found}");
    }
}
