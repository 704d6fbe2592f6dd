//! A module, a token of its own, and the suite's program to run on it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub const SOFTHSM2: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A module and a token made with the suite's own `init`.
pub struct Bench {
    _folder: tempfile::TempDir,
    pub pin: PathBuf,
    arguments: Vec<String>,
}

pub fn bench(module: &str, more: impl Fn(&Path) -> Vec<String>) -> Bench {
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

pub fn softhsm2() -> Bench {
    assert!(Path::new(SOFTHSM2).exists(), "this test needs SoftHSM2: `apt install softhsm2`");
    bench(SOFTHSM2, |folder| {
        let (conf, tokens) = (folder.join("softhsm2.conf"), folder.join("tokens"));
        fs::create_dir(&tokens).unwrap();
        fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
        let conf = format!("SOFTHSM2_CONF={}", conf.display());
        vec!["--environment".to_owned(), conf, "--writable".to_owned(), tokens.display().to_string()]
    })
}

impl Bench {
    pub fn run(&self, more: &[&str]) -> (Option<i32>, Value) {
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
