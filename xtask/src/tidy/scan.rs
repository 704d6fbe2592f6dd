//! The text files of the repository. Walks the tree rather than asking git, so that an exported tree is held to the
//! same rules; what git ignores is skipped by name.

use std::fs;
use std::path::Path;

use super::File;
use crate::Stop;

const SKIPPED: &[&str] = &[".git", "target", "state", "node_modules"];
/// Larger files are data, not text that somebody wrote.
const LARGEST_BYTES: u64 = 1024 * 1024;

/// Every text file below `root`, in a fixed order.
pub fn files(root: &Path) -> Result<Vec<File>, Stop> {
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    found.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<File>) -> Result<(), Stop> {
    for entry in fs::read_dir(folder).map_err(Stop::file(folder))? {
        let entry = entry.map_err(Stop::file(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let kind = entry.file_type().map_err(Stop::file(&path))?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&path, &format!("{prefix}{name}/"), found)?;
        } else if kind.is_file() && entry.metadata().is_ok_and(|data| data.len() <= LARGEST_BYTES) {
            let bytes = fs::read(&path).map_err(Stop::file(&path))?;
            if let Ok(text) = String::from_utf8(bytes) {
                found.push(File { path: format!("{prefix}{name}"), text });
            }
        }
    }
    Ok(())
}
