//! A bundle as text: path to content. What a bundle may hold is fixed here, so that no file of it is silently ignored.
//! The hash of the canonical JSON names the bundle in every record.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use chancery_core::limit;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{FindingCode, Findings, PolicyError, Text};

/// LIMIT: files of one bundle.
pub const FILES: usize = 512;

/// The manifest's path.
pub(crate) const MANIFEST: &str = "bundle.toml";

/// The folders of a bundle and the one extension each may hold.
const FOLDERS: &[(&str, &str)] =
    &[("policies", "cedar"), ("tests", "toml"), ("goals", "toml"), ("abi", "json")];

const PATHS: &str = "a bundle holds `bundle.toml`, `policies/*.cedar`, `tests/*.toml`, `goals/*.toml` and \
                     `abi/*.json`, with file names of a-z, 0-9, `-`, `_` and `.`";

/// The files of a bundle, not yet compiled. JSON form: `{"files": {"bundle.toml": "...", ...}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Path to text.
    pub files: BTreeMap<String, String>,
}

fn is_file_name(name: &str, extension: &str) -> bool {
    let stem = name.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.'));
    stem.is_some_and(|stem| {
        let mut bytes = stem.bytes();
        stem.len() <= 64
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
    })
}

fn is_allowed(path: &str) -> bool {
    path == MANIFEST
        || path.split_once('/').is_some_and(|(folder, name)| {
            FOLDERS.iter().any(|(known, extension)| *known == folder && is_file_name(name, extension))
        })
}

impl Source {
    /// Reads a bundle's folder. Any file that a bundle may not hold is an error, a top-level `README.md` apart:
    /// a rule in a misnamed file must not vanish.
    ///
    /// # Errors
    /// [`PolicyError::Read`] and [`PolicyError::Refused`], with the path.
    pub fn from_directory(directory: &Path) -> Result<Self, PolicyError> {
        let mut files = BTreeMap::new();
        let mut budget = limit::BUNDLE_BYTES;
        for (path, name) in list(directory)? {
            if name == MANIFEST {
                files.insert(name, read(&path, &mut budget)?);
            } else if let Some((folder, extension)) = FOLDERS.iter().find(|(folder, _)| *folder == name) {
                for (path, name) in list(&path)? {
                    if !is_file_name(&name, extension) {
                        return Err(PolicyError::Refused { path, rule: PATHS });
                    }
                    files.insert(format!("{folder}/{name}"), read(&path, &mut budget)?);
                }
            } else if name != "README.md" {
                return Err(PolicyError::Refused { path, rule: PATHS });
            }
        }
        Ok(Self { files })
    }

    /// The canonical JSON (RFC 8785) that is hashed, stored and sent.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // A map of strings has one canonical form and no way to fail; an empty answer would compile to nothing.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }

    /// Lower-case hexadecimal SHA-256 of [`Source::canonical`].
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }

    /// Checks paths and sizes.
    pub(crate) fn check(&self, findings: &mut Findings) {
        if self.files.len() > FILES {
            let at = Text { file: MANIFEST, text: "" };
            findings.add(at, None, FindingCode::Size, format!("the bundle has more than {FILES} files"), "");
        }
        let bytes = self.files.values().fold(0_usize, |sum, text| sum.saturating_add(text.len()));
        if bytes > limit::BUNDLE_BYTES {
            let at = Text { file: MANIFEST, text: "" };
            let message = format!("the bundle has more than {} bytes", limit::BUNDLE_BYTES);
            findings.add(at, None, FindingCode::Size, message, "");
        }
        for path in self.files.keys().filter(|path| !is_allowed(path)) {
            let at = Text { file: path, text: "" };
            findings.add(at, None, FindingCode::Path, "a bundle may not hold this path", PATHS);
        }
    }

    /// The files of one folder, in order.
    pub(crate) fn folder<'a>(&'a self, folder: &str) -> impl Iterator<Item = Text<'a>> {
        let prefix = format!("{folder}/");
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(&prefix) && is_allowed(path))
            .map(|(file, text)| Text { file, text })
    }
}

fn list(directory: &Path) -> Result<Vec<(std::path::PathBuf, String)>, PolicyError> {
    let failed = |source| PolicyError::Read { path: directory.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(PolicyError::Refused { path, rule: PATHS });
        };
        entries.push((path, name));
        if entries.len() > FILES {
            return Err(PolicyError::Refused { path: directory.to_owned(), rule: "holds too many files" });
        }
    }
    Ok(entries)
}

fn read(path: &Path, budget: &mut usize) -> Result<String, PolicyError> {
    let failed = |source| PolicyError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    // LIMIT: by what is read, not by what the file says of itself: a device has no size and no end.
    let most = u64::try_from(*budget).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path).map_err(failed)?.take(most).read_to_string(&mut text).map_err(failed)?;
    let left = budget.checked_sub(text.len());
    *budget =
        left.ok_or(PolicyError::Refused { path: path.to_owned(), rule: "makes the bundle too large" })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fixed_paths_are_allowed() {
        for good in [
            "bundle.toml",
            "policies/a.cedar",
            "policies/01-a_b.c.cedar",
            "tests/x.toml",
            "goals/x.toml",
            "abi/v.json",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "",
            "bundle.tml",
            "policies/../a.cedar",
            "policies/a.cedar/b.cedar",
            "policies/.cedar",
            "policies/..cedar",
            "policies/A.cedar",
            "policies/a.toml",
            "/policies/a.cedar",
            "./policies/a.cedar",
            "tests/a.cedar",
            "goals/a.cedar",
            "other/a.cedar",
            "a.cedar",
            "policies\\a.cedar",
        ] {
            assert!(!is_allowed(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_names_content_and_paths() {
        let source = |pairs: &[(&str, &str)]| Source {
            files: pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
        };
        let one = source(&[("bundle.toml", "version = 1"), ("policies/a.cedar", "")]);
        assert_eq!(
            String::from_utf8(one.canonical()).unwrap(),
            r#"{"files":{"bundle.toml":"version = 1","policies/a.cedar":""}}"#
        );
        // `printf '%s' '<the text above>' | sha256sum`: a changed canonical form would orphan every record.
        assert_eq!(one.hash(), "09c75c26810f45542720d1940fe18e561ad5a8cdd99a74c5faf09531704f20dc");
        assert_ne!(one.hash(), source(&[("bundle.toml", "version = 1"), ("policies/b.cedar", "")]).hash());
    }
}
