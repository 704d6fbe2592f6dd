//! System packages, found by the files they bring, so that a machine that has them another way is content too.

use std::path::Path;

use crate::{
    Stop,
    run::{Cmd, in_path},
    talk,
};

/// How a package shows that it is there.
enum Sign {
    /// A program in `PATH`.
    Program(&'static str),
    /// A file below one of the library folders.
    Library(&'static str),
}

struct Package {
    name: &'static str,
    sign: Sign,
    why: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "gcc",
        sign: Sign::Program("cc"),
        why: "links, and compiles SQLite, secp256k1 and aws-lc",
    },
    Package {
        name: "g++",
        sign: Sign::Program("c++"),
        why: "compiles Bitcoin's consensus code, and libFuzzer",
    },
    Package { name: "libc6-dev", sign: Sign::Library("crt1.o"), why: "the C library's headers" },
    Package {
        name: "softhsm2",
        sign: Sign::Library("softhsm/libsofthsm2.so"),
        why: "the HSM of demo and tests",
    },
    Package {
        name: "libnss3",
        sign: Sign::Library("libsoftokn3.so"),
        why: "a token that the probe must refuse",
    },
    Package {
        name: "libfaketime",
        sign: Sign::Library("faketime/libfaketime.so.1"),
        why: "the clock that tests turn back",
    },
    Package { name: "openssl", sign: Sign::Program("openssl"), why: "the time-stamping authority of tests" },
    Package { name: "strace", sign: Sign::Program("strace"), why: "kills at chosen system calls" },
    Package { name: "nodejs", sign: Sign::Program("node"), why: "needed by npm" },
    Package { name: "python3", sign: Sign::Program("python3"), why: "runs the solver that proves policies" },
    Package { name: "python3-pip", sign: Sign::Program("pip3"), why: "brings that solver" },
    Package { name: "npm", sign: Sign::Program("npm"), why: "brings the local Ethereum node, and vectors" },
];

/// Installs the packages that are missing.
///
/// # Errors
/// [`Stop::Missing`] with the command when this is not root.
pub fn ensure() -> Result<(), Stop> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !package.sign.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        talk::line(&format!("setup: missing {}: {}", package.name, package.why));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if in_path("apt-get").is_none() {
        return Err(Stop::Missing(format!(
            "this needs {} (names of Debian 12's packages): install them with this system's package manager and run \
             again",
            names.join(", ")
        )));
    }
    if !is_root() {
        return Err(Stop::Missing(format!("run this first:\n\n    {}\n", command(&names))));
    }
    let apt = || Cmd::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    apt().args(["update", "-q"]).run()?;
    apt().args(["install", "-y", "-q", "--no-install-recommends"]).args(&names).run()?;
    match missing.iter().find(|package| !package.sign.is_there()) {
        None => Ok(()),
        Some(package) => Err(Stop::Unmet(format!("`{}` was installed but is still not found", package.name))),
    }
}

fn command(names: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", names.join(" "))
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => in_path(name).is_some(),
            Self::Library(path) => {
                library_folders().iter().any(|folder| Path::new(folder).join(path).exists())
            }
        }
    }
}

fn library_folders() -> Vec<String> {
    let arch = std::env::consts::ARCH;
    vec![
        "/usr/lib".into(),
        "/usr/lib64".into(),
        "/usr/local/lib".into(),
        format!("/usr/lib/{arch}-linux-gnu"),
    ]
}

/// `Uid:` of `/proc/self/status`: real, effective, saved, file system.
fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| effective_uid(&status) == Some(0))
}

fn effective_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_uid_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"), Some(0));
        assert_eq!(effective_uid("Uid:\t0\t1000\t0\t0\n"), Some(1000));
        assert_eq!(effective_uid("Gid:\t0\t0\t0\t0\n"), None);
    }

    #[test]
    fn a_missing_thing_is_seen() {
        assert!(!Sign::Program("no-such-program-here").is_there());
        assert!(!Sign::Library("no/such/library.so").is_there());
        assert!(Sign::Program("sh").is_there());
    }

    #[test]
    fn the_printed_command_names_the_packages() {
        assert!(
            command(&["strace", "softhsm2"]).ends_with("install -y --no-install-recommends strace softhsm2")
        );
    }
}
