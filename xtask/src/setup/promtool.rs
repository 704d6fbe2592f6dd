//! Prometheus' own judge of alerts: a `promtool` in PATH, or the one of Debian's package, taken out of it into the target
//! folder. The package is not installed: it would start a Prometheus on this machine. apt checks what it downloads.

use std::fs;
use std::path::PathBuf;

use crate::{
    Stop, Tree,
    run::{Cmd, in_path},
    talk,
};

/// Where it is: in PATH, or ours.
#[must_use]
pub fn binary(tree: &Tree) -> Option<PathBuf> {
    in_path("promtool").or_else(|| Some(ours(tree)).filter(|file| file.is_file()))
}

fn ours(tree: &Tree) -> PathBuf {
    tree.tools().join("promtool")
}

/// Fetches it when it is missing.
///
/// # Errors
/// [`Stop::Missing`] when apt cannot.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    if binary(tree).is_some() {
        return Ok(());
    }
    talk::line("setup: fetching promtool, which judges the alerts, into the target folder");
    let folder = tempfile::tempdir_in(&tree.target).map_err(Stop::file(&tree.target))?;
    let download = Cmd::new("apt-get")
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", "prometheus"])
        .dir(folder.path());
    // A machine that never asked for the lists of packages has none.
    if !download.succeeds() {
        Cmd::new("apt-get").args(["update", "-q"]).run().and_then(|()| download.run()).map_err(|stop| {
            Stop::Missing(format!(
                "promtool cannot be fetched ({stop}); put one in PATH, from Prometheus or Debian's package `prometheus`"
            ))
        })?;
    }
    let there = fs::read_dir(folder.path()).map_err(Stop::file(folder.path()))?;
    let package = there
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.ok_or_else(|| Stop::Unmet("apt-get downloaded no package".into()))?;
    Cmd::new("dpkg-deb").arg("--extract").arg(package).arg(folder.path()).quiet()?;
    // ORDER: moved to its name when it is whole.
    let ours = ours(tree);
    fs::create_dir_all(tree.tools()).map_err(Stop::file(tree.tools()))?;
    fs::rename(folder.path().join("usr/bin/promtool"), &ours).map_err(Stop::file(&ours))
}
