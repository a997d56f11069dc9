//! Rows and messages into the result ring.
//!
//! The shim calls in with frames ([`pgb_send_frame`]), which wait for room, and with messages
//! ([`pgb_on_message`]), which come from the middle of error reporting and must neither wait nor throw. A
//! message that finds no room is kept in this process until the next frame, or until the job's statements
//! are done. An error is never put into the ring: it is kept for the outcome.
//!
//! Rows that nobody will read (the leader let go, or its reader gave up) are dropped: the job goes on.

use crate::engine::ring::{Full, Kind, MappedBuffer, Wake, Writer};
use crate::engine::table::JobId;
use crate::engine::wait::{NoVigil, wait_for};
use crate::pg::block::Block;
use crate::pg::cluster::{Cluster, attached};
use crate::pg::latch::{ProcessLatch, own_party, ring};
use crate::pg::local::Local;
use crate::pg::shim::frame;
use pgrx::pg_guard;
use std::collections::VecDeque;
use std::ffi::c_char;

/// Messages kept for want of room take up at most this many bytes; later ones are dropped.
const KEPT_LIMIT: usize = 1 << 20;

struct Sender {
    job: JobId,
    writer: Writer<'static, MappedBuffer>,
    kept: VecDeque<(Kind, Vec<u8>)>,
    kept_bytes: usize,
}

static SENDER: Local<Option<Sender>> = Local::new(None);

/// Body of the last error that was reported; empty: none since the last job began.
static ERROR: Local<Vec<u8>> = Local::new(Vec::new());

/// Begins to send for a job; `block` is its block.
pub fn begin(job: JobId, block: &Block) {
    let sender = block.ring().map(|(shared, buffer)| Sender {
        job,
        writer: Writer::new(shared, buffer),
        kept: VecDeque::new(),
        kept_bytes: 0,
    });
    SENDER.with(|current| *current = sender);
    ERROR.with(Vec::clear);
}

/// Ends sending: what is kept and fits is sent, the rest dropped. Does not wait or throw.
pub fn end() {
    let wake = SENDER.with(|current| {
        let mut sender = current.take()?;
        while let Some((kind, bytes)) = sender.kept.pop_front() {
            if sender.try_whole(kind, &bytes).is_none() {
                break;
            }
        }
        sender.writer.flush()
    });
    if let Some(reader) = wake {
        ring(reader);
    }
}

/// Takes the error that was reported last.
pub fn take_error() -> Vec<u8> {
    ERROR.with(std::mem::take)
}

/// What became of an attempt to send.
enum Attempt {
    Sent(Wake),
    Dropped,
    NoRoom,
}

impl Sender {
    /// Sends a message that fits into one chunk, if there is room.
    fn try_whole(&mut self, kind: Kind, bytes: &[u8]) -> Option<Wake> {
        if self.writer.is_torn() || bytes.len() > self.writer.chunk_limit() {
            return None;
        }
        self.writer.try_write(kind, bytes, false).ok()
    }

    fn keep(&mut self, kind: Kind, bytes: &[u8]) {
        if self.kept_bytes + bytes.len() <= KEPT_LIMIT {
            self.kept_bytes += bytes.len();
            self.kept.push_back((kind, bytes.to_vec()));
        }
    }

    fn attempt(&mut self, kind: Kind, bytes: &[u8], more: bool) -> Attempt {
        if self.writer.is_discarded() {
            return Attempt::Dropped;
        }
        match self.writer.try_write(kind, bytes, more) {
            Ok(wake) => Attempt::Sent(wake),
            Err(Full) => Attempt::NoRoom,
        }
    }
}

fn attempt(kind: Kind, bytes: &[u8], more: bool) -> Attempt {
    SENDER.with(|current| {
        current
            .as_mut()
            .map_or(Attempt::Dropped, |sender| sender.attempt(kind, bytes, more))
    })
}

/// Whether nobody will read any more.
fn is_unwanted(cluster: &'static Cluster, job: JobId) -> bool {
    !cluster.slot(job).word.load().leader()
}

/// Sends one chunk, waiting for room. `false`: it was dropped.
fn send_chunk(kind: Kind, bytes: &[u8], more: bool) -> bool {
    let settled = |attempt: Attempt| match attempt {
        Attempt::Sent(wake) => {
            if let Some(reader) = wake {
                ring(reader);
            }
            Some(true)
        }
        Attempt::Dropped => Some(false),
        Attempt::NoRoom => None,
    };
    if let Some(sent) = settled(attempt(kind, bytes, more)) {
        return sent;
    }
    let Some(cluster) = attached() else {
        return false;
    };
    let Some(job) = SENDER.with(|current| current.as_ref().map(|sender| sender.job)) else {
        return false;
    };
    let own = own_party();
    let arm = || {
        let wake = SENDER.with(|current| {
            let sender = current.as_ref()?;
            sender.writer.arm(own);
            sender.writer.flush()
        });
        if let Some(reader) = wake {
            ring(reader);
        }
    };
    let look = || {
        if is_unwanted(cluster, job) {
            return Some(false);
        }
        settled(attempt(kind, bytes, more))
    };
    let latch = ProcessLatch::for_sending(cluster);
    let sent = wait_for(&latch, None, &mut NoVigil, arm, look);
    SENDER.with(|current| {
        if let Some(sender) = current {
            sender.writer.disarm();
        }
    });
    sent.unwrap_or(false)
}

fn send(kind: Kind, bytes: &[u8]) {
    let limit = SENDER.with(|current| {
        current
            .as_ref()
            .filter(|sender| !sender.writer.is_torn())
            .map(|sender| sender.writer.chunk_limit())
    });
    let Some(limit) = limit else {
        return;
    };
    if bytes.len() <= limit {
        send_chunk(kind, bytes, false);
        return;
    }
    let mut chunks = bytes.chunks(limit).peekable();
    while let Some(chunk) = chunks.next() {
        if !send_chunk(kind, chunk, chunks.peek().is_some()) {
            return;
        }
    }
}

fn send_kept() {
    while let Some((kind, bytes)) = SENDER.with(|current| {
        let sender = current.as_mut()?;
        let kept = sender.kept.pop_front()?;
        sender.kept_bytes -= kept.1.len();
        Some(kept)
    }) {
        send(kind, &bytes);
    }
}

/// # Safety
/// `bytes` points at `len` bytes.
#[pg_guard]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pgb_send_frame(kind: u8, bytes: *const c_char, len: usize) {
    // SAFETY: by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    send_kept();
    send(kind, bytes);
}

/// Sends the messages that were kept, waiting for room.
#[pg_guard]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pgb_flush_messages() {
    send_kept();
}

/// # Safety
/// `bytes` points at `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pgb_on_message(kind: c_char, bytes: *const c_char, len: usize) {
    // SAFETY: by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    let kind = match kind as u8 {
        b'E' => {
            ERROR.with(|error| {
                error.clear();
                error.extend_from_slice(bytes);
            });
            return;
        }
        b'N' => frame::NOTICE,
        _ => return,
    };
    let wake = SENDER.with(|current| {
        let sender = current.as_mut()?;
        if !sender.kept.is_empty() || sender.try_whole(kind, bytes).is_none() {
            sender.keep(kind, bytes);
            return None;
        }
        sender.writer.flush()
    });
    if let Some(reader) = wake {
        ring(reader);
    }
}
