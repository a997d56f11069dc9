//! Where the parts of a job's block lie.
//!
//! A user decides how long they are, so every addition is checked. The limit of a request is so far below 4 GiB
//! that 32-bit offsets always suffice. This is checked all the same, and callers need not assume it.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

/// Bytes of a request (text, settings and parameters) at most. It is what the server allocates in one piece by
/// default (`MaxAllocSize`), and so the largest value of type `text`. A worker parses the text with memory of
/// that kind.
pub const REQUEST_LIMIT: usize = 0x3fff_ffff;

/// Alignment of each part but the ring.
const ALIGN: usize = 8;

/// How long the parts are.
#[derive(Clone, Copy, Debug)]
pub struct BlockParts {
    /// The fixed part, in front.
    pub header: usize,
    /// SQL text; a zero byte follows it.
    pub sql: usize,
    /// Settings.
    pub settings: usize,
    /// Parameters.
    pub params: usize,
    /// The ring's shared part and its buffer; 0: there is no ring.
    pub ring: usize,
    /// Where the ring may begin: a power of two.
    pub ring_align: usize,
}

/// Where they lie, in bytes from the start of the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLayout {
    /// Of the text.
    pub sql_len: u32,
    /// Of the settings.
    pub settings: u32,
    /// Of the settings.
    pub settings_len: u32,
    /// Of the parameters.
    pub params: u32,
    /// Of the parameters.
    pub params_len: u32,
    /// End of what comes before the ring.
    end: usize,
    ring_align: usize,
    ring: usize,
    /// Bytes of the block.
    pub size: usize,
}

/// A request that is longer than [`REQUEST_LIMIT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// Its length, if that is a number.
    pub size: usize,
}

impl BlockLayout {
    /// The layout of a block with these parts.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn of(parts: &BlockParts) -> Result<Self, TooLarge> {
        let size = parts
            .sql
            .saturating_add(parts.settings)
            .saturating_add(parts.params);
        let too_large = TooLarge { size };
        if size > REQUEST_LIMIT {
            return Err(too_large);
        }
        Self::checked(parts).ok_or(too_large)
    }

    fn checked(parts: &BlockParts) -> Option<Self> {
        let aligned = |offset: usize| offset.checked_next_multiple_of(ALIGN);
        let sql_end = parts.header.checked_add(parts.sql)?.checked_add(1)?;
        let settings = aligned(sql_end)?;
        let params = aligned(settings.checked_add(parts.settings)?)?;
        let end = params.checked_add(parts.params)?;
        let size = match parts.ring {
            0 => end,
            // The block itself is aligned to 8 only: the extra bytes let the ring be moved up.
            ring => end.checked_add(parts.ring_align)?.checked_add(ring)?,
        };
        // Every offset is below the end.
        u32::try_from(size).ok()?;
        Some(Self {
            sql_len: u32::try_from(parts.sql).ok()?,
            settings: u32::try_from(settings).ok()?,
            settings_len: u32::try_from(parts.settings).ok()?,
            params: u32::try_from(params).ok()?,
            params_len: u32::try_from(parts.params).ok()?,
            end,
            ring_align: parts.ring_align,
            ring: parts.ring,
            size,
        })
    }

    /// Where the ring begins in a block at `start`, which is an address or an arena pointer; 0: there is none.
    ///
    /// # Panics
    /// When no block of this size can lie there.
    #[must_use]
    pub fn ring_in(&self, start: u64) -> u32 {
        if self.ring == 0 {
            return 0;
        }
        let begin = || {
            let (end, align) = (
                u64::try_from(self.end).ok()?,
                u64::try_from(self.ring_align).ok()?,
            );
            let at = start.checked_add(end)?.checked_next_multiple_of(align)?;
            u32::try_from(at.checked_sub(start)?).ok()
        };
        begin().expect("a block lies in memory")
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::arithmetic_side_effects,
    reason = "numbers of the test's own, in debug builds"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: usize = 1 << 30;

    fn parts(sql: usize, settings: usize, params: usize, ring: usize) -> BlockParts {
        BlockParts {
            header: 2200,
            sql,
            settings,
            params,
            ring,
            ring_align: 64,
        }
    }

    #[test]
    fn a_request_that_would_wrap_32_bits_is_too_large() {
        for (sql, settings, params) in [
            (4 * GIB, 0, 0),
            (GIB - 1, 4 * GIB - 1000, 0),
            (GIB - 1, GIB - 1, GIB - 1),
            (REQUEST_LIMIT, 1, 0),
            (0, 0, REQUEST_LIMIT + 1),
        ] {
            let size = sql + settings + params;
            let laid_out = BlockLayout::of(&parts(sql, settings, params, 1 << 16));
            assert_eq!(laid_out, Err(TooLarge { size }));
        }
    }

    #[test]
    fn what_is_no_number_is_too_large() {
        for big in [usize::MAX, usize::MAX - 7, usize::MAX / 2 + 1] {
            for parts in [
                parts(big, big, 0, 0),
                parts(0, big, 1, 64),
                parts(1, 0, big, 64),
            ] {
                assert!(BlockLayout::of(&parts).is_err());
            }
        }
        // The same for a ring that is larger than a user can ask for.
        assert!(BlockLayout::of(&parts(1, 1, 1, usize::MAX)).is_err());
        assert!(BlockLayout::of(&parts(1, 1, 1, 4 * GIB)).is_err());
    }

    #[test]
    fn the_largest_request_has_room_for_the_largest_ring() {
        let layout =
            BlockLayout::of(&parts(REQUEST_LIMIT, 0, 0, 256 << 20)).expect("it is allowed");
        assert!(layout.size < 2 * GIB);
    }

    proptest! {
        #[test]
        fn the_parts_do_not_overlap(
            sql in 0..5000_usize,
            settings in 0..5000_usize,
            params in 0..5000_usize,
            ring in prop::sample::select(vec![0, 64, 1024, 4096_usize]),
            start in (0..1_u64 << 50).prop_map(|start| start * 8),
        ) {
            let parts = parts(sql, settings, params, ring);
            let layout = BlockLayout::of(&parts).unwrap();
            let (at_settings, at_params) = (layout.settings as usize, layout.params as usize);
            prop_assert!(parts.header + sql < at_settings);
            prop_assert!(at_settings + settings <= at_params);
            prop_assert!(at_params + params <= layout.size);
            let at = layout.ring_in(start);
            if ring == 0 {
                prop_assert_eq!(at, 0);
            } else {
                prop_assert!(at_params + params <= at as usize);
                prop_assert!(at as usize + ring <= layout.size);
                prop_assert_eq!((start + u64::from(at)) % 64, 0);
            }
        }
    }
}
