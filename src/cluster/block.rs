//! A job's block: all data of a job whose size varies.
//!
//! One allocation in the arena holds, in this order: [`Header`] (request, outcome), the SQL text, the leader's
//! settings, the parameters, and for jobs with a result the ring's shared part and its buffer. A block that is too
//! large for the arena has a segment of its own with the same layout. The header is in the arena even then, and its
//! room in the segment is not used. So a process that ends or frees a job finds its outcome, its file and its other
//! allocations without mapping a segment, which may fail.
//!
//! | part | written by | when | read by |
//! |---|---|---|---|
//! | request | the leader | `Reserved` | the worker that is bound; the leader |
//! | description | the worker, once | `Running`, before the first row | the reader, once it has seen a row or the job's end |
//! | outcome | the worker, or the process that fails the job because no worker can be started | `Starting`, `Running` | the leader, once finished |
//! | spill | see [`crate::cluster::spill`] | `Running` | |
//! | ring | see [`engine::channel`] | `Running` | |
//!
//! The description of the result's columns is not in the ring: a reader that is interrupted before the first row must
//! not consume it.
//!
//! The block belongs to all holders of the job; the last one out frees it (`job_end`). A [`Block`] is a process's
//! handle on the block and is valid while that process holds the job. Before a process gives up its hold, it unmaps
//! what it has mapped of the job ([`unmap`]).
//!
//! A process maps a segment of the arena when it first accesses it, and the operating system may refuse that. Code that
//! must not throw (a job ends or is detached while the stack unwinds, or the process exits) gets the block with
//! [`Block::reach`], which may fail. Then a job that ends has no error noted, and its leader assumes a lost worker. The
//! release of a job is deferred to the next launch in the cluster (`job_end`).

#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "users decide how long the parts are: `engine::layout` adds their sizes"
)]

use crate::cluster::job::Job;
use crate::cluster::segment;
use crate::cluster::spill::SpillFile;
use crate::pg::error::Error;
use crate::pg::shim::{Identity, Shape};
use crate::pg::text;
use engine::block_ref::{ArenaPointer, BlockRef};
use engine::layout::{BlockLayout, BlockParts, REQUEST_LIMIT, TooLarge};
use engine::ring::MappedBuffer;
use engine::sync::Ordering;
use engine::{channel, error_message, ring};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;

/// Every block has room for an error of this many bytes. A longer one gets its own allocation if there is memory;
/// otherwise it is cut.
const ERROR_LIMIT: usize = 1536;

/// Every block has room for a description of columns of this many bytes. A longer one gets its own allocation.
const DESCRIPTION_LIMIT: usize = 256;

#[repr(C)]
struct Header {
    /// Bytes of the block, or of the segment.
    size: usize,
    /// The segment with everything but the header (a [`BlockRef`]); 0: everything follows the header.
    segment: u64,
    identity: Identity,
    time_limit: i32,
    returns: Returns,
    sql_len: u32,
    guc_len: u32,
    guc_offset: u32,
    params_len: u32,
    params_offset: u32,
    ring_offset: u32,
    ring_capacity: usize,
    spill: SpillFile,
    description: Description,
    outcome: OutcomeRecord,
}

/// The maximum length of a command tag. The server's longest tags have some 30 bytes.
const TAG_LIMIT: usize = 48;

#[repr(C)]
struct Description {
    /// The allocation of a longer description (a [`BlockRef`]); 0: it is in `text`.
    long: u64,
    /// 0: there is none.
    len: u32,
    text: [u8; DESCRIPTION_LIMIT],
}

#[repr(C)]
struct OutcomeRecord {
    /// Rows that the last statement returned or changed; -1: its tag contains no row count.
    row_count: i64,
    tag_len: u32,
    tag: [u8; TAG_LIMIT],
    /// The allocation of a longer error (a [`BlockRef`]); 0: it is in `error`.
    long_error: u64,
    error_len: u32,
    error: [u8; ERROR_LIMIT],
}

/// What a job sends of what its last statement returns.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returns {
    /// Nothing.
    Nothing,
    /// Its rows; the tags of all statements if it returns none.
    Rows,
    /// Its first row as a value of this type, which has this shape for the leader.
    Value(pg_sys::Oid, Shape),
}

/// What the leader asks for.
pub struct Request<'a> {
    /// The identity as which the job runs.
    pub identity: Identity,
    /// Milliseconds that the job may take; -1: no limit.
    pub time_limit: i32,
    /// SQL text, without a zero byte.
    pub sql: &'a [u8],
    /// The leader's settings.
    pub guc_state: &'a [u8],
    /// The parameters, as the shim serialized them; empty: none.
    pub params: &'a [u8],
    /// Size of the ring for the result and for messages, in bytes; 0: there is none.
    pub queue_size: usize,
    /// What it sends of what its last statement returns.
    pub returns: Returns,
}

fn request_too_large(TooLarge { size }: TooLarge, request: &Request<'_>) -> Error {
    let (sql, settings, params) = (
        request.sql.len(),
        request.guc_state.len(),
        request.params.len(),
    );
    Error::new(
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "the request of a background job is too large",
    )
    .detail(format_args!(
        "It has {size} bytes; the limit is {REQUEST_LIMIT} bytes ({sql} of SQL text, {settings} of settings, {params} of parameters)."
    ))
    .hint("Put large values into a table that the job reads.")
}

fn description_too_long(len: usize) -> Error {
    Error::new(
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "background job's result has too many columns",
    )
    .detail(format_args!("Their description has {len} bytes."))
    .hint("Return fewer columns.")
}

/// The length of a text whose limit is far below 4 GiB.
fn low_word(len: usize) -> u32 {
    u32::try_from(len).expect("a short text")
}

/// A process's handle on a block.
#[derive(Clone, Copy)]
pub struct Block {
    job: Job,
    start: *mut u8,
}

/// Memory of a block that is being filled in; freed when dropped.
struct UnfilledBlock {
    job: Job,
    memory: BlockRef,
    size: usize,
}

impl Drop for UnfilledBlock {
    fn drop(&mut self) {
        segment::unmap_all_of(self.job);
        self.job.deallocate(self.memory, self.size);
    }
}

/// Alignment of the ring's shared part: the counters of each side have a cache line of their own.
const RING_ALIGN: usize = align_of::<channel::ChannelShared>();

impl Block {
    /// Allocates a block and fills in `request`. Returns the arena pointer.
    ///
    /// # Errors
    /// 54000 when the request is too large; 53200 when there is no memory.
    pub fn allocate(job: Job, request: &Request<'_>) -> Result<pg_sys::dsa_pointer, Error> {
        let capacity = match request.queue_size {
            0 => 0,
            size => size.next_power_of_two().max(ring::MIN_CAPACITY),
        };
        let ring = match capacity {
            0 => 0,
            _ => size_of::<channel::ChannelShared>().saturating_add(capacity),
        };
        let layout = BlockLayout::of(&BlockParts {
            header: size_of::<Header>(),
            sql: request.sql.len(),
            settings: request.guc_state.len(),
            params: request.params.len(),
            ring,
            ring_align: RING_ALIGN,
        })
        .map_err(|too_large| request_too_large(too_large, request))?;
        let size = layout.size;
        let memory = job.allocate(size)?;
        let unfinished = UnfilledBlock { job, memory, size };
        let base = job.address(memory);
        // A segment is mapped at the beginning of a page. Of an address in the arena only an alignment of 8 bytes is
        // the same in all processes.
        let (pointer, segment, origin) = match memory {
            BlockRef::Arena(pointer) => (pointer, None, pointer.get()),
            BlockRef::Segment(_) => {
                let pointer = job.allocate_in_arena(size_of::<Header>())?;
                (pointer, Some(memory), 0)
            }
        };
        let ring_offset = layout.ring_in(origin);
        let block = Self {
            job,
            start: job.cluster.arena_address(pointer.get()),
        };
        // SAFETY: freshly allocated with room for all parts; the job is still `Reserved`, so no other process accesses
        // it. The texts of description and error are not written: their lengths are 0.
        unsafe {
            let header = block.header();
            (&raw mut (*header).size).write(size);
            (&raw mut (*header).segment).write(BlockRef::to_bits(segment));
            (&raw mut (*header).identity).write(request.identity);
            (&raw mut (*header).time_limit).write(request.time_limit);
            (&raw mut (*header).returns).write(request.returns);
            (&raw mut (*header).sql_len).write(layout.sql_len);
            (&raw mut (*header).guc_len).write(layout.settings_len);
            (&raw mut (*header).guc_offset).write(layout.settings);
            (&raw mut (*header).params_len).write(layout.params_len);
            (&raw mut (*header).params_offset).write(layout.params);
            (&raw mut (*header).ring_offset).write(ring_offset);
            (&raw mut (*header).ring_capacity).write(capacity);
            (&raw mut (*header).spill).write(SpillFile::default());
            let description = &raw mut (*header).description;
            (&raw mut (*description).long).write(0);
            (&raw mut (*description).len).write(0);
            let outcome = &raw mut (*header).outcome;
            (&raw mut (*outcome).row_count).write(-1);
            (&raw mut (*outcome).tag_len).write(0);
            (&raw mut (*outcome).long_error).write(0);
            (&raw mut (*outcome).error_len).write(0);
            let sql = base.add(size_of::<Header>());
            sql.copy_from_nonoverlapping(request.sql.as_ptr(), request.sql.len());
            sql.add(request.sql.len()).write(0);
            let guc = base.add(layout.settings as usize);
            guc.copy_from_nonoverlapping(request.guc_state.as_ptr(), request.guc_state.len());
            let params = base.add(layout.params as usize);
            params.copy_from_nonoverlapping(request.params.as_ptr(), request.params.len());
            if capacity > 0 {
                base.add(ring_offset as usize)
                    .cast::<channel::ChannelShared>()
                    .write(channel::ChannelShared::default());
            }
        }
        std::mem::forget(unfinished);
        Ok(pointer.get())
    }

    /// The block of a job that this process holds.
    pub fn of(job: Job) -> Self {
        let pointer = job.slot().block.load(Ordering::Relaxed);
        Self {
            job,
            start: job.cluster.arena_address(pointer),
        }
    }

    /// As [`of`](Self::of), but does not throw. `None`: this process cannot map the block.
    pub fn reach(job: Job) -> Option<Self> {
        let pointer = job.slot().block.load(Ordering::Relaxed);
        let start = job.cluster.reach(ArenaPointer::new(pointer)?)?;
        Some(Self { job, start })
    }

    /// The address from which the offsets in the header count. Maps the block's segment, if it has one, and throws if
    /// the segment cannot be mapped.
    fn base(&self) -> *mut u8 {
        // SAFETY: the request does not change while any process holds the job.
        let segment = BlockRef::from_bits(unsafe { (*self.header()).segment });
        segment.map_or(self.start, |segment| self.job.address(segment))
    }

    /// Maps the whole block until [`unmap`]; throws if it cannot be mapped.
    pub fn map(&self) {
        self.base();
    }

    fn header(&self) -> *mut Header {
        self.start.cast()
    }

    /// The identity as which the job runs.
    pub fn identity(&self) -> Identity {
        // SAFETY: the request does not change while any process holds the job.
        unsafe { (*self.header()).identity }
    }

    /// Milliseconds that the job may take; -1: no limit.
    pub fn time_limit(&self) -> i32 {
        // SAFETY: as for `identity`.
        unsafe { (*self.header()).time_limit }
    }

    /// What the job sends of what its last statement returns.
    pub fn returns(&self) -> Returns {
        // SAFETY: as for `identity`.
        unsafe { (*self.header()).returns }
    }

    /// The SQL text; a zero byte follows it.
    pub fn sql(&self) -> &[u8] {
        // SAFETY: as for `identity`.
        unsafe {
            let len = (*self.header()).sql_len as usize;
            std::slice::from_raw_parts(self.base().add(size_of::<Header>()), len)
        }
    }

    /// The parameters; `None`: there are none.
    pub fn params(&self) -> Option<&[u8]> {
        // SAFETY: as for `identity`.
        unsafe {
            let header = self.header();
            let start = self.base().add((*header).params_offset as usize);
            match (*header).params_len as usize {
                0 => None,
                len => Some(std::slice::from_raw_parts(start, len)),
            }
        }
    }

    /// The leader's settings.
    pub fn guc_state(&self) -> &[u8] {
        // SAFETY: as for `identity`.
        unsafe {
            let header = self.header();
            let start = self.base().add((*header).guc_offset as usize);
            std::slice::from_raw_parts(start, (*header).guc_len as usize)
        }
    }

    /// The ring: its shared part and its buffer. `None` for jobs that send nothing, not even messages.
    pub fn ring(&self) -> Option<(&'static channel::ChannelShared, MappedBuffer)> {
        // SAFETY: as for `identity`. The memory stays mapped while the process holds the job, and the callers do not
        // keep the reference longer; so it may be static.
        unsafe {
            let header = self.header();
            let capacity = (*header).ring_capacity;
            if capacity == 0 {
                return None;
            }
            let shared = self.base().add((*header).ring_offset as usize);
            let buffer = shared.add(size_of::<channel::ChannelShared>());
            Some((&*shared.cast(), MappedBuffer::new(buffer, capacity)))
        }
    }

    /// The spill file of the result. Valid while this process holds the job.
    pub fn spill(&self) -> &'static SpillFile {
        // SAFETY: it contains only atomics; static as the ring is.
        unsafe { &(*self.header()).spill }
    }

    /// Stores the description of the result's columns. Only for the worker, once, before the first row.
    ///
    /// # Errors
    /// 54000 when the description is too long; 53200 when there is no memory for it.
    pub fn describe(&self, text: &[u8]) -> Result<(), Error> {
        let len = u32::try_from(text.len()).map_err(|_| description_too_long(text.len()))?;
        let long = if text.len() > DESCRIPTION_LIMIT {
            Some(self.job.store(text)?)
        } else {
            None
        };
        fault!("description-allocated");
        // SAFETY: only the worker accesses the description until it sends a row or finishes the job.
        unsafe {
            let description = &raw mut (*self.header()).description;
            if long.is_none() {
                let into = (&raw mut (*description).text).cast::<u8>();
                into.copy_from_nonoverlapping(text.as_ptr(), text.len());
            }
            (*description).long = BlockRef::to_bits(long);
            (*description).len = len;
        }
        Ok(())
    }

    /// The description of the result's columns; `None`: the result has no rows, only command tags. Only once a row was
    /// seen or the job has finished. Valid while this process holds the job.
    pub fn description(&self) -> Option<&'static [u8]> {
        // SAFETY: published with the first row or the transition to a finished phase, and not changed
        // after it.
        unsafe {
            let description = &raw const (*self.header()).description;
            let start = match BlockRef::from_bits((*description).long) {
                None => (&raw const (*description).text).cast::<u8>(),
                Some(long) => self.job.address(long).cast_const(),
            };
            match (*description).len {
                0 => None,
                len => Some(std::slice::from_raw_parts(start, len as usize)),
            }
        }
    }

    /// Notes an error: the body of an `ErrorResponse` message. Only for the process that is about to finish the job.
    /// Does not throw.
    pub fn note_error(&self, body: &[u8]) {
        let short = error_message::fit(body, ERROR_LIMIT, text::clip);
        // SAFETY: the outcome belongs to the caller until the job has finished.
        unsafe {
            let outcome = &raw mut (*self.header()).outcome;
            let into = (&raw mut (*outcome).error).cast::<u8>();
            into.copy_from_nonoverlapping(short.as_ptr(), short.len());
            (*outcome).error_len = low_word(short.len());
        }
        if short.len() == body.len() {
            return;
        }
        let Ok(len) = u32::try_from(body.len()) else {
            return;
        };
        let Some(long) = self.job.try_store(body) else {
            return;
        };
        // SAFETY: as above.
        unsafe {
            let outcome = &raw mut (*self.header()).outcome;
            (*outcome).error_len = len;
            (*outcome).long_error = BlockRef::to_bits(Some(long));
        }
    }

    /// Notes how the last statement completed. Only for the process that is about to finish the job.
    pub fn note_completion(&self, tag: &[u8], row_count: Option<i64>) {
        let tag = &tag[..tag.len().min(TAG_LIMIT)];
        // SAFETY: the outcome belongs to the caller until the job has finished.
        unsafe {
            let outcome = &raw mut (*self.header()).outcome;
            let into = (&raw mut (*outcome).tag).cast::<u8>();
            into.copy_from_nonoverlapping(tag.as_ptr(), tag.len());
            (*outcome).tag_len = low_word(tag.len());
            (*outcome).row_count = row_count.unwrap_or(-1);
        }
    }

    /// The command tag of the last statement, without its row count, and the row count, if the tag has one. The tag is
    /// `None` if there was no statement or the job did not complete. Only once the job has finished.
    #[allow(clippy::disallowed_methods, reason = "at most `TAG_LIMIT` bytes")]
    pub fn completion(&self) -> (Option<Vec<u8>>, Option<i64>) {
        // SAFETY: published by the transition to a finished phase, and not changed after it.
        unsafe {
            let outcome = &raw const (*self.header()).outcome;
            let tag = (&raw const (*outcome).tag).cast::<u8>();
            let tag = std::slice::from_raw_parts(tag, (*outcome).tag_len as usize);
            let row_count = (*outcome).row_count;
            (
                (!tag.is_empty()).then(|| tag.to_vec()),
                (row_count >= 0).then_some(row_count),
            )
        }
    }

    /// Frees the block and its other allocations. Only for the last process that knows the block. Does not throw.
    pub(super) fn deallocate(self) {
        let job = self.job;
        segment::unmap_all_of(job);
        self.spill().delete(job);
        // Cleared first: if the process exits in the middle of this, nothing is freed a second time.
        let pointer = job.slot().block.swap(0, Ordering::Relaxed);
        // SAFETY: by the caller's contract no other process accesses the block any more.
        let (block, parts) = unsafe {
            let header = self.header();
            let (description, outcome) = (&(*header).description, &(*header).outcome);
            let size = (*header).size;
            let segment = BlockRef::from_bits((*header).segment);
            let parts = [
                (segment, size),
                (
                    BlockRef::from_bits(description.long),
                    description.len as usize,
                ),
                (
                    BlockRef::from_bits(outcome.long_error),
                    outcome.error_len as usize,
                ),
            ];
            (segment.map_or(size, |_| size_of::<Header>()), parts)
        };
        for (part, size) in parts {
            if let Some(part) = part {
                job.deallocate(part, size);
            }
        }
        if let Some(pointer) = ArenaPointer::new(pointer) {
            job.deallocate(BlockRef::Arena(pointer), block);
        }
    }

    /// The error with which the job ended: the body of an `ErrorResponse` message; empty: none was noted. Only once the
    /// job has finished. Valid while this process holds the job.
    pub fn error(&self) -> &'static [u8] {
        // SAFETY: published by the transition to a finished phase, and not changed after it.
        unsafe {
            let outcome = &raw const (*self.header()).outcome;
            let start = match BlockRef::from_bits((*outcome).long_error) {
                None => (&raw const (*outcome).error).cast::<u8>(),
                Some(long) => self.job.address(long).cast_const(),
            };
            std::slice::from_raw_parts(start, (*outcome).error_len as usize)
        }
    }
}

/// Unmaps what this process has mapped of a job. Called before the process gives up its hold, when nothing in the
/// process accesses request, ring, description or error any more. Does not throw.
pub fn unmap(job: Job) {
    segment::unmap_all_of(job);
}
