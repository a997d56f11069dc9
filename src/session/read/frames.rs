//! The frames of a job in order, as its reader sees them.
//!
//! Rows come from the ring and from the spill file, if there is one. The result ends when the job has finished and both
//! are empty. Notices are raised on the way and not returned to the caller.
//!
//! A read of everything at once makes a faster worker wait for room, so that it needs no file. A read of a row now and
//! then does so only while it waits itself ([`Pace`]).
//!
//! Nothing is consumed until the caller says so ([`Reading::begin_taking`]). A read that ends before leaves the result
//! to be read again, except that its notices were raised. A read that is given up afterwards cannot give back what it
//! took: it detaches the job and the rest of the result is dropped. A frame of several chunks is assembled in this
//! process's memory, so its first chunk counts as taken; the caller learns that before ([`NextFrame::Long`]). An
//! incomplete notice of several chunks cannot be given back either. Once it is complete, the result behind it is
//! intact.
//!
//! The job's memory may be gone when a read ends after its session, see [`jobs::begin_read`].

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::cluster::spill::{FileChunk, FileReader};
use crate::pg::error::Error;
use crate::pg::memory::{Assembly, Bytes, within};
use crate::pg::process::{own_proc, wake};
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::frame;
use crate::session::jobs;
use crate::session::wait::until;
use arrayvec::ArrayVec;
use engine::channel::{ChannelShared, Front, ResultReceiver};
use engine::job::JobWord;
use engine::ring::{Chunk, MappedBuffer};
use engine::wait::Condition;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT;
use pgrx::{PgLogLevel, pg_sys};

/// Rows of a batch: enough to make the cost per batch negligible.
const BATCH: usize = 64;

/// A result that is being read.
pub struct Reading {
    job: Job,
    /// The pid that notices show.
    pid: u32,
    shared: &'static ChannelShared,
    receiver: ResultReceiver<'static, MappedBuffer>,
    file: FileReader,
    pace: Pace,
    /// Chunks of an incomplete frame.
    assembly: Assembly,
    /// The chunk of the last returned frame, if that frame was not assembled.
    current: Option<Piece>,
    /// Whether the caller has taken something that cannot be given back.
    taking: bool,
    /// Emptied for each frame.
    per_frame: pg_sys::MemoryContext,
}

/// How a result is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Everything at once
    Whole,
    /// A row now and then
    Stepwise,
}

/// A chunk in the ring or from the file.
#[derive(Clone, Copy)]
enum Piece {
    Ring(Chunk),
    File(FileChunk),
}

impl Piece {
    fn kind(&self) -> u8 {
        match self {
            Self::Ring(chunk) => chunk.kind,
            Self::File(chunk) => chunk.kind,
        }
    }

    fn more(&self) -> bool {
        match self {
            Self::Ring(chunk) => chunk.more,
            Self::File(chunk) => chunk.more,
        }
    }
}

/// A complete frame in place. Valid until the next frame is requested or [`Reading::release`] is called.
#[derive(Clone, Copy)]
pub struct Frame {
    /// What the frame contains.
    pub kind: u8,
    /// Aligned to 8 bytes.
    pub start: *const u8,
    /// Length in bytes.
    pub len: usize,
}

/// The result of a look for the next frame.
pub enum NextFrame {
    /// A frame.
    Frame(Frame),
    /// A row of several chunks. It can be assembled only once the caller takes ([`Reading::begin_taking`]); none of it
    /// is taken yet. The next look returns the row.
    Long,
    /// None yet
    NotYet,
    /// None: the job has finished and everything was returned
    End,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !jobs::is_being_read(self.job) {
            return;
        }
        self.receiver.ring.disarm();
        if self.taking || !self.assembly.is_idle() {
            // What was taken cannot be given back, so the job is detached.
            self.shared.ring.discard();
            jobs::detach(self.job);
        } else {
            self.give_back();
        }
        self.leave();
        jobs::end_read(self.job);
    }
}

impl Reading {
    /// Starts to read the result of a job that this session holds and that has a result. Notices show `pid`. Memory
    /// comes from `context`, which must live as long. `per_frame` is emptied when the next frame is requested.
    ///
    /// # Errors
    /// 55006 the result is already being read
    pub fn begin(
        job: Job,
        pid: u32,
        pace: Pace,
        context: pg_sys::MemoryContext,
        per_frame: pg_sys::MemoryContext,
    ) -> Result<Self, Error> {
        let block = Block::of(job);
        jobs::begin_read(job)?;
        let (shared, buffer) = block
            .ring()
            .expect("a job that was not submitted has a ring");
        let receiver = ResultReceiver::new(shared, buffer);
        if pace == Pace::Whole {
            receiver.enter(own_proc());
        }
        Ok(Self {
            job,
            pid,
            shared,
            receiver,
            file: FileReader::new(block.spill(), context),
            pace,
            assembly: Assembly::new(context),
            current: None,
            taking: false,
            per_frame,
        })
    }

    /// The next frame. `wait`: sleep until there is one or the result ends.
    ///
    /// # Errors
    /// 42704 the session has detached the job meanwhile
    pub fn next(&mut self, wait: bool) -> Result<NextFrame, Error> {
        loop {
            self.release();
            if jobs::was_detached(self.job) {
                return Err(Error::new(
                    ERRCODE_UNDEFINED_OBJECT,
                    format_args!(
                        "job with PID {} was detached while its result was being read",
                        self.pid
                    ),
                ));
            }
            // SAFETY: nothing made for the previous frame is still used. The check saves most resets.
            unsafe {
                if !(*self.per_frame).isReset {
                    server::MemoryContextReset(self.per_frame);
                }
            }
            match self.whole_frame(wait) {
                NextFrame::Frame(found) if found.kind == frame::NOTICE => self.deliver(found),
                next => return Ok(next),
            }
        }
    }

    /// Releases the last returned frame.
    pub fn release(&mut self) {
        if let Some(piece) = self.current.take() {
            self.consume(piece);
        }
    }

    /// Passes to `put` the rows that are next in the ring, each in one chunk, as many as are there and fit into a
    /// batch. Then frees their room for the worker. `false`: there was none. The caller is taking and no longer uses
    /// the last frame.
    pub fn put_following(&mut self, put: impl FnOnce(&[*const u8])) -> bool {
        self.release();
        let mut batch = ArrayVec::<*const u8, BATCH>::new();
        while !batch.is_full()
            && self.assembly.is_idle()
            && let Some(Front::Ring(chunk)) = self.receiver.peek()
            && chunk.kind == frame::ROW
            && !chunk.more
        {
            batch.push(self.receiver.ring.payload(chunk, <[u8]>::as_ptr));
            self.receiver.ring.pass(chunk);
        }
        if batch.is_empty() {
            return false;
        }
        put(&batch);
        if let Some(worker) = self.receiver.ring.catch_up() {
            wake(worker);
        }
        true
    }

    /// Tells the worker that it need not wait for this reader.
    fn leave(&self) {
        if let Some(worker) = self.receiver.leave() {
            wake(worker);
        }
    }

    /// Waits until the job has ended and its catalog changes are visible. The last returned frame stays valid. The
    /// worker continues in the file meanwhile.
    pub fn await_commit(&mut self) {
        self.leave();
        let _ = until::first_finished([self.job].into_iter(), None);
        if self.pace == Pace::Whole {
            self.receiver.enter(own_proc());
        }
        // SAFETY: in a transaction.
        unsafe { server::AcceptInvalidationMessages() };
    }

    /// Called before the caller takes what cannot be given back.
    pub fn begin_taking(&mut self) {
        if !self.taking {
            self.taking = true;
            jobs::note_consumed(self.job);
        }
    }

    /// Everything was read: the end of the read does not detach the job.
    pub fn complete(&mut self) {
        self.release();
        self.taking = false;
    }

    fn whole_frame(&mut self, wait: bool) -> NextFrame {
        if self.assembly.is_complete() {
            self.assembly.clear();
        }
        loop {
            let piece = match self.next_piece(wait) {
                NextPiece::Piece(piece) => piece,
                NextPiece::NotYet => return NextFrame::NotYet,
                NextPiece::End => {
                    // The worker failed in the middle of a frame. Nobody takes its beginning.
                    self.assembly.clear();
                    return NextFrame::End;
                }
            };
            if !piece.more() && self.assembly.is_empty() {
                self.current = Some(piece);
                let (start, len) = match piece {
                    Piece::Ring(chunk) => {
                        let start = self.receiver.ring.payload(chunk, <[u8]>::as_ptr);
                        (start, chunk.len)
                    }
                    Piece::File(chunk) => (chunk.start, chunk.len),
                };
                let kind = piece.kind();
                return NextFrame::Frame(Frame { kind, start, len });
            }
            if piece.kind() != frame::NOTICE && !self.taking {
                return NextFrame::Long;
            }
            match piece {
                Piece::Ring(chunk) => self
                    .receiver
                    .ring
                    .payload(chunk, |bytes| self.assembly.append(bytes)),
                // SAFETY: the chunk stays until it is consumed.
                Piece::File(chunk) => self
                    .assembly
                    .append(unsafe { std::slice::from_raw_parts(chunk.start, chunk.len) }),
            }
            self.consume(piece);
            if !piece.more() {
                let bytes = self.assembly.completed();
                return NextFrame::Frame(Frame {
                    kind: piece.kind(),
                    start: bytes.as_ptr(),
                    len: bytes.len(),
                });
            }
        }
    }

    fn consume(&mut self, piece: Piece) {
        match piece {
            Piece::Ring(chunk) => {
                if let Some(worker) = self.receiver.ring.consume(chunk) {
                    wake(worker);
                }
            }
            Piece::File(chunk) => {
                self.file.consume(chunk);
                self.receiver.take(chunk.size);
                // In batches, as in the ring: when everything read from the file so far is consumed.
                if self.file.is_drained() {
                    self.give_back();
                }
            }
        }
    }

    fn give_back(&mut self) {
        fault!("rows-consumed");
        if let Some(worker) = self.receiver.give_back() {
            wake(worker);
        }
    }

    /// The next chunk.
    fn next_piece(&mut self, wait: bool) -> NextPiece {
        let front = match self.receiver.peek() {
            Some(front) => Some(front),
            None => {
                self.give_back();
                match self.look(wait) {
                    Some(front) => front,
                    None => return NextPiece::NotYet,
                }
            }
        };
        match front {
            Some(Front::Ring(chunk)) => NextPiece::Piece(Piece::Ring(chunk)),
            Some(Front::File { offset, len }) => {
                NextPiece::Piece(Piece::File(self.file.chunk(offset, len)))
            }
            None => NextPiece::End,
        }
    }

    /// Looks for the next chunk and, with `wait`, waits for it. `Some(None)`: the result has ended.
    fn look(&mut self, wait: bool) -> Option<Option<Front>> {
        let stepwise = self.pace == Pace::Stepwise;
        let mut more = More {
            word: self.job.word(),
            receiver: &mut self.receiver,
            stepwise,
        };
        if !wait {
            return more.look();
        }
        let found = until::for_rows(self.job, more);
        self.receiver.ring.disarm();
        if stepwise {
            self.leave();
        }
        found
    }

    /// Raises a notice.
    fn deliver(&mut self, notice: Frame) {
        // SAFETY: copied before the frame is consumed, and consumed before it is raised, because raising may throw.
        let bytes = unsafe {
            within(self.per_frame, || {
                Bytes::copy(std::slice::from_raw_parts(notice.start, notice.len))
            })
        };
        self.release();
        self.give_back();
        let (start, len) = (bytes.start().cast(), bytes.len() as i32);
        let (level, pid) = (PgLogLevel::WARNING as i32, self.pid.cast_signed());
        // SAFETY: the bytes stay valid until the next frame is requested.
        unsafe {
            within(self.per_frame, || {
                shim::pgb_raise_message(start, len, level, pid);
            });
        }
    }
}

/// Waits for more of a result, or for its end.
struct More<'a> {
    word: &'a JobWord,
    receiver: &'a mut ResultReceiver<'static, MappedBuffer>,
    stepwise: bool,
}

impl Condition for More<'_> {
    /// `None`: the end
    type Found = Option<Front>;

    fn arm(&mut self) {
        if self.stepwise {
            self.receiver.enter(own_proc());
        }
        self.receiver.ring.arm(own_proc());
    }

    fn look(&mut self) -> Option<Option<Front>> {
        self.receiver.look(self.word)
    }
}

enum NextPiece {
    Piece(Piece),
    NotYet,
    End,
}
