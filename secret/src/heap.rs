//! The system's allocator, which wipes what is given back once the process is hardened: what a library copied to the heap and
//! forgot (age keeps what it encrypts in a buffer) is not left there. What is still held it does not cover: see `SecretBytes`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static WIPES: AtomicBool = AtomicBool::new(false);

/// For `#[global_allocator]` of a program that has secrets for a moment.
#[derive(Debug)]
pub struct WipingHeap;

/// From now on nothing freed keeps its bytes.
pub(crate) fn wipe_from_now() {
    WIPES.store(true, Ordering::Relaxed);
}

// SAFETY: each call is the system allocator's with the caller's own arguments; what is wiped is the caller's until it is given back.
#[expect(unsafe_code, reason = "an allocator is asked by unsafe calls")]
unsafe impl GlobalAlloc for WipingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            // SAFETY: the block has that many bytes and nobody uses them any more.
            unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        }
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !WIPES.load(Ordering::Relaxed) {
            // SAFETY: as the caller promised.
            return unsafe { System.realloc(block, layout, size) };
        }
        // The system's may move the bytes and leave the old ones: here they are copied and wiped.
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        // SAFETY: `size` is not zero, as the caller promised.
        let moved = unsafe { System.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks have the lesser of both sizes, and are not one; the old one is given up by the caller.
            unsafe {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}
