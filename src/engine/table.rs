//! The job table: slots in shared memory, and the lock-free list of free slots.
//!
//! # Who may touch what
//!
//! | field of a slot | written by | when | published by |
//! |---|---|---|---|
//! | `word` | see [`crate::job`] | | |
//! | `links` | the free list while the job is `Free`; the pool, under its lock, while it is `Queued` or its freeing is deferred | | |
//! | `reusing_links` | the pool, under its lock | `Queued` | |
//! | `lane`, `permit`, `throttled` | the pool, under its lock | `Reserved`, `Queued` | `publish` |
//! | `usage` | the leader that claims the slot, before it can be interrupted | `Reserved` | `publish` |
//! | `bytes`, `file_bytes` | the process that allocates for the job or writes its file; only for a view of all jobs | any | |
//! | `leader`, `database`, `memory_limit`, `file_limit`, `block`, `user`, `queue_size`, `options`, `launched_at`, `preview`, `label`, `excluded` | the leader that reserved the slot | `Reserved` | `publish` |
//! | `worker`, `pid` | the pool, under its lock | just before `bind`; `pid` is cleared when the job goes back to its lane | `bind` |
//! | `being_read` | the leader | any | itself |
//! | `chained` | the leader ([`crate::pool::sleep`]) | any | itself |
//! | `account` | the leader, until it detaches the job; then the last one out | any | `detach` ([`crate::pool::ends`]) |
//! | `started_at` | the bound worker | `Starting` | `begin` |
//! | `finished_at` | the bound worker, or the process that ends a queued job | before the last transition | `finish`, `cancel_queued`, `unbind` |
//! | `progress` | the bound worker | `Running` | itself, a sequence lock |
//!
//! All of them are atomics. So a reader that has no hold (a monitoring view) sees an old or a new value and
//! never undefined behavior. [`Slot::look`] tells whether all values were of one job.
//!
//! # The free list
//!
//! A Treiber stack of slot indices. The head is one word of `(tag, index + 1)`; the `next` of a free slot's
//! links has the slot below it. The tag grows with every successful change. So a pop that slept between reading
//! the head and exchanging it cannot succeed on a list that was popped and pushed in between (the ABA problem):
//! the 32 bits of the tag would have to wrap during that one sleep. A slot is on the list exactly while its
//! word says `Free`, except for the moment in which its last holder puts it there.
//!
//! # How many are in use
//!
//! `used` counts the slots that are claimed. A claim first raises the count, if it is below the claim's limit,
//! and then pops. To free a slot is to push it first and then to lower the count. So a process that has raised
//! the count finds a slot on the list: the pushes that made room for it happened before, by the release and
//! acquire of the count. Some slots are reserved for superusers ([`JobTable::ordinary_limit`]): an
//! administrator can always run a job.

use crate::chain::ChainLink;
use crate::job::{Generation, JobWord, Phase, Snapshot};
use crate::list::{Link, Linked, Links, Second};
use crate::process_ref::ProcRef;
use crate::progress::Progress;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::text::SharedText;

/// Bytes of SQL text that a slot shows, as documented for SQL.
pub const PREVIEW_LIMIT: usize = 120;
const PREVIEW_WORDS: usize = PREVIEW_LIMIT / 8;

/// Bytes of a label at most, as documented for SQL.
pub const LABEL_LIMIT: usize = 64;
const LABEL_WORDS: usize = LABEL_LIMIT / 8;

/// How many processes a slot can name on which a version 1 job must not run. A leader with more sets
/// [`Options::fresh_only`] instead.
pub const EXCLUDED_LIMIT: usize = 16;

/// How a job was launched, as flags in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Launched through version 1: its leader knows it by pid alone.
    pub by_pid: bool,
    /// Fire and forget: there is no result ring.
    pub submit: bool,
    /// Only a process that has run no job yet may take it.
    pub fresh_only: bool,
    /// Throttled while its leader's quota is used up (see [`crate::pool`]).
    pub bounded: bool,
    /// Does not count against its leader's quota.
    pub uncounted: bool,
    /// It has a label.
    pub labeled: bool,
}

impl Options {
    fn to_bits(self) -> u32 {
        u32::from(self.by_pid)
            | u32::from(self.submit) << 1
            | u32::from(self.fresh_only) << 2
            | u32::from(self.bounded) << 3
            | u32::from(self.uncounted) << 4
            | u32::from(self.labeled) << 5
    }

    fn from_bits(bits: u32) -> Self {
        let is_set = |bit: u32| bits & 1 << bit != 0;
        Self {
            by_pid: is_set(0),
            submit: is_set(1),
            fresh_only: is_set(2),
            bounded: is_set(3),
            uncounted: is_set(4),
            labeled: is_set(5),
        }
    }
}

/// The entry of one job in shared memory. See the module documentation.
#[repr(C, align(64))]
pub struct Slot {
    /// The job word.
    pub word: JobWord,
    links: Links,
    /// For the second of the lists of a queue, if any worker may take the job.
    reusing_links: Links,
    pub(crate) lane: AtomicU32,
    pub(crate) worker: AtomicU32,
    pub(crate) permit: AtomicU32,
    pub(crate) throttled: AtomicU32,
    /// Index of its login role's usage ([`crate::pool::usage`]).
    pub(crate) usage: AtomicU32,
    /// Object id of its database.
    pub database: AtomicU32,
    /// Pid of the process the job was bound to last, 0 before.
    pub pid: AtomicU32,
    /// Role that launched it; rights are checked against this one.
    pub user: AtomicU32,
    options: AtomicU32,
    /// The leader reads the result ([`crate::pool::gate`]).
    pub(crate) being_read: AtomicU32,
    /// Whose statistics it belongs to, until it is counted ([`crate::pool::ends`]).
    pub(crate) account: AtomicU32,
    /// Bytes of result ring, as asked for.
    pub queue_size: AtomicU32,
    leader: AtomicU64,
    /// The next of the jobs on which its leader sleeps.
    pub(crate) chained: ChainLink,
    /// Offset of the job's arena block.
    pub block: AtomicU64,
    /// Bytes that its blocks have.
    pub bytes: AtomicU64,
    /// Bytes that its file has.
    pub file_bytes: AtomicU64,
    /// Bytes that its role's blocks may have in all, by the settings of the launching session.
    pub memory_limit: AtomicU64,
    /// Bytes that its role's files may have in all, by the same settings.
    pub file_limit: AtomicU64,
    /// Microseconds, in the server's clock (`TimestampTz`).
    pub launched_at: AtomicU64,
    /// Same clock; 0 until a worker began it, or refused to begin it.
    pub started_at: AtomicU64,
    /// Same clock; 0 before it finished.
    pub finished_at: AtomicU64,
    excluded: [AtomicU32; EXCLUDED_LIMIT],
    /// Beginning of the SQL text.
    pub preview: SharedText<PREVIEW_WORDS>,
    label: SharedText<LABEL_WORDS>,
    /// What the job reported of itself.
    pub progress: Progress,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            word: JobWord::new(),
            links: Links::default(),
            reusing_links: Links::default(),
            lane: AtomicU32::new(0),
            worker: AtomicU32::new(0),
            permit: AtomicU32::new(0),
            throttled: AtomicU32::new(0),
            usage: AtomicU32::new(0),
            database: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            user: AtomicU32::new(0),
            options: AtomicU32::new(0),
            being_read: AtomicU32::new(0),
            account: AtomicU32::new(0),
            queue_size: AtomicU32::new(0),
            leader: AtomicU64::new(0),
            chained: ChainLink::default(),
            block: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            memory_limit: AtomicU64::new(0),
            file_limit: AtomicU64::new(0),
            launched_at: AtomicU64::new(0),
            started_at: AtomicU64::new(0),
            finished_at: AtomicU64::new(0),
            excluded: std::array::from_fn(|_| AtomicU32::new(0)),
            preview: SharedText::default(),
            label: SharedText::default(),
            progress: Progress::default(),
        }
    }
}

impl Linked for Slot {
    fn links(&self) -> &Links {
        &self.links
    }
}

impl Linked<Second> for Slot {
    #[allow(clippy::misnamed_getters, reason = "the links of that list")]
    fn links(&self) -> &Links {
        &self.reusing_links
    }
}

impl Slot {
    /// Clears what the slot's last job left. Only while `Reserved`, and before any other field is written. If
    /// the options say that there is a label, the caller sets it afterwards.
    pub fn prepare(&self, leader: ProcRef, options: Options, excluded: &[u32]) {
        // A process that sees one of these values, then fences and looks at the word, sees at least our
        // reservation there, and not the job that these values belonged to before. Pairs with `look`.
        fenced!("prepare-without-fence", Ordering::Release);
        self.leader.store(leader.to_bits(), Ordering::Relaxed);
        let fresh_only = options.fresh_only || excluded.len() > EXCLUDED_LIMIT;
        let options = Options {
            fresh_only,
            ..options
        };
        self.options.store(options.to_bits(), Ordering::Relaxed);
        let pids = excluded.iter().copied().chain(std::iter::repeat(0));
        for (entry, pid) in self.excluded.iter().zip(pids) {
            entry.store(pid, Ordering::Relaxed);
        }
        self.pid.store(0, Ordering::Relaxed);
        self.block.store(0, Ordering::Relaxed);
        self.being_read.store(0, Ordering::Relaxed);
        self.chained.clear();
        self.account.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.file_bytes.store(0, Ordering::Relaxed);
        self.started_at.store(0, Ordering::Relaxed);
        self.finished_at.store(0, Ordering::Relaxed);
        self.progress.reset();
    }

    /// Reads fields of the published job in the slot. The caller needs no hold. `read` is given the job's word.
    /// `None`: there is no published job, or the slot went to another job meanwhile, and the values may be of
    /// both.
    pub fn look<T>(&self, read: impl FnOnce(Snapshot) -> T) -> Option<T> {
        let before = self.word.load();
        if matches!(before.phase(), Phase::Free | Phase::Reserved) {
            return None;
        }
        let seen = read(before);
        // Pairs with the fence in `prepare`, which comes before the next job's values.
        fence(Ordering::Acquire);
        let generation = before.generation();
        if checked!(
            "slot-looked-at-once",
            self.word.load().generation() != generation
        ) {
            return None;
        }
        Some(seen)
    }

    /// The leader, to be woken.
    #[must_use]
    pub fn leader(&self) -> Option<ProcRef> {
        ProcRef::from_bits(self.leader.load(Ordering::Relaxed))
    }

    /// How it was launched.
    #[must_use]
    pub fn options(&self) -> Options {
        Options::from_bits(self.options.load(Ordering::Relaxed))
    }

    /// Gives it its label. Only while `Reserved`.
    pub fn set_label(&self, label: &[u8]) {
        self.label.store(label);
    }

    /// Its label, if it has one.
    #[must_use]
    pub fn label(&self) -> Option<Vec<u8>> {
        self.options().labeled.then(|| self.label.load())
    }

    /// Whether it waits because its session's quota is used up. Meaningful while `Queued`.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed) != 0
    }

    /// Index of its login role's usage. Does not change while the slot is not free.
    #[must_use]
    pub fn usage(&self) -> u32 {
        self.usage.load(Ordering::Relaxed)
    }

    /// Index of its lane in the pool's lanes. Meaningful from `Queued` on.
    #[must_use]
    pub fn lane(&self) -> u32 {
        self.lane.load(Ordering::Relaxed)
    }

    /// Index of the worker slot to which it is bound. Meaningful from `Starting` on.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker.load(Ordering::Relaxed)
    }

    /// Whether the process `pid` may take this job. `fresh`: it has run no job yet.
    #[must_use]
    pub(crate) fn may_run_on(&self, pid: u32, fresh: bool) -> bool {
        (fresh || !self.options().fresh_only)
            && self
                .excluded
                .iter()
                .map(|excluded| excluded.load(Ordering::Relaxed))
                .take_while(|&excluded| excluded != 0)
                .all(|excluded| excluded != pid)
    }
}

/// Names a job: a slot, and its generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JobId {
    /// Index into the job table.
    pub index: u32,
    /// Generation of the slot.
    pub generation: Generation,
}

/// Head of the free list, in shared memory.
#[repr(C, align(64))]
#[derive(Default)]
pub struct FreeList {
    head: AtomicU64,
    /// Slots claimed and not free again.
    used: AtomicU32,
}

const TAG_SHIFT: u32 = 32;

/// One in this many slots is reserved for superusers, and no more than [`RESERVED_MOST`]. That is enough for an
/// administrator's few jobs, and too few for others to miss.
const RESERVED_PART: u32 = 64;
const RESERVED_MOST: u32 = 16;

/// A process's handle on the job table.
#[derive(Clone, Copy)]
pub struct JobTable<'a> {
    slots: &'a [Slot],
    free: &'a FreeList,
}

impl<'a> JobTable<'a> {
    /// The table in `slots` with its free list.
    #[must_use]
    pub fn new(slots: &'a [Slot], free: &'a FreeList) -> Self {
        Self { slots, free }
    }

    /// Puts every slot on the free list. Called once by the process that created the memory, before others see
    /// it.
    pub fn initialize(&self) {
        for index in (0..self.slots.len() as u32).rev() {
            self.push(index);
        }
    }

    /// How many jobs the table has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Slots in use now.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.free.used.load(Ordering::Relaxed)
    }

    /// The slot with this index.
    #[must_use]
    pub fn slot(&self, index: u32) -> &'a Slot {
        &self.slots[index as usize]
    }

    /// All slots.
    pub fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    /// Every slot, with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &'a Slot)> + use<'a> {
        (0..).zip(self.slots)
    }

    /// Claims a free slot, if fewer than `limit` are in use: it is `Reserved` for the caller. `None`: none is
    /// free.
    ///
    /// The caller notes the job in its own memory before it can be interrupted. It gives the slot back with
    /// [`abandon`](Self::abandon) if it cannot fill it in.
    ///
    /// # Panics
    /// When the free list is empty although the count says otherwise.
    #[must_use]
    pub(crate) fn claim_below(&self, limit: u32) -> Option<JobId> {
        self.count_up(limit.min(self.capacity() as u32))?;
        let index = self
            .pop()
            .expect("a slot is free for each that is not counted");
        let generation = self.slot(index).word.reserve();
        Some(JobId { index, generation })
    }

    /// Users who are not superusers may claim a slot while fewer slots than this are in use.
    #[must_use]
    pub fn ordinary_limit(&self) -> u32 {
        let capacity = self.capacity() as u32;
        capacity
            - (capacity / RESERVED_PART)
                .clamp(1, RESERVED_MOST)
                .min(capacity - 1)
    }

    /// Counts one more slot as used, if fewer than `limit` are.
    fn count_up(&self, limit: u32) -> Option<()> {
        let mut now = self.free.used.load(Ordering::Relaxed);
        loop {
            if now >= limit {
                return None;
            }
            // Acquire: the pop that follows sees the pushes of the processes that lowered the count.
            match self.free.used.compare_exchange_weak(
                now,
                now + 1,
                weakened!("slot-counted-relaxed", Ordering::Acquire),
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(()),
                Err(seen) => now = seen,
            }
        }
    }

    /// Gives back a reservation.
    pub(crate) fn abandon(&self, job: JobId) {
        self.slot(job.index).word.abandon(job.generation);
        self.give_back(job.index);
    }

    /// Frees the slot of a finished job that nobody holds. The caller has freed what the job owned before.
    pub(crate) fn free(&self, job: JobId) {
        self.slot(job.index).word.free(job.generation);
        self.give_back(job.index);
    }

    fn give_back(&self, index: u32) {
        mutant!("slot-uncounted-before-its-push" => return mutants::uncount_then_push(self, index));
        self.push(index);
        // Release: the process that raises the count next finds the slot on the list.
        self.free
            .used
            .fetch_sub(1, weakened!("slot-uncounted-relaxed", Ordering::Release));
    }

    fn push(&self, index: u32) {
        let slot = self.slot(index);
        let mut head = self.free.head.load(Ordering::Relaxed);
        loop {
            Link(head as u32).store(&slot.links.next);
            let wanted = next_tag(head) | u64::from(Link::to(index).0);
            // Release: the process that pops this slot sees its `next`, and the word that says Free.
            match self.free.head.compare_exchange_weak(
                head,
                wanted,
                weakened!("free-list-push-relaxed", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }

    fn pop(&self) -> Option<u32> {
        let mut head = self.free.head.load(Ordering::Acquire);
        loop {
            let index = Link(head as u32).index()?;
            // Another process may pop and reuse the slot while we read; the tag then refuses the exchange.
            let below = Link::load(&self.slot(index).links.next);
            let wanted = next_tag(head) | u64::from(below.0);
            match exchange!(
                "free-list-pop-in-two-steps",
                self.free.head,
                head,
                wanted,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(index),
                Err(seen) => head = seen,
            }
        }
    }
}

/// The tag after the one in `head`, shifted, with index 0.
fn next_tag(head: u64) -> u64 {
    let step = mutant!("free-list-tag-stands-still", 1 => 0);
    ((head >> TAG_SHIFT).wrapping_add(step)) << TAG_SHIFT
}

#[cfg(any(loom, shuttle))]
mod mutants {
    use super::{JobTable, Ordering};

    pub(super) fn uncount_then_push(table: &JobTable<'_>, index: u32) {
        table.free.used.fetch_sub(1, Ordering::Release);
        table.push(index);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::job::{End, Release};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn slots(count: usize) -> (Vec<Slot>, FreeList) {
        (
            (0..count).map(|_| Slot::default()).collect(),
            FreeList::default(),
        )
    }

    fn claim_slot(table: &JobTable<'_>) -> Option<JobId> {
        table.claim_below(table.capacity() as u32)
    }

    fn finish_and_free(table: &JobTable<'_>, job: JobId) {
        let word = &table.slot(job.index).word;
        word.publish(job.generation);
        let _ = word.bind(job.generation);
        let _ = word.begin(job.generation);
        let _ = word.finish(job.generation, End::Completed);
        assert_eq!(word.detach(job.generation), Release::LastOut);
        table.free(job);
    }

    /// A process that was held up between its look at the head and its exchange must not find the same head again.
    #[test]
    fn each_change_of_the_free_list_has_another_tag() {
        let tagged = |tag: u32, index: u64| u64::from(tag) << TAG_SHIFT | index;
        assert_eq!(next_tag(tagged(0, 3)), tagged(1, 0));
        assert_eq!(next_tag(tagged(7, 0)), tagged(8, 0));
        assert_eq!(next_tag(tagged(u32::MAX, 3)), 0);
    }

    #[test]
    fn all_slots_can_be_claimed_once() {
        let (slots, free) = slots(3);
        let table = JobTable::new(&slots, &free);
        table.initialize();
        let mut seen: Vec<_> = (0..3).map(|_| claim_slot(&table).unwrap().index).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(claim_slot(&table), None);
        assert_eq!(table.used(), 3);
    }

    #[test]
    fn a_look_sees_a_published_job_only() {
        let (slots, free) = slots(1);
        let table = JobTable::new(&slots, &free);
        table.initialize();
        let slot = table.slot(0);
        let look = || slot.look(|now| (now.generation(), slot.leader()));
        assert_eq!(look(), None, "free");
        let job = claim_slot(&table).unwrap();
        let leader = ProcRef::new(1, 1);
        slot.prepare(leader, Options::default(), &[]);
        assert_eq!(look(), None, "not published yet");
        slot.word.publish(job.generation);
        assert_eq!(look(), Some((job.generation, Some(leader))));
        let reused = slot.look(|_| {
            let _ = slot.word.cancel_queued(job.generation);
            let _ = slot.word.detach(job.generation);
            table.free(job);
        });
        assert_eq!(reused, None, "freed meanwhile");
    }

    #[test]
    fn a_slot_that_is_prepared_is_in_no_chain_of_the_job_before() {
        let slot = Slot::default();
        slot.chained.store(5, crate::list::Link::to(3));
        slot.prepare(ProcRef::new(1, 1), Options::default(), &[]);
        assert_eq!(slot.chained.load().0, 0);
    }

    #[test]
    fn a_job_runs_only_where_it_may() {
        let slot = Slot::default();
        slot.prepare(ProcRef::new(1, 1), Options::default(), &[10, 11]);
        assert!(slot.may_run_on(12, false));
        assert!(!slot.may_run_on(11, true));
        let many: Vec<u32> = (1..=EXCLUDED_LIMIT as u32 + 1).collect();
        slot.prepare(ProcRef::new(1, 1), Options::default(), &many[1..]);
        assert!(slot.may_run_on(1000, false), "it can name them");
        slot.prepare(ProcRef::new(1, 1), Options::default(), &many);
        assert!(!slot.may_run_on(1000, false));
        assert!(slot.may_run_on(1000, true));
    }

    #[test]
    fn a_slot_shows_as_much_text_as_is_documented() {
        let slot = Slot::default();
        let options = Options {
            labeled: true,
            ..Options::default()
        };
        slot.prepare(ProcRef::new(1, 1), options, &[]);
        let text = [b'x'; 1000];
        slot.preview.store(&text);
        slot.set_label(&text);
        let label = slot.label().expect("it has one");
        assert_eq!((slot.preview.load().len(), label.len()), (120, 64));
    }

    #[test]
    fn a_few_slots_are_reserved() {
        for (capacity, ordinary) in [
            (1, 1),
            (2, 1),
            (64, 63),
            (127, 126),
            (128, 126),
            (5000, 4984),
        ] {
            let (slots, free) = slots(capacity);
            assert_eq!(
                JobTable::new(&slots, &free).ordinary_limit(),
                ordinary,
                "of {capacity}"
            );
        }
    }

    #[test]
    fn a_slot_has_the_options_and_the_label_of_its_job() {
        let slot = Slot::default();
        for bits in 0..64 {
            let options = Options::from_bits(bits);
            assert_eq!(options.to_bits(), bits);
            slot.prepare(ProcRef::new(1, 1), options, &[]);
            assert_eq!(slot.options(), options);
            slot.set_label(b"name");
            assert_eq!(slot.label(), options.labeled.then(|| b"name".to_vec()));
        }
        let all = [
            (
                1,
                Options {
                    by_pid: true,
                    ..Options::default()
                },
            ),
            (
                2,
                Options {
                    submit: true,
                    ..Options::default()
                },
            ),
            (
                4,
                Options {
                    fresh_only: true,
                    ..Options::default()
                },
            ),
            (
                8,
                Options {
                    bounded: true,
                    ..Options::default()
                },
            ),
            (
                16,
                Options {
                    uncounted: true,
                    ..Options::default()
                },
            ),
            (
                32,
                Options {
                    labeled: true,
                    ..Options::default()
                },
            ),
        ];
        for (bits, options) in all {
            assert_eq!(options.to_bits(), bits);
        }
    }

    proptest! {
        /// Against a simple model: the set of claimed slots.
        #[test]
        fn claims_and_frees_match_a_set(steps in proptest::collection::vec(any::<(bool, bool)>(), 1..200)) {
            let (slots, free) = slots(8);
            let table = JobTable::new(&slots, &free);
            table.initialize();
            let mut held = VecDeque::new();
            for (claim, newest) in steps {
                if claim {
                    match claim_slot(&table) {
                        Some(job) => {
                            prop_assert!(held.iter().all(|other: &JobId| other.index != job.index));
                            held.push_back(job);
                        }
                        None => prop_assert_eq!(held.len(), 8),
                    }
                } else if let Some(job) = if newest { held.pop_back() } else { held.pop_front() } {
                    finish_and_free(&table, job);
                    prop_assert_eq!(table.slot(job.index).word.load_if(job.generation), None);
                }
                prop_assert_eq!(table.used() as usize, held.len());
            }
        }
    }
}
