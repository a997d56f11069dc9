//! Texts in the server's encoding.

use crate::engine::text;
use arrayvec::ArrayVec;
use pgrx::pg_sys;

/// How many bytes of `text`, at most `limit`, are whole characters in the server's encoding.
pub fn clip(text: &[u8], limit: usize) -> usize {
    let start = text.as_ptr().cast();
    // SAFETY: `start` points at `text.len()` bytes, and the function looks at no more.
    let kept = unsafe { pg_sys::pg_mbcliplen(start, text.len() as i32, limit as i32) };
    kept as usize
}

/// `text` cut to `LIMIT` bytes, ending in `...` when cut.
pub fn cut_marked<const LIMIT: usize>(bytes: &[u8]) -> ArrayVec<u8, LIMIT> {
    text::cut_marked(bytes, clip)
}

/// `text` cut to `LIMIT` bytes.
pub fn cut<const LIMIT: usize>(bytes: &[u8]) -> ArrayVec<u8, LIMIT> {
    text::cut(bytes, clip)
}
