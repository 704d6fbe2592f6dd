//! The solver that proves policies: a `cvc5` in PATH, or the pinned Python package, checked against the digests in
//! `prove/solver/requirements.txt`, with the program beside it that makes it an executable. Kept in the target folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{
    Stop, Tree,
    run::{Cmd, in_path},
    talk,
};

/// The environment variable that names a solver.
pub const VARIABLE: &str = "CVC5";
const REQUIREMENTS: &str = "prove/solver/requirements.txt";
const PROGRAM: &str = "prove/solver/cvc5.py";

/// Where it is: what `CVC5` names, the one in PATH, or ours.
#[must_use]
pub fn binary(tree: &Tree) -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| in_path("cvc5")).or_else(|| Some(ours(tree)).filter(|file| file.is_file()))
}

fn ours(tree: &Tree) -> PathBuf {
    tree.tools().join("solver/cvc5")
}

/// Installs the pinned one where there is none.
///
/// # Errors
/// [`Stop::Missing`] with the exact command when it cannot be installed.
pub fn ensure(tree: &Tree) -> Result<(), Stop> {
    let (requirements, program) = (tree.root.join(REQUIREMENTS), tree.root.join(PROGRAM));
    let folder = tree.tools().join("solver");
    let ours = ours(tree);
    if binary(tree).is_some_and(|binary| binary != ours) {
        return Ok(());
    }
    let read = |path: &Path| fs::read(path).map_err(Stop::file(path));
    let wanted = [read(&requirements)?, read(&program)?].concat();
    // ORDER: the mark, a copy of what was installed, is written last; without it the install is done again.
    let mark = folder.join("installed");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    talk::line("setup: installing the solver (cvc5) into the target folder");
    let lib = folder.join("lib");
    fs::create_dir_all(&lib).map_err(Stop::file(&lib))?;
    let pip = Cmd::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--upgrade", "--target"])
        .arg(&lib)
        .arg("--requirement")
        .arg(&requirements);
    pip.run().map_err(|stop| {
        Stop::Missing(format!(
            "the solver cannot be installed ({stop}); put a `cvc5` in PATH or name it in {VARIABLE}, or run this:\n\n    {}\n",
            pip.text()
        ))
    })?;
    fs::copy(&program, &ours).map_err(Stop::file(&ours))?;
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).map_err(Stop::file(&ours))?;
    let answer = Cmd::new(&ours).env("PYTHONDONTWRITEBYTECODE", "1").asked();
    answer.map_err(|stop| Stop::Unmet(format!("the solver was installed but does not run: {stop}")))?;
    fs::write(&mark, wanted).map_err(Stop::file(&mark))
}
