//! A channel whose ring and file are made of cells that detect a race.

use crate::latch::MockLatch;
use crate::memory::process;
use crate::ring::Cells;
use engine::channel::{ChannelShared, SenderHost};
use engine::process_ref::ProcRef;
use engine::ring::{Buffer, Wake};
use loom::sync::Arc;

/// A channel, and the latches of its two sides.
pub struct Channel {
    /// What both sides share.
    pub shared: ChannelShared,
    /// The ring's buffer.
    pub cells: Cells,
    /// The file.
    pub file: Cells,
    /// Latches by process number.
    pub latches: [MockLatch; 2],
}

/// The worker's process number.
pub const WORKER: u32 = 0;
/// The reader's.
pub const READER: u32 = 1;

impl Channel {
    /// An empty channel with this many units in the ring and this many in the file.
    #[must_use]
    pub fn new(ring: usize, file: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: ChannelShared::default(),
            cells: Cells::new(ring),
            file: Cells::new(file),
            latches: std::array::from_fn(|_| MockLatch::default()),
        })
    }

    /// Wakes the process that has to be woken, if there is one.
    pub fn wake(&self, wake: Wake) {
        if let Some(proc) = wake {
            self.latches[proc.procno() as usize].set();
        }
    }
}

/// The worker.
pub struct Worker {
    /// Its channel.
    pub channel: Arc<Channel>,
    /// Bytes in the file.
    pub len: usize,
}

impl SenderHost for Worker {
    type Latch = MockLatch;

    fn latch(&self) -> &MockLatch {
        &self.channel.latches[WORKER as usize]
    }

    fn own(&self) -> ProcRef {
        process(WORKER)
    }

    fn wake(&self, proc: ProcRef) {
        self.channel.wake(Some(proc));
    }

    fn is_unwanted(&self) -> bool {
        false
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) {
        assert_eq!(offset as usize, self.len, "not at the end of the file");
        self.channel.file.write(self.len, bytes);
        self.len += bytes.len();
    }

    fn empty(&mut self) {
        self.len = 0;
    }
}
