//! `cargo xtask package`: the Debian package of this checkout. What is in it is the table below and nothing else; the
//! key material and the configuration of an appliance are made where it stands, never shipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::run::{Cmd, in_path};
use crate::tree::Profile;
use crate::{Stop, Tree, talk};

/// What the package needs: glibc of Debian 12, and systemd for its user.
const DEPENDS: &str = "libc6 (>= 2.36), libgcc-s1, systemd";

/// A file of the package that is in the repository: from where, to where.
const FILES: &[(&str, &str)] = &[
    ("packaging/chanceryd.service", "usr/lib/systemd/system/chanceryd.service"),
    ("packaging/chancery.sysusers", "usr/lib/sysusers.d/chancery.conf"),
    ("packaging/alerts.yml", "usr/share/doc/chancery/alerts.yml"),
    ("README.md", "usr/share/doc/chancery/README.md"),
    ("CHANGELOG.md", "usr/share/doc/chancery/CHANGELOG.md"),
    ("LICENSE", "usr/share/doc/chancery/copyright"),
];

/// The user before the service knows it, and systemd's new view of its units. An appliance that runs is not restarted:
/// when that is right is its operator's to say.
const POSTINST: &str = "#!/bin/sh
set -e
systemd-sysusers chancery.conf
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
";

/// Builds the package into `out`, or below the target folder, and answers where it is.
///
/// # Errors
/// [`Stop`] when something does not build or `dpkg-deb` is not there.
pub fn run(tree: &Tree, profile: Profile, out: Option<&Path>) -> Result<PathBuf, Stop> {
    if in_path("dpkg-deb").is_none() {
        return Err(Stop::Missing("`dpkg-deb` makes the package; it comes with Debian and its kin".into()));
    }
    // A debug build is what `cargo xtask test` has built: another selection would build every dependency once more.
    tree.cargo(match profile {
        Profile::Dev => &["build", "--workspace", "--all-targets"],
        Profile::Release => {
            &["build", "--release", "--package", "chancery-server", "--package", "chancery-cli", "--bins"]
        }
    })
    .run()?;
    let stage = tempfile::tempdir_in(&tree.target).map_err(Stop::file(&tree.target))?;
    let root = stage.path();
    for (from, to) in FILES {
        place(&tree.root.join(from), &root.join(to), 0o644)?;
    }
    let chancery = tree.binary(profile, "chancery");
    for binary in [&chancery, &tree.binary(profile, "chanceryd")] {
        let to = root.join("usr/bin").join(binary.file_name().unwrap_or_default());
        place(binary, &to, 0o755)?;
        if in_path("strip").is_some() {
            Cmd::new("strip").arg(&to).quiet()?;
        }
    }
    Cmd::new(&chancery).args(["man", "--out"]).arg(folder(root, "usr/share/man/man1")?).quiet()?;
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/chancery"),
        ("zsh", "usr/share/zsh/vendor-completions/_chancery"),
        ("fish", "usr/share/fish/vendor_completions.d/chancery.fish"),
    ] {
        write(&root.join(to), &Cmd::new(&chancery).args(["completions", shell]).asked()?, 0o644)?;
    }
    let version = version(&Cmd::new(&chancery).arg("--version").asked()?)?;
    let architecture = Cmd::new("dpkg").arg("--print-architecture").asked()?.trim().to_owned();
    write(&root.join("DEBIAN/control"), &control(&version, &architecture), 0o644)?;
    write(&root.join("DEBIAN/postinst"), POSTINST, 0o755)?;

    let folder = match out {
        Some(out) => out.to_path_buf(),
        None => folder(&tree.target, "package")?,
    };
    let package = folder.join(format!("chancery_{version}_{architecture}.deb"));
    // A debug build is for looking at the package: it need not be small.
    let pack: &[&str] = if profile == Profile::Release { &["-Zxz"] } else { &["-Zgzip", "-z1"] };
    Cmd::new("dpkg-deb")
        .arg("--root-owner-group")
        .args(pack)
        .arg("--build")
        .arg(root)
        .arg(&package)
        .quiet()?;
    talk::line(&format!("package: {}", package.display()));
    Ok(package)
}

/// Unpacks the package and sees that it holds what an operator expects, and that its programs start.
///
/// # Errors
/// [`Stop::Unmet`] with what is missing.
pub fn check(tree: &Tree) -> Result<(), Stop> {
    let package = run(tree, Profile::Dev, None)?;
    let place = tempfile::tempdir_in(&tree.target).map_err(Stop::file(&tree.target))?;
    Cmd::new("dpkg-deb").arg("--extract").arg(&package).arg(place.path()).quiet()?;
    let expected = FILES.iter().map(|(_, to)| *to).chain([
        "usr/bin/chancery",
        "usr/bin/chanceryd",
        "usr/share/man/man1/chancery.1",
        "usr/share/bash-completion/completions/chancery",
    ]);
    for file in expected {
        let there = fs::metadata(place.path().join(file)).is_ok_and(|file| file.len() > 0);
        if !there {
            return Err(Stop::Unmet(format!("the package lacks `{file}`")));
        }
    }
    for program in ["chancery", "chanceryd"] {
        Cmd::new(place.path().join("usr/bin").join(program)).arg("--version").quiet()?;
    }
    // The unit names programs where the package will put them, which is not here: only its words are checked.
    if in_path("systemd-analyze").is_some() {
        let unit = place.path().join("usr/lib/systemd/system/chanceryd.service");
        let said = Cmd::new("systemd-analyze").arg("verify").arg(&unit).ended()?;
        let of_a_line = |line: &&str| {
            line.split_once("chanceryd.service:")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        if let Some(line) = said.stderr.lines().find(of_a_line) {
            return Err(Stop::Unmet(line.to_owned()));
        }
    }
    Ok(())
}

fn control(version: &str, architecture: &str) -> String {
    format!(
        "Package: chancery\nVersion: {version}\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
         Maintainer: The Chancery developers <security@chancery.invalid>\nDepends: {DEPENDS}\n\
         Suggests: softhsm2\nDescription: policy-checked signatures with receipts\n \
         Keeps wallet keys in a PKCS#11 token, decodes what a transaction does, asks the policy,\n \
         records the decision in a transparency log, and only then releases a signature.\n"
    )
}

/// `chancery 0.1.0`.
fn version(said: &str) -> Result<String, Stop> {
    let version =
        said.split_whitespace().nth(1).filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    version.map(str::to_owned).ok_or_else(|| Stop::answer("chancery --version", said))
}

fn folder(root: &Path, below: &str) -> Result<PathBuf, Stop> {
    let path = root.join(below);
    fs::create_dir_all(&path).map_err(Stop::file(&path))?;
    Ok(path)
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<(), Stop> {
    let bytes = fs::read(from).map_err(Stop::file(from))?;
    put(to, &bytes, mode)
}

fn write(to: &Path, text: &str, mode: u32) -> Result<(), Stop> {
    put(to, text.as_bytes(), mode)
}

fn put(to: &Path, bytes: &[u8], mode: u32) -> Result<(), Stop> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Stop::file(folder))?;
    }
    fs::write(to, bytes).map_err(Stop::file(to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(Stop::file(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_or_refused() {
        assert_eq!(version("chancery 0.1.0\n").unwrap(), "0.1.0");
        assert!(version("chancery\n").is_err());
        assert!(version("error: x").is_err());
    }

    #[test]
    fn the_control_file_is_of_one_paragraph() {
        let text = control("0.1.0", "amd64");
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        assert!(text.lines().all(|line| line.starts_with(' ') || line.contains(": ")));
    }
}
