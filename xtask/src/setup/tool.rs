//! Cargo's tools from the registry, pinned, in the target folder.

use std::fs;
use std::path::PathBuf;

use crate::{Stop, Tree, run::in_path, talk};

/// Licences, sources and dependency walls.
pub const DENY: Tool = Tool { name: "cargo-deny", version: "=0.20.2" };
/// Changes the code, one place at a time, to see whether a test notices.
pub const MUTANTS: Tool = Tool { name: "cargo-mutants", version: "=27.1.0" };

/// One tool.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Where it is: the user's own, or ours.
    #[must_use]
    pub fn binary(self, tree: &Tree) -> Option<PathBuf> {
        in_path(self.name).or_else(|| Some(self.ours(tree)).filter(|file| file.is_file()))
    }

    fn ours(self, tree: &Tree) -> PathBuf {
        tree.tools().join("bin").join(self.name)
    }

    /// Builds it when it is missing, and answers where it is.
    pub fn ensure(self, tree: &Tree) -> Result<PathBuf, Stop> {
        if let Some(binary) = self.binary(tree) {
            return Ok(binary);
        }
        let Self { name, version } = self;
        talk::line(&format!("setup: building {name} into the target folder (once, about a minute)"));
        let tools = tree.tools();
        let build = tools.join("build");
        tree.cargo(&["install", "--locked", "--debug", name, "--version", version, "--root"])
            .arg(&tools)
            // Its dependencies are not ours: a folder of its own, and the quickest build.
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .run()?;
        fs::remove_dir_all(&build).map_err(Stop::file(&build))?;
        Ok(self.ours(tree))
    }
}
