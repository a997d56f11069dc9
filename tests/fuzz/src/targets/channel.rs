//! The channel against a queue: every frame comes out as it went in, in order, whatever the two sides do.
//!
//! While the worker sleeps, the reader takes a step; the worker must not sleep when there is nothing that the reader
//! could do. The file can fail. The job then ends, and what was sent before that is read.

use super::{Memory, content};
use arbitrary::{Arbitrary, Unstructured};
use engine::channel::{ChannelShared, Front, ResultReceiver, ResultSender, SenderHost};
use engine::process_ref::ProcRef;
use engine::ring::{HEADER, MappedBuffer, read_header, size_of_chunk};
use engine::wait::{Latch, Micros};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

const WORKER: u32 = 1;
const READER: u32 = 2;

#[derive(Arbitrary)]
enum Step {
    Send(Length),
    SendAtOnce(Length),
    TakeMessage(Length),
    /// The reader takes chunks.
    Take {
        chunks: u8,
        gives_back: bool,
    },
    /// The reader is present from now on.
    Enter,
    Leave,
    /// The reader sleeps, after a second look.
    ReaderArms,
    ReaderDisarms,
    /// What the reader does while the worker sleeps: take and stay, take and leave, or give up.
    Asleep {
        leaves: bool,
        gives_up_after: Option<u8>,
    },
    /// The worker finds out that a present reader is held up by the worker.
    HeldUp(bool),
    /// Time passes.
    Later(u16),
    /// The next write into the file fails, after some bytes.
    FileFails {
        after: u16,
    },
    /// Another reader takes over.
    NextReader,
    /// The reader gives up.
    Discard,
}

/// How long a frame is.
#[derive(Arbitrary)]
enum Length {
    Short(u8),
    /// About as long as a chunk, for a ring of this size.
    Chunk(u8),
    /// Longer than the worker's buffer for the file, by this many chunks.
    Long(u8),
}

/// Frames of this many bytes together are enough.
const MOST: usize = 2 << 20;

/// A frame that has to come out.
struct Frame {
    number: usize,
    len: usize,
    /// It was being sent when the file failed.
    may_be_lost: bool,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    /// Its next write fails after so many bytes.
    fails_after: Option<usize>,
}

/// The reader, and the frames that it has to find.
struct Taker<'a> {
    shared: &'a ChannelShared,
    buffer: MappedBuffer,
    receiver: ResultReceiver<'a, MappedBuffer>,
    file: Rc<RefCell<File>>,
    /// What it has put together of the next one.
    frame: Vec<u8>,
    expected: VecDeque<Frame>,
}

impl Taker<'_> {
    /// Takes one chunk. `false`: there is none.
    fn take(&mut self) -> bool {
        let more = match self.receiver.peek() {
            None => return false,
            Some(Front::Ring(chunk)) => {
                let frame = &mut self.frame;
                self.receiver
                    .ring
                    .payload(chunk, |bytes| frame.extend_from_slice(bytes));
                let wake = self.receiver.ring.consume(chunk);
                assert!(wake.is_none_or(|process| process.pid() == WORKER));
                chunk.more
            }
            Some(Front::File { offset, len }) => {
                let file = self.file.borrow();
                let bytes = &file.bytes[offset as usize..][..len as usize];
                let (payload, kind, more) = read_header(bytes.first_chunk().expect("a header"));
                assert_eq!(kind, 1);
                self.frame
                    .extend_from_slice(&bytes[HEADER..HEADER + payload]);
                self.receiver.take(size_of_chunk(payload) as u64);
                more
            }
        };
        if !more {
            let found = std::mem::take(&mut self.frame);
            loop {
                let frame = self.expected.pop_front().expect("a frame that was sent");
                if found == content(frame.number, frame.len) {
                    break;
                }
                assert!(frame.may_be_lost, "frame {} is another one", frame.number);
            }
        }
        true
    }

    /// Another reader goes on where this one has given back. It stops between two frames.
    fn replace(&mut self) {
        if self.frame.is_empty() {
            let _ = self.receiver.leave();
            self.receiver.ring.disarm();
            let _ = self.receiver.give_back();
            self.receiver = ResultReceiver::new(self.shared, self.buffer);
        }
    }
}

/// The worker's process.
struct Host<'a> {
    taker: RefCell<Taker<'a>>,
    file: Rc<RefCell<File>>,
    shared: &'a ChannelShared,
    now: Cell<Micros>,
    leaves: Cell<bool>,
    gives_up_after: Cell<Option<u8>>,
    is_held_up: Cell<bool>,
}

impl Latch for Host<'_> {
    fn now(&self) -> Micros {
        self.now.get()
    }
    fn spin_limit(&self) -> Micros {
        0
    }
    fn is_interrupted(&self) -> bool {
        false
    }
    fn sleep(&self, until: Option<Micros>) {
        if self.is_held_up.get() {
            // The reader does nothing; only the check can end the wait.
            let until = until.expect("the worker checks whether the reader is held up");
            self.now.set(self.now.get().max(until));
            return;
        }
        let mut taker = self.taker.borrow_mut();
        match self.gives_up_after.get() {
            Some(0) => {
                self.shared.ring.discard();
                let _ = taker.receiver.leave();
                return;
            }
            left => self.gives_up_after.set(left.map(|left| left - 1)),
        }
        let took = taker.take();
        let _ = taker.receiver.give_back();
        if self.leaves.get() {
            let _ = taker.receiver.leave();
        } else {
            assert!(took, "the worker sleeps, and there is nothing to take");
        }
    }
}

impl<'a> SenderHost for Host<'a> {
    type Latch = Host<'a>;
    fn latch(&self) -> &Self {
        self
    }
    fn own(&self) -> ProcRef {
        ProcRef::new(0, WORKER)
    }
    fn wake(&self, process: ProcRef) {
        assert!([WORKER, READER].contains(&process.pid()));
    }
    fn is_unwanted(&self) -> bool {
        false
    }
    fn first_check_after(&self) -> Option<Micros> {
        self.is_held_up.get().then_some(1000)
    }
    fn is_held_up(&self, reader: ProcRef) -> bool {
        assert_eq!(reader.pid(), READER);
        self.is_held_up.get()
    }
    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let mut file = self.file.borrow_mut();
        assert_eq!(offset as usize, file.bytes.len());
        if let Some(after) = file.fails_after {
            file.bytes
                .extend_from_slice(&bytes[..after.min(bytes.len())]);
            drop(file);
            resume_unwind(Box::new(FileFailed));
        }
        file.bytes.extend_from_slice(bytes);
    }
    fn empty(&mut self) {
        self.file.borrow_mut().bytes.clear();
    }
}

struct FileFailed;

/// Any sequence of steps of both sides, and the job's end.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let capacity = 128_usize << (u8::arbitrary(&mut input).unwrap_or(0) % 13);
    let shared = ChannelShared::default();
    let mut memory = Memory::new(capacity);
    let buffer = memory.buffer();
    let file = Rc::new(RefCell::new(File::default()));
    let taker = Taker {
        shared: &shared,
        buffer,
        receiver: ResultReceiver::new(&shared, buffer),
        file: Rc::clone(&file),
        frame: Vec::new(),
        expected: VecDeque::new(),
    };
    let mut host = Host {
        taker: RefCell::new(taker),
        file: Rc::clone(&file),
        shared: &shared,
        now: Cell::new(0),
        leaves: Cell::new(false),
        gives_up_after: Cell::new(None),
        is_held_up: Cell::new(false),
    };
    let mut sender = ResultSender::new(&shared, buffer);
    let reader = ProcRef::new(0, READER);
    let (mut number, mut sum) = (0, 0);
    let mut failed = false;
    // Bytes that are missing count as zero, so the end of the input has to be looked for.
    while !input.is_empty()
        && let Ok(step) = Step::arbitrary(&mut input)
    {
        match step {
            Step::Send(_) | Step::SendAtOnce(_) | Step::TakeMessage(_) if failed => {}
            Step::Send(ref length)
            | Step::SendAtOnce(ref length)
            | Step::TakeMessage(ref length) => {
                let len = match *length {
                    Length::Short(len) => usize::from(len),
                    Length::Chunk(more) => (capacity / 2).saturating_sub(136) + usize::from(more),
                    Length::Long(chunks) => 256 * 1024 - 64 + usize::from(chunks) * 16,
                };
                sum += len;
                if sum > MOST {
                    continue;
                }
                number += 1;
                let bytes = content(number, len);
                host.taker.get_mut().expected.push_back(Frame {
                    number,
                    len,
                    may_be_lost: false,
                });
                let is_sent = match step {
                    Step::Send(_) => {
                        catch_unwind(AssertUnwindSafe(|| sender.send(&mut host, 1, &bytes)))
                    }
                    Step::SendAtOnce(_) => Ok(sender.send_at_once(1, &bytes, || 0).is_some()),
                    _ => Ok(sender.take_message(1, &bytes).is_some()),
                };
                let expected = &mut host.taker.get_mut().expected;
                match is_sent {
                    Ok(true) => {}
                    Ok(false) => {
                        let is_send = matches!(step, Step::Send(_));
                        assert!(
                            !is_send || shared.ring.is_discarded(),
                            "a frame is dropped that somebody reads"
                        );
                        if !shared.ring.is_discarded() {
                            expected.pop_back();
                        }
                    }
                    Err(reason) if reason.is::<FileFailed>() => {
                        failed = true;
                        if let Some(last) = expected.back_mut().filter(|last| last.number == number)
                        {
                            last.may_be_lost = true;
                        }
                    }
                    Err(other) => resume_unwind(other),
                }
            }
            _ if shared.ring.is_discarded() => {}
            Step::Take { chunks, gives_back } => {
                let taker = host.taker.get_mut();
                for _ in 0..chunks {
                    if !taker.take() {
                        break;
                    }
                }
                if gives_back {
                    let _ = taker.receiver.give_back();
                }
            }
            Step::Enter => host.taker.get_mut().receiver.enter(reader),
            Step::Leave => drop(host.taker.get_mut().receiver.leave()),
            Step::ReaderArms => host.taker.get_mut().receiver.ring.arm(reader),
            Step::ReaderDisarms => host.taker.get_mut().receiver.ring.disarm(),
            Step::Asleep {
                leaves,
                gives_up_after,
            } => {
                host.leaves.set(leaves);
                host.gives_up_after.set(gives_up_after);
            }
            Step::HeldUp(is_held_up) => host.is_held_up.set(is_held_up),
            Step::Later(time) => host.now.set(host.now.get() + Micros::from(time)),
            Step::FileFails { after } => file.borrow_mut().fails_after = Some(usize::from(after)),
            Step::NextReader => host.taker.get_mut().replace(),
            Step::Discard => {
                shared.ring.discard();
                let _ = host.taker.get_mut().receiver.leave();
            }
        }
    }
    // The job ends, well or not.
    if !failed {
        match catch_unwind(AssertUnwindSafe(|| sender.finish(&mut host))) {
            Ok(()) => {}
            Err(reason) if reason.is::<FileFailed>() => {}
            Err(other) => resume_unwind(other),
        }
    }
    let written = Cell::new(true);
    let append = |offset: u64, bytes: &[u8]| {
        let mut file = file.borrow_mut();
        // A write that failed may have left some bytes.
        file.bytes.truncate(offset as usize);
        assert_eq!(offset as usize, file.bytes.len());
        file.bytes.extend_from_slice(bytes);
        written.get()
    };
    let _ = sender.end(std::iter::empty(), append);
    if shared.ring.is_discarded() {
        return;
    }
    let taker = host.taker.get_mut();
    while taker.take() {}
    taker.expected.retain(|frame| !frame.may_be_lost);
    assert!(
        taker.expected.is_empty(),
        "{} frames are lost",
        taker.expected.len()
    );
    // An incomplete frame is what was being sent when the file failed.
    assert!(failed || taker.frame.is_empty());
}
