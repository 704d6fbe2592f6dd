//! `cargo xtask package`: the Debian packages of this checkout, the appliance's and the witness's. What is in them is the
//! tables below and nothing else; key material and the configuration of an appliance are made where it stands, never shipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::run::{Cmd, in_path};
use crate::tree::Profile;
use crate::{Stop, Tree, talk};

/// What the packages need: glibc of Debian 12, and systemd for their users.
const DEPENDS: &str = "libc6 (>= 2.36), libgcc-s1, systemd";

struct Package {
    /// Its name, and that of the program that makes its man pages and completions.
    name: &'static str,
    programs: &'static [&'static str],
    /// A file of the repository: from where, to where.
    files: &'static [(&'static str, &'static str)],
    /// A folder of the repository with all that is below it: from where, to where.
    folders: &'static [(&'static str, &'static str)],
    unit: &'static str,
    postinst: &'static str,
    /// After `Depends`: other fields of the control file.
    fields: &'static str,
}

const APPLIANCE: Package = Package {
    name: "chancery",
    programs: &["chancery", "chanceryd"],
    files: &[
        ("packaging/chanceryd.service", "usr/lib/systemd/system/chanceryd.service"),
        ("packaging/chancery.sysusers", "usr/lib/sysusers.d/chancery.conf"),
        ("packaging/alerts.yml", "usr/share/doc/chancery/alerts.yml"),
        ("README.md", "usr/share/doc/chancery/README.md"),
        ("CHANGELOG.md", "usr/share/doc/chancery/CHANGELOG.md"),
        ("LICENSE", "usr/share/doc/chancery/copyright"),
    ],
    // What the README and the alerts point to.
    folders: &[("docs", "usr/share/doc/chancery/docs")],
    unit: "chanceryd.service",
    // The user before the service knows it, and systemd's new view of its units. An appliance that runs is not restarted:
    // when that is right is its operator's to say.
    postinst: "#!/bin/sh
set -e
systemd-sysusers chancery.conf
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
",
    fields: "Suggests: softhsm2
Description: policy-checked signatures with receipts
 Keeps wallet keys in a PKCS#11 token, decodes what a transaction does, asks the policy,
 records the decision in a transparency log, and only then releases a signature.
",
};

const WITNESS: Package = Package {
    name: "chancery-witness",
    programs: &["chancery-witness"],
    files: &[
        ("packaging/chancery-witness.service", "usr/lib/systemd/system/chancery-witness.service"),
        ("packaging/chancery-witness.sysusers", "usr/lib/sysusers.d/chancery-witness.conf"),
        ("packaging/chancery-witness.default", "etc/default/chancery-witness"),
        ("docs/audit.md", "usr/share/doc/chancery-witness/audit.md"),
        ("CHANGELOG.md", "usr/share/doc/chancery-witness/CHANGELOG.md"),
        ("LICENSE", "usr/share/doc/chancery-witness/copyright"),
    ],
    folders: &[],
    unit: "chancery-witness.service",
    // The folder that `chancery-witness init` makes its own in, before the unit has made it.
    postinst: "#!/bin/sh
set -e
systemd-sysusers chancery-witness.conf
install -d -m 0700 -o chancery-witness -g chancery-witness /var/lib/chancery-witness
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
",
    fields: "Description: a witness of transparency logs (C2SP tlog-witness)
 Remembers the largest tree it has seen of each log it watches, and cosigns only what is
 proved to have grown from it.
",
};

/// Builds the packages into `out`, or below the target folder, and answers where they are.
///
/// # Errors
/// [`Stop`] when something does not build or `dpkg-deb` is not there.
pub fn run(tree: &Tree, profile: Profile, out: Option<&Path>) -> Result<[PathBuf; 2], Stop> {
    if in_path("dpkg-deb").is_none() {
        return Err(Stop::Missing("`dpkg-deb` makes the packages; it comes with Debian and its kin".into()));
    }
    // A debug build is what `cargo xtask test` has built: another selection would build every dependency once more.
    tree.cargo(match profile {
        Profile::Dev => &["build", "--workspace", "--all-targets"],
        Profile::Release => &["build", "--release", "--bins"],
    })
    .run()?;
    let folder = match out {
        Some(out) => out.to_path_buf(),
        None => folder(&tree.target, "package")?,
    };
    Ok([APPLIANCE.make(tree, profile, &folder)?, WITNESS.make(tree, profile, &folder)?])
}

/// Unpacks the packages and sees that they hold what an operator expects, and that their programs start.
///
/// # Errors
/// [`Stop::Unmet`] with what is missing.
pub fn check(tree: &Tree) -> Result<(), Stop> {
    let [appliance, witness] = run(tree, Profile::Dev, None)?;
    APPLIANCE.check(tree, &appliance)?;
    WITNESS.check(tree, &witness)
}

impl Package {
    fn make(&self, tree: &Tree, profile: Profile, out: &Path) -> Result<PathBuf, Stop> {
        let stage = tempfile::tempdir_in(&tree.target).map_err(Stop::file(&tree.target))?;
        let root = stage.path();
        for (from, to) in self.files {
            place(&tree.root.join(from), &root.join(to), 0o644)?;
        }
        for (from, to) in self.folders {
            place_all(&tree.root.join(from), &root.join(to))?;
        }
        for program in self.programs {
            let to = root.join("usr/bin").join(program);
            place(&tree.binary(profile, program), &to, 0o755)?;
            if in_path("strip").is_some() {
                Cmd::new("strip").arg(&to).quiet()?;
            }
        }
        let name = self.name;
        let program = tree.binary(profile, name);
        Cmd::new(&program).args(["man", "--out"]).arg(folder(root, "usr/share/man/man1")?).quiet()?;
        for (shell, to) in [
            ("bash", format!("usr/share/bash-completion/completions/{name}")),
            ("zsh", format!("usr/share/zsh/vendor-completions/_{name}")),
            ("fish", format!("usr/share/fish/vendor_completions.d/{name}.fish")),
        ] {
            write(&root.join(to), &Cmd::new(&program).args(["completions", shell]).asked()?, 0o644)?;
        }
        let version = version(&Cmd::new(&program).arg("--version").asked()?)?;
        let architecture = Cmd::new("dpkg").arg("--print-architecture").asked()?.trim().to_owned();
        write(&root.join("DEBIAN/control"), &self.control(&version, &architecture), 0o644)?;
        write(&root.join("DEBIAN/postinst"), self.postinst, 0o755)?;
        write(&root.join("DEBIAN/prerm"), &self.prerm(), 0o755)?;
        // What an administrator changes below /etc, an upgrade leaves as it is.
        let kept: String = self
            .files
            .iter()
            .filter(|(_, to)| to.starts_with("etc/"))
            .map(|(_, to)| format!("/{to}\n"))
            .collect();
        if !kept.is_empty() {
            write(&root.join("DEBIAN/conffiles"), &kept, 0o644)?;
        }

        let package = out.join(format!("{name}_{version}_{architecture}.deb"));
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

    fn check(&self, tree: &Tree, package: &Path) -> Result<(), Stop> {
        let place = tempfile::tempdir_in(&tree.target).map_err(Stop::file(&tree.target))?;
        Cmd::new("dpkg-deb").arg("--extract").arg(package).arg(place.path()).quiet()?;
        let name = self.name;
        let made =
            [format!("usr/share/man/man1/{name}.1"), format!("usr/share/bash-completion/completions/{name}")];
        let placed = self.files.iter().chain(self.folders).map(|(_, to)| (*to).to_owned());
        for file in made.into_iter().chain(placed) {
            let there = fs::metadata(place.path().join(&file)).is_ok_and(|file| file.len() > 0);
            if !there {
                return Err(Stop::Unmet(format!("the package `{name}` lacks `{file}`")));
            }
        }
        for program in self.programs {
            Cmd::new(place.path().join("usr/bin").join(program)).arg("--version").quiet()?;
        }
        // The unit names programs where the package will put them, which is not here: only its words are checked.
        if in_path("systemd-analyze").is_some() {
            let unit = place.path().join("usr/lib/systemd/system").join(self.unit);
            let said = Cmd::new("systemd-analyze").arg("verify").arg(&unit).ended()?;
            let line = format!("{}:", self.unit);
            let of_a_line = |said: &&str| {
                said.split_once(&line).is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
            };
            if let Some(line) = said.stderr.lines().find(of_a_line) {
                return Err(Stop::Unmet(line.to_owned()));
            }
        }
        Ok(())
    }

    /// What is removed does not go on signing from memory. An upgrade leaves it alone, as `postinst` does.
    fn prerm(&self) -> String {
        format!(
            "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n    \
             systemctl --no-reload disable --now {} || true\nfi\n",
            self.unit
        )
    }

    fn control(&self, version: &str, architecture: &str) -> String {
        format!(
            "Package: {}\nVersion: {version}\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
             Maintainer: The Chancery developers <security@chancery.invalid>\nDepends: {DEPENDS}\n{}",
            self.name, self.fields
        )
    }
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

fn place_all(from: &Path, to: &Path) -> Result<(), Stop> {
    for entry in fs::read_dir(from).map_err(Stop::file(from))? {
        let path = entry.map_err(Stop::file(from))?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { place_all(&path, &to)? } else { place(&path, &to, 0o644)? }
    }
    Ok(())
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
        for package in [APPLIANCE, WITNESS] {
            let text = package.control("0.1.0", "amd64");
            assert!(text.ends_with('\n') && !text.contains("\n\n"));
            assert!(text.lines().all(|line| line.starts_with(' ') || line.contains(": ")));
        }
    }
}
