//! What the tests of the command line share: running the real binary, and a client directory to run it with.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may panic and explain themselves"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// 1 ETH on chain 31337 from nonce 0 to `EXCHANGE`, EIP-1559, unsigned.
pub const ONE_ETHER: &str = "0x02f1827a6980843b9aca0084773594008252089470997970c51812dc3a010c7d01b50e0d17dc79c8880de0b6b3a764000080c0";
/// The same with 11 ETH.
pub const ELEVEN_ETHER: &str = "0x02f1827a6980843b9aca0084773594008252089470997970c51812dc3a010c7d01b50e0d17dc79c88898a7d9b8314c000080c0";
/// 1 ETH to an address in nobody's book.
pub const TO_A_STRANGER: &str = "0x02f1827a6980843b9aca0084773594008252089490f79bf6eb2c4f870365e785982e1f101e93b906880de0b6b3a764000080c0";
/// 5 USDX (`transfer(address,uint256)` of contract 0x5FbD...0aa3) to `EXCHANGE`.
pub const FIVE_USDX: &str = "0x02f86e827a6901843b9aca00847735940082ea60945fbdb2315678afecb367f032d93f642f64180aa380b844a9059cbb00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c800000000000000000000000000000000000000000000000000000000004c4b40c0";
pub const EXCHANGE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub const USDX: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// How one run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The one JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error object on the last line of standard error.
    pub fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        document.get("error").unwrap().clone()
    }

    /// Panics with everything that was said unless the exit code is `code`.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

pub fn chancery(arguments: &[&str]) -> Ran {
    chancery_reading("", arguments)
}

pub fn chancery_reading(stdin: &str, arguments: &[&str]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(arguments)
        .env_remove("CHANCERY_CLIENT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An appliance's folder for a vendor's token, which needs no `chanceryd`. The module is any file.
pub fn init(state: &Path, more: &[&str]) -> Ran {
    let module = state.with_file_name("vendor.so");
    std::fs::write(&module, "").unwrap();
    let mut arguments = vec!["init", "--dir", text(state), "--module", text(&module), "--token", "signing"];
    arguments.extend(more);
    chancery(&arguments)
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}
