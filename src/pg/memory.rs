//! Memory for data whose size a user decides.
//!
//! A Rust collection that cannot grow aborts the process, and PostgreSQL then ends all connections of the server. So
//! data that a job can make arbitrarily large (rows, errors, notices) is kept in the server's memory contexts, where a
//! lack of memory is an ordinary error (53200).

use crate::pg::server;
use pgrx::pg_sys;

/// Bytes in a memory context, which are freed with it.
#[derive(Clone, Copy)]
pub struct Bytes {
    start: *const u8,
    len: usize,
}

impl Bytes {
    /// A copy of `bytes` in the current memory context.
    pub fn copy(bytes: &[u8]) -> Self {
        // SAFETY: the new memory has room for them.
        unsafe {
            let context = pg_sys::CurrentMemoryContext;
            let start = server::MemoryContextAllocHuge(context, bytes.len().max(1)).cast::<u8>();
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Self {
                start,
                len: bytes.len(),
            }
        }
    }

    /// The address of the bytes.
    pub fn start(self) -> *const u8 {
        self.start
    }

    /// How many bytes there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// The bytes. Valid as long as their context.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `copy` has filled so many.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len)
    }
}

/// A buffer that is filled piece by piece and used again, aligned as the server's memory is.
pub struct Assembly {
    context: pg_sys::MemoryContext,
    start: *mut u8,
    len: usize,
    capacity: usize,
    complete: bool,
}

/// The first allocation. Later ones are at least twice as large as the one before.
const ASSEMBLY_MIN: usize = 64 * 1024;

impl Assembly {
    /// An empty buffer, whose memory comes from `context`.
    pub fn new(context: pg_sys::MemoryContext) -> Self {
        Self {
            context,
            start: std::ptr::null_mut(),
            len: 0,
            capacity: 0,
            complete: false,
        }
    }

    /// Forgets the contents.
    pub fn clear(&mut self) {
        self.len = 0;
        self.complete = false;
    }

    /// Marks the contents as complete and returns them.
    pub fn completed(&mut self) -> &[u8] {
        self.complete = true;
        self.bytes()
    }

    /// Whether it was completed and not cleared since.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether it has no contents.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no incomplete contents are in it.
    pub fn is_idle(&self) -> bool {
        self.is_empty() || self.complete
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Removes the first `count` bytes and moves the rest to the front.
    pub fn drop_front(&mut self, count: usize) {
        let rest = self.len - count;
        if rest > 0 {
            // SAFETY: both within the contents.
            unsafe { self.start.copy_from(self.start.add(count), rest) };
        }
        self.len = rest;
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        if self.is_empty() {
            return &[];
        }
        // SAFETY: `append` has filled so many.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Makes room for `more` bytes after the contents and returns its address. Then [`add_filled`](Self::add_filled)
    /// adds the bytes that were filled in.
    pub fn room(&mut self, more: usize) -> *mut u8 {
        let needed = self.len + more;
        if needed > self.capacity {
            let capacity = needed.max(self.capacity * 2).max(ASSEMBLY_MIN);
            // SAFETY: the context lives as long as this value is used; a block from `MemoryContextAllocHuge` may be
            // enlarged by `repalloc_huge`.
            unsafe {
                self.start = if self.start.is_null() {
                    server::MemoryContextAllocHuge(self.context, capacity).cast()
                } else {
                    server::repalloc_huge(self.start.cast(), capacity).cast()
                };
            }
            self.capacity = capacity;
        }
        // SAFETY: within the allocation.
        unsafe { self.start.add(self.len) }
    }

    /// Adds `by` bytes of the room, which were filled in, to the contents.
    pub fn add_filled(&mut self, by: usize) {
        debug_assert!(self.len + by <= self.capacity);
        self.len += by;
    }

    /// Appends a copy of `bytes`.
    pub fn append(&mut self, bytes: &[u8]) {
        let room = self.room(bytes.len());
        // SAFETY: `room` has made room for them.
        unsafe { room.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.add_filled(bytes.len());
    }
}

/// Runs `body` in another memory context.
///
/// # Safety
/// The context must be valid. If `body` unwinds, `context` stays the current one; the server sets its own when it
/// catches the error.
pub unsafe fn within<R>(context: pg_sys::MemoryContext, body: impl FnOnce() -> R) -> R {
    // SAFETY: by the caller.
    unsafe {
        let caller = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = context;
        let result = body();
        pg_sys::CurrentMemoryContext = caller;
        result
    }
}

/// A new memory context under `parent`.
///
/// # Safety
/// `parent` must be valid.
pub unsafe fn child_of(
    parent: pg_sys::MemoryContext,
    name: &'static std::ffi::CStr,
) -> pg_sys::MemoryContext {
    // SAFETY: by the caller; the name is static.
    unsafe {
        server::AllocSetContextCreateInternal(
            parent,
            name.as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}
