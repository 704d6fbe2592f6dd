//! The default models of the face check: files of one npm package, nothing of it run, each file checked against the manifest
//! in `biometrics/models`, which is copied beside them into the target folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::weights;
use crate::{Stop, Tree, run::Cmd, talk};

const PACKAGE: &str = "faceplugin-face-recognition-js@0.0.1";
const MANIFEST: &str = "biometrics/models/faceplugin.toml";

/// Where they are.
#[must_use]
pub fn folder(tree: &Tree) -> PathBuf {
    tree.tools().join("faces")
}

/// Fetches them where they are not, or are others than the manifest's.
///
/// # Errors
/// [`Stop`] when the package cannot be fetched, or holds another file than the one that was reviewed.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    let source = tree.root.join(MANIFEST);
    let manifest = fs::read_to_string(&source).map_err(Stop::file(&source))?;
    let folder = folder(tree);
    // ORDER: the manifest is written after the files; without it, or with another, all is done again.
    let mark = folder.join("manifest.toml");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == manifest) {
        return Ok(());
    }
    talk::line("setup: fetching the models of the face check (41 MB) into the target folder");
    fs::create_dir_all(&folder).map_err(Stop::file(&folder))?;
    let said =
        Cmd::new("npm").args(["pack", "--silent", "--ignore-scripts", PACKAGE]).dir(&folder).asked()?;
    let archive = folder.join(said.trim());
    let flags = ["--extract", "--gzip", "--no-same-owner", "--strip-components", "2", "--file"];
    let files = listed(&manifest);
    let inside = files.iter().map(|file| format!("package/model/{}", file.name));
    Cmd::new("tar").args(flags).arg(&archive).args(inside).dir(&folder).quiet()?;
    files.iter().try_for_each(|file| file.install(&folder))?;
    fs::remove_file(&archive).map_err(Stop::file(&archive))?;
    fs::write(&mark, manifest).map_err(Stop::file(&mark))
}

/// A file of the manifest.
#[derive(Debug, Default, PartialEq)]
struct Listed<'a> {
    name: &'a str,
    source: Option<&'a str>,
    installed: &'a str,
}

/// Three keys of each `[[model]]`, a line each: this program has no reader of TOML, and the crate that has one reads the
/// same file.
fn listed(manifest: &str) -> Vec<Listed<'_>> {
    let mut files: Vec<Listed<'_>> = Vec::new();
    for line in manifest.lines() {
        if line == "[[model]]" {
            files.push(Listed::default());
        }
        let (Some(file), Some((key, value))) = (files.last_mut(), line.split_once(" = ")) else { continue };
        let value = value.trim_matches('"');
        match key {
            "file" => file.name = value,
            "source_sha256" => file.source = Some(value),
            "sha256" => file.installed = value,
            _ => {}
        }
    }
    files
}

impl Listed<'_> {
    fn install(&self, folder: &Path) -> Result<(), Stop> {
        let path = folder.join(self.name);
        if let Some(source) = self.source {
            check(&path, source)?;
            let mut model = fs::read(&path).map_err(Stop::file(&path))?;
            weights::clear_tiny(&mut model);
            fs::write(&path, model).map_err(Stop::file(&path))?;
        }
        check(&path, self.installed)
    }
}

fn check(path: &Path, sha256: &str) -> Result<(), Stop> {
    let said = Cmd::new("sha256sum").arg(path).asked()?;
    if said.split_whitespace().next() == Some(sha256) {
        return Ok(());
    }
    Err(Stop::Unmet(format!(
        "`{PACKAGE}` holds another file than the one that was reviewed: {}",
        said.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a line of the manifest that is written so that this reader passes over it: its file would not be checked.
    #[test]
    fn every_model_of_the_manifest_is_read_whole() {
        let text = include_str!("../../../biometrics/models/faceplugin.toml");
        let files = listed(text);
        assert_eq!(files.len(), text.matches("[[model]]").count());
        assert_eq!(files.len(), 6);
        for file in &files {
            assert!(file.name.ends_with(".onnx") && file.installed.len() == 64, "{file:?}");
        }
        assert_eq!(files.iter().filter_map(|file| file.source).map(str::len).collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        fs::write(&path, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(check(&path, abc).is_ok());
        fs::write(&path, b"abd").unwrap();
        assert!(check(&path, abc).is_err());
    }
}
