//! The ring against a list: what comes out, and when there is room.

use super::{Memory, content};
use arbitrary::{Arbitrary, Unstructured};
use engine::process_ref::ProcRef;
use engine::ring::{Buffer, HEADER, Kind, MappedBuffer, Reader, RingShared, Writer, size_of_chunk};

#[derive(Arbitrary)]
enum Step {
    /// A chunk with this much payload, modulo the largest and one.
    Write {
        kind: Kind,
        len: u16,
        more: bool,
    },
    /// The largest chunk, or a little less.
    WriteLong {
        less: u8,
    },
    Flush,
    WorkerArms,
    WorkerDisarms,
    Take {
        chunks: u8,
    },
    /// Looks at the next chunk, and leaves it there.
    Look,
    CatchUp,
    GiveBack,
    ReaderArms,
    ReaderDisarms,
    /// Another reader takes over.
    NextReader,
}

/// A chunk that was written.
struct Written {
    kind: Kind,
    more: bool,
    len: usize,
    /// Where it begins, not counting what was skipped before it.
    begin: u64,
    end: u64,
}

/// Any sequence of steps of both sides.
pub fn run(bytes: &[u8]) {
    run_with(bytes, |buffer| buffer);
}

/// A buffer that loses the last byte of what ends where it ends itself.
#[derive(Clone, Copy)]
struct Damaged(MappedBuffer);

impl Buffer for Damaged {
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let is_last = offset + bytes.len() == self.capacity() && bytes.len() > HEADER;
        self.0
            .write(offset, &bytes[..bytes.len() - usize::from(is_last)]);
    }

    fn read<R>(&self, offset: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        self.0.read(offset, len, look)
    }
}

/// The same with a defect.
pub fn run_with_a_damaged_buffer(bytes: &[u8]) {
    run_with(bytes, Damaged);
}

fn run_with<B: Buffer + Copy>(bytes: &[u8], wrap: impl Fn(MappedBuffer) -> B) {
    let mut input = Unstructured::new(bytes);
    let capacity = 64_usize << (u8::arbitrary(&mut input).unwrap_or(0) % 5);
    let limit = capacity / 2 - HEADER;
    let (shared, mut memory) = (RingShared::default(), Memory::new(capacity));
    let buffer = wrap(memory.buffer());
    let mut writer = Writer::new(&shared, buffer);
    let mut reader = Reader::new(&shared, buffer);
    let (worker, leader) = (ProcRef::new(1, 2), ProcRef::new(3, 4));
    let (mut worker_waits, mut reader_waits) = (false, false);
    let mut written: Vec<Written> = Vec::new();
    // How many chunks were certainly published, are certainly seen by this reader, were passed, and given back.
    let (mut published, mut seen, mut passed, mut returned) = (0, 0, 0, 0);
    // How far the reader is, and up to where it has given back.
    let (mut at, mut back) = (0_u64, 0_u64);
    // Bytes that are missing count as zero, so the end of the input has to be looked for.
    while !input.is_empty()
        && let Ok(step) = Step::arbitrary(&mut input)
    {
        match step {
            Step::Write { .. } | Step::WriteLong { .. } => {
                let (kind, len, more) = match step {
                    Step::Write { kind, len, more } => {
                        (kind.max(1), usize::from(len) % (limit + 1), more)
                    }
                    Step::WriteLong { less } => {
                        (1, limit - usize::from(less) % limit.min(16), false)
                    }
                    _ => unreachable!(),
                };
                let end = written.last().map_or(0, |chunk| chunk.end);
                let rest = capacity - end as usize % capacity;
                let size = size_of_chunk(len);
                let begin = if size > rest { end + rest as u64 } else { end };
                let fits = begin + size as u64 - back <= capacity as u64;
                match writer.try_write(kind, &content(written.len(), len), more) {
                    Ok(wake) => {
                        assert!(fits, "it overwrites what is not given back");
                        assert!(wake.is_none() || (reader_waits && wake == Some(leader)));
                        let end = begin + size as u64;
                        written.push(Written {
                            kind,
                            more,
                            len,
                            begin,
                            end,
                        });
                    }
                    Err(_) => assert!(!fits, "there was room"),
                }
            }
            Step::Flush => {
                let wake = writer.flush();
                assert_eq!(wake, reader_waits.then_some(leader));
                published = written.len();
            }
            Step::WorkerArms => {
                writer.arm(worker);
                worker_waits = true;
            }
            Step::WorkerDisarms => {
                writer.disarm();
                worker_waits = false;
            }
            Step::Look | Step::Take { .. } => {
                let count = match step {
                    Step::Take { chunks } => usize::from(chunks % 8) + 1,
                    _ => 1,
                };
                for _ in 0..count {
                    let Some(chunk) = reader.peek() else {
                        assert!(passed >= seen.max(published), "a chunk is not seen");
                        break;
                    };
                    let expected = written.get(passed).expect("a chunk that was written");
                    assert_eq!(
                        (chunk.kind, chunk.more, chunk.len),
                        (expected.kind, expected.more, expected.len)
                    );
                    reader.payload(chunk, |bytes| assert_eq!(bytes, content(passed, chunk.len)));
                    at = expected.begin;
                    if matches!(step, Step::Take { .. }) {
                        reader.pass(chunk);
                        at = expected.end;
                        passed += 1;
                    }
                }
            }
            Step::CatchUp | Step::GiveBack => {
                let wake = if matches!(step, Step::GiveBack) {
                    reader.give_back()
                } else {
                    reader.catch_up()
                };
                let is_given = matches!(step, Step::GiveBack) || at - back >= capacity as u64 / 4;
                assert!(wake.is_none() || (is_given && worker_waits && wake == Some(worker)));
                if is_given {
                    // A worker that waits is woken when half of the buffer is free.
                    let held = written
                        .last()
                        .map_or(0, |chunk| chunk.end)
                        .saturating_sub(at);
                    let is_due = worker_waits && back != at && held <= capacity as u64 / 2;
                    assert!(wake.is_some() || !is_due, "nobody wakes the worker");
                    (back, returned) = (at, passed);
                }
            }
            Step::ReaderArms => {
                reader.arm(leader);
                reader_waits = true;
                seen = written.len();
            }
            Step::ReaderDisarms => {
                reader.disarm();
                reader_waits = false;
            }
            Step::NextReader => {
                reader = Reader::new(&shared, buffer);
                (passed, seen, at) = (returned, 0, back);
            }
        }
    }
    // At the end everything is there.
    let _ = writer.flush();
    while let Some(chunk) = reader.peek() {
        reader.payload(chunk, |bytes| assert_eq!(bytes, content(passed, chunk.len)));
        let _ = reader.consume(chunk);
        passed += 1;
    }
    assert_eq!(passed, written.len(), "chunks are lost");
}
