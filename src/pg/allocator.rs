//! The allocator of the Rust code, and what it does when there is no memory.
//!
//! When an allocation fails, Rust aborts the process, and PostgreSQL then restarts the whole server. A library cannot
//! turn that into an error: an allocator must not unwind, and the hook for failed allocations is not stable. But an
//! allocator may choose not to return. So it ends the session as the server would, with a FATAL error of 53200: that
//! runs the exit callbacks and jumps over no Rust frame.
//!
//! That is the last resort. Collections whose size a user decides grow through [`engine::memory`], which gets the
//! failure and makes it an ordinary error. The other allocations are small, and there is a reserve for them, so that
//! the process can still compose an error and end the session in order when it has no other memory.

use crate::pg::shim;
use engine::memory;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Size of the reserve. None of its pages is touched before it is needed.
const RESERVE: usize = 256 * 1024;

/// The largest allocation from the reserve.
const MAX_PIECE: usize = 16 * 1024;

#[repr(align(64))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

// SAFETY: the pieces that are handed out do not overlap.
unsafe impl Sync for Reserve {}

struct ServerAllocator {
    reserve: Reserve,
    /// How many bytes of it were handed out. They are never taken back.
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

    /// Called when the system has no memory for `layout`.
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
            // A piece of the reserve is zero: it was never written.
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
        // SAFETY: by the caller, the size is valid for a layout. The old block stays until it is copied.
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
