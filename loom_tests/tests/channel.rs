//! The ring and the file: whenever readers come and go, every frame arrives once, in order, and nobody sleeps
//! forever.
#![cfg(loom)]

use engine::channel::{Front, ResultReceiver, ResultSender};
use engine::job::{Begin, End, Generation, JobWord, Release};
use engine::models::Transitions as _;
use engine::ring::{Buffer, HEADER, read_header, size_of_chunk};
use engine::wait::{Condition, wait_for};
use loom::sync::Arc;
use loom::thread;
use loom_tests::bound::checked;
use loom_tests::channel::{Channel, READER, Worker};
use loom_tests::memory::process;
use loom_tests::ring::Cells;

/// Two chunks of this payload and their headers fill a ring of four units.
const SHORT: usize = 8;

/// A running job, and its leader's hold.
fn running(word: &JobWord) -> Generation {
    let generation = word.reserve();
    word.publish(generation);
    let _ = word.bind(generation);
    assert_eq!(word.begin(generation), Begin::Running { watched: false });
    generation
}

/// The worker: sends this many frames and finishes the job.
fn work(channel: &Arc<Channel>, word: &JobWord, generation: Generation, frames: u8) {
    let mut io = Worker {
        channel: channel.clone(),
        len: 0,
    };
    let mut sender = ResultSender::new(&channel.shared, channel.cells.clone());
    for number in 0..frames {
        assert!(sender.send(&mut io, 1, &[number; SHORT]));
    }
    sender.finish(&mut io);
    if word.finish(generation, End::Completed) == (Release::Held { watched: true }) {
        channel.latches[READER as usize].set();
    }
}

struct Reader<'a> {
    channel: &'a Channel,
    word: &'a JobWord,
    generation: Generation,
    receiver: ResultReceiver<'a, Cells>,
    whole: bool,
}

impl Reader<'_> {
    /// Takes one frame, and waits for it. `None`: the job has finished and there is no other frame.
    fn take(&mut self) -> Option<u8> {
        let front = match self.receiver.peek() {
            Some(front) => front,
            None => {
                self.channel.wake(self.receiver.give_back());
                self.wait()?
            }
        };
        Some(match front {
            Front::Ring(chunk) => {
                let number = self.receiver.ring.payload(chunk, number);
                let wake = self.receiver.ring.consume(chunk);
                self.channel.wake(wake);
                number
            }
            Front::File { offset, len } => {
                let at = offset as usize;
                let file = &self.channel.file;
                let (payload, _, more) = file.read(at, HEADER, |bytes| {
                    read_header(bytes.try_into().expect("a header"))
                });
                assert!(!more && size_of_chunk(payload) as u64 <= len);
                let number = file.read(at + HEADER, payload, number);
                self.receiver.take(size_of_chunk(payload) as u64);
                if size_of_chunk(payload) as u64 == len {
                    self.channel.wake(self.receiver.give_back());
                }
                number
            }
        })
    }

    fn wait(&mut self) -> Option<Front> {
        let channel = self.channel;
        let found = wait_for(&channel.latches[READER as usize], None, self);
        self.receiver.ring.disarm();
        if !self.whole {
            channel.wake(self.receiver.leave());
        }
        found.expect("there is no deadline")
    }
}

impl Condition for Reader<'_> {
    /// `None`: there is no more.
    type Found = Option<Front>;

    fn arm(&mut self) {
        let _ = self.word.watch(self.generation);
        if !self.whole {
            self.receiver.enter(process(READER));
        }
        self.receiver.ring.arm(process(READER));
    }

    fn look(&mut self) -> Option<Option<Front>> {
        self.receiver.look(self.word)
    }
}

fn number(bytes: &[u8]) -> u8 {
    assert!(
        bytes.iter().all(|byte| *byte == bytes[0]),
        "torn: {bytes:?}"
    );
    bytes[0]
}

/// `pause`: the reader stops after this many frames, and another reader takes over.
fn pass(frames: u8, whole: bool, pause: Option<u8>) {
    let channel = Channel::new(4, 16);
    let word = Arc::new(JobWord::new());
    let generation = running(&word);
    let worker = {
        let (channel, word) = (channel.clone(), word.clone());
        thread::spawn(move || work(&channel, &word, generation, frames))
    };
    let begin = || {
        let receiver = ResultReceiver::new(&channel.shared, channel.cells.clone());
        if whole {
            receiver.enter(process(READER));
        }
        Reader {
            channel: &channel,
            word: &word,
            generation,
            receiver,
            whole,
        }
    };
    let mut next = 0;
    if let Some(pause) = pause {
        let mut reader = begin();
        while next < pause {
            assert_eq!(reader.take(), Some(next));
            next += 1;
        }
        channel.wake(reader.receiver.give_back());
        channel.wake(reader.receiver.leave());
    }
    let mut reader = begin();
    while next < frames {
        assert_eq!(reader.take(), Some(next));
        next += 1;
    }
    assert_eq!(reader.take(), None);
    channel.wake(reader.receiver.leave());
    worker.join().unwrap();
}

/// Nobody reads, so the worker finishes without waiting. The reader comes afterwards, or in the middle.
///
/// Two threads, at most three preemptions; a ring of two frames, four frames: two in the ring, and two in the file.
/// A channel has one sender and one reader.
#[test]
fn a_reader_that_takes_everything_finds_everything() {
    checked(3, || pass(4, true, None));
}

/// A reader that is present only while it waits. The worker spills as soon as the ring is full, and returns to
/// the ring when the file is taken.
///
/// Two threads, at most two preemptions; a ring of two frames, five frames: two in the ring, two in the file, and
/// one after the return to the ring. Two preemptions: the worker's spill, and the reader's return.
#[test]
fn a_reader_that_takes_a_row_now_and_then_finds_everything() {
    checked(2, || pass(5, false, None));
}

/// A reader goes away in the middle, whatever the worker is doing then, and comes back.
///
/// Two threads, at most two preemptions; a ring of two frames, five frames. The reader goes away once, wherever the
/// worker is (one preemption), and comes back wherever it is (the other one).
#[test]
fn a_reader_that_comes_back_goes_on_where_it_was() {
    checked(2, || pass(5, true, Some(1)));
    checked(2, || pass(5, false, Some(2)));
}

/// A reader goes away for good in the middle, while the worker waits for it or is about to. The worker is told,
/// and finishes without a reader.
///
/// Two threads, at most three preemptions; a ring of two frames, five frames: the worker waits once, and is told.
#[test]
fn a_worker_whose_reader_left_for_good_finishes() {
    checked(3, || {
        let channel = Channel::new(4, 16);
        let word = Arc::new(JobWord::new());
        let generation = running(&word);
        let worker = {
            let (channel, word) = (channel.clone(), word.clone());
            thread::spawn(move || work(&channel, &word, generation, 5))
        };
        let receiver = ResultReceiver::new(&channel.shared, channel.cells.clone());
        receiver.enter(process(READER));
        channel.wake(receiver.leave());
        worker.join().unwrap();
    });
}

/// The file is used again from its beginning after all of it was taken. What the reader has not taken is not
/// overwritten. The reader takes three frames, goes away, and comes back for the rest.
///
/// Two threads, at most two preemptions; a ring of two frames, six frames: two in the ring, two in the file, and two more
/// for which it may be used again. The worker is interrupted before it begins the file again, and the reader before it has
/// taken the last of it, or the other way round.
#[test]
fn a_file_that_is_used_again_has_been_taken() {
    checked(2, || pass(6, false, Some(3)));
    checked(2, || pass(6, false, None));
}
