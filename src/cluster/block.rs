//! A job's block: everything of a job that comes in all sizes.
//!
//! One allocation in the arena holds, in this order: [`Header`] (request, outcome), the SQL text, the leader's
//! settings, the parameters, and for jobs with a result the ring's shared part and its buffer. What is too large for
//! the arena has a segment of its own, laid out in the same way, in which the header's place is not used: the
//! header is in the arena all the same. So whoever ends or frees a job finds its outcome, its file and what else it
//! has without mapping a segment, which may fail.
//!
//! | part | written by | when | read by |
//! |---|---|---|---|
//! | request | the leader | `Reserved` | the worker that is bound; the leader |
//! | description | the worker, once | `Running`, before the first row | the reader, once it has seen a row or the job's end |
//! | outcome | the worker, or whoever fails the job for want of one | `Starting`, `Running` | the leader, once finished |
//! | spill | see [`crate::cluster::spill`] | `Running` | |
//! | ring | see [`engine::channel`] | `Running` | |
//!
//! The description of the result's columns is not in the ring, so that a reader that is interrupted before
//! the first row leaves it to the next.
//!
//! The block belongs to the job's holders together; the last one out frees it (`job_end`). A
//! [`Block`] is a process's handle on it and is valid while that process holds the job. A process that gives up its
//! hold unmaps what it has mapped of the job before it does ([`unmap`]).
//!
//! A process maps a segment of the arena when it first looks into it, which the operating system may refuse.
//! Where nothing may be thrown (a job is ended or let go of while the stack unwinds, or the process exits) a
//! block is looked for with [`Block::reach`], and may be out of reach: then the job ends without a noted error,
//! which its leader takes for a lost worker; and one that is to be released is left behind, for the next launch in the
//! cluster to release (`job_end`).

#![deny(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "users decide how long the parts are: `engine::layout` adds them up"
)]

use crate::cluster::job::Job;
use crate::cluster::segment;
use crate::cluster::spill::SpillFile;
use crate::pg::error::Error;
use crate::pg::shim::Identity;
use crate::pg::text;
use engine::block_ref::{ArenaPointer, BlockRef};
use engine::layout::{BlockLayout, BlockParts, REQUEST_LIMIT, TooLarge};
use engine::ring::MappedBuffer;
use engine::sync::Ordering;
use engine::{channel, error_message, ring};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED;

/// Bytes of an error that every block has room for. Longer ones get a block of their own if there is
/// memory, else they are cut to this.
const ERROR_LIMIT: usize = 1536;

/// Bytes of a description of columns that every block has room for. Longer ones get a block of their own.
const DESCRIPTION_LIMIT: usize = 256;

#[repr(C)]
struct Header {
    /// Bytes of the block, or of the segment.
    size: usize,
    /// The segment that has all but the header (a [`BlockRef`]); 0: it follows the header.
    segment: u64,
    identity: Identity,
    time_limit: i32,
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

/// Bytes of a command tag at most. The longest of the server's have some 30.
const TAG_LIMIT: usize = 48;

#[repr(C)]
struct Description {
    /// Where a longer one is (a [`BlockRef`]); 0: `text` has it.
    long: u64,
    /// 0: there is none.
    len: u32,
    text: [u8; DESCRIPTION_LIMIT],
}

#[repr(C)]
struct OutcomeRecord {
    /// Rows that the last statement returned or changed; -1: its tag says nothing of rows.
    row_count: i64,
    tag_len: u32,
    tag: [u8; TAG_LIMIT],
    /// Where a longer error is (a [`BlockRef`]); 0: `error` has it.
    long_error: u64,
    error_len: u32,
    error: [u8; ERROR_LIMIT],
}

/// What the leader asks for.
pub struct Request<'a> {
    /// Who the job runs as.
    pub identity: Identity,
    /// Milliseconds that the job may take; -1: no limit.
    pub time_limit: i32,
    /// SQL text, without a zero byte.
    pub sql: &'a [u8],
    /// The leader's settings.
    pub guc_state: &'a [u8],
    /// Its parameters, as the shim serialized them; empty: none.
    pub params: &'a [u8],
    /// Bytes of result ring; 0: none.
    pub queue_size: usize,
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
        "It has {size} bytes, of at most {REQUEST_LIMIT}: {sql} of SQL text, {settings} of settings, {params} of parameters."
    ))
    .hint("Put large values into a table that the job reads.")
}

fn description_too_long(len: usize) -> Error {
    Error::new(
        ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "the columns of a background job's result are too many",
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

/// Alignment of the ring's shared part, so that each side's counters have a line of their own.
const RING_ALIGN: usize = align_of::<channel::ChannelShared>();

impl Block {
    /// Allocates a block for `request` and fills in the request. Returns the arena pointer.
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
        // A segment is mapped at the beginning of a page, the arena's are not in all processes alike beyond 8 bytes.
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
            start: job.cluster.in_arena(pointer.get()),
        };
        // SAFETY: freshly allocated with room for all parts; the job is still `Reserved`, so nobody else
        // looks. The texts of description and error are not written: their lengths say that there is none.
        unsafe {
            let header = block.header();
            (&raw mut (*header).size).write(size);
            (&raw mut (*header).segment).write(BlockRef::to_bits(segment));
            (&raw mut (*header).identity).write(request.identity);
            (&raw mut (*header).time_limit).write(request.time_limit);
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
            start: job.cluster.in_arena(pointer),
        }
    }

    /// As [`of`](Self::of), where nothing may be thrown; `None`: it is out of reach.
    pub fn reach(job: Job) -> Option<Self> {
        let pointer = job.slot().block.load(Ordering::Relaxed);
        let start = job.cluster.reach(ArenaPointer::new(pointer)?)?;
        Some(Self { job, start })
    }

    /// What the offsets in the header count from. Maps the segment of a block that has one, and throws if that cannot
    /// be.
    fn base(&self) -> *mut u8 {
        // SAFETY: the request does not change while anyone holds the job.
        let segment = BlockRef::from_bits(unsafe { (*self.header()).segment });
        segment.map_or(self.start, |segment| self.job.address(segment))
    }

    /// Maps what of the block is not mapped here yet, until [`unmap`]; throws if that cannot be.
    pub fn map(&self) {
        self.base();
    }

    fn header(&self) -> *mut Header {
        self.start.cast()
    }

    /// Who the job runs as.
    pub fn identity(&self) -> Identity {
        // SAFETY: the request does not change while anyone holds the job.
        unsafe { (*self.header()).identity }
    }

    /// Milliseconds that it may take; -1: no limit.
    pub fn time_limit(&self) -> i32 {
        // SAFETY: as for `identity`.
        unsafe { (*self.header()).time_limit }
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

    /// The ring: its shared part and its buffer. `None` for jobs without a result.
    pub fn ring(&self) -> Option<(&'static channel::ChannelShared, MappedBuffer)> {
        // SAFETY: as for `identity`. The reference is called static because a process keeps it no longer
        // than its hold on the job, which the callers see to; and so long it is mapped.
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

    /// The file that the result goes on into. Stays while this process holds the job.
    pub fn spill(&self) -> &'static SpillFile {
        // SAFETY: only atomics in it; called static as the ring is.
        unsafe { &(*self.header()).spill }
    }

    /// Describes the columns of the result. Only by the worker, once, before the first row.
    ///
    /// # Errors
    /// 54000 when it is too long; 53200 when there is no memory for a long one.
    pub fn describe(&self, text: &[u8]) -> Result<(), Error> {
        let len = u32::try_from(text.len()).map_err(|_| description_too_long(text.len()))?;
        let long = if text.len() > DESCRIPTION_LIMIT {
            Some(self.job.store(text)?)
        } else {
            None
        };
        fault!("description-allocated");
        // SAFETY: the description is the worker's until it sends a row or finishes the job.
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

    /// The columns of the result; `None`: it has no rows, only command tags. Once a row was seen, or the
    /// job is finished. Stays while this process holds the job.
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

    /// Notes an error: the body of an `ErrorResponse` message. Only by whoever is about to finish the job.
    /// Does not throw.
    pub fn note_error(&self, body: &[u8]) {
        let short = error_message::fit(body, ERROR_LIMIT, text::clip);
        // SAFETY: the outcome belongs to the caller until the job is finished.
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

    /// Notes how the last statement completed. Only by whoever is about to finish the job.
    pub fn note_completion(&self, tag: &[u8], row_count: Option<i64>) {
        let tag = &tag[..tag.len().min(TAG_LIMIT)];
        // SAFETY: the outcome belongs to the caller until the job is finished.
        unsafe {
            let outcome = &raw mut (*self.header()).outcome;
            let into = (&raw mut (*outcome).tag).cast::<u8>();
            into.copy_from_nonoverlapping(tag.as_ptr(), tag.len());
            (*outcome).tag_len = low_word(tag.len());
            (*outcome).row_count = row_count.unwrap_or(-1);
        }
    }

    /// The last statement's command tag (its name only; `None`: there was no statement, or the job did not
    /// complete) and how many rows it returned or changed, if its tag says so. Once the job is finished.
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

    /// Frees the block and what has memory of its own. Only by the last that knows it. Does not throw.
    pub(super) fn deallocate(self) {
        let job = self.job;
        segment::unmap_all_of(job);
        self.spill().delete(job.cluster, job.id);
        // Noted first: should the process exit in the middle of this, nothing is freed a second time.
        let pointer = job.slot().block.swap(0, Ordering::Relaxed);
        // SAFETY: by the caller's contract nobody else looks any more.
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

    /// The error the job ended with: the body of an `ErrorResponse` message; empty: none was noted. Once the
    /// job is finished. Stays while this process holds the job.
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

/// Unmaps what this process has mapped of a job, when it is about to give up its hold, and nothing in it looks at
/// request, ring, description or error any more. Does not throw.
pub fn unmap(job: Job) {
    segment::unmap_all_of(job);
}
