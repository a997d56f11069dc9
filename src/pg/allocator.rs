//! The allocator of the Rust code, and what it does when there is no memory.
//!
//! When an allocation fails, Rust aborts the process, and PostgreSQL then restarts the whole server. A library cannot
//! turn that into an error: an allocator must not unwind, and the hook for failed allocations is not stable. But an
//! allocator may choose not to return. So it ends the session as the server would, with a FATAL error of 53200: that
//! runs the exit callbacks and jumps over no Rust frame.
//!
//! The exit callbacks need what this process has in its memory ([`Local`](crate::pg::local::Local)). So the session is
//! not ended while that is lent, nor in the middle of a message ([`hold_end`]): the last part of the reserve is for
//! allocations then, and for those of the exit.
//!
//! That is the last resort. Collections whose size a user decides grow through [`engine::memory`], which gets the
//! failure and makes it an ordinary error. The other allocations are small, and there is a reserve for them, so that
//! the process can still compose an error and end the session in order when it has no other memory. A call of an SQL
//! function begins only if there is as much memory as the small allocations of a call may take ([`check`]).

use crate::pg::shim;
use engine::memory;
use engine::memory::OutOfMemory;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Size of the reserve. None of its pages is touched before it is needed.
const RESERVE: usize = 256 * 1024;

/// The last part of the reserve: what is allocated while the session must not be ended, and while it ends.
const LAST: usize = 64 * 1024;

/// Bytes that a call has to find.
const CALL: usize = 32 * 1024;

/// The largest allocation from the reserve.
const MAX_PIECE: usize = 16 * 1024;

#[repr(align(64))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

// SAFETY: the pieces that are handed out do not overlap.
unsafe impl Sync for Reserve {}

struct ServerAllocator {
    reserve: Reserve,
    /// How many bytes of it were handed out. The piece that was handed out last is taken back, and all when none is left.
    used: AtomicUsize,
    /// How many pieces were handed out and not taken back.
    pieces: AtomicUsize,
    /// How many [`Hold`]s there are.
    holds: AtomicUsize,
    /// Whether the session is being ended.
    ends: AtomicBool,
}

#[global_allocator]
static ALLOCATOR: ServerAllocator = ServerAllocator {
    reserve: Reserve(UnsafeCell::new([0; RESERVE])),
    used: AtomicUsize::new(0),
    pieces: AtomicUsize::new(0),
    holds: AtomicUsize::new(0),
    ends: AtomicBool::new(false),
};

fn is_exiting() -> bool {
    // SAFETY: a plain global of this process.
    unsafe { pgrx::pg_sys::proc_exit_inprogress }
}

/// For a counter of this process, which has one thread. Cheaper than an atomic addition.
fn add(counter: &AtomicUsize, more: usize) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, Ordering::Relaxed);
}

/// While there is one, the session is not ended for lack of memory.
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        add(&ALLOCATOR.holds, usize::MAX);
    }
}

/// The caller must not be interrupted by the end of the session. Meanwhile it allocates little.
pub fn hold_end() -> Hold {
    add(&ALLOCATOR.holds, 1);
    Hold(())
}

/// From the allocation after the next `count` on, this process has no memory, and only the last part of the reserve.
#[cfg(feature = "faults")]
pub fn refuse_after(count: usize) {
    let piece = Layout::new::<[u8; 1024]>();
    while ALLOCATOR.used.load(Ordering::Relaxed) + piece.size() <= RESERVE - LAST {
        let _ = ALLOCATOR.take_reserve(piece);
    }
    REFUSED_AFTER.store(count, Ordering::Relaxed);
}

/// How many allocations succeed before all fail; the maximum: no such thing.
#[cfg(feature = "faults")]
static REFUSED_AFTER: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Whether this allocation fails although the system has memory.
#[cfg(feature = "faults")]
fn is_refused() -> bool {
    let one_less = |left: usize| (left != usize::MAX && left > 0).then(|| left - 1);
    let order = Ordering::Relaxed;
    REFUSED_AFTER.fetch_update(order, order, one_less) == Err(0)
}

#[cfg(not(feature = "faults"))]
const fn is_refused() -> bool {
    false
}

/// What the system has: null if it has no memory.
fn of_system(allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    if is_refused() { null_mut() } else { allocate() }
}

/// Looks whether there is memory for the small allocations of a call, before it begins.
///
/// # Errors
/// [`OutOfMemory`], which has ended nothing.
pub fn check() -> Result<(), OutOfMemory> {
    let mut room = Vec::<u8>::new();
    memory::try_reserve_exact(&mut room, CALL)?;
    // An allocation that nobody sees would be left out.
    std::hint::black_box(&room);
    Ok(())
}

impl ServerAllocator {
    fn start(&self) -> *mut u8 {
        self.reserve.0.get().cast()
    }

    fn owns(&self, block: *mut u8) -> bool {
        let start = self.start().addr();
        (start..start + RESERVE).contains(&block.addr())
    }

    fn take_reserve(&self, layout: Layout) -> Option<*mut u8> {
        let order = Ordering::Relaxed;
        let needs_last = self.holds.load(order) > 0 || self.ends.load(order) || is_exiting();
        let is_large = layout.size() > MAX_PIECE && !needs_last;
        if is_large || layout.align() > align_of::<Reserve>() {
            return None;
        }
        let limit = if needs_last { RESERVE } else { RESERVE - LAST };
        let end_of = |used: usize| {
            let start = used.next_multiple_of(layout.align());
            let end = start.checked_add(layout.size())?;
            (end <= limit).then_some(end)
        };
        let used = self.used.load(order);
        self.used.store(end_of(used)?, order);
        add(&self.pieces, 1);
        // SAFETY: below `RESERVE`, by `end_of`.
        Some(unsafe { self.start().add(used.next_multiple_of(layout.align())) })
    }

    fn give_back(&self, piece: *mut u8, layout: Layout) {
        let start = piece.addr() - self.start().addr();
        let order = Ordering::Relaxed;
        add(&self.pieces, usize::MAX);
        if self.pieces.load(order) == 0 {
            self.used.store(0, order);
        } else if self.used.load(order) == start + layout.size() {
            self.used.store(start, order);
        }
    }

    /// Called when the system has no memory for `layout`.
    fn handle_failure(&self, layout: Layout) -> *mut u8 {
        if memory::may_fail() {
            return null_mut();
        }
        self.take_reserve(layout).unwrap_or_else(|| {
            self.ends.store(true, Ordering::Relaxed);
            // SAFETY: does not return, and does not jump.
            unsafe { shim::pgb_end_session_without_memory(layout.size()) }
        })
    }
}

// SAFETY: blocks of the system's allocator, or pieces of the reserve, each of which is handed out once.
unsafe impl GlobalAlloc for ServerAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        let block = of_system(|| unsafe { System.alloc(layout) });
        if block.is_null() {
            return self.handle_failure(layout);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        let block = of_system(|| unsafe { System.alloc_zeroed(layout) });
        if !block.is_null() {
            return block;
        }
        let piece = self.handle_failure(layout);
        if !piece.is_null() {
            // SAFETY: it has that size.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.owns(block) {
            self.give_back(block, layout);
        } else {
            // SAFETY: by the caller.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.owns(block) && size <= layout.size() {
            return block;
        }
        if !self.owns(block) {
            // SAFETY: by the caller.
            let larger = of_system(|| unsafe { System.realloc(block, layout, size) });
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
