//! The suite on SoftHSM2, and on NSS softokn where it is installed: run as an operator would run it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use support::{bench, softhsm2};

const NSS: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";

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
        vec!["--init-argument".to_owned(), argument, "--writable".to_owned(), folder.to_string()]
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
