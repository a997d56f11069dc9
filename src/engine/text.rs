//! Short texts in shared memory, and how they are cut.
//!
//! A [`SharedText`] is a length and words of bytes, each an atomic of its own: a reader that races with a
//! writer may see a mixture but never undefined behaviour. Who keeps them apart (a phase of the job, a
//! sequence lock) is said where one is used.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use arrayvec::ArrayString;

const WORD: usize = size_of::<u64>();

/// Up to `WORDS * 8` bytes of UTF-8 or of any other server encoding.
pub struct SharedText<const WORDS: usize> {
    len: AtomicU32,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Default for SharedText<WORDS> {
    fn default() -> Self {
        Self {
            len: AtomicU32::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl<const WORDS: usize> SharedText<WORDS> {
    /// Bytes it holds at most.
    pub const CAPACITY: usize = WORDS * WORD;

    /// Replaces the text; bytes beyond [`CAPACITY`](Self::CAPACITY) are dropped, so cut first.
    pub fn store(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(Self::CAPACITY)];
        for (word, chunk) in self.words.iter().zip(bytes.chunks(WORD)) {
            let mut raw = [0; WORD];
            raw[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(raw), Ordering::Relaxed);
        }
        self.len.store(bytes.len() as u32, Ordering::Relaxed);
    }

    /// Copies the text out.
    pub fn load(&self) -> Vec<u8> {
        let len = (self.len.load(Ordering::Relaxed) as usize).min(Self::CAPACITY);
        let mut bytes = Vec::with_capacity(len + WORD);
        for word in &self.words[..len.div_ceil(WORD)] {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// What a text ends in when it was cut.
const MARK: &str = "...";

/// `text`, if it has at most `LIMIT` bytes, else its beginning, cut on a character boundary and ending
/// in `...`, together at most `LIMIT` bytes.
#[must_use]
pub fn cut_marked<const LIMIT: usize>(text: &str) -> ArrayString<LIMIT> {
    let mut cut = ArrayString::new();
    if text.len() <= LIMIT {
        cut.push_str(text);
    } else {
        cut.push_str(&text[..text.floor_char_boundary(LIMIT - MARK.len())]);
        cut.push_str(MARK);
    }
    cut
}

/// The first `LIMIT` bytes of `text`, less what would split a character.
#[must_use]
pub fn cut<const LIMIT: usize>(text: &str) -> ArrayString<LIMIT> {
    let mut cut = ArrayString::new();
    cut.push_str(&text[..text.floor_char_boundary(LIMIT)]);
    cut
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_text_is_not_marked() {
        assert_eq!(cut_marked::<10>("0123456789").as_str(), "0123456789");
    }

    #[test]
    fn a_long_text_is_marked_within_the_limit() {
        assert_eq!(cut_marked::<10>("0123456789a").as_str(), "0123456...");
        assert_eq!(cut_marked::<10>("012345\u{20ac}789").as_str(), "012345...");
    }

    proptest! {
        #[test]
        fn a_cut_is_a_prefix_of_the_text(text: String) {
            let short = cut::<16>(&text);
            prop_assert!(text.starts_with(short.as_str()));
            prop_assert!(text.len() <= 16 || short.len() > 12);
            let marked = cut_marked::<16>(&text);
            prop_assert!(marked.len() <= 16);
            if text.len() > 16 {
                prop_assert!(text.starts_with(marked.strip_suffix(MARK).unwrap()));
            }
        }

        #[test]
        fn what_is_stored_is_loaded(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = SharedText::<5>::default();
            text.store(b"something that was there before");
            text.store(&bytes);
            prop_assert_eq!(text.load(), bytes);
        }
    }
}
