//! The settings of a session as bytes.
//!
//! `SerializeGUCState` writes every setting that is not at its compiled-in default, with its source and
//! scope. Because of those, two equal sessions need not have equal bytes; what the bytes are compared
//! with is told in [`crate::worker::session`].

use pgrx::pg_sys;

/// Serializes this session's settings.
pub fn serialize() -> Vec<u8> {
    // SAFETY: both run on the main thread; the buffer has the size that the server estimated.
    unsafe {
        let size = pg_sys::EstimateGUCStateSpace();
        let mut bytes = vec![0_u8; size];
        pg_sys::SerializeGUCState(size, bytes.as_mut_ptr().cast());
        // The length word counts what follows it; the rest of the estimate is unused.
        let used = bytes.as_ptr().cast::<usize>().read_unaligned();
        bytes.truncate(used + size_of::<usize>());
        bytes
    }
}
