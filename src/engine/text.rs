//! Short texts in shared memory, and how to cut them.
//!
//! A [`SharedText`] is a length and words of bytes, each an atomic. A reader that races with a writer may see a
//! mixture but never undefined behavior. The place that uses a text says what keeps readers and writers apart
//! (a phase of the job, a sequence lock).

#![allow(
    clippy::disallowed_methods,
    reason = "short texts, which have a capacity"
)]

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use arrayvec::ArrayVec;

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
    /// Its capacity in bytes.
    pub const CAPACITY: usize = WORDS * WORD;

    /// Replaces the text. Drops bytes beyond [`CAPACITY`](Self::CAPACITY), so the caller cuts the text first.
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

/// The end of a text that was cut.
const MARK: &[u8] = b"...";

/// `text`, if it has at most `LIMIT` bytes. Otherwise its beginning and `...`, together at most `LIMIT` bytes.
/// `clip(text, limit)` returns how many bytes of the text, at most `limit`, are whole characters.
#[must_use]
pub fn cut_marked<const LIMIT: usize>(
    text: &[u8],
    clip: impl Fn(&[u8], usize) -> usize,
) -> ArrayVec<u8, LIMIT> {
    let mut cut = ArrayVec::new();
    let (kept, mark) = if text.len() <= LIMIT {
        (text.len(), &[][..])
    } else {
        (clip(text, LIMIT - MARK.len()), MARK)
    };
    cut.extend(text[..kept].iter().chain(mark).copied());
    cut
}

/// The first `LIMIT` bytes of `text`, without splitting a character. `clip` is as above.
#[must_use]
pub fn cut<const LIMIT: usize>(
    text: &[u8],
    clip: impl Fn(&[u8], usize) -> usize,
) -> ArrayVec<u8, LIMIT> {
    let kept = if text.len() <= LIMIT {
        text.len()
    } else {
        clip(text, LIMIT)
    };
    text[..kept].iter().copied().collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clip(text: &[u8], limit: usize) -> usize {
        std::str::from_utf8(text)
            .unwrap()
            .floor_char_boundary(limit)
    }

    #[test]
    fn a_short_text_is_not_marked() {
        assert_eq!(
            cut_marked::<10>(b"0123456789", clip).as_slice(),
            b"0123456789"
        );
    }

    #[test]
    fn a_long_text_is_marked_within_the_limit() {
        assert_eq!(
            cut_marked::<10>(b"0123456789a", clip).as_slice(),
            b"0123456..."
        );
        let text = "012345\u{20ac}789".as_bytes();
        assert_eq!(cut_marked::<10>(text, clip).as_slice(), b"012345...");
    }

    proptest! {
        #[test]
        fn a_cut_is_a_prefix_of_the_text(text: String) {
            let text = text.as_bytes();
            let short = cut::<16>(text, clip);
            prop_assert!(text.starts_with(&short));
            prop_assert!(text.len() <= 16 || short.len() > 12);
            let marked = cut_marked::<16>(text, clip);
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
