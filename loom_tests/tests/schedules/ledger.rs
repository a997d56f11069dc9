//! What has happened, as seen from outside. Every invariant is checked here.
//!
//! The ledger is in ordinary memory behind a lock of the standard library, which shuttle does not know: looking
//! at it changes no schedule. So nothing at which shuttle could switch threads is called while the lock is
//! held.

use engine::job::End;
use engine::table::JobId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

/// One accepted job.
#[derive(Default)]
struct Record {
    /// A cancel was asked for.
    asked: bool,
    /// How often it began to run.
    begun: u32,
    /// A worker died with it.
    died: bool,
    end: Option<End>,
    /// Its memory was out of reach for its last holder.
    left: bool,
    freed: bool,
}

#[derive(Default)]
struct Books {
    jobs: HashMap<JobId, Record>,
    /// Whose block each slot has.
    blocks: HashMap<u32, JobId>,
    /// By lane, in the order in which they must be taken.
    queues: HashMap<u32, BTreeMap<i64, JobId>>,
    last: i64,
    first: i64,
}

/// See the module documentation.
#[derive(Default)]
pub struct Ledger(Mutex<Books>);

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The job's block is allocated.
    pub fn allocated(&self, job: JobId) {
        let before = self.books().blocks.insert(job.index, job);
        assert_eq!(before, None, "{job:?} got a slot that is in use");
    }

    /// A process that holds the job uses its block.
    pub fn used(&self, job: JobId) {
        let owner = self.books().blocks.get(&job.index).copied();
        assert_eq!(owner, Some(job), "a block was used after it was freed");
    }

    /// The last one out, or a process that goes on for it, frees the block if it is still there.
    pub fn freed(&self, job: JobId) {
        let mut books = self.books();
        let record = books.jobs.get_mut(&job).expect("it was accepted");
        if std::mem::replace(&mut record.freed, true) {
            return;
        }
        let owner = books.blocks.remove(&job.index);
        assert_eq!(owner, Some(job), "a block was freed twice, or another's");
    }

    /// The last one out defers the freeing of the job.
    pub fn left(&self, job: JobId) {
        let mut books = self.books();
        let record = books.jobs.get_mut(&job).expect("it was accepted");
        assert!(!record.left && !record.freed, "{job:?} was deferred twice");
        record.left = true;
    }

    /// Whether its block is freed.
    #[must_use]
    pub fn is_freed(&self, job: JobId) -> bool {
        self.books().jobs[&job].freed
    }

    /// How many of these jobs nobody holds any more, and how they ended: completed, failed, canceled.
    #[must_use]
    pub fn over(&self, jobs: &[JobId]) -> [u64; 3] {
        let books = self.books();
        let ended = |end: End| {
            let is_so = |job: &&JobId| {
                let record = &books.jobs[*job];
                (record.freed || record.left) && record.end == Some(end)
            };
            jobs.iter().filter(is_so).count() as u64
        };
        [End::Completed, End::Failed, End::Canceled].map(ended)
    }

    /// The job is about to be dispatched: from now on it must end.
    pub fn accepted(&self, job: JobId) {
        let before = self.books().jobs.insert(job, Record::default());
        assert!(before.is_none(), "{job:?} was claimed twice");
    }

    /// It was refused: it was not accepted after all.
    pub fn withdrawn(&self, job: JobId) {
        let mut books = self.books();
        let record = books
            .jobs
            .remove(&job)
            .expect("it was about to be dispatched");
        assert_eq!(record.begun, 0, "{job:?} ran although it was refused");
        books.blocks.remove(&job.index);
    }

    /// It waits at the end of its lane. Called under the pool lock, as are the next three. Not for jobs that
    /// may be throttled: one cannot see from here when those join their lane.
    pub fn queued(&self, lane: u32, job: JobId) {
        let mut books = self.books();
        books.last += 1;
        let number = books.last;
        books.queues.entry(lane).or_default().insert(number, job);
    }

    /// It waits at the head of its lane again.
    pub fn requeued(&self, lane: u32, job: JobId) {
        let mut books = self.books();
        books.first -= 1;
        let number = books.first;
        books.queues.entry(lane).or_default().insert(number, job);
    }

    /// It was taken from its lane. Returns the jobs before it, of which none may be queued.
    #[must_use]
    pub fn taken(&self, lane: u32, job: JobId) -> Vec<JobId> {
        let mut books = self.books();
        let queue = books.queues.entry(lane).or_default();
        let Some((&number, _)) = queue.iter().find(|(_, queued)| **queued == job) else {
            return Vec::new();
        };
        queue.remove(&number);
        queue.range(..number).map(|(_, job)| *job).collect()
    }

    /// It was handed to an idle worker. Returns the jobs that wait, of which none may be queued.
    #[must_use]
    pub fn waiting(&self, lane: u32) -> Vec<JobId> {
        let books = self.books();
        let queue = books.queues.get(&lane);
        queue.map_or_else(Vec::new, |queue| queue.values().copied().collect())
    }

    /// A process is about to ask for a cancel.
    pub fn asked(&self, job: JobId) {
        if let Some(record) = self.books().jobs.get_mut(&job) {
            record.asked = true;
        }
    }

    /// It runs.
    pub fn begun(&self, job: JobId) {
        let mut books = self.books();
        let record = books.jobs.get_mut(&job).expect("it was accepted");
        record.begun += 1;
        assert_eq!(record.begun, 1, "{job:?} ran twice");
        assert_eq!(record.end, None, "{job:?} ran after its end");
    }

    /// A worker dies with it.
    pub fn died(&self, job: JobId) {
        let mut books = self.books();
        books.jobs.get_mut(&job).expect("it was accepted").died = true;
    }

    /// It ends in this way.
    pub fn ended(&self, job: JobId, end: End) {
        let mut books = self.books();
        let record = books.jobs.get_mut(&job).expect("it was accepted");
        assert_eq!(record.end, None, "{job:?} ended twice");
        assert!(
            end != End::Canceled || record.asked,
            "{job:?} was canceled and nobody asked"
        );
        assert!(
            end != End::Failed || record.died,
            "{job:?} failed with its worker alive"
        );
        assert!(end != End::Completed || record.begun == 1);
        record.end = Some(end);
    }

    /// A job that a process may have heard of: any that was accepted.
    pub fn heard_of(&self, number: usize) -> Option<JobId> {
        let books = self.books();
        let mut jobs: Vec<_> = books.jobs.keys().copied().collect();
        jobs.sort_unstable_by_key(|job| (job.index, job.generation.get()));
        (!jobs.is_empty()).then(|| jobs[number % jobs.len()])
    }

    /// All processes have ended.
    pub fn close(&self) {
        let books = self.books();
        for (job, record) in &books.jobs {
            assert!(record.end.is_some(), "{job:?} never ended");
            assert!(record.freed, "{job:?} was never freed");
        }
        assert!(books.blocks.is_empty(), "blocks are left");
    }
}
