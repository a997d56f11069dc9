//! Where a piece of shared memory is: in the arena, or in a dynamic segment of its own.
//!
//! Shared memory keeps it as one number. In the server's arena pointers the number of a segment (of 1024 at
//! most) is above 40 bits of offset. So the bits from 50 on are free, and the highest bit says that the number
//! is the handle of a segment. 0: there is none.

use std::num::{NonZeroU32, NonZeroU64};

/// See the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockRef {
    /// A pointer into the arena.
    Arena(ArenaPointer),
    /// A dynamic segment, by its handle.
    Segment(NonZeroU32),
}

/// A valid pointer into the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArenaPointer(NonZeroU64);

/// Segments that an arena has at most (`DSA_MAX_SEGMENTS` of dsa.c).
pub const ARENA_SEGMENTS: usize = 1024;
/// Bits of an arena pointer that are the offset into its segment (`DSA_OFFSET_WIDTH` of dsa.c, 64-bit).
const OFFSET_BITS: u32 = 40;
/// The first number that no arena pointer has.
const ARENA_END: u64 = (ARENA_SEGMENTS as u64) << OFFSET_BITS;
const SEGMENT: u64 = 1 << 63;

impl ArenaPointer {
    /// `None`: 0, or not a valid pointer.
    #[must_use]
    pub fn new(pointer: u64) -> Option<Self> {
        NonZeroU64::new(pointer)
            .filter(|pointer| pointer.get() < ARENA_END)
            .map(Self)
    }

    /// The pointer as the server has it.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The segment of the arena into which it points.
    #[must_use]
    pub fn segment(self) -> usize {
        (self.get() >> OFFSET_BITS) as usize
    }
}

impl BlockRef {
    /// The number as kept in shared memory.
    #[must_use]
    pub fn to_bits(this: Option<Self>) -> u64 {
        match this {
            None => 0,
            Some(Self::Arena(pointer)) => pointer.get(),
            Some(Self::Segment(handle)) => SEGMENT | u64::from(handle.get()),
        }
    }

    /// `None`: there is none, or the number is not valid.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        if bits & SEGMENT == 0 {
            return ArenaPointer::new(bits).map(Self::Arena);
        }
        let handle = u32::try_from(bits & !SEGMENT).ok()?;
        NonZeroU32::new(handle).map(Self::Segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arena(pointer: u64) -> Option<BlockRef> {
        ArenaPointer::new(pointer).map(BlockRef::Arena)
    }

    #[test]
    fn what_is_not_there_is_zero() {
        assert_eq!(BlockRef::to_bits(None), 0);
        assert_eq!(BlockRef::from_bits(0), None);
        assert_eq!(BlockRef::from_bits(SEGMENT), None);
    }

    #[test]
    fn the_last_pointer_of_an_arena_is_one_and_the_next_is_none() {
        let last = ArenaPointer::new(ARENA_END - 1).expect("it is one");
        assert_eq!(last.segment(), ARENA_SEGMENTS - 1);
        assert_eq!(ArenaPointer::new(ARENA_END), None);
    }

    proptest! {
        #[test]
        fn a_pointer_comes_back(pointer in 1..ARENA_END) {
            let there = arena(pointer);
            prop_assert!(there.is_some());
            prop_assert_eq!(BlockRef::from_bits(BlockRef::to_bits(there)), there);
        }

        #[test]
        fn a_handle_comes_back_and_is_no_pointer(handle in 1..=u32::MAX) {
            let there = NonZeroU32::new(handle).map(BlockRef::Segment);
            let bits = BlockRef::to_bits(there);
            prop_assert_eq!(BlockRef::from_bits(bits), there);
            prop_assert_eq!(ArenaPointer::new(bits), None);
        }

        #[test]
        fn a_number_is_one_thing_or_none(bits in any::<u64>()) {
            if let Some(there) = BlockRef::from_bits(bits) {
                prop_assert_eq!(BlockRef::to_bits(Some(there)), bits);
            }
        }
    }
}
