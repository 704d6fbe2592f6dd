//! The suite on SoftHSM2, and on NSS softokn where it is installed: run as an operator would run it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SOFTHSM2: &str = "/usr/lib/softhsm/libsofthsm2.so";
const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";

/// A module and a token made with the suite's own `init`.
struct Bench {
    _folder: tempfile::TempDir,
    pin: PathBuf,
    arguments: Vec<String>,
}

fn bench(module: &str, more: impl Fn(&Path) -> Vec<String>) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let [pin, so_pin] = ["pin", "so-pin"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{name}-24681357\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    });
    let mut arguments: Vec<String> = ["--module", module, "--token", "bench"].map(str::to_owned).into();
    arguments.extend(more(folder.path()));
    let bench = Bench { _folder: folder, pin, arguments };
    let made = bench.run(&["init", "--so-pin-file", so_pin.to_str().unwrap()]);
    assert_eq!(made.0, Some(0), "the token was not made");
    bench
}

fn softhsm2() -> Bench {
    assert!(Path::new(SOFTHSM2).exists(), "this test needs SoftHSM2: `apt install softhsm2`");
    bench(SOFTHSM2, |folder| {
        let (conf, tokens) = (folder.join("softhsm2.conf"), folder.join("tokens"));
        fs::create_dir(&tokens).unwrap();
        fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
        vec!["--environment".to_owned(), format!("SOFTHSM2_CONF={}", conf.display())]
    })
}

impl Bench {
    fn run(&self, more: &[&str]) -> (Option<i32>, Value) {
        let run = Command::new(env!("CARGO_BIN_EXE_chancery-hardware-tests"))
            .args(&self.arguments)
            .arg("--pin-file")
            .arg(&self.pin)
            .args(more)
            .output()
            .unwrap();
        eprintln!("{}", String::from_utf8_lossy(&run.stderr));
        (run.status.code(), serde_json::from_slice(&run.stdout).unwrap_or_default())
    }
}

fn outcome<'a>(report: &'a Value, check: &str, subject: &str) -> &'a str {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == check && row["subject"] == subject);
    row.unwrap_or_else(|| panic!("no row {check} {subject}"))["outcome"].as_str().unwrap()
}

/// Would catch a suite that passes without having asked: every row that SoftHSM2 can answer must be there and pass.
#[test]
fn softhsm2_conforms() {
    let (code, report) = softhsm2().run(&["--json"]);
    assert_eq!(code, Some(0), "{report:#}");
    for algorithm in ["secp256k1", "p256", "ed25519"] {
        for check in ["generate", "sign", "find", "concurrent", "destroy"] {
            assert_eq!(outcome(&report, check, algorithm), "pass", "{check} {algorithm}");
        }
    }
    assert_eq!(outcome(&report, "encrypt", "aes-gcm"), "pass");
    assert_eq!(outcome(&report, "wrap", "aes-kwp (0x210A)"), "pass");
    for probe in [
        "wrap-unextractable",
        "relax-attributes",
        "relax-by-copy",
        "allowed-mechanisms",
        "read-sensitive",
        "wrap-with-trusted",
    ] {
        assert_eq!(outcome(&report, "honesty", probe), "pass", "{probe}");
    }
    assert_eq!(outcome(&report, "low-s", "secp256k1"), "noted");
}

/// Would catch a suite that cannot fail: NSS softokn does what its attributes forbid.
#[test]
fn nss_softokn_does_not_conform() {
    if !Path::new(NSS).exists() {
        eprintln!("skipped: NSS softokn is not installed (`apt install libnss3`)");
        return;
    }
    let bench = bench(NSS, |folder| {
        let folder = folder.display();
        let argument = format!(
            "configdir='sql:{folder}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='bench'"
        );
        vec!["--init-argument".to_owned(), argument]
    });
    let (code, report) = bench.run(&["--json"]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(outcome(&report, "honesty", "wrap-unextractable"), "fail");
    assert_eq!(outcome(&report, "honesty", "read-sensitive"), "pass");
    assert_eq!(outcome(&report, "generate", "secp256k1"), "not-supported");
    assert_eq!(outcome(&report, "generate", "p256"), "fail", "it forgets that a key was made on it");
}

#[test]
fn the_benchmark_counts_signatures() {
    let arguments = ["--json", "bench", "--algorithm", "p256", "--threads", "1,2", "--time-ms", "200"];
    let (code, rates) = softhsm2().run(&arguments);
    assert_eq!(code, Some(0));
    let rates = rates.as_array().unwrap();
    assert_eq!(rates.len(), 2);
    for rate in rates {
        assert!(rate["signatures"].as_u64().unwrap() > 0, "{rate}");
    }
}

/// Would catch a PIN that is taken from a file others can read, and a wrong PIN that looks like a finding.
#[test]
fn what_cannot_be_run_says_so() {
    let bench = softhsm2();
    fs::set_permissions(&bench.pin, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(bench.run(&[]).0, Some(2));
    fs::set_permissions(&bench.pin, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&bench.pin, "wrong-pin").unwrap();
    assert_eq!(bench.run(&[]).0, Some(2));
}
