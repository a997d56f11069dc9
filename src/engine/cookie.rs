//! The cookie: how a user names a job.
//!
//! 64 bits, shown to SQL as `int8`: 32 random bits, the low 15 bits of the generation, 17 bits of slot index.
//! The index leads a session to its job. The session accepts the cookie only if all its bits equal those that
//! it keeps for that job. A guess succeeds with probability 2^-32 per job. A handle that outlived its job finds
//! other random bits.

use crate::job::Generation;

/// Bits of the slot index in a cookie.
pub const INDEX_BITS: u32 = 17;
/// The largest job table that a cookie can address.
pub const MAX_JOBS: usize = 1 << INDEX_BITS;

const GENERATION_BITS: u32 = 15;
const RANDOM_SHIFT: u32 = INDEX_BITS + GENERATION_BITS;

/// See the module documentation. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cookie(u64);

impl Cookie {
    /// The cookie of the job `generation` in slot `index`. `random` comes from a cryptographic source;
    /// a zero there is replaced by 1, so that no cookie is zero.
    ///
    /// # Panics
    /// When `index` is not below [`MAX_JOBS`].
    #[must_use]
    pub fn new(index: u32, generation: Generation, random: u32) -> Self {
        assert!((index as usize) < MAX_JOBS);
        let generation = generation.get() & ((1 << GENERATION_BITS) - 1);
        Self(
            (u64::from(random.max(1)) << RANDOM_SHIFT)
                | (generation << INDEX_BITS)
                | u64::from(index),
        )
    }

    /// The slot that this cookie claims to be in.
    #[must_use]
    pub fn index(self) -> u32 {
        (self.0 & ((1 << INDEX_BITS) - 1)) as u32
    }

    /// As SQL shows it.
    #[must_use]
    pub fn to_sql(self) -> i64 {
        self.0.cast_signed()
    }

    /// As SQL gives it back; any value is a possible cookie.
    #[must_use]
    pub fn from_sql(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

static_assertions::const_assert_eq!(RANDOM_SHIFT + 32, 64);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_index_comes_back(index in 0..MAX_JOBS as u32, generation: u64, random: u32) {
            let cookie = Cookie::new(index, Generation::from_bits(generation), random);
            prop_assert_eq!(cookie.index(), index);
            prop_assert_eq!(Cookie::from_sql(cookie.to_sql()), cookie);
            prop_assert_ne!(cookie.to_sql(), 0);
        }

        #[test]
        fn neighboring_generations_and_slots_differ(index in 0..MAX_JOBS as u32 - 1, generation: u64, random: u32) {
            let generation = Generation::from_bits(generation);
            let cookie = Cookie::new(index, generation, random);
            prop_assert_ne!(Cookie::new(index, generation.next(), random), cookie);
            prop_assert_ne!(Cookie::new(index + 1, generation, random), cookie);
        }
    }
}
