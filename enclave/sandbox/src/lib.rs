//! What a process takes away from itself once it has started: files (Landlock), system calls (seccomp), new privileges, programs.
//! Whoever takes it over finds nothing to run, nothing to write but its own folders, and no TCP port to call but those that
//! the configuration names. Programs are started by a [launcher](Launcher) from before the walls.
//! If this is wrong, a bug in a parser is worth the machine.

mod calls;
mod files;
mod launcher;

pub use files::Keeps;
pub use launcher::{Launched, Launcher, Program, launcher_main};

/// What a process is, which says what it may ask the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Serves: files, connections, threads; starts no program.
    Appliance,
    /// Runs a module of somebody else, which may want more of the kernel; starts no program either.
    Module,
}

/// How far the walls go here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of them.
    Whole,
    /// This kernel's Landlock is older than some of the rules, and holds the others.
    Partial,
    /// This kernel has no Landlock: files are open as far as their owners let; system calls are not.
    WithoutFiles,
}

/// Why a process is not walled in. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Landlock.
    #[error("the file system cannot be closed off")]
    Files(#[from] landlock::RulesetError),
    /// A folder that is to be kept.
    #[error("a folder that is kept cannot be opened")]
    Folder(#[from] landlock::PathFdError),
    /// seccomp.
    #[error("system calls cannot be taken away: {0}")]
    Calls(String),
    /// Privileges.
    #[error("new privileges cannot be forbidden")]
    Privileges(#[source] std::io::Error),
}

/// Takes everything away that `kind` does not need and `keeps` does not name: for ever, from this thread, those it starts, and their
/// programs. Before other threads start.
///
/// # Errors
/// [`SandboxError`]; what was taken by then stays taken.
pub fn wall_in(kind: Kind, keeps: &Keeps) -> Result<Standing, SandboxError> {
    rustix::thread::set_no_new_privs(true).map_err(|error| SandboxError::Privileges(error.into()))?;
    let standing = files::close(keeps)?;
    calls::close(kind)?;
    Ok(standing)
}
