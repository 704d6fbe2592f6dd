//! The C library's calls that a simulated machine answers. This program defines them, so the linker takes these and not the
//! library's, for Rust's standard library and for SQLite alike. On a thread without a machine, and for files that are not on
//! its disk, each passes on to the kernel. If one is wrong, a simulation is not of the code that ships.
#![expect(
    unsafe_code,
    reason = "the C library's functions are defined here; each passes its arguments on as they are"
)]

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::slice;

use libc::{c_char, c_int, c_long, c_uint, c_void, clockid_t, off_t, off64_t, size_t, ssize_t};

use super::{Call, Fate, File};

fn failed(errno: c_int) -> c_int {
    // SAFETY: the address of this thread's `errno`, which is always there.
    unsafe { *libc::__errno_location() = errno };
    -1
}

fn answer(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

fn signed(result: c_long) -> ssize_t {
    ssize_t::try_from(result).unwrap_or(-1)
}

/// What a descriptor is of, where it is of this machine's disk.
enum Opened {
    File(File),
    Folder(PathBuf),
}

fn opened(fd: c_int) -> Option<Opened> {
    if !super::on() {
        return None;
    }
    let device = super::device()?;
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` is room for one; it is read only where the call filled it.
    let stat = unsafe {
        if libc::fstat64(fd, stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    match stat.st_mode & libc::S_IFMT {
        _ if stat.st_dev != device => None,
        libc::S_IFREG => {
            Some(Opened::File(File { number: stat.st_ino, length: u64::try_from(stat.st_size).unwrap_or(0) }))
        }
        libc::S_IFDIR => path(fd).map(Opened::Folder),
        _ => None,
    }
}

fn path(fd: c_int) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The simulated machine's randomness.
///
/// # Safety
/// As getrandom(2): `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    // SAFETY: the caller's promise.
    let ours = super::on()
        && (length == 0 || super::fill(unsafe { slice::from_raw_parts_mut(buffer.cast(), length) }));
    if ours {
        return ssize_t::try_from(length).unwrap_or(ssize_t::MAX);
    }
    // SAFETY: the caller's promise.
    signed(unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) })
}

/// The simulated machine's clocks, but for those of processor time.
///
/// # Safety
/// As clock_gettime(2): `time` has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut libc::timespec) -> c_int {
    let wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    let ours = wall
        || matches!(
            clock,
            libc::CLOCK_MONOTONIC
                | libc::CLOCK_MONOTONIC_RAW
                | libc::CLOCK_MONOTONIC_COARSE
                | libc::CLOCK_BOOTTIME
        );
    if super::on()
        && ours
        && let Some(now) = super::time_ns(wall)
    {
        let part = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // SAFETY: the caller's promise.
        unsafe {
            time.write(libc::timespec {
                tv_sec: part(now / 1_000_000_000),
                tv_nsec: part(now % 1_000_000_000),
            });
        }
        return 0;
    }
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) })
}

/// Looks for events, and where there are none lets the time pass instead of waiting.
///
/// # Safety
/// As epoll_wait(2): `events` has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    room: c_int,
    timeout_ms: c_int,
) -> c_int {
    let none: *const libc::sigset_t = std::ptr::null();
    let wait = |ms: c_int| {
        // SAFETY: the caller's promise; without a mask its length is not looked at.
        answer(unsafe { libc::syscall(libc::SYS_epoll_pwait, epoll, events, room, ms, none, 8) })
    };
    let Ok(ms) = u64::try_from(timeout_ms) else { return wait(timeout_ms) };
    if !super::on() {
        return wait(timeout_ms);
    }
    match wait(0) {
        0 if super::idle(ms) => 0,
        found => found,
    }
}

/// # Safety
/// As write(2) and pwrite(2): `buffer` holds `length` bytes.
unsafe fn put(fd: c_int, buffer: *const c_void, length: size_t, at: Option<off64_t>) -> ssize_t {
    let pass = |length: size_t| {
        // SAFETY: the caller's promise; never more than the caller's length.
        signed(unsafe {
            match at {
                None => libc::syscall(libc::SYS_write, fd, buffer, length),
                Some(at) => libc::syscall(libc::SYS_pwrite64, fd, buffer, length, at),
            }
        })
    };
    let Some(Opened::File(file)) = opened(fd) else { return pass(length) };
    // SAFETY: asks for the file's position and changes nothing.
    let at = at.unwrap_or_else(|| unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) });
    let at = u64::try_from(at).unwrap_or(0);
    match super::before(Call::Write { at, bytes: length }, file, || path(fd)) {
        None => pass(length),
        Some(Fate::Failed(errno)) => failed(errno) as ssize_t,
        Some(Fate::Done(most)) => {
            let written = pass(length.min(most));
            if let Ok(count) = usize::try_from(written) {
                // SAFETY: the kernel took these bytes from the caller's buffer.
                super::wrote(file, at, unsafe { slice::from_raw_parts(buffer.cast(), count) });
            }
            written
        }
    }
}

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, buffer, length, None) }
}

/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, length: size_t, at: off64_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, buffer, length, Some(at)) }
}

/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, buffer: *const c_void, length: size_t, at: off_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, buffer, length, Some(at)) }
}

/// # Safety
/// As read(2) and pread(2): `buffer` has room for `length` bytes.
unsafe fn take(fd: c_int, buffer: *mut c_void, length: size_t, at: Option<off64_t>) -> ssize_t {
    if let Some(Opened::File(file)) = opened(fd)
        && let Some(Fate::Failed(errno)) = super::before(Call::Read, file, || path(fd))
    {
        return failed(errno) as ssize_t;
    }
    // SAFETY: the caller's promise.
    signed(unsafe {
        match at {
            None => libc::syscall(libc::SYS_read, fd, buffer, length),
            Some(at) => libc::syscall(libc::SYS_pread64, fd, buffer, length, at),
        }
    })
}

/// # Safety
/// As read(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { take(fd, buffer, length, None) }
}

/// # Safety
/// As pread(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, length: size_t, at: off64_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { take(fd, buffer, length, Some(at)) }
}

fn sync(fd: c_int) -> c_int {
    let (fate, opened) = match opened(fd) {
        Some(Opened::File(file)) => (super::before(Call::Sync, file, || path(fd)), Opened::File(file)),
        Some(Opened::Folder(path)) => (super::before_folder(Call::SyncFolder, &path), Opened::Folder(path)),
        None => return 0,
    };
    match (fate, opened) {
        (None, _) => 0,
        (Some(Fate::Failed(errno)), _) => failed(errno),
        (Some(Fate::Done(_)), Opened::File(file)) => {
            super::synced(file);
            0
        }
        (Some(Fate::Done(_)), Opened::Folder(path)) => {
            super::synced_folder(&path);
            0
        }
    }
}

/// A sync of the simulated disk; no other file of this program is worth one.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd)
}

/// As [`fsync`].
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd)
}

fn resize(fd: c_int, length: off64_t) -> c_int {
    // SAFETY: no memory is passed.
    let pass = || answer(unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) });
    let Some(Opened::File(file)) = opened(fd) else { return pass() };
    let bytes = u64::try_from(length).unwrap_or(0);
    match super::before(Call::Resize(bytes), file, || path(fd)) {
        None => pass(),
        Some(Fate::Failed(errno)) => failed(errno),
        Some(Fate::Done(_)) => {
            let done = pass();
            if done == 0 {
                super::resized(file, bytes);
            }
            done
        }
    }
}

/// See ftruncate(2).
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    resize(fd, length)
}

/// See ftruncate(2).
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    resize(fd, length)
}

/// Changes a name with `pass`, after which the file that `path` named has lost its last name.
fn name(path: &Path, pass: impl Fn() -> c_int) -> c_int {
    let lost = fs::symlink_metadata(path).ok().filter(|data| data.is_file()).map(|data| data.ino());
    match super::before_folder(Call::Name, path) {
        None => pass(),
        Some(Fate::Failed(errno)) => failed(errno),
        Some(Fate::Done(_)) => {
            let done = pass();
            if done == 0 {
                super::renamed(lost);
            }
            done
        }
    }
}

/// # Safety
/// `text` is a C string.
unsafe fn named(text: *const c_char) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::ffi::CStr::from_ptr(text) }.to_bytes();
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

/// # Safety
/// As rename(2): both are C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let here = libc::AT_FDCWD;
    // SAFETY: the caller's promise.
    let pass = || answer(unsafe { libc::syscall(libc::SYS_renameat, here, from, here, to) });
    if !super::on() {
        return pass();
    }
    // SAFETY: the caller's promise.
    let named = unsafe { named(to) };
    name(&named, pass)
}

/// # Safety
/// As unlink(2): a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let pass = || answer(unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) });
    if !super::on() {
        return pass();
    }
    // SAFETY: the caller's promise.
    let named = unsafe { named(path) };
    name(&named, pass)
}

/// # Safety
/// As unlinkat(2): a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(folder: c_int, file: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let pass = || answer(unsafe { libc::syscall(libc::SYS_unlinkat, folder, file, flags) });
    if !super::on() {
        return pass();
    }
    // SAFETY: the caller's promise.
    let file = unsafe { named(file) };
    let path = if file.is_absolute() { Some(file) } else { path(folder).map(|folder| folder.join(file)) };
    match path {
        Some(path) => name(&path, pass),
        None => pass(),
    }
}
