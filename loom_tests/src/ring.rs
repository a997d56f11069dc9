//! The memory of a small result ring, in cells that detect a race.

use crate::latch::MockLatch;
use engine::ring::{ALIGN, Buffer, RingShared};
use loom::cell::UnsafeCell;
use loom::sync::Arc;

/// A buffer of `units` aligned units. The ring keeps the two sides apart by unit.
#[derive(Clone)]
pub struct Cells(Arc<Vec<UnsafeCell<[u8; ALIGN]>>>);

impl Cells {
    /// This many units.
    #[must_use]
    pub fn new(units: usize) -> Self {
        Self(Arc::new(
            (0..units).map(|_| UnsafeCell::new([0; ALIGN])).collect(),
        ))
    }
}

impl Buffer for Cells {
    fn capacity(&self) -> usize {
        self.0.len() * ALIGN
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert_eq!(offset % ALIGN, 0);
        for (unit, chunk) in self.0[offset / ALIGN..].iter().zip(bytes.chunks(ALIGN)) {
            // SAFETY: what has not been published is the worker's; loom watches that it is.
            unit.with_mut(|place| unsafe { (&mut *place)[..chunk.len()].copy_from_slice(chunk) });
        }
    }

    fn read<R>(&self, offset: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        assert_eq!(offset % ALIGN, 0);
        let mut bytes = Vec::new();
        for unit in &self.0[offset / ALIGN..][..len.div_ceil(ALIGN)] {
            // SAFETY: nobody may write what was published and not given back; loom watches that.
            unit.with(|place| bytes.extend_from_slice(unsafe { &*place }));
        }
        look(&bytes[..len])
    }
}

/// A ring, and the latches of its two sides.
pub struct Ring {
    /// What both sides share.
    pub shared: RingShared,
    /// The buffer.
    pub cells: Cells,
    /// Latches by process number.
    pub latches: [MockLatch; 3],
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(units: usize) -> Arc<Self> {
        Arc::new(Self {
            shared: RingShared::default(),
            cells: Cells::new(units),
            latches: std::array::from_fn(|_| MockLatch::default()),
        })
    }
}
