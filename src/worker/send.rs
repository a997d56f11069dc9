//! Sending rows and messages to the reader.
//!
//! The shim calls this module with frames ([`pgb_send_frame`]) and messages ([`pgb_on_message`]). Sending a frame may
//! wait for a reader that is present, and may write to the spill file. A message comes from the middle of error
//! reporting, so sending it must neither wait nor throw. A message that finds no room is kept in this process until the
//! next message that finds some, the next frame, or until the job's statements are done. A later message (from a trigger that is deferred to the commit)
//! goes to the spill file when the transaction has ended ([`sink`](super::sink)), and so do rows before an error that
//! have not been written yet. An error is never sent: it is kept for the outcome.
//!
//! There is a sink only while the process holds a job that has begun ([`running_job`]). At any other time, messages of
//! every level are dropped here, except that a copy of an error is kept.
//!
//! Rows that nobody will read (the leader has detached the job, or its reader has given up) are dropped, and the job
//! goes on.
//!
//! While a frame is sent, the server may be called, so the sender is borrowed from the sink. A message that comes
//! meanwhile is kept.

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::spill::SpillFile;
use crate::pg::allocator;
use crate::pg::boundary;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process::{deadlock_timeout, now, own_proc, waits_for_others, wake};
use crate::pg::shim::frame;
use crate::pg::text;
use crate::worker::running_job;
use crate::worker::sink::Sender;
use engine::channel::{ResultSender, SenderHost};
use engine::process_ref::ProcRef;
use engine::ring::MappedBuffer;
use engine::wait::Micros;
use engine::{error_message, memory};
use std::borrow::Cow;
use std::ffi::c_char;

/// There is always memory for an error of this many bytes.
const SHORT_ERROR: usize = 1536;

/// Body of the last reported error; empty: none since the last job began.
static ERROR: Local<Vec<u8>> = Local::new(Vec::new());

/// Takes the last reported error.
pub fn take_error() -> Vec<u8> {
    ERROR.with(std::mem::take)
}

/// Forgets the last reported error.
pub fn forget_error() {
    ERROR.with(Vec::clear);
}

/// A sender that is borrowed from the sink. It is put back when dropped, unless its job has ended.
struct BorrowedSender(Option<Box<Sender>>);

impl BorrowedSender {
    fn take() -> Self {
        Self(running_job::with_sink(|sink| sink.sender.take()).flatten())
    }
}

impl Drop for BorrowedSender {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take()
            && running_job::job() == Some(sender.job)
        {
            running_job::with_sink(|sink| sink.sender = Some(sender));
        }
    }
}

/// This process, as the sender of a channel sees it.
struct SendHost {
    job: Job,
    spill: &'static SpillFile,
    latch: ProcessLatch<'static>,
}

impl SenderHost for SendHost {
    type Latch = ProcessLatch<'static>;

    fn latch(&self) -> &ProcessLatch<'static> {
        &self.latch
    }

    fn own(&self) -> ProcRef {
        own_proc()
    }

    fn wake(&self, proc: ProcRef) {
        wake(proc);
    }

    fn is_unwanted(&self) -> bool {
        !self.job.word().load().has_leader()
    }

    fn first_check_after(&self) -> Option<Micros> {
        Some(deadlock_timeout())
    }

    /// Nobody else can see that this process waits for the reader: not the lock manager, if the reader waits for a lock
    /// of this job; not a session for which the reader waits, in a cast or in its client. So this process does not wait
    /// for a reader that itself waits for others: the reader finds the job's rows in the spill file.
    fn is_held_up(&self, reader: ProcRef) -> bool {
        waits_for_others(reader)
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) {
        self.spill.append(self.job, offset, bytes);
    }

    fn out_of_memory(&self) -> ! {
        Error::out_of_memory().raise()
    }

    fn empty(&mut self) {
        self.spill.empty(self.job);
    }
}

/// Borrows the sender and lends it to `body`. Does nothing if there is no job with a result.
fn with_sender(body: impl FnOnce(&mut ResultSender<'static, MappedBuffer>, &mut SendHost)) {
    let mut borrowed = BorrowedSender::take();
    if let Some(sender) = borrowed.0.as_mut() {
        let mut host = SendHost {
            job: sender.job,
            spill: sender.spill,
            latch: ProcessLatch::for_sending(sender.job.cluster),
        };
        body(&mut sender.results, &mut host);
    }
}

fn send_kept(sender: &mut ResultSender<'static, MappedBuffer>, host: &mut SendHost) {
    while let Some((kind, bytes)) = running_job::with_sink(|sink| sink.kept.next()).flatten() {
        sender.send(host, kind, &bytes);
    }
}

/// # Safety
/// `bytes` points at `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pgb_describe(bytes: *const c_char, len: usize) {
    let body = move || {
        // SAFETY: by the caller.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
        let has_result = running_job::with_sink(|sink| sink.sender.is_some()) == Some(true);
        if let Some(job) = running_job::job().filter(|_| has_result)
            && let Err(error) = Block::of(job).describe(bytes)
        {
            error.raise();
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

/// # Safety
/// `bytes` points at `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pgb_send_frame(kind: u8, bytes: *const c_char, len: usize) {
    let body = move || {
        // SAFETY: by the caller.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
        fault!("frame-made");
        let sent = running_job::with_sink(|sink| {
            sink.ready_sender()?.results.send_at_once(kind, bytes, now)
        });
        match sent.flatten() {
            Some(None) => {}
            Some(Some(reader)) => wake(reader),
            None => with_sender(|sender, host| {
                send_kept(sender, host);
                sender.send(host, kind, bytes);
            }),
        }
        fault!("frame-sent");
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

/// Sends the kept messages, and makes everything that was sent readable.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pgb_flush_messages() {
    let body = move || {
        with_sender(|sender, host| {
            send_kept(sender, host);
            sender.finish(host);
        });
        fault!("frames-flushed");
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

/// # Safety
/// `bytes` points at `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pgb_on_message(kind: c_char, bytes: *const c_char, len: usize) {
    // SAFETY: by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    // The end of the session would report its own error in the middle of this one.
    let _hold = allocator::hold_end();
    match kind as u8 {
        b'E' => note_error(bytes),
        b'N' => send_or_keep_notice(bytes),
        _ => {}
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "there is room, or the text is cut"
)]
fn note_error(bytes: &[u8]) {
    ERROR.with(|error| {
        error.clear();
        // A user decides how long an error is. If there is no memory for it, its long texts are cut.
        if memory::try_reserve(error, bytes.len()).is_ok() {
            error.extend_from_slice(bytes);
        } else {
            *error = error_message::fit(bytes, SHORT_ERROR, text::clip);
        }
    });
}

fn send_or_keep_notice(bytes: &[u8]) {
    let woken = running_job::with_sink(|sink| {
        let mut woken = sink.send_kept_at_once();
        let taken = sink
            .ready_sender()
            .and_then(|sender| sender.results.take_message(frame::NOTICE, bytes));
        match taken {
            Some(reader) => woken = woken.or(reader),
            None => sink.kept.keep(frame::NOTICE, bytes),
        }
        woken
    });
    if let Some(reader) = woken.flatten() {
        wake(reader);
    }
}

/// The error with which the process ends, or the last reported one.
pub fn final_error() -> Cow<'static, [u8]> {
    FINAL_ERROR
        .get()
        .map_or_else(|| Cow::Owned(take_error()), Cow::Borrowed)
}

/// Notes the last reported error as the one with which the process ends. The exit may report others later.
pub fn note_final_error() {
    if FINAL_ERROR.get().is_none() {
        FINAL_ERROR.set(Some(take_error().leak()));
    }
}

/// The error with which the process ends. It is never freed: the exit may be interrupted and go on.
static FINAL_ERROR: Local<Option<&'static [u8]>> = Local::new(None);
