//! A process for the tests: walls itself in and tries one thing. Ends with 0 where it was done, with 1 where it was refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "test code")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use chancery_sandbox::{Keeps, Kind, launcher_main, wall_in};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, port] = &arguments[..] else { return launcher_main() };
    let (folder, port) = (Path::new(folder), port.parse::<u16>().unwrap());
    let ports: Option<Vec<u16>> = Some(vec![port]);
    let keeps = Keeps {
        read: vec![folder.join("read")],
        write: vec![folder.join("write")],
        connect: ports.clone(),
        listen: Some(Vec::new()),
        ..Keeps::default()
    };
    let kind = if what.ends_with("by-module") { Kind::Module } else { Kind::Appliance };
    let standing = wall_in(kind, &keeps).expect("walled in");
    println!("{standing:?}");
    if attempt(what, folder, port) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn attempt(what: &str, folder: &Path, port: u16) -> bool {
    let at = |path: &str| -> PathBuf { folder.join(path) };
    match what {
        "read-kept" => std::fs::read(at("read/file")).is_ok(),
        "write-where-read" => std::fs::write(at("read/file"), "x").is_ok(),
        "write-kept" => {
            std::fs::write(at("write/new"), "x").unwrap();
            std::fs::rename(at("write/new"), at("write/renamed")).is_ok()
        }
        "read-other" => std::fs::read(at("other/file")).is_ok(),
        "read-by-link" => {
            // Linked from where it may write to where it may not read.
            std::fs::hard_link(at("other/file"), at("write/link")).is_ok()
                && std::fs::read(at("write/link")).is_ok()
        }
        "connect-kept" => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "connect-other" => TcpStream::connect(("127.0.0.1", port.wrapping_add(1))).is_ok(),
        "listen" => TcpListener::bind("127.0.0.1:0").is_ok(),
        "program" | "program-by-module" => {
            Command::new("/bin/true").status().is_ok_and(|status| status.success())
        }
        "threads" => std::thread::spawn(|| std::thread::spawn(|| 7).join().unwrap()).join().unwrap() == 7,
        "chroot" => rustix::process::chroot("/").is_ok(),
        other => panic!("nothing is called `{other}`"),
    }
}
