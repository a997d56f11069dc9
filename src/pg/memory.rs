//! Memory for data whose size a user decides.
//!
//! A Rust collection that cannot grow ends the process, and with it, in PostgreSQL, the connections of the
//! whole server. So what a job can make as large as it likes (rows, errors, notices) is kept in the server's
//! memory contexts, where the want of memory is an error like any other (53200).

use pgrx::pg_sys;

/// Bytes in a memory context, and freed with it.
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
            let start = pg_sys::MemoryContextAllocHuge(context, bytes.len().max(1)).cast::<u8>();
            start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Self {
                start,
                len: bytes.len(),
            }
        }
    }

    /// Where they are.
    pub fn start(self) -> *const u8 {
        self.start
    }

    /// How many.
    pub fn len(self) -> usize {
        self.len
    }

    /// They themselves; as long as their context.
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

/// The first allocation; from then on it doubles.
const ASSEMBLY_MIN: usize = 64 * 1024;

impl Assembly {
    /// An empty one, whose memory will come from `context`.
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

    /// Nothing will be appended any more: the contents.
    pub fn completed(&mut self) -> &[u8] {
        self.complete = true;
        self.bytes()
    }

    /// It was completed and not cleared since.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Nothing was appended since it was cleared.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nothing is being put together.
    pub fn is_idle(&self) -> bool {
        self.is_empty() || self.complete
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Forgets the first bytes; those that follow move to the front.
    pub fn drop_front(&mut self, count: usize) {
        let rest = self.len - count;
        if rest > 0 {
            // SAFETY: both within the contents.
            unsafe { self.start.copy_from(self.start.add(count), rest) };
        }
        self.len = rest;
    }

    /// What was appended.
    pub fn bytes(&self) -> &[u8] {
        if self.is_empty() {
            return &[];
        }
        // SAFETY: `append` has filled so many.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Makes room for `more` bytes behind the contents and returns it; [`add_filled`](Self::add_filled) says how much of
    /// it was filled.
    pub fn room(&mut self, more: usize) -> *mut u8 {
        let needed = self.len + more;
        if needed > self.capacity {
            let capacity = needed.max(self.capacity * 2).max(ASSEMBLY_MIN);
            // SAFETY: the context lives as long as this value is used; a block is made larger only by the
            // function that knows it.
            unsafe {
                self.start = if self.start.is_null() {
                    pg_sys::MemoryContextAllocHuge(self.context, capacity).cast()
                } else {
                    pg_sys::repalloc_huge(self.start.cast(), capacity).cast()
                };
            }
            self.capacity = capacity;
        }
        // SAFETY: within the allocation.
        unsafe { self.start.add(self.len) }
    }

    /// So many bytes of the room were filled.
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
/// The context must be valid. When `body` unwinds the current context stays the other one; the server sets
/// its own when it catches the error.
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
    // SAFETY: by the caller; the name lives for ever.
    unsafe {
        pg_sys::AllocSetContextCreateExtended(
            parent,
            name.as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}
