//! The way of a job's frames: the result ring, and a spill file when nobody reads.
//!
//! A worker waits only for a reader that waits for it. When the ring is full and no reader is *present*, the
//! worker *spills*: it writes into a file. It returns to the ring when a reader has taken all of the file, or
//! waits until the file is up to date.
//!
//! # Words
//!
//! * `written` counts the bytes ever appended to the file, `taken` the bytes ever consumed from it. Both only
//!   grow. `base` is the count at which the file begins now: the file is emptied each time the worker returns
//!   to the ring.
//! * The file holds chunks as the ring does: header, payload, padding. A frame may begin in one and go on in
//!   the other.
//! * `present`: a reader that makes the worker wait. A reader that reads everything at once is present all the
//!   time. One that takes a row now and then (a cursor) is present only while it waits for the worker.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `ring` | see [`crate::ring`] | |
//! | `written` | the worker: `Release` after the bytes are in the file | the reader: `Acquire` |
//! | `base` | the worker, while all of the file is taken; published with `written` | the reader, while not all of the file is taken |
//! | `taken` | the reader: `Release` after it has done with the bytes | the worker: `Acquire` |
//! | `present` | the reader: its own process reference, or 0 | the worker |
//!
//! # Order
//!
//! While the worker spills, the ring's head does not move. The worker returns to the ring only when all of the
//! file is taken. So when both hold something, the ring's part is older. The reader looks at `written` *before*
//! it looks at the ring, and takes from the ring first: it then sees what was put into the ring before those
//! bytes of the file. (In the other order it could find the ring empty, and then find bytes in the file that
//! follow a full ring which it has not seen.)
//!
//! # Waking
//!
//! As in the ring, both sides store, fence and look, with the ring's `reader` and `writer` words. The worker
//! arms, and looks at `tail`, `present` and `taken`. The reader stores one of these, fences, and looks whether
//! the worker has armed. The reader arms, and looks at `head` and `written`. The worker stores one of these,
//! fences, and looks whether the reader has armed.
//!
//! While the worker spills, it looks for a present reader once per chunk, without a fence. If it overlooks a
//! reader, it sees it at the next chunk; after the last chunk it calls [`ResultSender::finish`].
//!
//! # Ends
//!
//! The worker's end is in the job word, as for the ring: what is in the ring and in the file was published
//! before it. What an error leaves in the worker's buffer, and what a commit adds, is written then as well
//! ([`ResultSender::end`]). So a reader looks at the word *before* it looks at ring and file
//! ([`ResultReceiver::look`]): when the word says that the job has finished, everything is there.

use crate::job::JobWord;
use crate::memory;
use crate::process_ref::ProcRef;
use crate::ring::{self, Buffer, Chunk, Full, Kind, Reader, Wake, Writer};
use crate::sync::{AtomicU64, Ordering, fence};
use crate::wait::{Condition, Latch, Micros, wait_for};

/// What both sides share, in the job's arena block. The ring's buffer follows elsewhere.
#[repr(C, align(64))]
#[derive(Default)]
pub struct ChannelShared {
    /// The ring.
    pub ring: ring::RingShared,
    written: AtomicU64,
    base: AtomicU64,
    taken: AtomicU64,
    present: AtomicU64,
}

impl ChannelShared {
    fn is_reader_present(&self) -> bool {
        self.present.load(Ordering::Relaxed) != 0
    }

    /// What the reader has given back of the ring and of the file.
    fn progress(&self) -> (u64, u64) {
        (self.ring.given_back(), self.taken.load(Ordering::Relaxed))
    }
}

/// Bytes that the worker collects before it appends them to the file.
#[cfg(not(loom))]
pub const SPILL_BUFFER: usize = 256 * 1024;
/// The models have frames of a few bytes.
#[cfg(loom)]
pub const SPILL_BUFFER: usize = 16;

/// A sleeping reader is woken for less than a quarter of the ring if it was not woken for this long. So the
/// rows of a slow job arrive as they come, and a fast job pays nothing for that. For rows that are written in
/// the meantime, or while it goes to sleep, the reader itself looks once more after this time (at the frontier
/// of [`crate::ring`]).
pub const PROMPT: Micros = 1_000;

/// What the worker's end needs of its process.
pub trait SenderHost {
    /// What it sleeps on.
    type Latch: Latch;
    /// What the process sleeps on.
    fn latch(&self) -> &Self::Latch;
    /// This process.
    fn own(&self) -> ProcRef;
    /// Wakes a process.
    fn wake(&self, proc: ProcRef);
    /// Whether nobody will read any more.
    fn is_unwanted(&self) -> bool;
    /// How long the worker waits for a reader before it first checks whether the reader is held up. `None`: it
    /// never checks.
    fn first_check_after(&self) -> Option<Micros> {
        None
    }
    /// Whether the reader is held up by something that this worker may have: a lock, or its worker slot, which
    /// another job needs that the reader waits for.
    fn is_held_up(&self, _reader: ProcRef) -> bool {
        false
    }
    /// Writes `bytes` at `offset`, the end of the file. May unwind: the job then fails.
    fn append(&mut self, offset: u64, bytes: &[u8]);
    /// There is no memory for what has to go into the file. Unwinds: the job fails.
    fn out_of_memory(&self) -> ! {
        panic!("out of memory")
    }
    /// Empties the file. May unwind.
    fn empty(&mut self);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Ring,
    File,
}

/// How a wait for room ended.
enum Waited {
    Room,
    Absent,
    Unwanted,
}

/// When the worker checks whether the reader that it waits for is held up: at growing intervals.
struct PeriodicCheck {
    interval: Micros,
    due: Option<Micros>,
}

impl PeriodicCheck {
    fn new(io: &impl SenderHost) -> Self {
        let interval = io.first_check_after();
        Self {
            interval: interval.unwrap_or(0),
            due: interval.map(|interval| io.latch().now().saturating_add(interval)),
        }
    }

    /// The time of the check has come.
    fn check<B: Buffer>(
        &mut self,
        sender: &mut ResultSender<'_, B>,
        io: &impl SenderHost,
        now: Micros,
    ) {
        self.interval = self.interval.saturating_mul(2);
        self.due = Some(now.saturating_add(self.interval));
        let reader = ProcRef::from_bits(sender.shared.present.load(Ordering::Relaxed));
        if reader.is_some_and(|reader| io.is_held_up(reader)) {
            sender.held_up = Some(sender.shared.progress());
            // The wait loop looks at `held_up` when it wakes.
            io.wake(io.own());
        }
    }
}

/// Waits for room in the ring.
struct Room<'a, 'b, B, S> {
    sender: &'a mut ResultSender<'b, B>,
    io: &'a S,
    len: usize,
    /// It has armed. A reader between two rows is not present: it has until then, the time of the spin, to make room.
    armed: bool,
    periodic: PeriodicCheck,
}

impl<B: Buffer, S: SenderHost> Condition for Room<'_, '_, B, S> {
    type Found = Waited;

    fn arm(&mut self) {
        self.armed = true;
        self.sender.ring.arm(self.io.own());
        let woken = self.sender.flush();
        woken.into_iter().for_each(|reader| self.io.wake(reader));
    }

    fn look(&mut self) -> Option<Waited> {
        if self.sender.shared.ring.is_discarded() || self.io.is_unwanted() {
            return Some(Waited::Unwanted);
        }
        if self.sender.ring.has_room(self.len) {
            return Some(Waited::Room);
        }
        (self.armed && !self.sender.is_reader_present()).then_some(Waited::Absent)
    }

    fn next_check(&mut self) -> Option<Micros> {
        self.periodic.due
    }

    fn check(&mut self, now: Micros) {
        self.periodic.check(self.sender, self.io, now);
    }
}

/// Waits until the reader has taken all of the file. `false`: it is not going to.
struct CaughtUp<'a, 'b, B, S> {
    sender: &'a mut ResultSender<'b, B>,
    io: &'a S,
    periodic: PeriodicCheck,
}

impl<B: Buffer, S: SenderHost> Condition for CaughtUp<'_, '_, B, S> {
    type Found = bool;

    fn arm(&mut self) {
        self.sender.ring.arm(self.io.own());
    }

    fn look(&mut self) -> Option<bool> {
        if self.sender.has_caught_up() {
            return Some(true);
        }
        let given_up = !self.sender.is_reader_present()
            || self.sender.shared.ring.is_discarded()
            || self.io.is_unwanted();
        given_up.then_some(false)
    }

    fn next_check(&mut self) -> Option<Micros> {
        self.periodic.due
    }

    fn check(&mut self, now: Micros) {
        self.periodic.check(self.sender, self.io, now);
    }
}

/// The worker's end.
pub struct ResultSender<'a, B> {
    shared: &'a ChannelShared,
    ring: Writer<'a, B>,
    mode: Mode,
    /// Same as `shared.written`, which only this side writes.
    written: u64,
    /// Same as `shared.base`.
    base: u64,
    /// For the file, and not appended yet.
    buffer: Vec<u8>,
    /// A frame was begun and not completed.
    torn: bool,
    woken_at: Micros,
    /// How far the reader was when it was found held up. Until it goes on, it does not count as present.
    held_up: Option<(u64, u64)>,
}

impl<'a, B: Buffer> ResultSender<'a, B> {
    /// The worker's end of a channel. There must be no other.
    pub fn new(shared: &'a ChannelShared, buffer: B) -> Self {
        Self {
            shared,
            ring: Writer::new(&shared.ring, buffer),
            mode: Mode::Ring,
            written: shared.written.load(Ordering::Relaxed),
            base: shared.base.load(Ordering::Relaxed),
            buffer: Vec::new(),
            torn: false,
            woken_at: 0,
            held_up: None,
        }
    }

    /// Whether a reader makes the worker wait: it is there, and is not held up itself.
    fn is_reader_present(&self) -> bool {
        self.shared.is_reader_present()
            && self
                .held_up
                .is_none_or(|then| then != self.shared.progress())
    }

    /// Whether the reader has taken everything that was meant for the file.
    fn has_caught_up(&self) -> bool {
        self.shared.taken.load(Ordering::Acquire) == self.written
    }

    /// How many bytes of payload one chunk can carry.
    #[must_use]
    pub(crate) fn chunk_limit(&self) -> usize {
        self.ring.chunk_limit()
    }

    /// The largest payload of a chunk, for the ring and for the file.
    fn piece_limit(&self) -> usize {
        self.chunk_limit().min(SPILL_BUFFER - ring::HEADER)
    }

    /// Sends a small frame if that needs neither a wait nor the file. Most rows go this way. `None`: it was not
    /// sent.
    pub fn send_at_once(
        &mut self,
        kind: Kind,
        payload: &[u8],
        now: impl FnOnce() -> Micros,
    ) -> Option<Wake> {
        if self.torn || self.mode == Mode::File || self.shared.ring.is_discarded() {
            return None;
        }
        let ring = &mut self.ring;
        if payload.len() > ring.chunk_limit() {
            return None;
        }
        let wake = ring.try_write(kind, payload, false).ok()?;
        Some(wake.or_else(|| self.flush_if_prompt(now)))
    }

    /// Publishes what was written, if the reader sleeps and was not woken for [`PROMPT`].
    fn flush_if_prompt(&mut self, now: impl FnOnce() -> Micros) -> Wake {
        let ring = &mut self.ring;
        if !ring.is_awaited() {
            return None;
        }
        // The clock comes first: a wake-up in vain, after the reader has looked a second time, must not count
        // for what is written after it.
        let now = now();
        if now < self.woken_at + PROMPT || ring.is_taken() {
            return None;
        }
        self.woken_at = now;
        ring.flush()
    }

    /// Takes a message, without waiting or failing: into the ring if there is room, or into the buffer for the
    /// file. `None`: it was not taken.
    pub fn take_message(&mut self, kind: Kind, payload: &[u8]) -> Option<Wake> {
        if self.torn || payload.len() > self.chunk_limit() {
            return None;
        }
        if self.mode == Mode::Ring {
            let ring = &mut self.ring;
            ring.try_write(kind, payload, false).ok()?;
            return Some(ring.flush());
        }
        let fits = self.buffer.len() + ring::size_of_chunk(payload.len()) <= self.buffer.capacity();
        fits.then(|| {
            self.collect(kind, payload, false);
            None
        })
    }

    /// Sends a frame. `false`: it was dropped, because nobody will read it.
    pub fn send(&mut self, io: &mut impl SenderHost, kind: Kind, payload: &[u8]) -> bool {
        if self.torn {
            return false;
        }
        let limit = self.piece_limit();
        if payload.len() <= limit {
            return self.send_chunk(io, kind, payload, false);
        }
        // The pieces are smaller, so the reader takes one out while the next is written.
        let mut pieces = payload.chunks(limit / 2).peekable();
        while let Some(piece) = pieces.next() {
            if !self.send_chunk(io, kind, piece, pieces.peek().is_some()) {
                return false;
            }
        }
        true
    }

    fn send_chunk(
        &mut self,
        io: &mut impl SenderHost,
        kind: Kind,
        payload: &[u8],
        more: bool,
    ) -> bool {
        loop {
            if self.shared.ring.is_discarded() || io.is_unwanted() {
                self.drop_all(io);
                return false;
            }
            // A reader that takes a row now and then leaves as soon as it has one. It has waited for this frame
            // all the same.
            let awaited = self.is_reader_present();
            if self.mode == Mode::File && !self.return_to_ring(io) {
                self.torn = more;
                self.make_room(io, payload.len());
                self.collect(kind, payload, more);
                if awaited && !more {
                    self.write_out(io);
                }
                return true;
            }
            let written = self.ring.try_write(kind, payload, more);
            match written {
                Ok(wake) => {
                    self.torn = more;
                    let wake = wake.or_else(|| self.flush_if_prompt(|| io.latch().now()));
                    wake.into_iter().for_each(|reader| io.wake(reader));
                    return true;
                }
                Err(Full) => match self.wait_for_room(io, payload.len()) {
                    Waited::Room | Waited::Unwanted => {}
                    Waited::Absent => self.mode = Mode::File,
                },
            }
        }
    }

    /// Makes everything that was sent readable. Called before the job ends well. May unwind.
    pub fn finish(&mut self, io: &mut impl SenderHost) {
        self.write_out(io);
        self.flush().into_iter().for_each(|reader| io.wake(reader));
    }

    /// Makes readable what is in the ring.
    #[must_use]
    fn flush(&mut self) -> Wake {
        self.ring.flush()
    }

    /// The job has ended, well or not. Writes into the file what was sent and is still here (rows before an
    /// error, notices of the commit), and after it the messages of `messages` that the ring has no room for.
    /// `append` must neither wait nor unwind, and returns whether it has succeeded. What cannot be written is
    /// lost.
    #[must_use]
    pub fn end(
        &mut self,
        messages: impl Iterator<Item = (Kind, Vec<u8>)>,
        append: impl FnOnce(u64, &[u8]) -> bool,
    ) -> Wake {
        for (kind, payload) in messages {
            if self.torn || !self.add_last(kind, &payload) {
                break;
            }
        }
        let is_wanted = !self.buffer.is_empty() && !self.shared.ring.is_discarded();
        // Before the file, whose content is newer.
        let woken = self.flush();
        let reader = if is_wanted && append(self.written - self.base, &self.buffer) {
            self.publish_written()
        } else {
            None
        };
        woken.or(reader)
    }

    /// Adds a message at the end of the result. `false`: there is no memory for it.
    fn add_last(&mut self, kind: Kind, payload: &[u8]) -> bool {
        let limit = self.piece_limit();
        if self.mode == Mode::Ring {
            let ring = &mut self.ring;
            if payload.len() <= limit && ring.try_write(kind, payload, false).is_ok() {
                return true;
            }
            self.mode = Mode::File;
        }
        let mut pieces = payload.chunks(limit).peekable();
        while let Some(piece) = pieces.next() {
            let size = ring::size_of_chunk(piece.len());
            if memory::try_reserve(&mut self.buffer, size).is_err() {
                return false;
            }
            self.collect(kind, piece, pieces.peek().is_some());
        }
        true
    }

    fn drop_all(&mut self, io: &mut impl SenderHost) {
        if self.mode == Mode::File {
            self.mode = Mode::Ring;
            self.buffer = Vec::new();
            if self.written != self.base {
                io.empty();
            }
        }
    }

    fn wait_for_room(&mut self, io: &impl SenderHost, len: usize) -> Waited {
        let mut room = Room {
            io,
            len,
            armed: false,
            periodic: PeriodicCheck::new(io),
            sender: self,
        };
        let waited = wait_for(io.latch(), None, &mut room);
        self.ring.disarm();
        waited.expect("there is no deadline")
    }

    /// Returns to the ring if the reader has taken everything that was meant for the file, and has made room.
    /// If a reader is present, writes the file up to date and waits until the reader has taken it. `false`: the
    /// reader has not, and is not present.
    fn return_to_ring(&mut self, io: &mut impl SenderHost) -> bool {
        if !self.is_reader_present() {
            let limit = self.chunk_limit();
            let is_taken = self.buffer.is_empty() && self.has_caught_up();
            let caught_up = mutant!("channel-forgets-what-is-not-taken", is_taken => true);
            if !caught_up || !self.ring.has_room(limit) {
                return false;
            }
        } else {
            self.write_out(io);
            let mut caught_up = CaughtUp {
                io: &*io,
                periodic: PeriodicCheck::new(io),
                sender: self,
            };
            let settled = wait_for(io.latch(), None, &mut caught_up);
            self.ring.disarm();
            if settled != Some(true) {
                return false;
            }
        }
        if self.written != self.base {
            io.empty();
            self.base = self.written;
            self.shared.base.store(self.base, Ordering::Relaxed);
        }
        self.mode = Mode::Ring;
        true
    }

    fn make_room(&mut self, io: &mut impl SenderHost, len: usize) {
        let size = ring::size_of_chunk(len);
        if self.buffer.len() + size > SPILL_BUFFER {
            self.write_out(io);
        }
        if self.buffer.capacity() == 0
            && memory::try_reserve_exact(&mut self.buffer, SPILL_BUFFER).is_err()
        {
            io.out_of_memory();
        }
    }

    #[allow(clippy::disallowed_methods, reason = "callers have made the room")]
    fn collect(&mut self, kind: Kind, payload: &[u8], more: bool) {
        self.buffer
            .extend_from_slice(&ring::header(payload.len(), kind, more));
        self.buffer.extend_from_slice(payload);
        self.buffer
            .resize(self.buffer.len().next_multiple_of(ring::ALIGN), 0);
    }

    /// Appends the buffer to the file.
    fn write_out(&mut self, io: &mut impl SenderHost) {
        if self.buffer.is_empty() {
            return;
        }
        io.append(self.written - self.base, &self.buffer);
        let reader = self.publish_written();
        reader.into_iter().for_each(|reader| io.wake(reader));
    }

    /// The buffer's content is in the file now.
    fn publish_written(&mut self) -> Wake {
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.shared.written.store(
            self.written,
            weakened!("channel-written-relaxed", Ordering::Release),
        );
        self.ring.reader_now()
    }
}

/// What the reader finds next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// A chunk in the ring.
    Ring(Chunk),
    /// This many bytes of the file, from this offset on: whole chunks.
    File {
        /// Offset in the file.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// The reader's end.
pub struct ResultReceiver<'a, B> {
    shared: &'a ChannelShared,
    /// The ring.
    pub ring: Reader<'a, B>,
    /// Bytes consumed from the file; `shared.taken` may lag behind.
    taken: u64,
    /// `shared.taken`, which only this side writes.
    published: u64,
}

impl<'a, B: Buffer> ResultReceiver<'a, B> {
    /// The reader's end of a channel. There must be no other.
    pub fn new(shared: &'a ChannelShared, buffer: B) -> Self {
        let taken = shared.taken.load(Ordering::Acquire);
        Self {
            shared,
            ring: Reader::new(&shared.ring, buffer),
            taken,
            published: taken,
        }
    }

    /// What comes next. Does not consume it.
    pub fn peek(&mut self) -> Option<Front> {
        // In this order, see the module documentation.
        let look = || self.shared.written.load(Ordering::Acquire);
        let before = look();
        if let Some(chunk) = self.ring.peek() {
            return Some(Front::Ring(chunk));
        }
        let written = mutant!("channel-looks-at-the-ring-first", before => look());
        (written > self.taken).then(|| Front::File {
            offset: self.taken - self.shared.base.load(Ordering::Relaxed),
            len: written - self.taken,
        })
    }

    /// What comes next of the result of the job with this word. `Some(None)`: the result has ended. `None`: there is
    /// nothing yet.
    pub fn look(&mut self, word: &JobWord) -> Option<Option<Front>> {
        let is_finished = || word.load().phase().is_finished();
        mutant!("word-looked-at-after-the-ring" => {
            let front = self.peek();
            return front.map(Some).or_else(|| is_finished().then_some(None));
        });
        let is_finished = is_finished();
        match self.peek() {
            Some(front) => Some(Some(front)),
            None => is_finished.then_some(None),
        }
    }

    /// Consumes this many bytes of the file.
    pub fn take(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    /// Gives back to the worker what was consumed. Called before every sleep.
    #[must_use]
    pub fn give_back(&mut self) -> Wake {
        let wake = self.ring.give_back();
        if self.published == self.taken {
            return wake;
        }
        self.published = self.taken;
        self.shared.taken.store(self.taken, Ordering::Release);
        // Pairs with the fence of the worker's arming.
        self.ring.writer_now().or(wake)
    }

    /// The worker has to wait for this reader from now on. The reader then looks once more.
    pub fn enter(&self, own: ProcRef) {
        self.shared.present.store(own.to_bits(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker need not wait any more. Returns the worker if it sleeps.
    #[must_use]
    pub fn leave(&self) -> Wake {
        self.shared.present.store(0, Ordering::Relaxed);
        mutant!("channel-left-without-a-word" => return None);
        self.ring.writer_now()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
