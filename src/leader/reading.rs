//! The frames of a job, one after another, as its reader sees them.
//!
//! Rows come out of the ring; once the job has finished and the ring is empty there are no more. Notices
//! are raised on the way and not shown to the caller.
//!
//! Nothing is used up until the caller says that it takes something ([`Reading::take`]): a reading that ends
//! before leaves the result to be read again. (What a notice said was said.) A reading that is given up
//! after it cannot give back what it took: it lets go of the job, whose rest is dropped. A frame in several
//! chunks is put together in this process's memory, so its first chunk counts as taken.
//!
//! The job's memory may be gone when a reading ends after the session: see
//! [`session::begin_reading`].

use crate::engine::ring::{Chunk, MappedBuffer, Reader, Shared};
use crate::engine::table::JobId;
use crate::leader::{session, wait};
use crate::pg::block::Block;
use crate::pg::cluster::Cluster;
use crate::pg::error::Error;
use crate::pg::latch::{own_party, ring};
use crate::pg::memory::{Assembly, Bytes, within};
use crate::pg::shim::{self, frame, guarded};
use arrayvec::ArrayVec;
use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;

/// Rows of a batch: enough that what is paid once per batch does not count.
const BATCH: usize = 64;

/// A result while it is read.
pub struct Reading {
    cluster: &'static Cluster,
    job: JobId,
    /// Shown with notices.
    pid: u32,
    shared: &'static Shared,
    reader: Reader<'static, MappedBuffer>,
    /// Chunks of a frame that came in several.
    assembly: Assembly,
    /// The chunk of the frame that was returned last, if it lies in the ring.
    current: Option<Chunk>,
    /// Something was taken that cannot be given back.
    taking: bool,
    /// For what lives no longer than a frame.
    per_frame: pg_sys::MemoryContext,
}

/// A whole frame, where it lies: until the next one is asked for, or [`Reading::done`].
#[derive(Clone, Copy)]
pub struct Frame {
    /// What it is about.
    pub kind: u8,
    /// 8-byte aligned.
    pub start: *const u8,
    /// Bytes.
    pub len: usize,
}

/// What a look for the next frame found.
pub enum Next {
    /// A frame.
    Frame(Frame),
    /// None now; there can be more.
    NotYet,
    /// The job has finished and there is no other.
    End,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !session::is_being_read(self.job) {
            return;
        }
        self.reader.disarm();
        if self.taking {
            // Given up half-way: what was taken cannot be given back, so the job is let go of.
            self.shared.discard();
            session::let_go(self.cluster, self.job);
        } else if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
        session::end_reading(self.cluster, self.job);
    }
}

impl Reading {
    /// Begins to read the result of a job that this session holds and that has one. `pid` is shown with its
    /// notices. Memory comes from `context`, which has to live as long; what the caller puts into
    /// `per_frame` itself stays until the next frame is asked for.
    ///
    /// # Errors
    /// 55006 when it is being read already.
    pub fn begin(
        cluster: &'static Cluster,
        job: JobId,
        pid: u32,
        context: pg_sys::MemoryContext,
        per_frame: pg_sys::MemoryContext,
    ) -> Result<Self, Error> {
        session::begin_reading(job)?;
        let (shared, buffer) = Block::of(cluster, job)
            .ring()
            .expect("a job that was not submitted has a ring");
        Ok(Self {
            cluster,
            job,
            pid,
            shared,
            reader: Reader::new(shared, buffer),
            assembly: Assembly::new(context),
            current: None,
            taking: false,
            per_frame,
        })
    }

    /// The next frame. `wait`: until there is one, or the end.
    ///
    /// # Errors
    /// 42704 when the session has let go of the job meanwhile.
    pub fn next(&mut self, wait: bool) -> Result<Next, Error> {
        loop {
            self.done();
            if session::was_let_go(self.job) {
                return Err(Error::new(
                    ERRCODE_UNDEFINED_OBJECT,
                    format!(
                        "job with PID {} was detached while its result was read",
                        self.pid
                    ),
                ));
            }
            // SAFETY: what was made for the last frame is not used any more. Mostly there is nothing.
            unsafe {
                if !(*self.per_frame).isReset {
                    pg_sys::MemoryContextReset(self.per_frame);
                }
            }
            match self.whole(wait) {
                Next::Frame(found) if found.kind == frame::NOTICE => self.deliver(found),
                next => return Ok(next),
            }
        }
    }

    /// The caller has done with the frame.
    pub fn done(&mut self) {
        if let Some(chunk) = self.current.take() {
            self.consume(chunk);
        }
    }

    /// Shows `put` the rows that follow in the ring and lie there in one piece, as many as there are now and
    /// fit into a batch; then lets the worker have their room. `false`: there was none. The caller is taking,
    /// and has done with the last frame.
    pub fn put_following(&mut self, put: impl FnOnce(&[*const u8])) -> bool {
        self.done();
        let mut batch = ArrayVec::<*const u8, BATCH>::new();
        while !batch.is_full()
            && let Some(chunk) = self.reader.peek()
            && chunk.kind == frame::ROW
            && !chunk.more
            && self.assembly.is_idle()
        {
            batch.push(self.reader.payload(chunk, <[u8]>::as_ptr));
            self.reader.pass(chunk);
        }
        if batch.is_empty() {
            return false;
        }
        put(&batch);
        if let Some(worker) = self.reader.catch_up() {
            ring(worker);
        }
        true
    }

    /// The caller is about to take what cannot be given back.
    pub fn take(&mut self) {
        if !self.taking {
            self.taking = true;
            session::consumed(self.job);
        }
    }

    /// Everything was read: the job is not let go of when the reading ends.
    pub fn complete(&mut self) {
        self.done();
        self.taking = false;
    }

    fn whole(&mut self, wait: bool) -> Next {
        if self.assembly.is_complete() {
            self.assembly.clear();
        }
        loop {
            let chunk = match self.chunk(wait) {
                Look::Chunk(chunk) => chunk,
                Look::NotYet => return Next::NotYet,
                Look::End => return Next::End,
            };
            if !chunk.more && self.assembly.is_empty() {
                self.current = Some(chunk);
                return Next::Frame(Frame {
                    kind: chunk.kind,
                    start: self.reader.payload(chunk, <[u8]>::as_ptr),
                    len: chunk.len,
                });
            }
            self.take();
            self.reader
                .payload(chunk, |bytes| self.assembly.append(bytes));
            self.consume(chunk);
            if !chunk.more {
                let bytes = self.assembly.completed();
                return Next::Frame(Frame {
                    kind: chunk.kind,
                    start: bytes.as_ptr(),
                    len: bytes.len(),
                });
            }
        }
    }

    fn consume(&mut self, chunk: Chunk) {
        if let Some(worker) = self.reader.consume(chunk) {
            ring(worker);
        }
    }

    /// The chunk at the front.
    fn chunk(&mut self, wait: bool) -> Look {
        if let Some(chunk) = self.reader.peek() {
            return Look::Chunk(chunk);
        }
        if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
        let (cluster, job, shared) = (self.cluster, self.job, self.shared);
        let word = &cluster.slot(job).word;
        let reader = &mut self.reader;
        let mut look = || {
            // The word first: once it says finished, everything is in the ring.
            let finished = word.load().phase().is_finished();
            match reader.peek() {
                Some(chunk) => Some(Look::Chunk(chunk)),
                None => finished.then_some(Look::End),
            }
        };
        if !wait {
            return look().unwrap_or(Look::NotYet);
        }
        let arm = || shared.arm_reader(own_party());
        let found = wait::until(cluster, job, None, arm, look);
        self.reader.disarm();
        found.expect("a wait without a deadline ends when it has found something")
    }

    /// Raises a notice.
    fn deliver(&mut self, notice: Frame) {
        // SAFETY: copied before the frame is consumed; consumed before it is raised, because raising may
        // throw.
        let bytes = unsafe {
            within(self.per_frame, || {
                Bytes::copy(std::slice::from_raw_parts(notice.start, notice.len))
            })
        };
        self.done();
        if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
        let (start, len) = (bytes.start().cast(), bytes.len() as i32);
        let (level, pid) = (PgLogLevel::WARNING as i32, self.pid.cast_signed());
        // SAFETY: the bytes stay until the next frame is asked for.
        unsafe {
            within(self.per_frame, || {
                guarded(|| shim::pgb_raise_message(start, len, level, pid));
            });
        }
    }
}

enum Look {
    Chunk(Chunk),
    NotYet,
    End,
}
