//! The targets, and what they share.

pub mod channel;
pub mod deadlock;
pub mod protocol;
pub mod ring;
pub mod texts;

use engine::ring::{ALIGN, MappedBuffer};

/// Memory for a ring's buffer.
struct Memory(Box<[u64]>);

impl Memory {
    fn new(capacity: usize) -> Self {
        Self(vec![0; capacity / ALIGN].into())
    }

    fn buffer(&mut self) -> MappedBuffer {
        let capacity = self.0.len() * ALIGN;
        // SAFETY: callers keep the memory as long as the buffer, and use it through that alone.
        unsafe { MappedBuffer::new(self.0.as_mut_ptr().cast(), capacity) }
    }
}

/// The bytes of the frame with this number.
fn content(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (number * 7 + at * 13 + at / 256) as u8)
        .collect()
}
