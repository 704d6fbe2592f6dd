//! `chancery audit verify` of long logs on the real binary: from a folder and from a server of static files, killed and
//! gone on with, grown, rolled back and forked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may panic")]

#[path = "support/log.rs"]
mod log;
#[path = "support/long.rs"]
mod long;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use long::{Files, Key, grow};
use serde_json::{Value, json};
use support::{Ran, chancery, text};

/// One history only.
const ONE: u64 = u64::MAX;

struct Setting {
    folder: tempfile::TempDir,
    key: Arc<Key>,
}

impl Setting {
    /// A log of so many entries in `log`, and the trust in it.
    fn of(entries: u64) -> Self {
        let setting = Self { folder: tempfile::tempdir().unwrap(), key: Key::fresh() };
        grow(&setting.at("log"), &setting.key, entries, ONE);
        std::fs::write(setting.at("trust.json"), setting.key.trust().to_json()).unwrap();
        setting
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another copy of the log, with another history from `forked_at` on.
    fn copy(&self, name: &str, entries: u64, forked_at: u64) -> PathBuf {
        grow(&self.at(name), &self.key, entries, forked_at);
        self.at(name)
    }

    fn verify(&self, from: &[&str], more: &[&str]) -> Ran {
        let trust = self.at("trust.json");
        let mut arguments = vec!["audit", "verify", "--json", "--trust", text(&trust)];
        arguments.extend(from);
        arguments.extend(more);
        chancery(&arguments)
    }

    fn verify_folder(&self, folder: &Path, more: &[&str]) -> Ran {
        self.verify(&["--dir", text(folder)], more)
    }
}

fn reason(ran: Ran) -> String {
    let document = ran.ends(1).json();
    assert_eq!(document["ok"], false);
    document["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_of_static_files_and_a_folder_give_the_same_answer() {
    let s = Setting::of(6_000);
    let files = Files::serve(&s.at("log"));
    let [there, here] = [
        s.verify(&["--mirror", &files.url], &[]).ends(0).json(),
        s.verify_folder(&s.at("log"), &[]).ends(0).json(),
    ];
    assert_eq!(there, here);
    let counted = [&here["size"], &here["decisions"], &here["outcomes"], &here["open"]].map(Value::as_u64);
    assert_eq!(counted, [6_000, 5_000, 1_000, 4_000].map(Some));
    assert!(files.asked().iter().all(|path| path == "checkpoint" || path.starts_with("tile/")));

    // What a mirror changes is found; that it is not there is no finding about the log.
    for path in ["checkpoint", "tile/entries/011", "tile/0/022", "tile/1/000.p/23", "tile/entries/023.p/112"]
    {
        let file = s.at("log").join(path);
        let whole = std::fs::read(&file).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 2] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&file, flipped).unwrap();
            let [there, here] =
                [s.verify(&["--mirror", &files.url], &[]), s.verify_folder(&s.at("log"), &[])].map(reason);
            assert_eq!(there, here, "byte {at} of {path}");
        }
        std::fs::remove_file(&file).unwrap();
        let missing = if path == "checkpoint" { "checkpoint-missing" } else { "file-missing" };
        assert_eq!(reason(s.verify(&["--mirror", &files.url], &[])), missing, "{path}");
        std::fs::write(&file, whole).unwrap();
    }
    s.verify(&["--mirror", "http://127.0.0.1:9"], &["--timeout", "2s"]).ends(6);
    s.verify(&["--mirror", "file:///log"], &[]).ends(2);
    files.serve_only(Some(5));
    s.verify(&["--mirror", &files.url], &["--timeout", "1s"]).ends(6);
}

#[test]
fn a_killed_run_is_gone_on_with_and_reads_nothing_twice() {
    let s = Setting::of(30_000);
    let files = Files::serve(&s.at("log"));
    let (trust, state) = (s.at("trust.json"), s.at("state.json"));
    let verified = || -> u64 {
        let text = std::fs::read(&state).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["verified"].as_u64().unwrap()
    };
    // A bundle and its tile are two files; the first state is kept after the checkpoint, the next after 64 bundles.
    for served in [2, 40, 190] {
        files.serve_only(Some(served));
        let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(["audit", "verify", "--trust", text(&trust), "--state", text(&state)])
            .args(["--mirror", &files.url, "--timeout", "1h"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        files.wait_until_silent();
        if served == 190 {
            // Of the 94 bundles that were served, at least 64 reach the pass in order.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
            while !state.exists() || verified() == 0 {
                assert!(std::time::Instant::now() < deadline, "it keeps nothing");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = verified();
    assert_eq!(before, 64 * 256);
    files.serve_only(None);
    let last = s.verify(&["--mirror", &files.url], &["--state", text(&state), "--progress"]).ends(0);
    let told = format!("verified {before} of 30000");
    assert!(last.stderr.contains(&told) && last.stderr.contains("verified 30000 of 30000"), "{last:?}");
    let mut report = last.json();
    assert_eq!(report["resumed_from"], before);
    let bundle = |path: &String| path.strip_prefix("tile/entries/")?.split(".p").next()?.parse::<u64>().ok();
    let read: Vec<u64> = files.asked().iter().filter_map(bundle).collect();
    assert!(read.iter().all(|bundle| *bundle >= before / 256) && read.len() == 118 - 64, "{read:?}");
    report["resumed_from"] = json!(0);
    assert_eq!(report, s.verify_folder(&s.at("log"), &[]).ends(0).json(), "what it found is the same");

    // Nothing new: only the checkpoint is read. Grown: only what is new.
    files.serve_only(None);
    s.verify(&["--mirror", &files.url], &["--state", text(&state)]).ends(0);
    assert_eq!(files.asked(), ["checkpoint"]);
    grow(&s.at("log"), &s.key, 30_300, ONE);
    files.serve_only(None);
    let grown = s.verify(&["--mirror", &files.url], &["--state", text(&state)]).ends(0).json();
    assert_eq!(
        (&grown["resumed_from"], &grown["size"], &grown["policies"]),
        (&json!(30_000), &json!(30_300), &json!(20_300))
    );
    assert_eq!(
        files.asked().iter().filter_map(bundle).collect::<std::collections::BTreeSet<_>>(),
        [117, 118].into()
    );
}

#[test]
fn a_log_that_was_rolled_back_or_forked_since_is_refused() {
    let s = Setting::of(600);
    let state = s.at("state.json");
    let keep = ["--state", text(&state)];
    s.verify_folder(&s.at("log"), &keep).ends(0);
    let kept = std::fs::read(&state).unwrap();

    let (shorter, grown) = (s.copy("shorter", 599, ONE), s.copy("grown", 900, ONE));
    assert_eq!(reason(s.verify_folder(&shorter, &keep)), "log-rolled-back");
    // The same size and a larger one, with another entry in the verified tile, and before it.
    for (name, size, forked_at) in [("a", 600, 599), ("b", 900, 599), ("c", 900, 520), ("d", 900, 3)] {
        let forked = s.copy(name, size, forked_at);
        s.verify_folder(&forked, &[]).ends(0);
        assert_eq!(reason(s.verify_folder(&forked, &keep)), "log-forked", "{name}");
    }
    // Seen once is seen for ever, verified or not: the state has the fork's checkpoint only where it could be the log's.
    std::fs::write(&state, &kept).unwrap();
    s.verify_folder(&grown, &keep).ends(0);
    assert_eq!(
        reason(s.verify_folder(&s.at("log"), &keep)),
        "log-rolled-back",
        "an older copy of the whole log"
    );

    // A torn state is no state, and one of another log is refused.
    std::fs::write(&state, &kept[..kept.len() - 1]).unwrap();
    let ran = s.verify_folder(&grown, &keep).ends(0);
    assert!(ran.stderr.contains("cannot be gone on from"), "{ran:?}");
    assert_eq!(ran.json()["resumed_from"], 0);
    let other = Setting::of(3);
    std::fs::copy(other.at("trust.json"), s.at("trust.json")).unwrap();
    s.verify_folder(&other.at("log"), &keep).ends(7);
    s.verify_folder(&other.at("log"), &["--state", "/nonexistent/state"]).ends(7);
    s.verify_folder(&other.at("log"), &["--state", text(&state), "--since", "checkpoint"]).ends(2);
}

#[test]
fn a_checkpoint_that_was_seen_binds_the_log_even_where_its_verification_was_never_ended() {
    let s = Setting::of(600);
    let state = s.at("state.json");
    let files = Files::serve(&s.at("log"));
    files.serve_only(Some(1));
    let (trust, url) = (s.at("trust.json"), files.url.clone());
    let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["audit", "verify", "--trust", text(&trust), "--state", text(&state), "--mirror", &url])
        .args(["--timeout", "1h"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    files.wait_until_silent();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(state.exists(), "the checkpoint was kept before the first entry was asked for");
    let keep = ["--state", text(&state)];
    assert_eq!(reason(s.verify_folder(&s.copy("shorter", 599, ONE), &keep)), "log-rolled-back");
    assert_eq!(reason(s.verify_folder(&s.copy("forked", 900, 400), &keep)), "log-forked");
    s.verify_folder(&s.at("log"), &keep).ends(1);
}
