//! Memory of variable size: in the arena, or in a segment of its own.
//!
//! # The limit
//!
//! `max_memory` bounds what is taken from the server: the arena may grow to one half of it, and the segments together
//! may take the other half. The arena and the segments never use each other's half. So launches with small requests
//! and launches with large ones cannot shut each other out, and neither side has to look at a sum that the other
//! changes. A block that finds no room in the arena gets a segment, whatever its size. A large block never goes into
//! the arena.

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::cluster::layout::{LARGE, PAGE, Root, half_of, memory_limit_for};
use crate::cluster::segment;
use crate::pg::error::Error;
use crate::pg::server;
use crate::pg::{exit, shim, text};
use engine::block_ref::{ArenaPointer, BlockRef};
use engine::pool::usage::Usage;
use engine::sync::{AtomicU32, Ordering};
use engine::table::Slot;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;

impl Job {
    /// Allocates `size` bytes for the job, which this process holds. [`deallocate`](Self::deallocate) frees what this
    /// function, [`store`](Self::store) and [`try_store`](Self::try_store) allocate; there is no other way to memory.
    ///
    /// # Errors
    /// 53200 when there is no memory, or `pg_background.max_memory` is reached.
    pub fn allocate(self, size: usize) -> Result<BlockRef, Error> {
        let charge = self
            .charge(size)
            .ok_or_else(|| self.over_role_limit(size))?;
        let found = if size <= LARGE {
            self.cluster.allocate_from_arena(size)
        } else {
            None
        };
        let block = match found {
            Some(pointer) => BlockRef::Arena(pointer),
            None => self.allocate_segment(size)?,
        };
        charge.keep();
        Ok(block)
    }

    /// As [`allocate`](Self::allocate), but always in the arena: to reach it, no large segment has to be mapped.
    ///
    /// # Errors
    /// 53200 when the arena is full.
    pub fn allocate_in_arena(self, size: usize) -> Result<ArenaPointer, Error> {
        let charge = self
            .charge(size)
            .ok_or_else(|| self.over_role_limit(size))?;
        let pointer = self.cluster.allocate_from_arena(size).ok_or_else(|| {
            self.cluster.out_of_memory(format_args!(
                "Failed on a request of {size} bytes; the arena is full."
            ))
        })?;
        charge.keep();
        Ok(pointer)
    }

    /// Charges the job's role for memory of the job. A role's bytes grow here only. `None`: the role is at its limit.
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
            format_args!("background jobs of role {role} use too much shared memory"),
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; the limit for all jobs of a role is {limit} kB, including unread results."
        ))
        .hint(format_args!(
            "Read or detach finished jobs, or have a superuser raise pg_background.role_max_memory (ALTER ROLE {role} SET ...)."
        ))
    }

    /// Allocates memory and copies these bytes into it.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn store(self, bytes: &[u8]) -> Result<BlockRef, Error> {
        let block = self.allocate(bytes.len())?;
        let into = self.address(block);
        // SAFETY: fresh memory of that size, which no other process knows.
        unsafe { into.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(block)
    }

    /// As [`store`](Self::store), but does not throw. Returns `None` also during the process's exit.
    pub fn try_store(self, bytes: &[u8]) -> Option<BlockRef> {
        if exit::in_progress() {
            return None;
        }
        let charge = self.charge(bytes.len())?;
        if bytes.len() <= LARGE
            && let Some(pointer) = self.cluster.try_allocate_from_arena(bytes.len())
        {
            let Some(into) = self.cluster.reach(pointer) else {
                self.cluster.free_to_arena(pointer);
                return None;
            };
            // SAFETY: fresh memory of that size, which no other process knows.
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

    fn allocate_segment(self, size: usize) -> Result<BlockRef, Error> {
        let claim = self.cluster.claim_segment(size)?;
        let handle =
            segment::create(self, size)?.ok_or_else(|| self.cluster.out_of_segments(size))?;
        claim.keep();
        Ok(BlockRef::Segment(handle))
    }

    /// Frees `size` bytes that were allocated. Only the last process that knows them may call this. Does not throw. If
    /// the block is a segment, this process has unmapped it already or unmaps it next.
    pub fn deallocate(self, block: BlockRef, size: usize) {
        let slot = self.slot();
        drop(Charge {
            usage: self.cluster.pool.usage(slot.usage()),
            slot,
            size: size as u64,
        });
        match block {
            BlockRef::Arena(pointer) => self.cluster.free_to_arena(pointer),
            BlockRef::Segment(handle) => {
                segment::free(handle);
                drop(SegmentClaim {
                    root: self.cluster.root,
                    size,
                });
            }
        }
    }

    /// The address in this process of memory of the job, which this process holds. Maps the memory if necessary, and
    /// throws if it cannot be mapped.
    pub fn address(self, block: BlockRef) -> *mut u8 {
        match block {
            BlockRef::Arena(pointer) => self.cluster.arena_address(pointer.get()),
            BlockRef::Segment(handle) => segment::address(self, handle),
        }
    }
}

impl Cluster {
    /// `pg_background.max_memory` as it is configured now, bytes.
    pub fn memory_limit(&self) -> u64 {
        memory_limit_for(self.jobs().capacity())
    }

    fn allocate_from_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.update_arena_limit();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe {
            server::dsa_allocate_extended(self.area, size, pg_sys::DSA_ALLOC_NO_OOM as i32)
        };
        self.count_block(pointer)
    }

    fn try_allocate_from_arena(&self, size: usize) -> Option<ArenaPointer> {
        self.update_arena_limit();
        // SAFETY: the area is attached for the life of the process.
        let pointer = unsafe { shim::pgb_try_allocate(self.area, size) };
        self.count_block(pointer)
    }

    /// Tells the arena how large it may be. The arena checks this limit when it grows.
    fn update_arena_limit(&self) {
        let limit = half_of(self.memory_limit());
        if self.root.arena_limit.load(Ordering::Relaxed) != limit {
            // SAFETY: the area is attached for the life of the process.
            unsafe { server::dsa_set_size_limit(self.area, limit as usize) };
            self.root.arena_limit.store(limit, Ordering::Relaxed);
        }
    }

    fn count_block(&self, pointer: pg_sys::dsa_pointer) -> Option<ArenaPointer> {
        let pointer = ArenaPointer::new(pointer)?;
        self.blocks_in_segment_of(pointer)
            .fetch_add(1, Ordering::Relaxed);
        Some(pointer)
    }

    /// Claims the memory for a segment before the segment is made. So processes that make segments at the same time
    /// stay below the limits together.
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
                "Failed on a request of {size} bytes; the limit for segments of shared memory is {limit} bytes in total."
            )));
        }
        let most = max_segments();
        let one_more = |count: u32| (count < most).then_some(count + 1);
        if self
            .root
            .segments
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_err()
        {
            self.root.segment_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.out_of_segments(size));
        }
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

    fn out_of_segments(&self, size: usize) -> Error {
        Error::new(
            ERRCODE_OUT_OF_MEMORY,
            "out of shared memory segments for background jobs",
        )
        .detail(format_args!(
            "Failed on a request of {size} bytes; background jobs can use at most {} of the server's segments.",
            max_segments()
        ))
        .hint("Read or detach finished jobs, use a smaller queue_size, or raise max_connections.")
    }

    fn blocks_in_segment_of(&self, pointer: ArenaPointer) -> &'static AtomicU32 {
        &self.root.blocks[pointer.segment()]
    }

    /// Bytes that are taken from the server: the arena at its present size, and segments. `None`: the size of the arena
    /// is not known.
    pub fn memory_taken(&self) -> Option<u64> {
        // SAFETY: the area is attached for the life of the process; the offset was found in the area's first segment.
        let area = unsafe { shim::pgb_area_size(self.area, self.root.area_size) };
        let segments = self.root.segment_bytes.load(Ordering::Relaxed);
        (area != 0).then_some(area as u64 + segments)
    }

    /// How many segments are in use: those of the arena, and those that hold one block each.
    pub fn segments_in_use(&self) -> usize {
        let in_use = |blocks: &&AtomicU32| blocks.load(Ordering::Relaxed) != 0;
        let own = self.root.segments.load(Ordering::Relaxed) as usize;
        self.root.blocks.iter().filter(in_use).count() + own
    }

    fn free_to_arena(&self, pointer: ArenaPointer) {
        self.blocks_in_segment_of(pointer)
            .fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller is the last process that knows the pointer.
        unsafe { shim::pgb_free(self.area, pointer.get()) };
    }

    /// The address in this process of an arena pointer. Maps and throws as [`Job::address`] does.
    pub fn arena_address(&self, pointer: pg_sys::dsa_pointer) -> *mut u8 {
        // SAFETY: a pointer into the area; the call maps the segment if this process has not yet.
        unsafe { server::dsa_get_address(self.area, pointer) }.cast()
    }

    /// As [`arena_address`](Self::arena_address), but does not throw. `None`: this process cannot map the memory.
    pub fn reach(&self, pointer: ArenaPointer) -> Option<*mut u8> {
        let pointer = pointer.get();
        // SAFETY: as in `arena_address`.
        let map = || unsafe { shim::pgb_reach(self.area, pointer) }.cast::<u8>();
        Some(exit::try_map(pointer, map)).filter(|address| !address.is_null())
    }
}

/// Memory that is charged to a job and its role. The charge is taken back when this value is dropped, also on an
/// error. The slot belongs to the job until all of its memory is freed.
struct Charge {
    usage: &'static Usage,
    slot: &'static Slot,
    size: u64,
}

impl Charge {
    /// The memory exists now: the charge stays.
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

/// A segment that is counted. The claim is taken back when this value is dropped, also on an error.
struct SegmentClaim<'a> {
    root: &'a Root,
    size: usize,
}

impl SegmentClaim<'_> {
    /// The segment exists now: the claim stays.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SegmentClaim<'_> {
    fn drop(&mut self) {
        let Self { root, size } = *self;
        root.segments.fetch_sub(1, Ordering::Relaxed);
        root.segment_bytes
            .fetch_sub(size_of_segment(size), Ordering::Relaxed);
    }
}

fn size_of_segment(size: usize) -> u64 {
    (size as u64).div_ceil(PAGE).saturating_mul(PAGE)
}

/// How many segments with one block each there may be: a quarter of the server's (`dsm.c`), so that parallel queries
/// and others find some, whatever `max_memory` is.
fn max_segments() -> u32 {
    // SAFETY: a plain global of this process.
    let backends = unsafe { pg_sys::MaxBackends };
    (64 + 5 * backends.cast_unsigned()) / 4
}
