//! The suite on SoftHSM2, and on NSS softokn where it is installed: run as an operator would run it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "2468-harbour";

struct Token {
    _folder: tempfile::TempDir,
    conf: PathBuf,
    pin: PathBuf,
}

fn token() -> Token {
    assert!(Path::new(MODULE).exists(), "this test needs SoftHSM2: `apt install softhsm2`");
    let folder = tempfile::tempdir().unwrap();
    let (conf, pin, tokens) =
        (folder.path().join("softhsm2.conf"), folder.path().join("pin"), folder.path().join("tokens"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()))
        .unwrap();
    fs::write(&pin, format!("{PIN}\n")).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "bench", "--so-pin", "13579-so", "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    Token { _folder: folder, conf, pin }
}

fn suite(token: &Token, more: &[&str]) -> (Option<i32>, Value) {
    let environment = format!("SOFTHSM2_CONF={}", token.conf.display());
    let run = Command::new(env!("CARGO_BIN_EXE_chancery-hardware-tests"))
        .args(["--module", MODULE, "--token", "bench", "--json", "--environment", &environment])
        .arg("--pin-file")
        .arg(&token.pin)
        .args(more)
        .output()
        .unwrap();
    eprintln!("{}", String::from_utf8_lossy(&run.stderr));
    (run.status.code(), serde_json::from_slice(&run.stdout).unwrap_or_default())
}

/// Would catch a suite that passes without having asked: every row that SoftHSM2 can answer must be there and pass.
#[test]
fn softhsm2_conforms() {
    let (code, report) = suite(&token(), &[]);
    assert_eq!(code, Some(0), "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    let outcome = |check: &str, subject: &str| {
        let row = rows.iter().find(|row| row["check"] == check && row["subject"] == subject);
        row.unwrap_or_else(|| panic!("no row {check} {subject}"))["outcome"].as_str().unwrap().to_owned()
    };
    for algorithm in ["secp256k1", "p256", "ed25519"] {
        for check in ["generate", "sign", "find", "concurrent", "destroy"] {
            assert_eq!(outcome(check, algorithm), "pass", "{check} {algorithm}");
        }
    }
    assert_eq!(outcome("encrypt", "aes-gcm"), "pass");
    assert_eq!(outcome("wrap", "aes-kwp (0x210A)"), "pass");
    for probe in [
        "wrap-unextractable",
        "relax-attributes",
        "relax-by-copy",
        "allowed-mechanisms",
        "read-sensitive",
        "wrap-with-trusted",
    ] {
        assert_eq!(outcome("honesty", probe), "pass", "{probe}");
    }
    assert!(rows.iter().any(|row| row["check"] == "low-s" && row["outcome"] == "noted"));
}

#[test]
fn the_benchmark_counts_signatures() {
    let (code, rates) =
        suite(&token(), &["bench", "--algorithm", "p256", "--threads", "1,2", "--time-ms", "200"]);
    assert_eq!(code, Some(0));
    let rates = rates.as_array().unwrap();
    assert_eq!(rates.len(), 2);
    for rate in rates {
        assert!(rate["signatures"].as_u64().unwrap() > 0, "{rate}");
    }
}

/// Would catch a PIN that is taken from a file others can read, and a module that is silently not there.
#[test]
fn what_cannot_be_run_says_so() {
    let open = token();
    fs::set_permissions(&open.pin, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(suite(&open, &[]).0, Some(2));
    let token = token();
    fs::write(&token.pin, "wrong-pin").unwrap();
    assert_eq!(suite(&token, &[]).0, Some(2));
}
