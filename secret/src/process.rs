//! What a process does to itself around secrets: no core dumps, an exit that runs nobody's clean-up, and taking over
//! a descriptor that the service manager handed down.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::FdFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Forbids core dumps and reading through `/proc/<pid>/mem` or ptrace by processes of the same user; where the program's
/// allocator is [`crate::WipingHeap`], what is freed is wiped from now on.
///
/// # Errors
/// The kernel's; the caller should not go on then.
pub fn harden_process() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    crate::heap::wipe_from_now();
    Ok(())
}

/// Ends the process at once, without the clean-up that libraries registered: a PKCS#11 module that hangs or is half
/// dead gets no last word.
#[expect(unsafe_code, reason = "std has no exit that skips atexit handlers")]
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Closes every descriptor but the standard three, which whoever started this process had opened.
///
/// # Errors
/// The kernel's, before Linux 5.9; the caller should not go on then.
#[expect(unsafe_code, reason = "no descriptor of this process is open yet that anything here owns")]
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: called first of all, before anything but the standard streams has an owner in this process.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that was open when the process started.
///
/// Descriptors opened by this process are close-on-exec, inherited ones cannot be: that tells them apart, so that
/// nobody else's descriptor can be taken by a wrong number in the configuration.
///
/// # Errors
/// A number that is not an inherited descriptor to read from.
#[expect(unsafe_code, reason = "a number from outside becomes a descriptor")]
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 || fd == 1 || fd == 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a descriptor to read from"));
    }
    // SAFETY: the borrow lasts for one fcntl call, which fails cleanly on a number that is not open.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an inherited descriptor"));
    }
    if fd == 0 {
        // Number 0 must stay taken, or the next file opened would be everyone's standard input.
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        return Ok(stdin);
    }
    // SAFETY: open, and not close-on-exec, hence not opened by this process: nobody in it owns the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
