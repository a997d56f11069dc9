//! The destination of the running job's rows and messages.

use crate::cluster::block::Block;
use crate::cluster::job::Job;
use crate::cluster::spill::SpillFile;
use crate::pg::process::wake;
use engine::channel::ResultSender;
use engine::memory;
use engine::process_ref::ProcRef;
use engine::ring::{Kind, MappedBuffer};
use std::collections::VecDeque;

/// Messages that are kept because there is no room take at most this many bytes; later ones are dropped.
const KEPT_LIMIT: usize = 1 << 20;

/// The destination of the rows and messages of the job that this process runs (see
/// [`running_job`](super::running_job)).
pub struct Sink {
    /// `None`: it is borrowed, because a frame is being sent.
    pub(super) sender: Option<Box<Sender>>,
    pub(super) kept: KeptMessages,
}

pub(super) struct Sender {
    pub(super) job: Job,
    pub(super) results: ResultSender<'static, MappedBuffer>,
    pub(super) spill: &'static SpillFile,
}

/// Messages for which there was no room.
pub(super) struct KeptMessages {
    pub(super) messages: VecDeque<(Kind, Vec<u8>)>,
    pub(super) bytes: usize,
}

impl Sink {
    /// For a job and its block; `None`: the job has no result.
    pub fn of(job: Job, block: &Block) -> Option<Self> {
        block.ring().map(|(shared, buffer)| Self {
            sender: Some(Box::new(Sender {
                job,
                results: ResultSender::new(shared, buffer),
                spill: block.spill(),
            })),
            kept: KeptMessages {
                messages: VecDeque::new(),
                bytes: 0,
            },
        })
    }

    /// The sender, if no message has to be sent first.
    pub(super) fn ready_sender(&mut self) -> Option<&mut Sender> {
        let nothing_kept = self.kept.messages.is_empty();
        self.sender.as_deref_mut().filter(|_| nothing_kept)
    }

    /// Sends as many of the kept messages as there is room for now. Does not wait or throw. A statement may emit
    /// messages for hours before it sends the next frame: without this, none would arrive any more after the first that
    /// found no room. Returns a reader to be woken.
    pub(super) fn send_kept_at_once(&mut self) -> Option<ProcRef> {
        let sender = self.sender.as_deref_mut()?;
        let mut woken = None;
        while let Some((kind, bytes)) = self.kept.messages.front() {
            let Some(reader) = sender.results.take_message(*kind, bytes) else {
                break;
            };
            woken = woken.or(reader);
            self.kept.next();
        }
        woken
    }

    /// Sends the kept messages and writes the rest of the result to the spill file. Does not wait or throw. Messages
    /// that are emitted meanwhile are lost.
    pub fn end(self) {
        let Self { sender, mut kept } = self;
        let Some(mut sender) = sender else {
            return;
        };
        let kept = std::iter::from_fn(|| kept.next());
        let spill = sender.spill;
        let job = sender.job;
        let append = |offset, bytes: &[u8]| spill.append_rest(job, offset, bytes);
        if let Some(reader) = sender.results.end(kept, append) {
            wake(reader);
        }
    }
}

impl KeptMessages {
    pub(super) fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        let (kind, bytes) = self.messages.pop_front()?;
        self.bytes -= bytes.len();
        Some((kind, bytes))
    }

    pub(super) fn keep(&mut self, kind: Kind, bytes: &[u8]) {
        if self.bytes + bytes.len() <= KEPT_LIMIT
            && let Ok(copy) = memory::try_copy(bytes)
            && memory::try_push_back(&mut self.messages, (kind, copy)).is_ok()
        {
            self.bytes += bytes.len();
        }
    }
}
