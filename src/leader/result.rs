//! Reading a result.
//!
//! The rows come out of the ring, the outcome out of the block once the job has finished; first all of the
//! one, then the other. Until the first row is taken nothing is used up: a column list that does not fit,
//! or an interrupt, leaves the result to be read again. A reader that is interrupted later cannot give
//! back what it took: it lets go of the job, whose rest is dropped ([`Reading`]).

use crate::engine::job::Phase;
use crate::engine::message;
use crate::engine::ring::{Chunk, MappedBuffer, Reader, Shared};
use crate::engine::table::JobId;
use crate::leader::columns::{self, Conversions};
use crate::leader::session::{self, Asking, Name, Tracked};
use crate::leader::wait;
use crate::pg::block::Block;
use crate::pg::cluster::Cluster;
use crate::pg::error::{Error, Failure};
use crate::pg::latch::{own_party, ring};
use crate::pg::rows::RowSink;
use crate::pg::shim::{self, frame, guarded};
use pgrx::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_FEATURE_NOT_SUPPORTED, ERRCODE_UNDEFINED_OBJECT,
};

/// Rows between two looks at pending interrupts.
const ROWS_PER_CHECK: u32 = 64;

/// A result while it is read.
struct Reading {
    cluster: &'static Cluster,
    job: JobId,
    pid: u32,
    shared: &'static Shared,
    reader: Reader<'static, MappedBuffer>,
    /// Chunks of a frame that came in several. Words, so that a tuple in it is aligned.
    assembled: Vec<u64>,
    assembled_len: usize,
    /// Something was taken that cannot be given back.
    taking: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.reader.disarm();
        if self.taking {
            // Given up half-way: what was taken cannot be given back, so the job is let go of.
            self.shared.discard();
            session::let_go(self.cluster, self.job);
        } else if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
    }
}

/// A whole frame, where it lies.
struct Frame {
    kind: u8,
    start: *const u8,
    len: usize,
    /// To be consumed when done with; `None`: it lies in `assembled`.
    chunk: Option<Chunk>,
}

impl Frame {
    /// # Safety
    /// Until the frame is consumed.
    unsafe fn bytes<'a>(&self) -> &'a [u8] {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Reading {
    /// The next frame; `None`: the job has finished and there is no other.
    fn next(&mut self) -> Option<Frame> {
        self.assembled_len = 0;
        loop {
            let chunk = self.wait_chunk()?;
            if !chunk.more && self.assembled_len == 0 {
                let start = self.reader.payload(chunk, <[u8]>::as_ptr);
                return Some(Frame {
                    kind: chunk.kind,
                    start,
                    len: chunk.len,
                    chunk: Some(chunk),
                });
            }
            // A frame in several chunks cannot be given back once its first chunk is.
            self.start_taking();
            self.append(chunk);
            self.consume(chunk);
            if !chunk.more {
                return Some(Frame {
                    kind: chunk.kind,
                    start: self.assembled.as_ptr().cast(),
                    len: self.assembled_len,
                    chunk: None,
                });
            }
        }
    }

    fn append(&mut self, chunk: Chunk) {
        let end = self.assembled_len + chunk.len;
        self.assembled
            .resize(end.div_ceil(8).max(self.assembled.len()), 0);
        // SAFETY: the buffer was just made large enough.
        self.reader.payload(chunk, |bytes| unsafe {
            let into = self.assembled.as_mut_ptr().cast::<u8>();
            into.add(self.assembled_len)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        });
        self.assembled_len = end;
    }

    fn start_taking(&mut self) {
        if !self.taking {
            self.taking = true;
            session::consumed(self.job);
        }
    }

    fn consume(&mut self, chunk: Chunk) {
        if let Some(worker) = self.reader.consume(chunk) {
            ring(worker);
        }
    }

    fn done(&mut self, frame: &Frame) {
        if let Some(chunk) = frame.chunk {
            self.consume(chunk);
        }
    }

    /// The chunk at the front; `None`: the job has finished and the ring is empty.
    fn wait_chunk(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.reader.peek() {
            return Some(chunk);
        }
        if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
        let (cluster, job, shared) = (self.cluster, self.job, self.shared);
        let word = &cluster.slot(job).word;
        let reader = &mut self.reader;
        let found = wait::until(
            cluster,
            job,
            None,
            || shared.arm_reader(own_party()),
            || {
                // The word first: once it says finished, everything is in the ring.
                let finished = word.load().phase().is_finished();
                match reader.peek() {
                    Some(chunk) => Some(Some(chunk)),
                    None => finished.then_some(None),
                }
            },
        );
        self.reader.disarm();
        found.expect("a wait without a deadline ends when it has found something")
    }

    /// Raises a notice. `false`: it is another kind of frame.
    fn deliver(&mut self, frame: &Frame) -> bool {
        if frame.kind != frame::NOTICE {
            return false;
        }
        // SAFETY: copied before the frame is consumed; consumed before it is raised, because raising may
        // throw.
        let bytes = unsafe { frame.bytes() }.to_vec();
        self.done(frame);
        if let Some(worker) = self.reader.give_back() {
            ring(worker);
        }
        let (start, len) = (bytes.as_ptr().cast(), bytes.len() as i32);
        let (level, pid) = (PgLogLevel::WARNING as i32, self.pid.cast_signed());
        // SAFETY: the bytes outlive the call.
        unsafe { guarded(|| shim::pgb_raise_message(start, len, level, pid)) };
        true
    }
}

fn no_result(tracked: &Tracked, detail: &str) -> Error {
    Error::new(
        ERRCODE_UNDEFINED_OBJECT,
        format!("results for PID {} have already been consumed", tracked.pid),
    )
    .detail(detail)
}

/// Reads the result of a job into `sink`, waiting for it as long as need be.
///
/// # Errors
/// As [`session::find`]; 0A000 for a submitted job; 42704 when it was read before; 42804 when the column
/// list does not fit; the job's own error; 08006 when its worker was lost.
pub fn read(name: Name, sink: &mut RowSink) -> Result<(), Failure> {
    let (cluster, tracked) = session::find(name, Asking::ForResult)?;
    let job = tracked.job;
    if tracked.submit {
        return Err(Error::new(
            ERRCODE_FEATURE_NOT_SUPPORTED,
            "a submitted job has no result",
        )
        .hint("Use pg_background_launch_v2 for a job whose result is to be read.")
        .into());
    }
    if tracked.consumed {
        return Err(no_result(
            &tracked,
            "Reading was interrupted after the first row; the rest was dropped.",
        )
        .into());
    }
    let block = Block::of(cluster, job);
    let (shared, buffer) = block
        .ring()
        .expect("a job that was not submitted has a ring");
    let mut reading = Reading {
        cluster,
        job,
        pid: tracked.pid,
        shared,
        reader: Reader::new(shared, buffer),
        assembled: Vec::new(),
        assembled_len: 0,
        taking: false,
    };
    take_all(&mut reading, sink)?;
    reading.taking = false;
    drop(reading);

    let phase = session::notice(cluster, job).phase();
    let noted = block.error();
    let pid = tracked.current_pid(cluster).cast_signed();
    session::let_go(cluster, job);
    match phase {
        Phase::Completed => Ok(()),
        _ => Err(Failure::Job {
            message: error_of(phase, noted, pid),
            pid,
        }),
    }
}

/// The error of a job that did not complete: the one that was noted, if any.
pub fn error_of(phase: Phase, noted: Vec<u8>, pid: i32) -> Vec<u8> {
    if !noted.is_empty() {
        return noted;
    }
    if phase == Phase::Canceled {
        return message::compose(
            "57014",
            "canceling statement due to user request",
            Some("The job was canceled before it began."),
        );
    }
    message::compose(
        "08006",
        &format!("lost connection to worker process with PID {pid}"),
        None,
    )
}

fn take_all(reading: &mut Reading, sink: &mut RowSink) -> Result<(), Failure> {
    let mut conversions: Option<Conversions> = None;
    let mut tags_checked = false;
    let mut rows = 0_u32;
    while let Some(frame) = reading.next() {
        if reading.deliver(&frame) {
            continue;
        }
        // SAFETY: used before the frame is consumed below.
        let bytes = unsafe { frame.bytes() };
        match frame.kind {
            frame::DESCRIPTION => {
                let job_columns = columns::parse_description(bytes);
                conversions = Some(columns::plan(&job_columns, sink.expected())?);
                sink.begin(&job_columns);
                // SAFETY: forgets the row types of the result read before this one.
                unsafe { guarded(|| shim::pgb_forget_records()) };
            }
            frame::RECORD => {
                let (start, len) = (frame.start.cast(), frame.len as i32);
                // SAFETY: the frame lies where it is until it is consumed.
                unsafe { guarded(|| shim::pgb_remember_record(start, len)) };
            }
            frame::ROW => {
                reading.start_taking();
                let plan = conversions.as_ref().expect("a description comes first");
                // SAFETY: the frame is a tuple of the described columns, and stays until consumed.
                unsafe { sink.put(frame.start.cast_mut().cast(), plan) };
            }
            frame::TAG => {
                if !tags_checked {
                    columns::check_tags(sink.expected())?;
                    tags_checked = true;
                }
                reading.start_taking();
                sink.put_text(bytes);
            }
            other => unreachable!("frame of kind {other} in a result ring"),
        }
        reading.done(&frame);
        rows = rows.wrapping_add(1);
        if rows.is_multiple_of(ROWS_PER_CHECK) {
            pgrx::check_for_interrupts!();
        }
    }
    Ok(())
}
