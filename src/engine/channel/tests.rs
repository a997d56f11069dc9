//! The channel against a queue: in all interleavings frames come out as they went in.

use super::*;
use crate::job::End;
use crate::ring::{HEADER, MappedBuffer, read_header, size_of_chunk};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const WORKER: u32 = 1;
const READER: u32 = 2;

/// The spill file.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    most: usize,
    emptied: u32,
}

/// The reader: what it has put together so far, and the frames that it has to find.
struct Taker {
    receiver: ResultReceiver<'static, MappedBuffer>,
    file: Rc<RefCell<File>>,
    frame: Vec<u8>,
    expected: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

impl Taker {
    /// Takes one chunk. `false`: there is none.
    fn take(&mut self) -> bool {
        let (more, wake) = match self.receiver.peek() {
            None => return false,
            Some(Front::Ring(chunk)) => {
                let frame = &mut self.frame;
                self.receiver
                    .ring
                    .payload(chunk, |bytes| frame.extend_from_slice(bytes));
                (chunk.more, self.receiver.ring.consume(chunk))
            }
            Some(Front::File { offset, len }) => {
                let file = self.file.borrow();
                let bytes = &file.bytes[offset as usize..][..len as usize];
                let (payload, _, more) = read_header(bytes.first_chunk().expect("a header"));
                self.frame
                    .extend_from_slice(&bytes[HEADER..HEADER + payload]);
                self.receiver.take(size_of_chunk(payload) as u64);
                (more, None)
            }
        };
        assert!(wake.is_none_or(|proc| proc.pid() == WORKER));
        if !more {
            let frame = std::mem::take(&mut self.frame);
            assert_eq!(Some(frame), self.expected.borrow_mut().pop_front());
        }
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// The reader says so.
    Discarded,
    /// The job has no leader any more.
    Unwanted,
}

/// The worker, whose sleep lets the reader go on.
struct Io {
    taker: Rc<RefCell<Taker>>,
    file: Rc<RefCell<File>>,
    /// How often the worker slept.
    sleeps: Cell<u32>,
    /// How often it woke the reader.
    wakes: Cell<u32>,
    now: Cell<Micros>,
    /// The reader wants one chunk, and leaves with it.
    stepwise: Cell<bool>,
    /// While the worker sleeps, the reader does nothing.
    idle: Cell<bool>,
    /// While the worker sleeps, it turns out that nobody will read any more.
    given_up: Cell<Option<GivenUp>>,
    unwanted: Cell<bool>,
    check_after: Cell<Option<Micros>>,
    /// When the worker checked whether the reader is held up. The check of that number finds so.
    checks: RefCell<Vec<Micros>>,
    held_up_at_check: usize,
    /// The worker has woken itself.
    is_set: Cell<bool>,
}

impl Latch for Io {
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
        assert_eq!(until.is_some(), self.check_after.get().is_some());
        if self.is_set.take() {
            return;
        }
        self.sleeps.set(self.sleeps.get() + 1);
        let mut taker = self.taker.borrow_mut();
        let armed = taker.receiver.ring.writer_now();
        assert_eq!(armed, Some(self.own()), "nobody would wake it");
        match self.given_up.get() {
            None => {}
            Some(GivenUp::Discarded) => return taker.receiver.shared.ring.discard(),
            Some(GivenUp::Unwanted) => return self.unwanted.set(true),
        }
        if self.idle.get() {
            self.now.set(until.expect("nobody wakes the worker"));
            return;
        }
        assert!(
            taker.take(),
            "the worker sleeps, and there is nothing to take"
        );
        if self.stepwise.get() {
            let _ = taker.receiver.leave();
        } else {
            let _ = taker.receiver.give_back();
        }
    }
}

impl SenderHost for Io {
    type Latch = Self;
    fn latch(&self) -> &Self {
        self
    }
    fn own(&self) -> ProcRef {
        ProcRef::new(0, WORKER)
    }
    fn wake(&self, proc: ProcRef) {
        match proc.pid() {
            READER => self.wakes.set(self.wakes.get() + 1),
            _ => self.is_set.set(true),
        }
    }
    fn is_unwanted(&self) -> bool {
        self.unwanted.get()
    }
    fn first_check_after(&self) -> Option<Micros> {
        self.check_after.get()
    }
    fn is_held_up(&self, reader: ProcRef) -> bool {
        assert_eq!(reader.pid(), READER);
        let mut checks = self.checks.borrow_mut();
        checks.push(self.now.get());
        checks.len() == self.held_up_at_check
    }
    fn append(&mut self, offset: u64, bytes: &[u8]) {
        let mut file = self.file.borrow_mut();
        assert_eq!(offset as usize, file.bytes.len());
        file.bytes.extend_from_slice(bytes);
        file.most = file.most.max(file.bytes.len());
    }
    fn empty(&mut self) {
        let mut file = self.file.borrow_mut();
        file.bytes.clear();
        file.emptied += 1;
    }
}

struct Setting {
    sender: ResultSender<'static, MappedBuffer>,
    io: Io,
    expected: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

impl Setting {
    fn new(capacity: usize) -> Self {
        // Leaked: a test's few kilobytes.
        let shared: &'static ChannelShared = Box::leak(Box::default());
        let memory = Box::leak(Box::<[u64]>::new_uninit_slice(capacity / ring::ALIGN));
        // SAFETY: leaked, and used through the buffer alone.
        let buffer = unsafe { MappedBuffer::new(memory.as_mut_ptr().cast(), capacity) };
        let (file, expected) = (Rc::default(), Rc::default());
        let taker = Taker {
            receiver: ResultReceiver::new(shared, buffer),
            file: Rc::clone(&file),
            frame: Vec::new(),
            expected: Rc::clone(&expected),
        };
        let io = Io {
            taker: Rc::new(RefCell::new(taker)),
            file,
            sleeps: Cell::new(0),
            wakes: Cell::new(0),
            now: Cell::new(0),
            stepwise: Cell::new(false),
            idle: Cell::new(false),
            given_up: Cell::new(None),
            unwanted: Cell::new(false),
            check_after: Cell::new(None),
            checks: RefCell::default(),
            held_up_at_check: 3,
            is_set: Cell::new(false),
        };
        Self {
            sender: ResultSender::new(shared, buffer),
            io,
            expected,
        }
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.expected.borrow_mut().push_back(frame.clone());
        assert!(self.sender.send(&mut self.io, 1, &frame));
    }

    /// The reader is present from now on.
    fn enter(&self) {
        let reader = ProcRef::new(0, READER);
        self.io.taker.borrow().receiver.enter(reader);
    }

    fn take(&self) -> bool {
        self.io.taker.borrow_mut().take()
    }

    fn drain(&mut self) {
        self.sender.finish(&mut self.io);
        while self.take() {}
        assert!(self.expected.borrow().is_empty(), "frames were lost");
    }
}

#[test]
#[cfg_attr(miri, ignore = "nearly a megabyte is too much for Miri")]
fn without_a_reader_the_worker_goes_on_without_sleeping() {
    let mut setting = Setting::new(128);
    for number in 0..2000_u32 {
        setting.send(number.to_ne_bytes().repeat(100));
    }
    assert_eq!(setting.io.sleeps.get(), 0);
    assert!(setting.io.file.borrow().most > SPILL_BUFFER);
    setting.drain();
}

#[test]
fn a_present_reader_makes_the_worker_wait_and_there_is_no_file() {
    let mut setting = Setting::new(128);
    setting.enter();
    for number in 0..200_u32 {
        setting.send(number.to_ne_bytes().repeat(20));
    }
    assert!(setting.io.sleeps.get() > 0);
    assert_eq!(setting.io.file.borrow().most, 0);
    setting.drain();
}

#[test]
fn a_reader_that_comes_late_brings_the_worker_back_to_the_ring() {
    let mut setting = Setting::new(128);
    for number in 0..200_u32 {
        setting.send(number.to_ne_bytes().repeat(20));
    }
    setting.enter();
    let before = setting.io.file.borrow().most;
    for number in 0..2000_u32 {
        setting.send(number.to_ne_bytes().repeat(20));
    }
    let file = setting.io.file.clone();
    assert_eq!(file.borrow().emptied, 1);
    assert!(file.borrow().bytes.is_empty());
    // What was in the worker's buffer when it noticed, and no more.
    assert!(file.borrow().most <= before + SPILL_BUFFER);
    setting.drain();
}

#[test]
fn a_message_is_taken_where_there_is_room_and_never_waits() {
    let mut setting = Setting::new(128);
    assert!(setting.sender.take_message(1, &[0; 40]).is_some());
    assert!(setting.sender.take_message(1, &[1; 40]).is_some());
    assert!(setting.sender.take_message(1, &[2; 40]).is_none(), "full");
    setting.expected.borrow_mut().push_back(vec![0; 40]);
    setting.expected.borrow_mut().push_back(vec![1; 40]);
    // Spilling, there is room in the buffer.
    setting.send(vec![3; 40]);
    assert!(setting.sender.take_message(1, &[4; 40]).is_some());
    setting.expected.borrow_mut().push_back(vec![4; 40]);
    setting.drain();
}

/// Ends the job; what is appended is in the file.
fn end(setting: &mut Setting, messages: Vec<Vec<u8>>) {
    for message in &messages {
        setting.expected.borrow_mut().push_back(message.clone());
    }
    let file = setting.io.file.clone();
    let append = |offset: u64, bytes: &[u8]| {
        let mut file = file.borrow_mut();
        assert_eq!(offset as usize, file.bytes.len());
        file.bytes.extend_from_slice(bytes);
        true
    };
    let messages = messages.into_iter().map(|message| (1, message));
    let _ = setting.sender.end(messages, append);
}

#[test]
fn what_is_still_in_the_buffer_when_the_job_ends_is_found() {
    let mut setting = Setting::new(128);
    for number in 0..200_u32 {
        setting.send(number.to_ne_bytes().repeat(20));
    }
    assert!(setting.sender.take_message(1, &[4; 40]).is_some());
    setting.expected.borrow_mut().push_back(vec![4; 40]);
    end(&mut setting, vec![]);
    while setting.io.taker.borrow_mut().take() {}
    assert!(setting.expected.borrow().is_empty());
}

#[test]
fn a_result_has_ended_when_its_job_has_and_nothing_is_left() {
    let mut setting = Setting::new(128);
    let word = JobWord::new();
    let generation = word.reserve();
    word.publish(generation);
    let _ = word.bind(generation);
    let _ = word.begin(generation);
    let look = |setting: &Setting| setting.io.taker.borrow_mut().receiver.look(&word);
    assert_eq!(look(&setting), None, "it runs");
    for _ in 0..2 {
        setting.send(vec![1; 8]);
    }
    setting.sender.finish(&mut setting.io);
    assert!(matches!(look(&setting), Some(Some(Front::Ring(_)))));
    assert!(setting.take());
    let _ = word.finish(generation, End::Completed);
    assert!(matches!(look(&setting), Some(Some(Front::Ring(_)))));
    assert!(setting.take());
    assert_eq!(look(&setting), Some(None));
}

#[test]
fn messages_that_found_no_room_before_the_job_ended_are_found() {
    let mut setting = Setting::new(128);
    for fill in 0..2 {
        assert!(setting.sender.take_message(1, &[fill; 40]).is_some());
        setting.expected.borrow_mut().push_back(vec![fill; 40]);
    }
    assert!(setting.sender.take_message(1, &[2; 40]).is_none(), "full");
    end(&mut setting, vec![vec![2; 40], vec![3; 1000], vec![4; 40]]);
    while setting.io.taker.borrow_mut().take() {}
    assert!(setting.expected.borrow().is_empty());
}

/// The reader sleeps, and has looked a second time.
fn sleep(setting: &Setting) {
    let mut taker = setting.io.taker.borrow_mut();
    let _ = taker.receiver.give_back();
    taker.receiver.ring.arm(ProcRef::new(0, READER));
    assert_eq!(taker.receiver.peek(), None);
}

#[test]
fn a_sleeping_reader_is_woken_for_a_row_behind_a_message() {
    let mut setting = Setting::new(1024);
    setting.io.now.set(5 * PROMPT);
    sleep(&setting);
    // Rows are sent behind messages that found no room.
    setting.send(vec![1; 8]);
    assert_eq!(setting.io.wakes.get(), 1);
    assert!(setting.take());
    // Not while it will still look once more by itself.
    sleep(&setting);
    setting.send(vec![2; 8]);
    assert_eq!(setting.io.wakes.get(), 1);
    setting.drain();
}

#[test]
fn a_reader_that_has_a_row_is_not_woken_for_it() {
    let mut setting = Setting::new(1024);
    setting.io.now.set(5 * PROMPT);
    sleep(&setting);
    // The worker is held up right after it has written the row, and the reader finds it in its second look.
    let taker = Rc::clone(&setting.io.taker);
    let held_up = || {
        let mut taker = taker.borrow_mut();
        taker.receiver.ring.arm(ProcRef::new(0, READER));
        assert!(taker.take());
        let _ = taker.receiver.give_back();
        taker.receiver.ring.arm(ProcRef::new(0, READER));
        assert_eq!(taker.receiver.peek(), None);
        10 * PROMPT
    };
    setting.expected.borrow_mut().push_back(vec![1; 8]);
    let woken = setting.sender.send_at_once(1, &[1; 8], held_up);
    assert_eq!(woken, Some(None));
    // The next row wakes it.
    setting.expected.borrow_mut().push_back(vec![2; 8]);
    let woken = setting.sender.send_at_once(1, &[2; 8], || 10 * PROMPT + 1);
    assert_eq!(woken, Some(Some(ProcRef::new(0, READER))));
    setting.drain();
}

#[test]
fn a_row_that_a_reader_has_waited_for_does_not_stay_in_the_buffer() {
    let mut setting = Setting::new(128);
    for number in 0..200_u32 {
        setting.send(number.to_ne_bytes().repeat(20));
    }
    while setting.take() {}
    setting.io.stepwise.set(true);
    setting.enter();
    setting.send(vec![7; 40]);
    // The reader comes back for more; the worker has nothing else to send for a long time.
    while setting.take() {}
    assert!(setting.expected.borrow().is_empty());
}

#[test]
fn what_is_in_the_ring_can_be_seen_before_the_end_of_the_file() {
    let mut setting = Setting::new(128);
    setting.send(vec![1; 8]);
    let taker = Rc::clone(&setting.io.taker);
    let append = |_: u64, _: &[u8]| {
        assert!(matches!(
            taker.borrow_mut().receiver.peek(),
            Some(Front::Ring(_))
        ));
        true
    };
    let _ = setting
        .sender
        .end(std::iter::once((1, vec![2; 1000])), append);
}

#[test]
fn a_reader_that_is_held_up_is_not_waited_for_until_it_goes_on() {
    let mut setting = Setting::new(128);
    setting.io.check_after.set(Some(1000));
    setting.enter();
    setting.io.idle.set(true);
    for number in 0..10 {
        setting.send(vec![number; 40]);
    }
    // At growing intervals. What follows is not worth another.
    assert_eq!(*setting.io.checks.borrow(), [1000, 3000, 7000]);
    assert_eq!(setting.io.sleeps.get(), 3);
    // The reader goes on: it is waited for, and gets everything.
    assert!(setting.take());
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    setting.io.idle.set(false);
    setting.send(vec![10; 40]);
    assert!(setting.io.sleeps.get() > 3);
    assert_eq!(setting.io.file.borrow().emptied, 1);
    setting.drain();
}

#[test]
fn a_reader_that_is_held_up_in_the_file_is_not_waited_for_until_it_goes_on() {
    let mut setting = Setting::new(128);
    for number in 0..10 {
        setting.send(vec![number; 40]);
    }
    setting.io.check_after.set(Some(1000));
    setting.enter();
    setting.io.idle.set(true);
    setting.send(vec![10; 40]);
    setting.send(vec![11; 40]);
    assert_eq!(*setting.io.checks.borrow(), [1000, 3000, 7000]);
    // It takes what is in the ring, and then of the file, which alone is progress.
    for chunk in 0..4 {
        assert!(setting.take(), "{chunk}");
    }
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    setting.io.idle.set(false);
    setting.send(vec![12; 40]);
    assert_eq!(setting.io.file.borrow().emptied, 1);
    setting.drain();
}

/// A host with nothing but what it must have.
struct Plain(Io);

impl SenderHost for Plain {
    type Latch = Io;
    fn latch(&self) -> &Io {
        &self.0
    }
    fn own(&self) -> ProcRef {
        self.0.own()
    }
    fn wake(&self, proc: ProcRef) {
        self.0.wake(proc);
    }
    fn is_unwanted(&self) -> bool {
        self.0.is_unwanted()
    }
    fn append(&mut self, offset: u64, bytes: &[u8]) {
        self.0.append(offset, bytes);
    }
    fn empty(&mut self) {
        self.0.empty();
    }
}

#[test]
fn a_host_that_says_nothing_about_it_checks_for_no_reader_that_is_held_up() {
    let plain = Plain(Setting::new(256).io);
    assert_eq!(PeriodicCheck::new(&plain).due, None);
}

#[test]
fn what_nobody_will_read_is_dropped() {
    let mut setting = Setting::new(128);
    for number in 0..10 {
        setting.send(vec![number; 40]);
    }
    setting.sender.finish(&mut setting.io);
    assert!(!setting.io.file.borrow().bytes.is_empty());
    setting.send(vec![10; 40]);
    setting.io.unwanted.set(true);
    for _ in 0..2 {
        assert!(!setting.sender.send(&mut setting.io, 1, &[11; 40]));
    }
    assert_eq!(setting.io.file.borrow().emptied, 1);
    assert!(setting.io.file.borrow().bytes.is_empty());
    // What was in the worker's buffer is gone too.
    setting.sender.finish(&mut setting.io);
    assert!(setting.io.file.borrow().bytes.is_empty());
    assert_eq!(setting.io.sleeps.get(), 0);
}

#[test]
fn a_wait_for_room_ends_when_nobody_will_read() {
    for given_up in [GivenUp::Discarded, GivenUp::Unwanted] {
        let mut setting = Setting::new(128);
        setting.enter();
        setting.io.given_up.set(Some(given_up));
        let sent = (0..10).take_while(|_| setting.sender.send(&mut setting.io, 1, &[0; 40]));
        assert_eq!(sent.count(), 2);
        assert_eq!(setting.io.sleeps.get(), 1);
        if given_up == GivenUp::Discarded {
            assert_eq!(setting.sender.send_at_once(1, &[0; 8], || 0), None);
        }
        let file = setting.io.file.borrow();
        assert_eq!((file.most, file.emptied), (0, 0));
    }
}

#[test]
fn a_wait_for_the_file_ends_when_nobody_will_read() {
    for given_up in [GivenUp::Discarded, GivenUp::Unwanted] {
        let mut setting = Setting::new(128);
        for number in 0..10 {
            setting.send(vec![number; 40]);
        }
        setting.enter();
        setting.io.given_up.set(Some(given_up));
        setting.send(vec![10; 40]);
        assert_eq!(setting.io.sleeps.get(), 1);
        assert!(!setting.sender.send(&mut setting.io, 1, &[11; 40]));
        assert_eq!(setting.io.file.borrow().emptied, 1);
    }
}

#[test]
fn a_job_that_ends_appends_nothing_that_nobody_will_read() {
    let mut setting = Setting::new(128);
    setting.sender.shared.ring.discard();
    let messages = std::iter::once((1, vec![2; 1000]));
    let _ = setting
        .sender
        .end(messages, |_, _| unreachable!("nobody reads it"));
}

#[test]
fn a_frame_that_was_not_completed_is_followed_by_nothing() {
    let mut setting = Setting::new(128);
    setting.enter();
    setting.io.given_up.set(Some(GivenUp::Unwanted));
    assert!(!setting.sender.send(&mut setting.io, 1, &[0; 1000]));
    // The next one finds room, and a leader.
    setting.io.unwanted.set(false);
    let taker = Rc::clone(&setting.io.taker);
    while taker.borrow_mut().take() {}
    let _ = taker.borrow_mut().receiver.give_back();
    assert!(!setting.sender.send(&mut setting.io, 1, &[1; 8]));
    assert_eq!(setting.sender.send_at_once(1, &[1; 8], || 0), None);
    assert_eq!(setting.sender.take_message(1, &[1; 8]), None);
    let messages = std::iter::once((1, vec![1; 8]));
    let _ = setting
        .sender
        .end(messages, |_, _| unreachable!("it is not whole"));
    assert_eq!(taker.borrow_mut().receiver.peek(), None);
}

#[test]
fn a_row_at_once_needs_room_and_a_reader_that_has_what_came_before() {
    let mut setting = Setting::new(128);
    let limit = setting.sender.chunk_limit();
    assert_eq!(
        setting.sender.send_at_once(1, &vec![0; limit + 1], || 0),
        None
    );
    for fill in 0..2 {
        assert_eq!(
            setting.sender.send_at_once(1, &vec![fill; limit], || 0),
            Some(None)
        );
        setting.expected.borrow_mut().push_back(vec![fill; limit]);
    }
    assert_eq!(setting.sender.send_at_once(1, &[0; 8], || 0), None, "full");
    // One goes into the file, and then the ring is empty.
    setting.send(vec![3; 8]);
    while setting.take() {}
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    assert_eq!(
        setting.sender.send_at_once(1, &[4; 8], || 0),
        None,
        "it would overtake"
    );
    setting.drain();
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    setting.send(vec![5; 8]);
    assert!(setting.sender.send_at_once(1, &[6; 8], || 0).is_some());
    setting.sender.shared.ring.discard();
    assert_eq!(
        setting.sender.send_at_once(1, &[7; 8], || 0),
        None,
        "nobody reads it"
    );
}

#[test]
fn a_sleeping_reader_is_woken_once_in_a_while() {
    let mut setting = Setting::new(1024);
    sleep(&setting);
    for (now, wakes) in [
        (5 * PROMPT, 1),
        (5 * PROMPT + 1, 1),
        (6 * PROMPT - 1, 1),
        (6 * PROMPT, 2),
    ] {
        setting.io.now.set(now);
        setting.send(vec![1; 8]);
        assert_eq!(setting.io.wakes.get(), wakes, "at {now}");
    }
    setting.drain();
}

#[test]
fn a_message_has_the_size_of_a_chunk_at_most() {
    let mut setting = Setting::new(128);
    let limit = setting.sender.chunk_limit();
    assert!(
        setting
            .sender
            .take_message(1, &vec![0; limit + 1])
            .is_none()
    );
    assert!(setting.sender.take_message(1, &vec![0; limit]).is_some());
    setting.expected.borrow_mut().push_back(vec![0; limit]);
    setting.drain();
}

/// The worker sends frames that take 64 bytes each, to nobody. The ring holds two.
fn spill(setting: &mut Setting, frames: usize) {
    for _ in 0..frames {
        setting.send(vec![1; 56]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "the buffer is too large for Miri")]
fn the_workers_buffer_is_written_out_when_it_is_full_and_never_grows() {
    let mut setting = Setting::new(128);
    spill(&mut setting, 2 + SPILL_BUFFER / 64);
    assert_eq!(setting.sender.buffer.len(), SPILL_BUFFER);
    assert_eq!(setting.sender.buffer.capacity(), SPILL_BUFFER);
    assert_eq!(setting.io.file.borrow().most, 0);
    // A message cannot wait for the file.
    assert!(setting.sender.take_message(1, &[]).is_none());
    spill(&mut setting, 1);
    assert_eq!(setting.io.file.borrow().most, SPILL_BUFFER);
    assert_eq!(setting.sender.buffer.len(), 64);
    // One that just fits.
    spill(&mut setting, SPILL_BUFFER / 64 - 2);
    assert!(setting.sender.take_message(1, &[2; 56]).is_some());
    setting.expected.borrow_mut().push_back(vec![2; 56]);
    assert_eq!(setting.sender.buffer.len(), SPILL_BUFFER);
    assert_eq!(setting.sender.buffer.capacity(), SPILL_BUFFER);
    setting.drain();
}

#[test]
#[cfg_attr(miri, ignore = "the buffer is too large for Miri")]
fn a_piece_fits_into_the_workers_buffer() {
    let mut setting = Setting::new(4 * SPILL_BUFFER);
    let limit = SPILL_BUFFER - HEADER;
    setting.send(vec![0; limit]);
    setting.sender.finish(&mut setting.io);
    let front = setting.io.taker.borrow_mut().receiver.peek();
    assert!(matches!(front, Some(Front::Ring(chunk)) if chunk.len == limit && !chunk.more));
    for fill in 1..6 {
        setting.send(vec![fill; limit + 1]);
    }
    assert!(setting.io.file.borrow().most > 0);
    assert_eq!(setting.sender.buffer.capacity(), SPILL_BUFFER);
    setting.drain();
}

#[test]
fn messages_at_the_end_go_into_the_ring_unless_they_would_overtake() {
    let mut setting = Setting::new(128);
    let append = |_: u64, _: &[u8]| unreachable!("there is room");
    let _ = setting.sender.end(std::iter::once((1, vec![1; 8])), append);
    setting.expected.borrow_mut().push_back(vec![1; 8]);
    while setting.take() {}

    // The file is in use for the second time, and a part of it is in the buffer. The ring is empty.
    let mut setting = Setting::new(128);
    spill(&mut setting, 10);
    setting.drain();
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    spill(&mut setting, 10);
    assert_eq!(setting.io.file.borrow().emptied, 1);
    setting.sender.finish(&mut setting.io);
    spill(&mut setting, 1);
    while setting.take() {}
    let _ = setting.io.taker.borrow_mut().receiver.give_back();
    end(&mut setting, vec![vec![2; 40]]);
    while setting.take() {}
    assert!(setting.expected.borrow().is_empty());
}

#[derive(Clone, Debug)]
enum Move {
    Send { len: usize, fill: u8 },
    Take { chunks: usize, give_back: bool },
    Enter,
    Leave,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..300_usize, any::<u8>()).prop_map(|(len, fill)| Move::Send { len, fill }),
        3 => (0..12_usize, any::<bool>()).prop_map(|(chunks, give_back)| Move::Take { chunks, give_back }),
        1 => Just(Move::Enter),
        1 => Just(Move::Leave),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(
        moves in proptest::collection::vec(moves(), 1..300)
    ) {
        let mut setting = Setting::new(128);
        for step in moves {
            match step {
                Move::Send { len, fill } => setting.send(vec![fill; len]),
                Move::Take { chunks, give_back } => {
                    for _ in 0..chunks {
                        setting.take();
                    }
                    if give_back {
                        let _ = setting.io.taker.borrow_mut().receiver.give_back();
                    }
                }
                Move::Enter => setting.enter(),
                Move::Leave => {
                    let _ = setting.io.taker.borrow().receiver.leave();
                }
            }
        }
        setting.drain();
    }
}
