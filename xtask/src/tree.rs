//! Where things are: the repository, the target folder, the built binaries.

use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, Message, Metadata, MetadataCommand};

use crate::{Stop, run::Cmd};

/// Which build of the binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Everything but benchmarks.
    Dev,
    /// Benchmarks.
    Release,
}

/// The repository and its target folder.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The workspace's root.
    pub root: PathBuf,
    /// The target folder, `CARGO_TARGET_DIR` respected.
    pub target: PathBuf,
}

impl Tree {
    /// Asks cargo.
    ///
    /// # Errors
    /// [`Stop::Metadata`] when cargo cannot read the workspace.
    pub fn find() -> Result<Self, Stop> {
        let metadata = workspace(true)?;
        Ok(Self { root: metadata.workspace_root.into(), target: metadata.target_directory.into() })
    }

    /// Where set-up keeps what it installs for this repository alone.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A built binary of the workspace.
    #[must_use]
    pub fn binary(&self, profile: Profile, name: &str) -> PathBuf {
        self.built(profile).join(name)
    }

    /// A built example of the workspace.
    #[must_use]
    pub fn example(&self, profile: Profile, name: &str) -> PathBuf {
        self.built(profile).join("examples").join(name)
    }

    fn built(&self, profile: Profile) -> PathBuf {
        self.target.join(match profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        })
    }

    /// Cargo, in the repository.
    #[must_use]
    pub fn cargo(&self, args: &[&str]) -> Cmd {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Cmd::new(Path::new(&cargo)).args(args).dir(&self.root)
    }

    /// Builds the fuzz targets with libFuzzer, our own crates instrumented, and answers where they are. Dependencies are
    /// those of the ordinary build: the wrapper, and with it another name for what it makes, is for the workspace alone.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the build fails.
    pub fn instrumented(&self) -> Result<PathBuf, Stop> {
        self.cargo(&[
            "build",
            "--workspace",
            "--bin",
            "chancery-libfuzzer",
            "--features",
            "chancery-fuzz/libfuzzer",
        ])
        .env("RUSTC_WORKSPACE_WRAPPER", self.root.join("fuzz").join("instrument"))
        .run()?;
        Ok(self.binary(Profile::Dev, "chancery-libfuzzer"))
    }

    /// Builds the tests as `cargo test` does, and answers where they are: those in a crate's `tests`, and its own under the
    /// name of the library.
    ///
    /// # Errors
    /// [`Stop`] when the build fails.
    pub fn tests(&self) -> Result<Vec<Test>, Stop> {
        let command =
            self.cargo(&["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]);
        let output = command.output()?;
        let metadata = workspace(true)?;
        let mut tests = Vec::new();
        for message in Message::parse_stream(output.as_bytes()) {
            let Ok(Message::CompilerArtifact(artifact)) = message else { continue };
            let package = metadata.packages.iter().find(|package| package.id == artifact.package_id);
            if let (Some(package), Some(executable), true) =
                (package, artifact.executable, artifact.profile.test)
            {
                tests.push(Test {
                    package: package.name.to_string(),
                    target: artifact.target.name,
                    executable: executable.into(),
                    folder: package.manifest_path.parent().unwrap_or(&metadata.workspace_root).into(),
                });
            }
        }
        Ok(tests)
    }

    /// Builds every binary and example. One selection for all tasks: another would resolve other features and build
    /// the dependencies a second time.
    ///
    /// # Errors
    /// [`Stop::Failed`] when the build fails.
    pub fn build(&self, profile: Profile) -> Result<(), Stop> {
        let mut args = vec!["build", "--workspace", "--bins", "--examples"];
        if profile == Profile::Release {
            args.push("--release");
        }
        self.cargo(&args).run()
    }
}

/// A built test.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its crate.
    pub package: String,
    /// Its file's name, or the library's.
    pub target: String,
    /// The program.
    pub executable: PathBuf,
    /// Its crate's folder.
    pub folder: PathBuf,
}

/// The workspace as cargo sees it; without its dependencies when `bare`.
pub fn workspace(bare: bool) -> Result<Metadata, Stop> {
    let mut command = MetadataCommand::new();
    // Cargo tells the folder of this crate; outside cargo the current folder is searched upwards.
    if let Some(folder) = std::env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(PathBuf::from(folder));
    }
    if bare {
        command.no_deps();
    } else {
        command.features(CargoOpt::AllFeatures);
    }
    Ok(command.exec()?)
}
