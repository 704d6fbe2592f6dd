//! `chanceryd` beside this program: its worker is the only way to a token.

use std::path::{Path, PathBuf};

use crate::Error;

/// The daemon that was named, or the one installed beside this program. `does` says what it is needed for.
///
/// # Errors
/// [`Error::Usage`] where there is none.
pub fn chanceryd(named: Option<&Path>, does: &str) -> Result<PathBuf, Error> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .map_err(Error::file("find", Path::new("chancery")))?
            .with_file_name("chanceryd"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Usage {
        detail: format!("there is no `{}`, which {does}", path.display()),
        hint: "install `chanceryd` beside `chancery`, or name it with `--chanceryd PATH`",
    })
}
