//! What every manifest and settings file keeps to: the workspace's lints, one source of crates, no mirror of somebody's
//! network, no machine's paths.

use super::{File, Finding};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM: &str = "https://registry.npmjs.org/";
const MIRRORS: &[&str] = &[concat!("replace", "-with"), concat!("[sour", "ce."), concat!("[regis", "tries")];

/// Looks at one file.
#[must_use]
pub fn check(file: &File) -> Vec<Finding> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let mut findings = Vec::new();
    match name {
        "Cargo.toml" => findings.extend(lints(file)),
        "Cargo.lock" => findings.extend(sources(file, "source = \"", CRATES_IO)),
        "package-lock.json" => findings.extend(sources(file, "\"resolved\": \"", NPM)),
        ".npmrc" | ".yarnrc" => {
            findings.push(Finding::new(
                "registries",
                &file.path,
                "settings of one machine are not kept here",
            ));
        }
        _ => {}
    }
    if name.ends_with(".toml") {
        for (number, line) in file.text.lines().enumerate() {
            for mirror in MIRRORS.iter().filter(|mirror| line.contains(**mirror)) {
                findings.push(Finding::new(
                    "registries",
                    format!("{}:{}", file.path, number + 1),
                    format!(
                        "`{mirror}`: crates come from crates.io; a mirror is set up outside the repository"
                    ),
                ));
            }
        }
    }
    findings
}

/// Every crate takes the workspace's lints; the root manifest and samples without a package do not.
fn lints(file: &File) -> Option<Finding> {
    let has = |line: &str| file.text.lines().any(|other| other.trim() == line);
    let inherits = file
        .text
        .split("[lints]")
        .nth(1)
        .and_then(|after| after.lines().find(|line| !line.trim().is_empty()))
        .is_some_and(|line| line.replace(' ', "") == "workspace=true");
    (has("[package]") && !inherits)
        .then(|| Finding::new("lints", &file.path, "must contain `[lints]` with `workspace = true`"))
}

fn sources(file: &File, key: &str, wanted: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some(value) = line.trim().strip_prefix(key)
            && !value.starts_with(wanted)
        {
            findings.push(Finding::new(
                "registries",
                format!("{}:{}", file.path, number + 1),
                format!("`{}` is not {wanted}", value.trim_end_matches(['"', ','])),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(path: &str, text: &str) -> usize {
        check(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn crates_take_the_workspace_lints() {
        assert_eq!(finds("a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"), 0);
        assert_eq!(finds("a/Cargo.toml", "[package]\nname = \"a\"\n"), 1);
        assert_eq!(finds("a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\n\n[dependencies]\n"), 1);
        assert_eq!(finds("Cargo.toml", "[workspace]\nmembers = []\n"), 0);
    }

    #[test]
    fn foreign_sources_are_seen() {
        let lock = |source: &str| format!("[[package]]\nname = \"a\"\nsource = \"{source}\"\n");
        assert_eq!(finds("Cargo.lock", &lock(CRATES_IO)), 0);
        assert_eq!(finds("Cargo.lock", &lock("git+https://example.com/a")), 1);
        assert_eq!(finds("Cargo.lock", &lock("registry+https://crates.example.com/index")), 1);
        assert_eq!(finds("a/package-lock.json", "  \"resolved\": \"https://npm.example.com/a.tgz\",\n"), 1);
        assert_eq!(finds("a/.npmrc", ""), 1);
        assert_eq!(
            finds(".cargo/config.toml", concat!("[sour", "ce.crates-io]\nreplace", "-with = \"m\"\n")),
            2
        );
        assert_eq!(finds(".cargo/config.toml", "[alias]\n"), 0);
    }
}
