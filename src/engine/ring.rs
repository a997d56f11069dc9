//! The result ring: frames of bytes from one worker to one reader.
//!
//! # Words
//!
//! * A **frame** is the unit of the two sides: a kind and any number of bytes. It travels as one or more
//!   **chunks**. Each chunk has an 8-byte header (payload length, kind, flags). It lies in the buffer in one
//!   piece, 8-byte aligned, so the reader can look at it in place. A chunk that does not fit before the end of
//!   the buffer is preceded by a *skip* chunk.
//! * `head` counts the bytes ever published, `tail` the bytes ever given back. Both only grow. The capacity is
//!   a power of two, and offsets are the counters modulo it.
//! * `frontier` counts the bytes ever written: `head`, and what the worker has not published yet. The buffer
//!   holds `frontier - tail` bytes.
//!
//! # Who may touch what
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `head` | the worker: `Release` after the bytes are in the buffer, for a batch of chunks at a time | the reader: `Acquire` |
//! | `frontier` | the worker: `Release` after the bytes are in the buffer, for each chunk | the reader, before it sleeps: `Acquire` |
//! | `tail` | the reader: `Release` after it has done with the bytes | the worker: `Acquire` |
//! | `reader` | the reader: its own process reference while it waits for bytes, else 0 | the worker |
//! | `writer` | the worker: its own process reference while it waits for room, else 0 | the reader |
//! | `discard` | the reader, once: nobody will read any more | the worker |
//! | bytes from `tail` to `frontier` | nobody | the reader |
//! | the other bytes | the worker | nobody |
//!
//! # Waking
//!
//! Both sides store, fence (sequentially consistent) and look. A waiter stores its process reference, fences,
//! and looks at the other side's counter. The other side stores its counter, fences, and looks for a waiter. At
//! least one of them sees the other. (Sequentially consistent *accesses* would do as well; the fences are what
//! the model can check.)
//!
//! Both sides publish in batches. So a small row costs neither a fence nor a cache line that moves between two
//! processors. The worker publishes when it has written a quarter of the buffer since it published last, or
//! when it calls [`Writer::flush`]. The reader does the same ([`Reader::give_back`]). Publishing wakes a
//! sleeping reader, and wakes a sleeping worker once half of the buffer is free.
//!
//! Before the worker sleeps, it publishes everything. Before the reader sleeps, it gives everything back and
//! looks at the `frontier`. So it does not sleep on rows that a worker has not published because it is busy
//! with something else. (That is why the frontier has its own cache line: a reader that is awake never touches
//! it.)
//!
//! # Ends
//!
//! The worker's end is in the job word: everything in the ring was written before the transition to a finished
//! phase. A worker that is interrupted in the middle of a frame never completes it. When the reader sees that
//! the job has finished, it drops a frame without its last chunk. A second read by the same session goes on at
//! `tail`. The reader before it must have stopped between two frames. It does, because it gives back a frame's
//! chunks only when it has the whole frame, or has started to assemble it; in the second case that frame is
//! lost.

use crate::process_ref::ProcRef;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Everything in the buffer is aligned to this many bytes.
pub const ALIGN: usize = 8;
/// Bytes of a chunk's header.
pub const HEADER: usize = 8;

/// The smallest buffer: room for two chunks of a useful size.
pub const MIN_CAPACITY: usize = 1024;

/// The part of the ring that both sides share, in the job's arena block. The buffer follows elsewhere.
#[repr(C, align(64))]
pub struct RingShared {
    frontier: AtomicU64,
    _frontier_line: [u64; 7],
    head: AtomicU64,
    reader: AtomicU64,
    _head_line: [u64; 6],
    tail: AtomicU64,
    writer: AtomicU64,
    discard: AtomicU32,
}

impl Default for RingShared {
    fn default() -> Self {
        Self {
            frontier: AtomicU64::new(0),
            _frontier_line: [0; 7],
            head: AtomicU64::new(0),
            reader: AtomicU64::new(0),
            _head_line: [0; 6],
            tail: AtomicU64::new(0),
            writer: AtomicU64::new(0),
            discard: AtomicU32::new(0),
        }
    }
}

impl RingShared {
    /// Nobody will read any more: what is written from now on is dropped. The caller has to wake a worker that
    /// waits for room.
    pub fn discard(&self) {
        mutant!("ring-discard-unsaid" => return);
        self.discard.store(1, Ordering::SeqCst);
    }

    /// What the reader has given back.
    pub(super) fn given_back(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    /// Whether rows are dropped.
    #[must_use]
    pub fn is_discarded(&self) -> bool {
        self.discard.load(Ordering::Relaxed) != 0
    }
}

/// The buffer, as memory. Ordinary builds point into the arena; the models use cells that detect a race.
pub trait Buffer {
    /// Its size in bytes: a power of two, at least [`MIN_CAPACITY`] outside the models.
    fn capacity(&self) -> usize;

    /// Copies `bytes` to `offset`. The range is inside the buffer, and by the ring's protocol the
    /// caller's alone.
    fn write(&self, offset: usize, bytes: &[u8]);

    /// Shows `look` the `len` bytes at `offset`. The range is inside the buffer, and by the ring's
    /// protocol nobody writes it meanwhile.
    fn read<R>(&self, offset: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R;
}

/// What a frame contains. The caller gives it a meaning.
pub type Kind = u8;

const SKIP: Kind = 0;
const MORE: u8 = 1;

/// The header of a chunk. `more`: the frame goes on.
pub(super) fn header(len: usize, kind: Kind, more: bool) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    bytes[4] = kind;
    bytes[5] = if more { MORE } else { 0 };
    bytes
}

/// What a header says: bytes of payload, kind, and whether the frame goes on.
#[must_use]
pub fn read_header(bytes: &[u8; HEADER]) -> (usize, Kind, bool) {
    let [a, b, c, d, kind, flags, ..] = *bytes;
    (
        u32::from_ne_bytes([a, b, c, d]) as usize,
        kind,
        flags & MORE != 0,
    )
}

/// Bytes that a chunk with this much payload takes, not counting a skip at the end of a buffer.
#[must_use]
pub fn size_of_chunk(len: usize) -> usize {
    HEADER + padded(len)
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// Whose latch to set; `None`: no process waits.
pub type Wake = Option<ProcRef>;

/// The worker's end. In a server it belongs to the [channel](crate::channel). Models and benchmarks of the ring
/// alone use it directly.
pub struct Writer<'a, B> {
    shared: &'a RingShared,
    buffer: B,
    /// `shared.frontier`, which only this side writes.
    frontier: u64,
    /// `shared.head`, which only this side writes. It may lag behind.
    published: u64,
    /// `shared.tail` when last looked at.
    tail: u64,
}

/// The ring has no room now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl<'a, B: Buffer> Writer<'a, B> {
    /// The worker's end of a ring. There must be no other writer.
    pub fn new(shared: &'a RingShared, buffer: B) -> Self {
        let head = shared.head.load(Ordering::Relaxed);
        let tail = shared.tail.load(Ordering::Acquire);
        Self {
            shared,
            buffer,
            frontier: head,
            published: head,
            tail,
        }
    }

    /// How many bytes of payload one chunk can carry: less than half of the buffer, so a skip and a chunk
    /// always fit when the reader has caught up.
    #[must_use]
    pub(crate) fn chunk_limit(&self) -> usize {
        self.buffer.capacity() / 2 - HEADER
    }

    /// Bytes to skip before a chunk with this much payload, and bytes that the chunk takes.
    fn extent(&self, len: usize) -> (usize, usize) {
        let capacity = self.buffer.capacity();
        let size = size_of_chunk(len);
        let offset = self.frontier as usize & (capacity - 1);
        if offset + size > capacity {
            (capacity - offset, size)
        } else {
            (0, size)
        }
    }

    /// Whether a chunk with this much payload can be written now.
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        let (skip, size) = self.extent(len);
        self.room(skip + size)
    }

    /// Whether the reader waits, as far as one can see without a fence.
    #[must_use]
    pub(crate) fn is_awaited(&self) -> bool {
        self.shared.reader.load(Ordering::Relaxed) != 0
    }

    /// Whether the reader has given back everything that was written, as far as one can see without a fence.
    #[must_use]
    pub(crate) fn is_taken(&self) -> bool {
        self.shared.tail.load(Ordering::Relaxed) == self.frontier
    }

    fn room(&mut self, need: usize) -> bool {
        let capacity = self.buffer.capacity() as u64;
        if self.frontier + need as u64 - self.tail <= capacity {
            return true;
        }
        self.tail = self.shared.tail.load(Ordering::Acquire);
        self.frontier + need as u64 - self.tail <= capacity
    }

    /// Writes one chunk: `payload` of at most [`chunk_limit`](Self::chunk_limit) bytes. `more`: the frame
    /// goes on. Nothing is written when it returns [`Full`].
    ///
    /// # Errors
    /// [`Full`] when there is no room now.
    ///
    /// # Panics
    /// When `kind` is 0 or the payload is too long.
    pub fn try_write(&mut self, kind: Kind, payload: &[u8], more: bool) -> Result<Wake, Full> {
        assert!(kind != SKIP && payload.len() <= self.chunk_limit());
        let capacity = self.buffer.capacity();
        let (skip, size) = self.extent(payload.len());
        let need = mutant!("ring-forgets-the-skip", skip + size => size);
        if !self.room(need) {
            return Err(Full);
        }
        let mut at = self.frontier as usize & (capacity - 1);
        if skip > 0 {
            self.buffer.write(at, &header(skip - HEADER, SKIP, false));
            at = 0;
        }
        self.buffer.write(at, &header(payload.len(), kind, more));
        self.buffer.write(at + HEADER, payload);
        self.frontier += (skip + size) as u64;
        self.shared.frontier.store(
            self.frontier,
            weakened!("ring-frontier-relaxed", Ordering::Release),
        );
        let unpublished = self.frontier - self.published;
        Ok(if unpublished >= capacity as u64 / 4 {
            self.flush()
        } else {
            None
        })
    }

    /// Publishes what was written. Returns the reader, if it waits.
    #[must_use]
    pub fn flush(&mut self) -> Wake {
        if self.published != self.frontier {
            self.published = self.frontier;
            self.shared.head.store(
                self.frontier,
                weakened!("ring-head-relaxed", Ordering::Release),
            );
        }
        self.reader_now()
    }

    /// The reader, if it waits. Called after something was published for it.
    #[must_use]
    pub(crate) fn reader_now(&self) -> Wake {
        // Pairs with the fence in `Reader::arm`: what was published comes before our look for the reader.
        fenced!("ring-flush-without-fence", Ordering::SeqCst);
        ProcRef::from_bits(self.shared.reader.load(Ordering::Relaxed))
    }

    /// Says that the worker waits for room. The worker then tries once more before it sleeps.
    pub fn arm(&self, own: ProcRef) {
        self.shared.writer.store(own.to_bits(), Ordering::Relaxed);
        // Pairs with the fence in `Reader::give_back`: our process reference comes before our look at the tail.
        fence(Ordering::SeqCst);
    }

    /// The worker no longer waits.
    pub fn disarm(&self) {
        self.shared.writer.store(0, Ordering::Relaxed);
    }
}

/// A chunk at the front of the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// What the frame contains.
    pub kind: Kind,
    /// Whether the frame goes on after this chunk.
    pub more: bool,
    /// Bytes of payload.
    pub len: usize,
    offset: usize,
}

/// The reader's end.
pub struct Reader<'a, B> {
    shared: &'a RingShared,
    buffer: B,
    /// Bytes consumed; `shared.tail` may lag behind.
    tail: u64,
    /// `shared.tail`, which only this side writes.
    published: u64,
    /// What may be read, at the last look: `shared.head`, or the frontier.
    head: u64,
}

impl<'a, B: Buffer> Reader<'a, B> {
    /// The reader's end of a ring. There must be no other reader.
    pub fn new(shared: &'a RingShared, buffer: B) -> Self {
        let begin = mutant!("ring-reader-begins-at-the-head", &shared.tail => &shared.head);
        let tail = begin.load(Ordering::Acquire);
        Self {
            shared,
            buffer,
            tail,
            published: tail,
            head: tail,
        }
    }

    /// The chunk at the front. Does not consume it.
    pub fn peek(&mut self) -> Option<Chunk> {
        loop {
            if self.head == self.tail {
                // Less may be published than was taken at the frontier.
                self.head = self.head.max(self.shared.head.load(Ordering::Acquire));
                if self.head == self.tail {
                    return None;
                }
            }
            let offset = self.tail as usize & (self.buffer.capacity() - 1);
            let (len, kind, more) = self.buffer.read(offset, HEADER, |bytes| {
                read_header(bytes.try_into().expect("the bytes of a header"))
            });
            if kind != SKIP {
                return Some(Chunk {
                    kind,
                    more,
                    len,
                    offset: offset + HEADER,
                });
            }
            self.tail += (HEADER + padded(len)) as u64;
        }
    }

    /// Shows `look` the payload of the chunk that [`peek`](Self::peek) returned last.
    pub fn payload<R>(&self, chunk: Chunk, look: impl FnOnce(&[u8]) -> R) -> R {
        self.buffer.read(chunk.offset, chunk.len, look)
    }

    /// Passes that chunk. It stays in the buffer until [`catch_up`](Self::catch_up) or
    /// [`give_back`](Self::give_back).
    pub fn pass(&mut self, chunk: Chunk) {
        self.tail += (HEADER + padded(chunk.len)) as u64;
    }

    /// Consumes that chunk. Returns the worker if it waits and has enough room now.
    #[must_use]
    pub fn consume(&mut self, chunk: Chunk) -> Wake {
        self.pass(chunk);
        self.catch_up()
    }

    /// Gives back what was passed, if it is much.
    #[must_use]
    pub fn catch_up(&mut self) -> Wake {
        if self.tail - self.published >= self.buffer.capacity() as u64 / 4 {
            self.give_back()
        } else {
            None
        }
    }

    /// Gives the consumed bytes back to the worker. Called before every sleep.
    #[must_use]
    pub fn give_back(&mut self) -> Wake {
        if self.published == self.tail {
            return None;
        }
        self.published = self.tail;
        self.shared
            .tail
            .store(self.tail, weakened!("ring-tail-relaxed", Ordering::Release));
        let writer = self.writer_now()?;
        let held = (self.shared.head.load(Ordering::Relaxed)).saturating_sub(self.tail);
        (held <= self.buffer.capacity() as u64 / 2).then_some(writer)
    }

    /// The worker, if it waits. Called after something was published for it.
    #[must_use]
    pub(crate) fn writer_now(&self) -> Wake {
        // Pairs with the fence in `Writer::arm`: what was published comes before our look for the worker.
        fence(Ordering::SeqCst);
        ProcRef::from_bits(self.shared.writer.load(Ordering::Relaxed))
    }

    /// Says that the reader waits for bytes. The reader then peeks once more before it sleeps, and also finds
    /// bytes that were written and not published.
    pub fn arm(&mut self, own: ProcRef) {
        self.shared.reader.store(own.to_bits(), Ordering::Relaxed);
        // Pairs with the fence in `Writer::reader_now`: our process reference comes before our look at the
        // head.
        fenced!("ring-reader-arms-without-fence", Ordering::SeqCst);
        mutant!("ring-reader-sleeps-before-the-frontier" => return);
        self.head = self.shared.frontier.load(Ordering::Acquire);
    }

    /// The reader no longer waits.
    pub fn disarm(&self) {
        self.shared.reader.store(0, Ordering::Relaxed);
    }
}

/// A buffer in mapped memory.
#[cfg(not(loom))]
#[derive(Clone, Copy)]
pub struct MappedBuffer {
    start: *mut u8,
    capacity: usize,
}

#[cfg(not(loom))]
impl MappedBuffer {
    /// The buffer of `capacity` bytes at `start`.
    ///
    /// # Safety
    /// The memory must stay mapped as long as this value is used, be aligned to [`ALIGN`], and be written
    /// only through the writer and read only through the reader of one ring.
    ///
    /// # Panics
    /// When the capacity is not a power of two.
    #[must_use]
    pub unsafe fn new(start: *mut u8, capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Self { start, capacity }
    }
}

#[cfg(not(loom))]
impl Buffer for MappedBuffer {
    fn capacity(&self) -> usize {
        self.capacity
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.capacity);
        // SAFETY: the range was checked; `new`'s contract keeps it mapped, and the ring's counters keep
        // the reader out of what has not been published.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len());
        }
    }

    fn read<R>(&self, offset: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        assert!(offset + len <= self.capacity);
        // SAFETY: the range was checked; `new`'s contract keeps it mapped, and the ring's counters keep
        // the writer out of what has not been given back.
        look(unsafe { std::slice::from_raw_parts(self.start.add(offset), len) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::mem::MaybeUninit;

    /// Never written: Miri and memcheck notice a read of bytes that were not written.
    fn memory(capacity: usize) -> Box<[MaybeUninit<u64>]> {
        Box::new_uninit_slice(capacity / ALIGN)
    }

    fn buffer(memory: &mut [MaybeUninit<u64>]) -> MappedBuffer {
        let capacity = memory.len() * ALIGN;
        // SAFETY: the memory outlives the buffer in every test, and is used through it alone.
        unsafe { MappedBuffer::new(memory.as_mut_ptr().cast(), capacity) }
    }

    fn read_one(reader: &mut Reader<'_, MappedBuffer>) -> Option<(Kind, bool, Vec<u8>)> {
        let chunk = reader.peek()?;
        let bytes = reader.payload(chunk, <[u8]>::to_vec);
        let _ = reader.consume(chunk);
        Some((chunk.kind, chunk.more, bytes))
    }

    #[test]
    fn a_full_ring_takes_nothing_and_loses_nothing() {
        let (shared, mut memory) = (RingShared::default(), memory(64));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let mut written = 0;
        while writer.try_write(1, &[written; 8], false).is_ok() {
            written += 1;
        }
        assert_eq!(written, 4);
        let _ = writer.flush();
        for expected in 0..written {
            assert_eq!(read_one(&mut reader), Some((1, false, vec![expected; 8])));
        }
        assert_eq!(read_one(&mut reader), None);
        let _ = reader.give_back();
        assert!(writer.try_write(1, &[9; 8], false).is_ok());
    }

    #[test]
    fn the_largest_chunk_fits_at_any_offset_of_an_empty_ring() {
        let (shared, mut memory) = (RingShared::default(), memory(64));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let limit = writer.chunk_limit();
        for round in 0..20_u8 {
            let small = usize::from(round % 3) * 8;
            for len in [small, limit] {
                let bytes = vec![round; len];
                assert!(writer.try_write(2, &bytes, false).is_ok(), "round {round}");
                let _ = writer.flush();
                assert_eq!(read_one(&mut reader), Some((2, false, bytes)));
                let _ = reader.give_back();
            }
        }
    }

    #[test]
    fn a_waiting_reader_is_woken_at_a_quarter_and_by_flush() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let own = ProcRef::new(3, 4);
        reader.arm(own);
        assert_eq!(writer.try_write(1, &[0; 8], false), Ok(None));
        assert_eq!(writer.flush(), Some(own));
        assert_eq!(writer.try_write(1, &[0; 120], false), Ok(None));
        assert_eq!(writer.try_write(1, &[0; 120], false), Ok(Some(own)));
        reader.disarm();
        assert_eq!(writer.flush(), None);
    }

    #[test]
    fn what_is_written_is_published_by_the_quarter() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let published = [(); 8].map(|()| {
            assert!(writer.try_write(1, &[7; 128 - HEADER], false).is_ok());
            while read_one(&mut reader).is_some() {}
            shared.head.load(Ordering::Relaxed)
        });
        assert_eq!(published, [0, 256, 256, 512, 512, 768, 768, 1024]);
    }

    #[test]
    fn each_side_sees_whether_the_other_waits() {
        let (shared, mut memory) = (RingShared::default(), memory(64));
        let buffer = buffer(&mut memory);
        let writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let [worker, leader] = [4, 5].map(|pid| ProcRef::new(3, pid));
        let waits = |reader: &Reader<'_, MappedBuffer>| {
            assert_eq!(writer.is_awaited(), writer.reader_now().is_some());
            (reader.writer_now(), writer.reader_now())
        };
        assert_eq!(waits(&reader), (None, None));
        writer.arm(worker);
        reader.arm(leader);
        assert_eq!(waits(&reader), (Some(worker), Some(leader)));
        writer.disarm();
        reader.disarm();
        assert_eq!(waits(&reader), (None, None));
    }

    #[test]
    fn what_is_consumed_is_given_back_by_the_quarter() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let given_back = [(); 8].map(|()| {
            assert!(writer.try_write(1, &[7; 128 - HEADER], false).is_ok());
            let _ = writer.flush();
            assert!(read_one(&mut reader).is_some());
            shared.given_back()
        });
        assert_eq!(given_back, [0, 256, 256, 512, 512, 768, 768, 1024]);
    }

    #[test]
    fn a_waiting_writer_is_woken_when_half_of_the_ring_is_free() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        let own = ProcRef::new(3, 4);
        while writer.try_write(1, &[7; 128 - HEADER], false).is_ok() {}
        writer.arm(own);
        let _ = writer.flush();
        let woken = [(); 5].map(|()| {
            let chunk = reader.peek().expect("there are eight");
            reader.pass(chunk);
            reader.give_back()
        });
        assert_eq!(woken, [None, None, None, Some(own), Some(own)]);
    }

    #[test]
    fn a_reader_that_is_about_to_sleep_sees_what_is_not_published() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        let mut reader = Reader::new(&shared, buffer);
        assert_eq!(writer.try_write(1, &[1], false), Ok(None));
        assert_eq!(writer.try_write(1, &[2], false), Ok(None));
        assert_eq!(read_one(&mut reader), None);
        reader.arm(ProcRef::new(3, 4));
        assert_eq!(read_one(&mut reader).unwrap().2, [1]);
        // It stops ahead of what is published, and so does the next one.
        assert_eq!(reader.give_back(), None);
        let mut second = Reader::new(&shared, buffer);
        assert_eq!(read_one(&mut second), None);
        second.arm(ProcRef::new(3, 5));
        assert_eq!(read_one(&mut second).unwrap().2, [2]);
        assert_eq!(second.give_back(), None);
        assert_eq!(writer.try_write(1, &[3], false), Ok(None));
        let _ = writer.flush();
        assert_eq!(read_one(&mut second).unwrap().2, [3]);
    }

    #[test]
    fn a_reader_that_takes_over_goes_on_where_the_last_stopped() {
        let (shared, mut memory) = (RingShared::default(), memory(1024));
        let buffer = buffer(&mut memory);
        let mut writer = Writer::new(&shared, buffer);
        for number in 0..5_u8 {
            let _ = writer.try_write(1, &[number], false);
        }
        let _ = writer.flush();
        let mut first = Reader::new(&shared, buffer);
        assert_eq!(read_one(&mut first).unwrap().2, [0]);
        assert_eq!(read_one(&mut first).unwrap().2, [1]);
        let _ = first.give_back();
        let mut second = Reader::new(&shared, buffer);
        assert_eq!(read_one(&mut second).unwrap().2, [2]);
    }

    proptest! {
        /// Against a queue: what is written comes out, in order, for all sizes and interleavings.
        #[test]
        fn frames_come_out_as_they_went_in(
            steps in proptest::collection::vec((any::<bool>(), 0..57_usize, any::<u8>(), any::<bool>()), 1..400)
        ) {
            let (shared, mut memory) = (RingShared::default(), memory(128));
            let buffer = buffer(&mut memory);
            let mut writer = Writer::new(&shared, buffer);
            let mut reader = Reader::new(&shared, buffer);
            let mut model = VecDeque::new();
            for (write, len, fill, more) in steps {
                if write {
                    let bytes = vec![fill; len.min(writer.chunk_limit())];
                    if writer.try_write(1, &bytes, more).is_ok() {
                        model.push_back((1, more, bytes));
                    } else {
                        prop_assert!(!model.is_empty() || reader.published != reader.tail);
                    }
                } else {
                    let _ = writer.flush();
                    prop_assert_eq!(read_one(&mut reader), model.pop_front());
                    if more {
                        let _ = reader.give_back();
                    }
                }
            }
        }
    }
}
