//! The result ring: no frame lost or torn, no wake-up lost, no byte touched by both sides.
//!
//! The server never reads a ring alone: it looks through the channel, whose model runs the server's own look
//! (`ResultReceiver::look`). What looks at the word here before it looks at the ring is the model's.
#![cfg(loom)]

use engine::job::{Begin, End, Generation, JobWord, Release};
use engine::models::Transitions as _;
use engine::ring::{Chunk, Reader, Wake, Writer};
use engine::wait::{Condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::bound::{checked, unbounded};
use loom_tests::memory::process;
use loom_tests::ring::{Cells, Ring};

const WRITER: u32 = 0;
const READER: u32 = 1;
const SECOND_READER: u32 = 2;

fn wake(ring: &Ring, whom: Wake) {
    if let Some(proc) = whom {
        ring.latches[proc.procno() as usize].set();
    }
}

/// Two chunks of this payload and their headers fill a ring of four units.
const SHORT: usize = 8;
/// Four units with its header. After a short frame, a second one does not fit before the end of a ring of
/// eight.
const LONG: usize = 24;

/// A writer that waits for room.
struct Sending<'a, 'b> {
    ring: &'a Ring,
    writer: &'a mut Writer<'b, Cells>,
    payload: &'a [u8],
}

impl Condition for Sending<'_, '_> {
    type Found = bool;

    fn arm(&mut self) {
        self.writer.arm(process(WRITER));
        wake(self.ring, self.writer.flush());
    }

    fn look(&mut self) -> Option<bool> {
        if self.ring.shared.is_discarded() {
            return Some(false);
        }
        let whom = self.writer.try_write(1, self.payload, false).ok()?;
        wake(self.ring, whom);
        Some(true)
    }
}

/// Sends one frame of one chunk, and waits for room. `false`: nobody will read.
fn send(ring: &Ring, writer: &mut Writer<'_, Cells>, number: u8, len: usize) -> bool {
    let mut sending = Sending {
        ring,
        writer,
        payload: &vec![number; len],
    };
    let sent = wait_for(&ring.latches[WRITER as usize], None, &mut sending);
    writer.disarm();
    sent.expect("there is no deadline")
}

/// A reader that waits for a frame.
struct Taking<'a, 'b, F> {
    reader: &'a mut Reader<'b, Cells>,
    own: u32,
    open: F,
}

impl<F: Fn() -> bool> Condition for Taking<'_, '_, F> {
    type Found = Option<Chunk>;

    fn arm(&mut self) {
        self.reader.arm(process(self.own));
    }

    fn look(&mut self) -> Option<Option<Chunk>> {
        // First whether more can come: if not, everything is in the ring.
        let open = (self.open)();
        match self.reader.peek() {
            Some(chunk) => Some(Some(chunk)),
            None => (!open).then_some(None),
        }
    }
}

/// Takes one frame. Waits for it while `open` says that more can come.
fn take(
    ring: &Ring,
    reader: &mut Reader<'_, Cells>,
    own: u32,
    open: impl Fn() -> bool,
) -> Option<u8> {
    wake(ring, reader.give_back());
    let mut taking = Taking { reader, own, open };
    let found = wait_for(&ring.latches[own as usize], None, &mut taking);
    reader.disarm();
    let chunk = found.expect("there is no deadline")?;
    let number = reader.payload(chunk, |bytes| {
        assert!(
            bytes.iter().all(|byte| *byte == bytes[0]),
            "torn: {bytes:?}"
        );
        bytes[0]
    });
    wake(ring, reader.consume(chunk));
    Some(number)
}

/// One frame of each of these lengths, the first with number 0.
fn pass(units: usize, frames: &'static [usize]) {
    let ring = Ring::new(units);
    let worker = {
        let ring = ring.clone();
        thread::spawn(move || {
            let mut writer = Writer::new(&ring.shared, ring.cells.clone());
            for (number, &len) in (0..).zip(frames) {
                assert!(send(&ring, &mut writer, number, len));
            }
            wake(&ring, writer.flush());
        })
    };
    let mut reader = Reader::new(&ring.shared, ring.cells.clone());
    for expected in 0..frames.len() as u8 {
        assert_eq!(take(&ring, &mut reader, READER, || true), Some(expected));
    }
    worker.join().unwrap();
}

/// More frames than the ring has room for, at every offset. The worker waits for room, the reader for frames,
/// and the buffer is used again. The counters are published after the bytes were written (worker) or read
/// (reader). Each waiter stores its process reference, fences, and looks again. Each publisher fences and looks
/// for a waiter. A lost wake-up would be a deadlock; a byte used by both sides would fail its cell.
///
/// Two threads, at most four preemptions; a ring of two frames, three frames: the buffer is used again once, and so
/// each side waits for the other once. A ring has one writer and one reader. Four preemptions: both are interrupted
/// between store and look, in both directions.
#[test]
fn frames_pass_a_ring_that_is_too_small_for_them() {
    checked(4, || pass(4, &[SHORT; 3]));
}

/// The same with frames that do not divide the buffer. One does not fit before its end, so the worker skips the
/// rest. The skip and the frame are published together. A worker that waits for room for both may find the
/// reader asleep with less than a quarter to read: it wakes the reader before it sleeps.
///
/// Two threads, at most three preemptions; a ring of eight units, three frames of two and four: one skip, and one
/// wait for it. Three preemptions: the worker before and after the skip, and the reader.
#[test]
fn a_frame_that_does_not_fit_before_the_end_goes_to_the_beginning() {
    checked(3, || pass(8, &[SHORT, LONG, LONG]));
}

/// The worker writes its last frame and finishes the job. The reader waits for a frame or the end. It looks at
/// the word before it looks at the ring. So when it has seen the end, everything is in the ring.
///
/// Two threads, at most four preemptions; one frame. Each of the two transitions, the frame's and the job's, meets
/// the reader between its store and its look, and after it.
#[test]
fn a_worker_that_is_gone_has_left_everything_in_the_ring() {
    checked(4, || {
        let ring = Ring::new(4);
        let word = Arc::new(JobWord::new());
        let generation = running(&word);
        let worker = {
            let (ring, word) = (ring.clone(), word.clone());
            thread::spawn(move || {
                let mut writer = Writer::new(&ring.shared, ring.cells.clone());
                assert!(send(&ring, &mut writer, 7, SHORT));
                let end = word.finish(generation, End::Completed);
                if end == (Release::Held { watched: true }) {
                    ring.latches[READER as usize].set();
                }
            })
        };
        let mut reader = Reader::new(&ring.shared, ring.cells.clone());
        let open = || !watch(&word, generation);
        assert_eq!(take(&ring, &mut reader, READER, open), Some(7));
        assert_eq!(take(&ring, &mut reader, READER, open), None);
        worker.join().unwrap();
    });
}

fn running(word: &JobWord) -> Generation {
    let generation = word.reserve();
    word.publish(generation);
    let _ = word.bind(generation);
    assert_eq!(word.begin(generation), Begin::Running { watched: false });
    generation
}

/// Sets WATCHED. Returns whether the job had finished.
fn watch(word: &JobWord, generation: Generation) -> bool {
    let now = word.watch(generation).expect("our generation");
    now.phase().is_finished()
}

/// The reader gives up while the worker waits for room (or is about to): it says so, then wakes the worker. The
/// worker looks again after arming. So it sees that nobody reads, or is woken, and drops the rest.
///
/// Two threads, unbounded; the ring is full after two frames. The worker waits once: after that it does not write
/// any more.
#[test]
fn a_reader_that_is_gone_does_not_hold_the_worker() {
    unbounded(|| {
        let ring = Ring::new(4);
        let worker = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut writer = Writer::new(&ring.shared, ring.cells.clone());
                (0..3).all(|number| send(&ring, &mut writer, number, SHORT))
            })
        };
        ring.shared.discard();
        ring.latches[WRITER as usize].set();
        let all = worker.join().unwrap();
        assert!(!all, "there was no room for the third");
    });
}

/// The worker writes two frames, too small to be published, and turns to something else. A reader that goes to
/// sleep looks at the frontier. It sees a frame whole or not at all, as soon as the worker has written it.
///
/// Two threads, unbounded; a ring of sixteen frames, two frames: none, one, or both are seen.
#[test]
fn what_is_not_published_is_seen_by_a_reader_that_goes_to_sleep() {
    unbounded(|| {
        let ring = Ring::new(32);
        let worker = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut writer = Writer::new(&ring.shared, ring.cells.clone());
                for number in 0..2 {
                    let wake = writer.try_write(1, &[number; SHORT], false);
                    assert_eq!(wake, Ok(None), "published");
                }
            })
        };
        let mut reader = Reader::new(&ring.shared, ring.cells.clone());
        let mut seen = 0;
        let mut look = || {
            reader.arm(process(READER));
            while let Some(chunk) = reader.peek() {
                reader.payload(chunk, |bytes| assert_eq!(bytes, [seen; SHORT]));
                let _ = reader.consume(chunk);
                seen += 1;
            }
            seen
        };
        look();
        worker.join().unwrap();
        assert_eq!(look(), 2);
    });
}

/// A reader takes a frame, gives it back and stops. Another reader goes on where it stopped, at the published
/// `tail`, while the worker writes.
///
/// Three threads, of which the readers follow each other; at most three preemptions: one for each. A third reader
/// begins at the published `tail`, as the second does.
#[test]
fn a_reader_that_takes_over_sees_the_next_frame() {
    checked(3, || {
        let ring = Ring::new(4);
        let worker = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut writer = Writer::new(&ring.shared, ring.cells.clone());
                for number in 0..3 {
                    assert!(send(&ring, &mut writer, number, SHORT));
                }
                wake(&ring, writer.flush());
            })
        };
        let first = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut reader = Reader::new(&ring.shared, ring.cells.clone());
                assert_eq!(take(&ring, &mut reader, READER, || true), Some(0));
                wake(&ring, reader.give_back());
            })
        };
        first.join().unwrap();
        let mut reader = Reader::new(&ring.shared, ring.cells.clone());
        for expected in 1..3 {
            assert_eq!(
                take(&ring, &mut reader, SECOND_READER, || true),
                Some(expected)
            );
        }
        worker.join().unwrap();
    });
}
