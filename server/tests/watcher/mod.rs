//! A real `chancery-witness` for tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test code; each test file uses its own part"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Witness {
    program: PathBuf,
    pub folder: PathBuf,
    key: String,
    address: String,
    child: Option<Child>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Witness {
    /// `None` where the program was not built beside `chanceryd`.
    pub fn init(folder: &Path, name: &str) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_chanceryd")).with_file_name("chancery-witness");
        if !program.exists() {
            eprintln!("skipped: no `chancery-witness` beside `chanceryd` (cargo build -p chancery-witness)");
            return None;
        }
        let folder = folder.join(name);
        let made =
            Command::new(&program).args(["init", "--name", name, "--folder"]).arg(&folder).output().unwrap();
        assert!(made.status.success());
        let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Some(Self { program, folder, key, address: "127.0.0.1:0".to_owned(), child: None })
    }

    /// On the port it had before, if it had one.
    pub fn start(&mut self) {
        let mut child = Command::new(&self.program)
            .args(["serve", "--listen", &self.address, "--folder"])
            .arg(&self.folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = lines.map_while(Result::ok).find_map(|line| {
            said += &line;
            let (_, rest) = line.split_once("\"address\":\"")?;
            Some(rest.split('"').next()?.to_owned())
        });
        self.address = address.unwrap_or_else(|| panic!("it is not ready: {said}"));
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn watch(&self, trust: &str) {
        std::fs::write(self.folder.join("logs/log.json"), trust).unwrap();
    }

    pub fn entry(&self) -> String {
        format!("{{ url = \"http://{}\", key = \"{}\" }}", self.address, self.key)
    }
}
