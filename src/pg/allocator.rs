//! Where Rust's memory comes from, and what happens when there is none.
//!
//! Rust answers a refused allocation by aborting the process, and PostgreSQL answers that by restarting the whole
//! server. No library can turn it into an error: an allocator must not unwind, and the hook that could do something
//! else is not stable. What an allocator may do is not return. So it ends the session as the server ends one, FATAL
//! with 53200: that runs the exit callbacks and jumps over no frame of Rust.
//!
//! It is the second line. Collections whose size a user decides are grown through [`engine::memory`], which is
//! told no and makes it an ordinary error. What is left is small, and has a reserve: so that an error can be put
//! into words, and a session be ended in order, when the process has nothing left.

use crate::pg::shim;
use engine::memory;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the reserve. Not a page of it is used before it is needed.
const RESERVE: usize = 256 * 1024;

/// More than so many bytes at a time it does not give.
const MAX_PIECE: usize = 16 * 1024;

#[repr(align(64))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

// SAFETY: handed out in pieces that do not overlap.
unsafe impl Sync for Reserve {}

struct ServerAllocator {
    reserve: Reserve,
    /// Bytes of it that were handed out; they do not come back.
    used: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: ServerAllocator = ServerAllocator {
    reserve: Reserve(UnsafeCell::new([0; RESERVE])),
    used: AtomicUsize::new(0),
};

impl ServerAllocator {
    fn start(&self) -> *mut u8 {
        self.reserve.0.get().cast()
    }

    fn owns(&self, block: *mut u8) -> bool {
        let start = self.start().addr();
        (start..start + RESERVE).contains(&block.addr())
    }

    fn take_reserve(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() > MAX_PIECE || layout.align() > align_of::<Reserve>() {
            return None;
        }
        let end_of = |used: usize| {
            let start = used.next_multiple_of(layout.align());
            let end = start + layout.size();
            (end <= RESERVE).then_some(end)
        };
        let order = Ordering::Relaxed;
        let used = self.used.fetch_update(order, order, end_of).ok()?;
        // SAFETY: below `RESERVE`, by `end_of`.
        Some(unsafe { self.start().add(used.next_multiple_of(layout.align())) })
    }

    /// There is no memory for `layout`.
    fn handle_failure(&self, layout: Layout) -> *mut u8 {
        if memory::may_fail() {
            return null_mut();
        }
        self.take_reserve(layout).unwrap_or_else(|| {
            // SAFETY: does not return, and does not jump.
            unsafe { shim::pgb_end_session_without_memory(layout.size()) }
        })
    }
}

// SAFETY: blocks of the system's allocator, or pieces of the reserve, each of which is handed out once.
unsafe impl GlobalAlloc for ServerAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            return self.handle_failure(layout);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() {
            // What the reserve gives was never written.
            return self.handle_failure(layout);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !self.owns(block) {
            // SAFETY: by the caller.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.owns(block) {
            // SAFETY: by the caller.
            let larger = unsafe { System.realloc(block, layout, size) };
            if !larger.is_null() {
                return larger;
            }
        }
        // SAFETY: by the caller the size is one that a layout can have. The old block stays until it is copied.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            let fresh = if self.owns(block) {
                self.alloc(wanted)
            } else {
                self.handle_failure(wanted)
            };
            if !fresh.is_null() {
                fresh.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            fresh
        }
    }
}
