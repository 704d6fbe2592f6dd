//! cargo-deny, pinned, in the target folder.

use std::fs;
use std::path::PathBuf;

use crate::{Stop, Tree, run::in_path, talk};

const VERSION: &str = "0.20.2";

/// Where it is: the user's own, or ours.
#[must_use]
pub fn binary(tree: &Tree) -> Option<PathBuf> {
    in_path("cargo-deny").or_else(|| {
        let ours = tree.tools().join("bin/cargo-deny");
        ours.is_file().then_some(ours)
    })
}

/// Builds it when it is missing.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    if binary(tree).is_some() {
        return Ok(());
    }
    talk::line("setup: building cargo-deny into the target folder (once, about a minute)");
    let tools = tree.tools();
    let build = tools.join("build");
    tree.cargo(&["install", "--locked", "--debug", "cargo-deny", "--version", VERSION, "--root"])
        .arg(&tools)
        // Its dependencies are not ours: a folder of its own, and the quickest build.
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run()?;
    fs::remove_dir_all(&build).map_err(Stop::file(&build))
}
