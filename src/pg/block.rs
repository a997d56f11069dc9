//! A job's block in the arena: everything of a job that comes in all sizes.
//!
//! One allocation holds, in this order: [`Header`] (request, outcome), the SQL text, the leader's
//! settings, the parameters, and for jobs with a result the ring's shared part and its buffer.
//!
//! | part | written by | when | read by |
//! |---|---|---|---|
//! | request | the leader | `Reserved` | the worker that is bound; the leader |
//! | description | the worker, once | `Running`, before the first row | the reader, once it has seen a row or the job's end |
//! | outcome | the worker, or whoever fails the job for want of one | `Starting`, `Running` | the leader, once finished |
//! | spill | see [`crate::pg::spill`] | `Running` | |
//! | ring | see [`crate::engine::channel`] | `Running` | |
//!
//! The description of the result's columns is not in the ring, so that a reader that is interrupted before
//! the first row leaves it to the next.
//!
//! The block belongs to the job's holders together; the last one out frees it ([`release`]). A
//! [`Block`] is a process's handle on it and is valid while that process holds the job.
//!
//! A process maps a segment of the arena when it first looks into it, which the operating system may refuse.
//! Where nothing may be thrown (a job is ended or let go of while the stack unwinds, or the process exits) a
//! block is looked for with [`Block::reach`], and may be out of reach: then the job ends without a noted error,
//! which its leader takes for a lost worker; and one that is to be released is left behind, for the next launch in the
//! cluster to release ([`release_left_behind`]).

use crate::engine::channel;
use crate::engine::job::{End, Release};
use crate::engine::message;
use crate::engine::party::Party;
use crate::engine::ring::{self, MappedBuffer};
use crate::engine::sync::Ordering;
use crate::engine::table::JobId;
use crate::pg::cluster::Cluster;
use crate::pg::error::Error;
use crate::pg::latch::{ring, shared_now};
use crate::pg::local::Local;
use crate::pg::shim::Identity;
use crate::pg::spill::SpillFile;
use crate::pg::text;
use crate::pg::trace::{self, Step};
use pgrx::pg_sys;

/// Bytes of an error that every block has room for. Longer ones get a block of their own if there is
/// memory, else they are cut to this.
const ERROR_LIMIT: usize = 1536;

/// Bytes of a description of columns that every block has room for. Longer ones get a block of their own.
const DESCRIPTION_LIMIT: usize = 256;

#[repr(C)]
struct Header {
    /// Bytes of the block.
    size: u64,
    identity: Identity,
    statement_timeout: i32,
    sql_len: u32,
    guc_len: u32,
    guc_offset: u32,
    params_len: u32,
    params_offset: u32,
    ring_offset: u32,
    ring_capacity: u32,
    spill: SpillFile,
    description: Description,
    outcome: Outcome,
}

/// Bytes of a command tag at most. The longest of the server's have some 30.
const TAG_LIMIT: usize = 48;

#[repr(C)]
struct Description {
    /// Arena pointer of a longer one; 0: `text` has it.
    long: u64,
    /// 0: there is none.
    len: u32,
    text: [u8; DESCRIPTION_LIMIT],
}

#[repr(C)]
struct Outcome {
    /// Rows that the last statement returned or changed; -1: its tag says nothing of rows.
    row_count: i64,
    tag_len: u32,
    tag: [u8; TAG_LIMIT],
    /// Arena pointer of a longer error; 0: `error` has it.
    long_error: u64,
    error_len: u32,
    error: [u8; ERROR_LIMIT],
}

/// What the leader asks for.
pub struct Request<'a> {
    /// Who the job runs as.
    pub identity: Identity,
    /// Milliseconds; -1: what the settings say.
    pub statement_timeout: i32,
    /// SQL text, without a zero byte.
    pub sql: &'a [u8],
    /// The leader's settings.
    pub guc_state: &'a [u8],
    /// Its parameters, as the shim serialized them; empty: none.
    pub params: &'a [u8],
    /// Bytes of result ring; 0: none.
    pub queue_size: usize,
}

/// A process's handle on a block.
#[derive(Clone, Copy)]
pub struct Block {
    cluster: &'static Cluster,
    start: *mut u8,
}

/// Alignment of the ring's shared part, so that each side's counters have a line of their own.
const RING_ALIGN: usize = align_of::<channel::Shared>();

impl Block {
    /// Allocates a block for `request` and fills in the request. Returns the arena pointer.
    ///
    /// # Errors
    /// 53200 when there is no memory.
    pub fn allocate(
        cluster: &'static Cluster,
        request: &Request<'_>,
    ) -> Result<pg_sys::dsa_pointer, Error> {
        let sql_end = size_of::<Header>() + request.sql.len() + 1;
        let guc_offset = sql_end.next_multiple_of(8);
        let guc_end = guc_offset + request.guc_state.len();
        let params_offset = guc_end.next_multiple_of(8);
        let end = params_offset + request.params.len();
        let capacity = match request.queue_size {
            0 => 0,
            size => size.next_power_of_two().max(ring::MIN_CAPACITY),
        };
        // The block itself is aligned to 8 only, so there is slack for the ring to be moved up.
        let size = match capacity {
            0 => end,
            _ => end + RING_ALIGN + size_of::<channel::Shared>() + capacity,
        };
        let pointer = cluster.allocate(size)?;
        let ring_offset = match capacity {
            0 => 0,
            _ => (pointer as usize + end).next_multiple_of(RING_ALIGN) - pointer as usize,
        };
        let block = Self {
            cluster,
            start: cluster.address(pointer),
        };
        // SAFETY: freshly allocated with room for all parts; the job is still `Reserved`, so nobody else
        // looks. The texts of description and error are not written: their lengths say that there is none.
        unsafe {
            let header = block.header();
            (&raw mut (*header).size).write(size as u64);
            (&raw mut (*header).identity).write(request.identity);
            (&raw mut (*header).statement_timeout).write(request.statement_timeout);
            (&raw mut (*header).sql_len).write(request.sql.len() as u32);
            (&raw mut (*header).guc_len).write(request.guc_state.len() as u32);
            (&raw mut (*header).guc_offset).write(guc_offset as u32);
            (&raw mut (*header).params_len).write(request.params.len() as u32);
            (&raw mut (*header).params_offset).write(params_offset as u32);
            (&raw mut (*header).ring_offset).write(ring_offset as u32);
            (&raw mut (*header).ring_capacity).write(capacity as u32);
            (&raw mut (*header).spill).write(SpillFile::default());
            let description = &raw mut (*header).description;
            (&raw mut (*description).long).write(0);
            (&raw mut (*description).len).write(0);
            let outcome = &raw mut (*header).outcome;
            (&raw mut (*outcome).row_count).write(-1);
            (&raw mut (*outcome).tag_len).write(0);
            (&raw mut (*outcome).long_error).write(0);
            (&raw mut (*outcome).error_len).write(0);
            let sql = block.start.add(size_of::<Header>());
            sql.copy_from_nonoverlapping(request.sql.as_ptr(), request.sql.len());
            sql.add(request.sql.len()).write(0);
            let guc = block.start.add(guc_offset);
            guc.copy_from_nonoverlapping(request.guc_state.as_ptr(), request.guc_state.len());
            let params = block.start.add(params_offset);
            params.copy_from_nonoverlapping(request.params.as_ptr(), request.params.len());
            if capacity > 0 {
                block
                    .start
                    .add(ring_offset)
                    .cast::<channel::Shared>()
                    .write(channel::Shared::default());
            }
        }
        Ok(pointer)
    }

    /// The block of a job that this process holds.
    pub fn of(cluster: &'static Cluster, job: JobId) -> Self {
        let pointer = cluster.slot(job).block.load(Ordering::Relaxed);
        Self {
            cluster,
            start: cluster.address(pointer),
        }
    }

    /// As [`of`](Self::of), where nothing may be thrown; `None`: it is out of reach.
    pub fn reach(cluster: &'static Cluster, job: JobId) -> Option<Self> {
        let pointer = cluster.slot(job).block.load(Ordering::Relaxed);
        let start = cluster.reach(pointer)?;
        Some(Self { cluster, start })
    }

    fn header(&self) -> *mut Header {
        self.start.cast()
    }

    /// Who the job runs as.
    pub fn identity(&self) -> Identity {
        // SAFETY: the request does not change while anyone holds the job.
        unsafe { (*self.header()).identity }
    }

    /// Milliseconds; -1: what the settings say.
    pub fn statement_timeout(&self) -> i32 {
        // SAFETY: as for `identity`.
        unsafe { (*self.header()).statement_timeout }
    }

    /// The SQL text; a zero byte follows it.
    pub fn sql(&self) -> &[u8] {
        // SAFETY: as for `identity`.
        unsafe {
            let len = (*self.header()).sql_len as usize;
            std::slice::from_raw_parts(self.start.add(size_of::<Header>()), len)
        }
    }

    /// The parameters; `None`: there are none.
    pub fn params(&self) -> Option<&[u8]> {
        // SAFETY: as for `identity`.
        unsafe {
            let header = self.header();
            let start = self.start.add((*header).params_offset as usize);
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
            let start = self.start.add((*header).guc_offset as usize);
            std::slice::from_raw_parts(start, (*header).guc_len as usize)
        }
    }

    /// The ring: its shared part and its buffer. `None` for jobs without a result.
    pub fn ring(&self) -> Option<(&'static channel::Shared, MappedBuffer)> {
        // SAFETY: as for `identity`. The reference is called static because a process keeps it no longer
        // than its hold on the job, which the callers see to; the arena's mapping lives as long as the
        // process.
        unsafe {
            let header = self.header();
            let capacity = (*header).ring_capacity as usize;
            if capacity == 0 {
                return None;
            }
            let shared = self.start.add((*header).ring_offset as usize);
            let buffer = shared.add(size_of::<channel::Shared>());
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
    /// 53200 when there is no memory for a long one.
    pub fn describe(&self, text: &[u8]) -> Result<(), Error> {
        let long = match text.len() {
            ..=DESCRIPTION_LIMIT => 0,
            len => self.cluster.allocate(len)?,
        };
        fault!("description-allocated");
        // SAFETY: the description is the worker's until it sends a row or finishes the job.
        unsafe {
            let description = &raw mut (*self.header()).description;
            let into = match long {
                0 => (&raw mut (*description).text).cast::<u8>(),
                pointer => self.cluster.address(pointer),
            };
            into.copy_from_nonoverlapping(text.as_ptr(), text.len());
            (*description).long = long;
            (*description).len = text.len() as u32;
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
            let start = match (*description).long {
                0 => (&raw const (*description).text).cast::<u8>(),
                pointer => self.cluster.address(pointer).cast_const(),
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
        let short = message::fit(body, ERROR_LIMIT, text::clip);
        // SAFETY: the outcome belongs to the caller until the job is finished.
        unsafe {
            let outcome = &raw mut (*self.header()).outcome;
            let into = (&raw mut (*outcome).error).cast::<u8>();
            into.copy_from_nonoverlapping(short.as_ptr(), short.len());
            (*outcome).error_len = short.len() as u32;
        }
        if short.len() == body.len() {
            return;
        }
        let Some(pointer) = self.cluster.try_allocate(body.len()) else {
            return;
        };
        let Some(into) = self.cluster.reach(pointer) else {
            self.cluster.deallocate(pointer, body.len());
            return;
        };
        // SAFETY: as above; the new block has room for the body.
        unsafe {
            into.copy_from_nonoverlapping(body.as_ptr(), body.len());
            let outcome = &raw mut (*self.header()).outcome;
            (*outcome).error_len = body.len() as u32;
            (*outcome).long_error = pointer;
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
            (*outcome).tag_len = tag.len() as u32;
            (*outcome).row_count = row_count.unwrap_or(-1);
        }
    }

    /// The last statement's command tag (its name only; `None`: there was no statement, or the job did not
    /// complete) and how many rows it returned or changed, if its tag says so. Once the job is finished.
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

    /// Frees the block and what has blocks of its own. Only by the last that knows it. Does not throw.
    fn deallocate(self, job: JobId) {
        self.spill().delete(self.cluster);
        // Noted first: should the process exit in the middle of this, nothing is freed a second time.
        let pointer = self.cluster.slot(job).block.swap(0, Ordering::Relaxed);
        // SAFETY: by the caller's contract nobody else looks any more.
        let (size, parts) = unsafe {
            let header = self.header();
            let (description, outcome) = (&(*header).description, &(*header).outcome);
            let parts = [
                (description.long, description.len),
                (outcome.long_error, outcome.error_len),
            ];
            ((*header).size as usize, parts)
        };
        for (pointer, len) in parts {
            if pointer != 0 {
                self.cluster.deallocate(pointer, len as usize);
            }
        }
        self.cluster.deallocate(pointer, size);
    }

    /// The error the job ended with: the body of an `ErrorResponse` message; empty: none was noted. Once the
    /// job is finished. Stays while this process holds the job.
    pub fn error(&self) -> &'static [u8] {
        // SAFETY: published by the transition to a finished phase, and not changed after it.
        unsafe {
            let outcome = &raw const (*self.header()).outcome;
            let start = match (*outcome).long_error {
                0 => (&raw const (*outcome).error).cast::<u8>(),
                pointer => self.cluster.address(pointer).cast_const(),
            };
            std::slice::from_raw_parts(start, (*outcome).error_len as usize)
        }
    }
}

/// Frees the block of a reservation, if it has one. Only by the process that allocated it, which has it mapped.
pub fn release_reserved(cluster: &'static Cluster, job: JobId) {
    if cluster.slot(job).block.load(Ordering::Relaxed) != 0 {
        Block::of(cluster, job).deallocate(job);
    }
}

/// Ends a job that the caller holds as its worker: the outcome is in the block, and the last of its rows in
/// the ring. Rings the leader if it waits, or frees what the job owned if the leader has gone. Does not throw.
pub fn end(cluster: &'static Cluster, job: JobId, end: End) {
    let leader = ending(cluster, job, end);
    let release = cluster.slot(job).word.finish(job.generation, end);
    ended(cluster, job, leader, release);
}

/// A job is about to be seen as finished. Returns its leader. Does not throw.
pub fn ending(cluster: &'static Cluster, job: JobId, end: End) -> Option<Party> {
    let slot = cluster.slot(job);
    slot.finished_at.store(shared_now(), Ordering::Relaxed);
    trace::step(job, Step::Ended(end));
    slot.leader()
}

/// A job has finished. Rings its leader if that one waits, or frees what the job owned. Does not throw.
pub fn ended(cluster: &'static Cluster, job: JobId, leader: Option<Party>, release_now: Release) {
    fault!("job-finished");
    match release_now {
        Release::Held { watched: true } => {
            if let Some(leader) = leader {
                ring(leader);
            }
        }
        Release::Held { watched: false } | Release::Stale => {}
        Release::LastOut => release(cluster, job),
    }
}

/// The job that this process releases now.
static RELEASING: Local<Option<JobId>> = Local::new(None);

/// Frees what a finished job owned, and its slot; or leaves it behind, if its memory is out of reach. Only by the
/// one that was told `LastOut`. Does not throw.
pub fn release(cluster: &'static Cluster, job: JobId) {
    RELEASING.set(Some(job));
    let _ = finish_release(cluster);
}

/// Goes on with a release in which the process's exit was cut short. `false`: the job was left behind.
pub fn finish_release(cluster: &'static Cluster) -> bool {
    let Some(job) = RELEASING.get() else {
        return true;
    };
    fault!("release-begun");
    // 0: its memory is freed already.
    let is_there = cluster.slot(job).block.load(Ordering::Relaxed) != 0;
    let block = is_there.then(|| Block::reach(cluster, job)).flatten();
    let is_out_of_reach = is_there && block.is_none();
    if let Some(block) = block {
        block.deallocate(job);
    }
    fault!("block-freed");
    RELEASING.set(None);
    if is_out_of_reach {
        cluster.pool().leave_behind(job);
    } else {
        trace::step(job, Step::Freed);
        cluster.pool().free(job);
    }
    !is_out_of_reach
}

/// Releases what others have left behind, until one is out of reach here too.
pub fn release_left_behind(cluster: &'static Cluster) {
    let mut goes_on = true;
    while goes_on && let Some(job) = cluster.pool().take_left_behind() {
        RELEASING.set(Some(job));
        goes_on = finish_release(cluster);
    }
}

/// How a job ended, from the error it ended with. `canceled`: a cancel had been asked for.
pub fn end_of(error: &[u8], canceled: bool) -> End {
    if canceled && message::sqlstate(error) == Some(b"57014") {
        End::Canceled
    } else {
        End::Failed
    }
}
