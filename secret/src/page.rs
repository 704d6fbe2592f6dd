//! One anonymous mapping for one secret: `memfd_secret(2)` where the kernel has it, else locked memory that is left out
//! of core dumps. Zeroized, then unmapped, on drop. If this is wrong, secrets stay in freed memory or reach the disk.
#![expect(unsafe_code, reason = "mappings are made, viewed and returned through raw pointers")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use zeroize::Zeroize;

/// How a secret's memory is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret` pages: outside the kernel's direct map, unreadable through `/proc/<pid>/mem`, never swapped or dumped.
    SecretMemory,
    /// Ordinary pages, locked against swap and left out of core dumps; a debugger with privileges can still read them.
    Locked,
    /// Ordinary pages, left out of core dumps; the kernel refused to lock them.
    Unlocked,
}

/// What this machine gives to secrets, for a line in the log at start.
///
/// # Errors
/// The kernel's, when not one page can be mapped.
pub fn protection() -> io::Result<Protection> {
    Ok(Page::map(1)?.protection)
}

/// A private mapping of at least the length asked for.
pub(crate) struct Page {
    start: NonNull<u8>,
    len: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to this value alone and has no thread affinity; access follows `&` and `&mut`.
unsafe impl Send for Page {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Page {}

impl Page {
    /// Maps `len` zero bytes.
    pub(crate) fn map(len: usize) -> io::Result<Self> {
        let len = len.max(1);
        Self::map_secret(len).or_else(|_| Self::map_locked(len))
    }

    fn map_secret(len: usize) -> io::Result<Self> {
        // The manual page of memfd_secret(2) names FD_CLOEXEC, the kernel takes O_CLOEXEC and refuses the other.
        // SAFETY: memfd_secret takes one flags word and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just opened `fd` for us; nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: ftruncate on a descriptor we own.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), size) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Self::mmap(len, libc::MAP_SHARED, fd.as_raw_fd(), Protection::SecretMemory)
    }

    fn map_locked(len: usize) -> io::Result<Self> {
        let mut page = Self::mmap(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, Protection::Unlocked)?;
        let start = page.start.as_ptr().cast();
        // SAFETY: the range is this page's own mapping; both calls only change how the kernel treats it.
        let (dumped, locked) =
            unsafe { (libc::madvise(start, len, libc::MADV_DONTDUMP), libc::mlock(start, len)) };
        if dumped != 0 {
            return Err(io::Error::last_os_error());
        }
        if locked == 0 {
            page.protection = Protection::Locked;
        }
        Ok(page)
    }

    fn mmap(len: usize, flags: libc::c_int, fd: libc::c_int, protection: Protection) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len, protection })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points at `len` mapped, initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        // SAFETY: unmaps exactly what `mmap` returned; no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_what_is_written_whichever_way_they_are_mapped() {
        for map in [Page::map, Page::map_locked] {
            let mut page = map(5_000).unwrap();
            assert!(page.as_slice().iter().all(|byte| *byte == 0), "a fresh page must be empty");
            page.as_mut_slice().fill(7);
            assert!(page.as_slice().iter().all(|byte| *byte == 7));
        }
    }

    /// Would catch a page that falls back to ordinary memory where the kernel has secret memory.
    #[test]
    fn secret_memory_is_not_readable_through_proc() {
        use std::os::unix::fs::FileExt;
        let mut page = Page::map(16).unwrap();
        page.as_mut_slice().copy_from_slice(b"not in /proc/mem");
        let mut control = *b"plain in memory!";
        control.reverse();
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut read = [0; 16];
        memory.read_exact_at(&mut read, control.as_ptr() as u64).expect("the control must be readable");
        assert_eq!(read, control, "the control must be found, or this test shows nothing");
        // SAFETY: as in `map_secret`; with no flags at all it fails only where the kernel does not have it.
        if unsafe { libc::syscall(libc::SYS_memfd_secret, 0) } < 0 {
            println!("skipped: no memfd_secret here: {}", io::Error::last_os_error());
            return;
        }
        assert_eq!(page.protection, Protection::SecretMemory, "ordinary memory where the kernel has better");
        let found = memory.read_exact_at(&mut read, page.start.as_ptr() as u64);
        assert!(found.is_err(), "a memfd_secret page was read through /proc/self/mem");
    }
}
