//! The local Ethereum node of the demonstration: one pinned npm package, checked against the digest in
//! `xtask/anvil/package-lock.json`, its scripts not run, kept inside the target folder.

use std::fs;
use std::path::PathBuf;

use crate::{
    Stop, Tree,
    run::{Cmd, in_path},
    talk,
};

const PACKAGE: &str = "@foundry-rs/anvil-linux-amd64";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The node's binary: the pinned one, or on other architectures whatever `anvil` is in `PATH`.
///
/// # Errors
/// [`Stop::Missing`] when there is none.
pub fn binary(tree: &Tree) -> Result<PathBuf, Stop> {
    let pinned = folder(tree).join("node_modules").join(PACKAGE).join("bin/anvil");
    if pinned.is_file() {
        return Ok(pinned);
    }
    in_path("anvil").ok_or_else(|| {
        Stop::Missing("no `anvil`: the pinned one is for x86-64 Linux; put another in PATH".into())
    })
}

/// Installs the pinned node where it runs and is not there yet.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return binary(tree).map(drop);
    }
    let (source, folder) = (tree.root.join("xtask/anvil"), folder(tree));
    let lock =
        fs::read(source.join("package-lock.json")).map_err(Stop::file(source.join("package-lock.json")))?;
    // ORDER: the mark, a copy of the lock, is written after the install; without it the install is done again.
    let mark = folder.join("installed");
    if fs::read(&mark).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    talk::line("setup: installing the local Ethereum node (anvil) into the target folder");
    fs::create_dir_all(&folder).map_err(Stop::file(&folder))?;
    for file in FILES {
        fs::copy(source.join(file), folder.join(file)).map_err(Stop::file(source.join(file)))?;
    }
    Cmd::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .dir(&folder)
        .run()?;
    fs::write(&mark, lock).map_err(Stop::file(&mark))
}

fn folder(tree: &Tree) -> PathBuf {
    tree.tools().join("anvil")
}
