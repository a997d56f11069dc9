//! The result ring: frames from a worker to a reader, through a ring of the default size.

use criterion::{BenchmarkId, Criterion, Throughput};
use engine::ring::{ALIGN, MappedBuffer, Reader, RingShared, Writer};
use std::hint::black_box;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// `pg_background.default_queue_size`.
const CAPACITY: usize = 64 * 1024;
/// Bytes of a frame. The last one fills a chunk.
const SIZES: [usize; 5] = [8, 64, 1024, 8 * 1024, CAPACITY / 2 - 8];
const ROW: u8 = 1;

pub fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let frame = vec![7; size];
        group.bench_with_input(
            BenchmarkId::new("write and read", size),
            &frame,
            |b, frame| {
                let (shared, memory) = (RingShared::default(), Memory::new(CAPACITY));
                let mut writer = Writer::new(&shared, memory.attach());
                let mut reader = Reader::new(&shared, memory.attach());
                let mut read = Vec::with_capacity(CAPACITY);
                b.iter(|| {
                    let _ = writer.try_write(ROW, frame, false).expect("it is empty");
                    let _ = writer.flush();
                    assert!(take(&mut reader, &mut read));
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("between two threads", size),
            &frame,
            |b, frame| b.iter_custom(|frames| stream(frame, frames)),
        );
    }
    group.finish();
}

/// The buffer's memory. Only the ring touches it.
pub struct Memory(Box<[Cell]>);

type Cell = std::cell::UnsafeCell<u64>;

// SAFETY: its one use is through rings, whose counters keep the two sides apart.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn new(capacity: usize) -> Self {
        Self(
            std::iter::repeat_with(|| Cell::new(0))
                .take(capacity / ALIGN)
                .collect(),
        )
    }

    pub fn attach(&self) -> MappedBuffer {
        // SAFETY: the rings of this file are dropped before their memory, which is of 8-byte words.
        unsafe { MappedBuffer::new(self.0.as_ptr().cast_mut().cast(), size_of_val(&*self.0)) }
    }
}

/// Copies out and consumes the chunk at the front, if there is one.
fn take(reader: &mut Reader<'_, MappedBuffer>, into: &mut Vec<u8>) -> bool {
    let Some(chunk) = reader.peek() else {
        return false;
    };
    into.clear();
    reader.payload(chunk, |bytes| into.extend_from_slice(bytes));
    black_box(&into);
    let _ = reader.consume(chunk);
    true
}

/// The time to read this many frames while another thread writes them. Neither sleeps: this measures the ring
/// without wake-ups. They yield to each other if they share one processor.
fn stream(frame: &[u8], frames: u64) -> Duration {
    let (shared, memory) = (RingShared::default(), Memory::new(CAPACITY));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::new(&shared, memory.attach());
            for _ in 0..frames {
                while writer.try_write(ROW, frame, false).is_err() {
                    let _ = writer.flush();
                    yield_now();
                }
            }
            let _ = writer.flush();
        });
        let mut reader = Reader::new(&shared, memory.attach());
        let mut into = Vec::with_capacity(CAPACITY);
        let mut read = 0;
        while read < frames {
            if take(&mut reader, &mut into) {
                read += 1;
            } else {
                let _ = reader.give_back();
                yield_now();
            }
        }
        start.elapsed()
    })
}
