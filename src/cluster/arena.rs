//! Memory that comes in all sizes: in the arena, or in a segment of its own.
//!
//! # The limit
//!
//! `max_memory` bounds what is taken from the server: the arena may grow to one half of it, the segments together
//! take the other at most. A half that one of them has taken the other never gets; so neither launches with small
//! requests nor those with large ones can shut the others out, and no sum has to be looked at that
//! changes at both ends. A block that finds no room in the arena gets a segment, whatever its size; a large one
//! never goes into the arena.

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::layout::{LARGE, PAGE, Root, half_of, memory_limit_for};
use crate::cluster::segment;
use crate::pg::error::Error;
use crate::pg::{exit, shim, text};
use engine::block_ref::{ArenaPointer, BlockRef};
use engine::pool::usage::Usage;
use engine::sync::{AtomicU32, Ordering};
use engine::table::Slot;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;

impl Job {
    /// Allocates `size` bytes for the job, which this process holds. Beside [`store`](Self::store) and
    /// [`try_store`](Self::try_store) the only way to memory; [`deallocate`](Self::deallocate) gives back what any of
    /// them has given.
    ///
    /// # Errors
    /// 53200 when there is no memory, or `pg_background.max_memory` is reached.
    pub fn allocate(self, size: usize) -> Result<BlockRef, Error> {
        let charge = self
            .charge(size)
            .ok_or_else(|| self.over_role_limit(size))?;
        let found = if size <= LARGE {
            self.cluster.find_in_arena(size)
        } else {
            None
        };
        let block = match found {
            Some(pointer) => BlockRef::Arena(pointer),
            None => self.make_segment(size)?,
        };
        charge.keep();
        Ok(block)
    }

    /// As [`allocate`](Self::allocate), in the arena, where it can always be found without mapping what is large.
    ///
    /// # Errors
    /// 53200 when the arena is full.
    pub fn allocate_in_arena(self, size: usize) -> Result<ArenaPointer, Error> {
        let charge = self
            .charge(size)
            .ok_or_else(|| self.over_role_limit(size))?;
        let pointer = self.cluster.find_in_arena(size).ok_or_else(|| {
            self.cluster.out_of_memory(format_args!(
                "Failed on a request of {size} bytes; the area for requests and small results is full."
            ))
        })?;
        charge.keep();
        Ok(pointer)
    }

    /// Charges the job's role with memory for it: the one place in which a role's bytes grow. `None`: the role is at its
    /// limit.
    fn charge(self, size: usize) -> Option<Charge> {
        let slot = self.slot();
        let limit = slot.memory_limit.load(Ordering::Relaxed);
        let usage = self.cluster.pool.usage(slot.usage());
        usage.claim_bytes(size as u64, limit).then(|| {
            slot.bytes.fetch_add(size as u64, Ordering::Relaxed);
            Charge {
                usage,
                slot,
                size: size as u64,
            }
        })
    }

    fn over_role_limit(self, size: usize) -> Error {
        let slot = self.slot();
        let limit = slot.memory_limit.load(Ordering::Relaxed) / 1024;
        let role = text::role_name(self.cluster.pool.usage(slot.usage()).role());
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            format_args!("background jobs of role {role} have too much shared memory"),
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; the jobs of a role may have {limit} kB together, unread results included."
        ))
        .hint(format_args!(
            "Read or detach finished jobs, or have a superuser raise pg_background.role_max_memory (ALTER ROLE {role} SET ...)."
        ))
    }

    /// Allocates memory for these bytes and puts them there.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn store(self, bytes: &[u8]) -> Result<BlockRef, Error> {
        let block = self.allocate(bytes.len())?;
        let into = self.address(block);
        // SAFETY: fresh memory of that size, which nobody else knows.
        unsafe { into.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(block)
    }

    /// As [`store`](Self::store), without throwing. `None` also during the process's exit.
    pub fn try_store(self, bytes: &[u8]) -> Option<BlockRef> {
        if exit::in_progress() {
            return None;
        }
        let charge = self.charge(bytes.len())?;
        if bytes.len() <= LARGE
            && let Some(pointer) = self.cluster.try_arena(bytes.len())
        {
            let Some(into) = self.cluster.reach(pointer) else {
                self.cluster.give_to_arena(pointer, bytes.len());
                return None;
            };
            // SAFETY: fresh memory of that size, which nobody else knows.
            unsafe { into.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            charge.keep();
            return Some(BlockRef::Arena(pointer));
        }
        let claim = self.cluster.claim_segment(bytes.len()).ok()?;
        let handle = segment::try_store(bytes)?;
        claim.keep();
        charge.keep();
        Some(BlockRef::Segment(handle))
    }

    fn make_segment(self, size: usize) -> Result<BlockRef, Error> {
        let claim = self.cluster.claim_segment(size)?;
        let handle = segment::create(self, size)?.ok_or_else(|| self.cluster.no_segment(size))?;
        claim.keep();
        Ok(BlockRef::Segment(handle))
    }

    /// Frees the `size` bytes that were allocated. Only by the last that knows them. Does not throw. This process has
    /// not mapped a segment any more, or unmaps it next.
    pub fn deallocate(self, block: BlockRef, size: usize) {
        let slot = self.slot();
        drop(Charge {
            usage: self.cluster.pool.usage(slot.usage()),
            slot,
            size: size as u64,
        });
        match block {
            BlockRef::Arena(pointer) => self.cluster.give_to_arena(pointer, size),
            BlockRef::Segment(handle) => {
                segment::free(handle);
                drop(SegmentClaim {
                    root: self.cluster.root,
                    size,
                });
            }
        }
    }

    /// Where memory of the job, which this process holds, is in this process. Maps it if need be, and throws if that cannot
    /// be.
    pub fn address(self, block: BlockRef) -> *mut u8 {
        match block {
            BlockRef::Arena(pointer) => self.cluster.in_arena(pointer.get()),
            BlockRef::Segment(handle) => segment::address(self, handle),
        }
    }
}

impl Cluster {
    /// `pg_background.max_memory` as it is configured now, bytes.
    pub fn memory_limit(&self) -> u64 {
        memory_limit_for(self.jobs().capacity())
    }

    fn find_in_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.bound_arena();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe {
            pg_sys::dsa_allocate_extended(self.area, size, pg_sys::DSA_ALLOC_NO_OOM as i32)
        };
        self.counted(pointer, size)
    }

    fn try_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.bound_arena();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe { shim::pgb_try_allocate(self.area, size) };
        self.counted(pointer, size)
    }

    /// Tells the arena how large it may be. It looks at that when it grows.
    fn bound_arena(&self) {
        let limit = half_of(self.memory_limit());
        if self.root.arena_limit.load(Ordering::Relaxed) != limit {
            // SAFETY: the area is attached for the life of the process.
            unsafe { pg_sys::dsa_set_size_limit(self.area, limit as usize) };
            self.root.arena_limit.store(limit, Ordering::Relaxed);
        }
    }

    fn counted(&self, pointer: pg_sys::dsa_pointer, size: usize) -> Option<ArenaPointer> {
        let pointer = ArenaPointer::new(pointer)?;
        self.root
            .arena_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_add(1, Ordering::Relaxed);
        Some(pointer)
    }

    /// Claims the memory for a segment before it is made, so that processes that do it at the same time stay below the
    /// limits together.
    fn claim_segment(&self, size: usize) -> Result<SegmentClaim<'_>, Error> {
        let limit = half_of(self.memory_limit());
        let bytes = size_of_segment(size);
        let add = |claimed: u64| claimed.checked_add(bytes).filter(|sum| *sum <= limit);
        if self
            .root
            .segment_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_err()
        {
            return Err(self.out_of_memory(format_args!(
                "Failed on a request of {size} bytes; segments of shared memory may have {limit} bytes together."
            )));
        }
        let most = most_segments();
        let one_more = |count: u32| (count < most).then_some(count + 1);
        if self
            .root
            .segments
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_err()
        {
            self.root.segment_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.no_segment(size));
        }
        self.root
            .arena_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        Ok(SegmentClaim {
            root: self.root,
            size,
        })
    }

    fn out_of_memory(&self, detail: impl std::fmt::Display) -> Error {
        let limit = self.memory_limit() / 1024;
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            "out of shared memory for background jobs",
        )
        .detail(detail)
        .hint(format_args!(
            "Read or detach finished jobs, or raise pg_background.max_memory, which is {limit} kB."
        ))
    }

    fn no_segment(&self, size: usize) -> Error {
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            "out of shared memory segments for background jobs",
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; background jobs have {} segments of the server's at most.",
            most_segments()
        ))
        .hint("Read or detach finished jobs, use a smaller queue_size, or raise max_connections.")
    }

    fn blocks_beside(&self, pointer: ArenaPointer) -> &'static AtomicU32 {
        &self.root.blocks[pointer.segment()]
    }

    /// Bytes of all blocks, long descriptions and long errors.
    pub fn arena_bytes(&self) -> u64 {
        self.root.arena_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are taken from the server: the arena as it has grown, and segments. `None`: the size of the arena is
    /// not known.
    pub fn memory_taken(&self) -> Option<u64> {
        // SAFETY: the area is attached for the life of the process; the offset was found in its own first segment.
        let area = unsafe { shim::pgb_area_size(self.area, self.root.area_size) };
        let segments = self.root.segment_bytes.load(Ordering::Relaxed);
        (area != 0).then_some(area as u64 + segments)
    }

    /// Segments in which there is something: of the arena, and of their own.
    pub fn segments_in_use(&self) -> usize {
        let in_use = |blocks: &&AtomicU32| blocks.load(Ordering::Relaxed) != 0;
        let own = self.root.segments.load(Ordering::Relaxed) as usize;
        self.root.blocks.iter().filter(in_use).count() + own
    }

    fn give_to_arena(&self, pointer: ArenaPointer, size: usize) {
        self.root
            .arena_bytes
            .fetch_sub(size as u64, Ordering::Relaxed);
        self.blocks_beside(pointer).fetch_sub(1, Ordering::Relaxed);
        // SAFETY: by law 3 the caller is the last that knows the pointer.
        unsafe { shim::pgb_free(self.area, pointer.get()) };
    }

    /// Where an arena pointer is in this process. As [`Job::address`].
    pub fn in_arena(&self, pointer: pg_sys::dsa_pointer) -> *mut u8 {
        // SAFETY: a pointer into the area, which maps the segment if this process has not yet.
        unsafe { pg_sys::dsa_get_address(self.area, pointer) }.cast()
    }

    /// As [`in_arena`](Self::in_arena), where nothing may be thrown; `None`: this process cannot map it.
    pub fn reach(&self, pointer: ArenaPointer) -> Option<*mut u8> {
        let pointer = pointer.get();
        // SAFETY: as in `in_arena`.
        let map = || unsafe { shim::pgb_reach(self.area, pointer) }.cast::<u8>();
        Some(exit::attempt(pointer, map)).filter(|address| !address.is_null())
    }
}

/// What a piece of memory counts for a job and its role; taken back when dropped, on an error too. The slot is the
/// job's until all of its memory is freed.
struct Charge {
    usage: &'static Usage,
    slot: &'static Slot,
    size: u64,
}

impl Charge {
    /// There is such memory now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.usage.release_bytes(self.size);
        self.slot.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a segment of its own counts for; taken back when dropped, on an error too.
struct SegmentClaim<'a> {
    root: &'a Root,
    size: usize,
}

impl SegmentClaim<'_> {
    /// There is such a segment now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SegmentClaim<'_> {
    fn drop(&mut self) {
        let Self { root, size } = *self;
        root.arena_bytes.fetch_sub(size as u64, Ordering::Relaxed);
        root.segments.fetch_sub(1, Ordering::Relaxed);
        root.segment_bytes
            .fetch_sub(size_of_segment(size), Ordering::Relaxed);
    }
}

fn size_of_segment(size: usize) -> u64 {
    (size as u64).div_ceil(PAGE).saturating_mul(PAGE)
}

/// How many segments of their own there may be: a quarter of those that the server has places for (`dsm.c`), so that
/// parallel queries and others find some, whatever `max_memory` is.
fn most_segments() -> u32 {
    // SAFETY: a plain global of this process.
    let backends = unsafe { pg_sys::MaxBackends };
    (64 + 5 * backends.cast_unsigned()) / 4
}
