//! The job word: the whole state of a job in one 64-bit word.
//!
//! # Words
//!
//! * **phase** – where the job is in its life: `Free → Reserved → Queued → Starting → Running → Completed |
//!   Failed | Canceled → Free`. The last three are together called *finished*.
//! * **generation** – 40 bits, one more each time the slot becomes `Free`. A [`Generation`] names one job in
//!   the slot's history. Every transition is given a generation and fails when the word has another. At 100 000
//!   jobs a second through one slot the number repeats after 127 days, and a user's handle also has to match
//!   the slot's 32 random bits (see [`crate::cookie`]).
//! * **LEADER** – the leader still holds the job: it may read the slot's fields and the job's arena block, and
//!   the slot cannot be freed.
//! * **WORKER** – the running side still holds it: the lane while the job is `Queued`, the worker it is bound
//!   to while it is `Starting` or `Running`.
//! * **CANCEL** – a cancel was asked for. Never cleared before the slot is free again.
//! * **PENDING** – a cancel was asked for whose error was not thrown in the job yet. Cleared when it is thrown;
//!   the job may catch the error and go on. The next cancel sets it again.
//! * **INSISTENT** – the cancel stays PENDING until the job ends, because nobody waits to ask again.
//! * **TERMINATE** – the worker must exit if it still runs this job. Implies `CANCEL`.
//! * **WATCHED** – the leader sleeps, or is about to, until this word changes. The process that changes it
//!   wakes the leader. Set only during a wait: others conclude from it what the leader waits for.
//! * **AWAITED** – the same, until the job has finished: changes before that wake nobody.
//!
//! # Transitions
//!
//! Each transition is a single compare-exchange on the word (`JobWord::try_update`) with success ordering
//! `AcqRel`: it publishes what its caller wrote before, and its caller sees what the previous transition
//! published.
//!
//! The transitions are data: [`JOB`](crate::transitions::JOB), printed in `docs/transitions.md`. No other change is
//! made: tests and models check each one against the table.
//!
//! # Hazards
//!
//! * **The last one out frees.** `finish` and `detach` each clear one hold, and look at the other hold in the
//!   same compare-exchange. Exactly one of them sees that the other hold is gone and returns `LastOut`. Its
//!   caller alone frees the block and the slot. No other process may touch either from then on.
//! * **A late cancel.** `cancel` sets its flag only in `Starting` and `Running` of the generation it names, so
//!   it cannot reach the slot's next job. Between the flag and the signal the job may finish, and its worker
//!   may run another. So the signal handler looks at the word of the job that its process runs *at that
//!   moment*, and ignores the signal if the word has no PENDING.
//! * **A cancel after another cancel.** Both set the same flag. A cancel that comes before `deliver` is part of
//!   the one that is being thrown. A cancel after it sets PENDING again, and its error is thrown again. What a
//!   signal raised in the process before `deliver` is not trusted after it: it is dropped, and the process
//!   looks at the word once more ([`steps::deliver`](crate::steps::deliver)).
//! * **Cancel against begin.** Both are read-modify-writes on this word, so one is first. Either `begin` sees
//!   CANCEL and refuses, or `cancel` sees Running and the process looks at its signal.
//! * **A lost wake-up.** A leader sets WATCHED (or AWAITED) and looks at the snapshot that the same operation
//!   returned. A change before it is in the snapshot. A change after it sees WATCHED and wakes the leader.

use crate::sync::{AtomicU64, Ordering};
use crate::transitions::{Job, Named as _};
use std::convert::Infallible;

pub(crate) mod snapshot;

use snapshot::{
    AWAITED, CANCEL, GENERATION_SHIFT, INSISTENT, LEADER, PENDING, TERMINATE, WATCHED, WORKER,
};
pub use snapshot::{End, Generation, Phase, Snapshot};

/// What [`JobWord::begin`] did.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// The job is `Running`.
    Running {
        /// The leader sleeps on the word.
        watched: bool,
    },
    /// CANCEL is set: the worker has to finish the job as canceled without running it.
    Refused,
}

/// What a transition that gives up a hold, or ends the job, returns.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// The other side still holds the job. `watched`: the leader sleeps on the word and has to be woken.
    Held {
        /// The leader sleeps on the word.
        watched: bool,
    },
    /// No hold is left: the caller frees the block and the slot.
    LastOut,
    /// The word has another generation, or the caller's hold was gone already. Nothing changed.
    Stale,
}

/// What [`JobWord::unbind`] did.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unbind {
    /// `Queued` again: put it at the head of its lane.
    Requeued,
    /// A cancel had been asked for: the job is `Canceled`.
    Canceled(Release),
}

/// What is asked of a job that is canceled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// Cancel its statement, once. The job may catch the error, clean up, and commit.
    Cancel,
    /// Cancel its statement again and again until it ends: nobody waits to ask again.
    Insist,
    /// Make its worker exit.
    Terminate,
}

/// What [`JobWord::deliver`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// No cancel of this job is pending.
    None,
    /// A cancel was pending, and is no more.
    Once,
    /// A cancel is pending, and stays so until the job ends.
    Insistent,
}

/// What [`JobWord::cancel`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// The flag is set; signal the worker in `slot.worker`.
    Asked,
    /// Still queued: take the pool lock and call [`JobWord::cancel_queued`].
    Queued,
    /// Finished already. Nothing changed.
    Finished,
    /// Another generation. Nothing changed.
    Stale,
}

/// The job word in shared memory. See the module documentation.
#[repr(transparent)]
pub struct JobWord(AtomicU64);

impl Default for JobWord {
    fn default() -> Self {
        Self::new()
    }
}

impl JobWord {
    /// A free slot's word, generation 1 (so that an all-zero handle names nothing).
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(1 << GENERATION_SHIFT))
    }

    /// The word now. `Acquire`: what the last transition published is visible.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        Snapshot(
            self.0
                .load(weakened!("job-word-shows-nothing", Ordering::Acquire)),
        )
    }

    /// The word now, if it holds `generation`.
    #[must_use]
    pub fn load_if(&self, generation: Generation) -> Option<Snapshot> {
        Some(self.load()).filter(|now| now.generation() == generation)
    }

    /// The only place that writes the word. `next` returns the new state and what to tell the caller, or
    /// refuses.
    fn try_update<T, E>(
        &self,
        transition: Job,
        mut next: impl FnMut(Snapshot) -> Result<(Snapshot, T), E>,
    ) -> Result<T, E> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let (wanted, told) = next(Snapshot(now))?;
            match exchange!(
                "job-word-changed-in-two-steps",
                self.0,
                now,
                wanted.0,
                weakened!("job-word-publishes-nothing", Ordering::AcqRel),
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    transition.made(self, now, wanted.0);
                    return Ok(told);
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// The same as [`try_update`](Self::try_update), for a transition that is never refused.
    fn update<T>(&self, transition: Job, mut next: impl FnMut(Snapshot) -> (Snapshot, T)) -> T {
        let Ok(told) = self.try_update(transition, |now| Ok::<_, Infallible>(next(now)));
        told
    }

    /// Free → Reserved, by the leader that popped the slot off the free list.
    ///
    /// # Panics
    /// When the slot is not free: the free list handed it out twice.
    pub(crate) fn reserve(&self) -> Generation {
        self.update(Job::Reserve, |now| {
            assert_eq!(now.phase(), Phase::Free, "reserved a slot in use: {now:?}");
            (
                now.with_phase(Phase::Reserved).with(LEADER),
                now.generation(),
            )
        })
    }

    /// Reserved → Free: the leader could not fill in the request.
    ///
    /// # Panics
    /// When the job is not this leader's reservation.
    pub(crate) fn abandon(&self, generation: Generation) {
        self.update(Job::Abandon, |now| {
            assert!(
                now.phase() == Phase::Reserved && now.generation() == generation,
                "abandoned {now:?}"
            );
            (now.freed(), ())
        });
    }

    /// Reserved → Queued: the request is complete. From here the running side holds the job too.
    ///
    /// # Panics
    /// When the job is not this leader's reservation.
    pub(crate) fn publish(&self, generation: Generation) {
        self.update(Job::Publish, |now| {
            assert!(
                now.phase() == Phase::Reserved && now.generation() == generation,
                "published {now:?}"
            );
            (now.with_phase(Phase::Queued).with(WORKER), ())
        });
    }

    /// Queued → Starting, under the pool lock. Returns whether the leader sleeps on the word.
    ///
    /// # Panics
    /// When the job is not queued although it was on a lane's list.
    pub(crate) fn bind(&self, generation: Generation) -> bool {
        self.update(Job::Bind, |now| {
            assert!(
                now.phase() == Phase::Queued && now.generation() == generation,
                "bound {now:?}"
            );
            (now.with_phase(Phase::Starting), now.is_change_watched())
        })
    }

    /// Starting → Queued (or Canceled), under the pool lock: the worker dies before it has begun the job.
    ///
    /// # Panics
    /// When the job is not `Starting`.
    pub(crate) fn unbind(&self, generation: Generation) -> Unbind {
        self.update(Job::Unbind, |now| {
            assert!(
                now.phase() == Phase::Starting && now.generation() == generation,
                "unbound {now:?}"
            );
            if checked!("unbind-ignores-cancel", now.has_cancel()) {
                let (next, release) = Self::ended(now, Phase::Canceled);
                (next, Unbind::Canceled(release))
            } else {
                (now.with_phase(Phase::Queued), Unbind::Requeued)
            }
        })
    }

    /// Starting → Running, by the bound worker, unless CANCEL is set.
    ///
    /// # Panics
    /// When the job is not `Starting`.
    pub fn begin(&self, generation: Generation) -> Begin {
        self.try_update(Job::Begin, |now| {
            assert!(
                now.phase() == Phase::Starting && now.generation() == generation,
                "began {now:?}"
            );
            if checked!("begin-ignores-cancel", now.has_cancel()) {
                return Err(Begin::Refused);
            }
            let known = mutant!("begin-forgets-who-watches", now => now.without(WATCHED));
            let watched = mutant!("begin-wakes-who-awaits-the-end", known.is_change_watched() => known.is_watched());
            Ok((known.with_phase(Phase::Running), Begin::Running { watched }))
        })
        .unwrap_or_else(|refused| refused)
    }

    /// Starting or Running → finished, by the bound worker, which gives up its hold in the same step.
    /// Unless it gets `LastOut` it must not touch the slot or the block again.
    ///
    /// # Panics
    /// When the job is not this worker's.
    pub fn finish(&self, generation: Generation, end: End) -> Release {
        self.update(Job::Finish, |now| {
            assert!(
                matches!(now.phase(), Phase::Starting | Phase::Running)
                    && now.generation() == generation,
                "finished {now:?}"
            );
            Self::ended(now, end.phase())
        })
    }

    /// Asks for a cancel of a job that a worker has.
    pub fn cancel(&self, generation: Generation, demand: Demand) -> Cancel {
        let flags = match demand {
            Demand::Cancel => CANCEL | PENDING,
            Demand::Insist => CANCEL | PENDING | INSISTENT,
            Demand::Terminate => CANCEL | TERMINATE,
        };
        self.try_update(Job::Cancel, |now| {
            if checked!(
                "cancel-ignores-the-generation",
                now.generation() != generation
            ) {
                return Err(Cancel::Stale);
            }
            match now.phase() {
                Phase::Starting | Phase::Running => Ok((now.with(flags), Cancel::Asked)),
                Phase::Queued => Err(Cancel::Queued),
                Phase::Completed | Phase::Failed | Phase::Canceled => Err(Cancel::Finished),
                Phase::Free | Phase::Reserved => Err(Cancel::Stale),
            }
        })
        .unwrap_or_else(|found| found)
    }

    /// The error of a cancel is thrown in the job, by the bound worker. It covers every cancel up to now.
    pub fn deliver(&self, generation: Generation) -> Delivery {
        self.try_update(Job::Deliver, |now| {
            if now.generation() != generation || now.phase() != Phase::Running || !now.is_pending()
            {
                return Err(Delivery::None);
            }
            if checked!("insistent-cancel-delivered-once", now.is_insistent()) {
                return Err(Delivery::Insistent);
            }
            let delivered = mutant!("delivered-cancel-stays-pending", PENDING => 0);
            Ok((now.without(delivered), Delivery::Once))
        })
        .unwrap_or_else(|found| found)
    }

    /// Queued → Canceled, under the pool lock. `None`: not queued any more; call [`cancel`](Self::cancel)
    /// again. The caller has taken the job off its lane's list: after this its leader may free the slot.
    pub(crate) fn cancel_queued(&self, generation: Generation) -> Option<Release> {
        self.try_update(Job::CancelQueued, |now| {
            if now.generation() != generation
                || checked!(
                    "cancel-queued-ignores-the-phase",
                    now.phase() != Phase::Queued
                )
            {
                return Err(());
            }
            Ok(Self::ended(now.with(CANCEL), Phase::Canceled))
        })
        .ok()
    }

    /// The leader gives up its hold. A second call, or one with a stale generation, changes nothing.
    pub fn detach(&self, generation: Generation) -> Release {
        self.try_update(Job::Detach, |now| {
            if checked!(
                "detach-ignores-the-generation",
                now.generation() != generation
            ) || !now.has_leader()
                || matches!(now.phase(), Phase::Free | Phase::Reserved)
            {
                return Err(Release::Stale);
            }
            let release = if checked!("detach-ignores-the-worker", now.has_worker()) {
                Release::Held { watched: false }
            } else {
                Release::LastOut
            };
            Ok((now.without(LEADER | WATCHED | AWAITED), release))
        })
        .unwrap_or_else(|stale| stale)
    }

    /// The leader is about to sleep until the word changes. Returns the word as it was: if it shows what the
    /// leader waits for, the leader must not sleep. `None`: another generation.
    #[must_use]
    pub fn watch(&self, generation: Generation) -> Option<Snapshot> {
        self.sleep_on(Job::Watch, generation, WATCHED)
    }

    /// The same as [`watch`](Self::watch), for a leader that sleeps until the job has finished.
    #[must_use]
    pub fn await_end(&self, generation: Generation) -> Option<Snapshot> {
        self.sleep_on(Job::AwaitEnd, generation, AWAITED)
    }

    fn sleep_on(&self, transition: Job, generation: Generation, flag: u64) -> Option<Snapshot> {
        self.try_update(transition, |now| {
            if now.generation() != generation {
                return Err(());
            }
            Ok((now.with(flag), now))
        })
        .ok()
    }

    /// The leader's wait has ended. Does nothing when the word has another generation.
    pub fn unwatch(&self, generation: Generation) {
        let _ = self.try_update(Job::Unwatch, |now| {
            if now.generation() != generation || !now.is_watched() {
                return Err(());
            }
            Ok((now.without(WATCHED | AWAITED), ()))
        });
    }

    /// Finished, no holds → Free, by the process that got `LastOut`. The slot then goes to the free list.
    ///
    /// # Panics
    /// When the job is still held.
    pub(crate) fn free(&self, generation: Generation) {
        self.update(Job::Free, |now| {
            assert!(
                now.phase().is_finished()
                    && now.generation() == generation
                    && !now.has_leader()
                    && !now.has_worker(),
                "freed {now:?}"
            );
            (now.freed(), ())
        });
    }

    fn ended(now: Snapshot, phase: Phase) -> (Snapshot, Release) {
        let next = now.with_phase(phase).without(WORKER);
        let release = if checked!("finish-ignores-the-leader", now.has_leader()) {
            Release::Held {
                watched: checked!(
                    "finish-forgets-who-watches",
                    mutant!("end-forgets-who-awaits-it", now.is_watched() => now.is_change_watched())
                ),
            }
        } else {
            Release::LastOut
        };
        (next, release)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn running() -> (JobWord, Generation) {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        assert!(!word.bind(generation));
        assert_eq!(word.begin(generation), Begin::Running { watched: false });
        (word, generation)
    }

    #[test]
    fn the_leader_frees_if_it_is_last_out() {
        let (word, generation) = running();
        assert_eq!(
            word.finish(generation, End::Completed),
            Release::Held { watched: false }
        );
        assert_eq!(word.detach(generation), Release::LastOut);
        word.free(generation);
        assert_eq!(word.load().generation(), generation.next());
        assert_eq!(word.load().phase(), Phase::Free);
    }

    #[test]
    fn the_worker_frees_if_it_is_last_out() {
        let (word, generation) = running();
        assert_eq!(word.detach(generation), Release::Held { watched: false });
        assert_eq!(word.finish(generation, End::Failed), Release::LastOut);
        word.free(generation);
    }

    #[test]
    fn a_second_detach_changes_nothing() {
        let (word, generation) = running();
        assert_eq!(word.detach(generation), Release::Held { watched: false });
        let before = word.load();
        assert_eq!(word.detach(generation), Release::Stale);
        assert_eq!(word.load(), before);
    }

    #[test]
    fn a_leader_is_woken_at_each_change_or_at_the_end() {
        for (at_each_change, end) in [
            (true, End::Completed),
            (false, End::Completed),
            (true, End::Failed),
            (false, End::Failed),
            (true, End::Canceled),
            (false, End::Canceled),
        ] {
            let word = JobWord::new();
            let generation = word.reserve();
            word.publish(generation);
            let arm = || {
                let seen = if at_each_change {
                    word.watch(generation)
                } else {
                    word.await_end(generation)
                };
                assert_eq!(seen.map(|seen| seen.phase()), Some(word.load().phase()));
                assert!(word.load().is_watched());
            };
            let give_up_and_arm = || {
                arm();
                word.unwatch(generation);
                assert!(!word.load().is_watched());
                arm();
            };
            give_up_and_arm();
            assert_eq!(word.bind(generation), at_each_change);
            give_up_and_arm();
            let watched = at_each_change;
            assert_eq!(word.begin(generation), Begin::Running { watched });
            if end == End::Canceled {
                assert_eq!(word.cancel(generation, Demand::Insist), Cancel::Asked);
            }
            give_up_and_arm();
            assert_eq!(
                word.finish(generation, end),
                Release::Held { watched: true }
            );
            give_up_and_arm();
            word.unwatch(generation);
            assert_eq!(word.detach(generation), Release::LastOut);
        }
    }

    #[test]
    fn cancel_before_begin_is_seen_by_begin() {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.bind(generation);
        assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Asked);
        assert_eq!(word.begin(generation), Begin::Refused);
        assert_eq!(
            word.finish(generation, End::Canceled),
            Release::Held { watched: false }
        );
    }

    #[test]
    fn a_stale_generation_reaches_nothing() {
        let (word, generation) = running();
        let stale = Generation::from_bits(generation.get().wrapping_sub(1));
        let before = word.load();
        assert_eq!(word.cancel(stale, Demand::Terminate), Cancel::Stale);
        assert_eq!(word.detach(stale), Release::Stale);
        assert_eq!(word.cancel_queued(stale), None);
        assert_eq!(word.watch(stale), None);
        assert_eq!(word.load(), before);
    }

    #[test]
    fn a_cancel_of_a_finished_job_changes_nothing() {
        let (word, generation) = running();
        let _ = word.finish(generation, End::Completed);
        let before = word.load();
        assert_eq!(word.cancel(generation, Demand::Terminate), Cancel::Finished);
        assert_eq!(word.load(), before);
    }

    #[test]
    fn a_cancel_is_pending_until_it_is_delivered() {
        let (word, generation) = running();
        assert_eq!(word.deliver(generation), Delivery::None);
        for _ in 0..2 {
            assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Asked);
            assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Asked);
            assert!(word.load().is_pending() && !word.load().is_insistent());
            assert_eq!(word.deliver(generation.next()), Delivery::None);
            assert_eq!(word.deliver(generation), Delivery::Once);
            assert_eq!(word.deliver(generation), Delivery::None);
            assert!(word.load().has_cancel() && !word.load().is_pending());
        }
    }

    #[test]
    fn an_insistent_cancel_is_pending_until_the_job_ends() {
        let (word, generation) = running();
        assert_eq!(word.cancel(generation, Demand::Insist), Cancel::Asked);
        assert_eq!(word.deliver(generation), Delivery::Insistent);
        assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Asked);
        assert_eq!(word.deliver(generation), Delivery::Insistent);
        let _ = word.finish(generation, End::Canceled);
        assert_eq!(word.deliver(generation), Delivery::None);
    }

    #[test]
    fn a_job_that_caught_its_cancel_is_terminated_all_the_same() {
        let (word, generation) = running();
        let _ = word.cancel(generation, Demand::Cancel);
        let _ = word.deliver(generation);
        assert_eq!(word.cancel(generation, Demand::Terminate), Cancel::Asked);
        let now = word.load();
        assert!(now.must_terminate() && !now.is_pending());
    }

    #[test]
    fn a_queued_job_is_canceled_without_a_worker() {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Queued);
        assert_eq!(
            word.cancel_queued(generation),
            Some(Release::Held { watched: false })
        );
        assert_eq!(word.load().phase(), Phase::Canceled);
        assert_eq!(word.detach(generation), Release::LastOut);
    }

    #[test]
    fn a_watched_word_says_so_at_each_change() {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let before = word.watch(generation).expect("our generation");
        assert_eq!(before.phase(), Phase::Queued);
        assert!(word.bind(generation));
        assert_eq!(word.begin(generation), Begin::Running { watched: true });
        assert_eq!(
            word.finish(generation, End::Completed),
            Release::Held { watched: true }
        );
    }

    #[test]
    fn a_job_that_is_awaited_says_so_at_its_end_only() {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.await_end(generation);
        assert!(word.load().is_watched());
        assert!(!word.bind(generation));
        assert_eq!(word.begin(generation), Begin::Running { watched: false });
        assert_eq!(
            word.finish(generation, End::Completed),
            Release::Held { watched: true }
        );
    }

    #[test]
    fn a_wait_that_has_ended_is_not_seen() {
        let (word, generation) = running();
        let before = word.load();
        let _ = word.watch(generation);
        assert!(word.load().is_watched());
        word.unwatch(generation);
        assert_eq!(word.load(), before);
        let _ = word.watch(generation);
        word.unwatch(generation.next());
        assert!(word.load().is_watched(), "of another job");
        assert_eq!(
            word.finish(generation, End::Completed),
            Release::Held { watched: true }
        );
        word.unwatch(generation);
        assert!(!word.load().is_watched());
    }

    #[test]
    fn a_worker_that_dies_before_it_began_puts_the_job_back() {
        let word = JobWord::new();
        let generation = word.reserve();
        word.publish(generation);
        let _ = word.bind(generation);
        assert_eq!(word.unbind(generation), Unbind::Requeued);
        let _ = word.bind(generation);
        assert_eq!(word.cancel(generation, Demand::Cancel), Cancel::Asked);
        assert_eq!(
            word.unbind(generation),
            Unbind::Canceled(Release::Held { watched: false })
        );
    }

    #[test]
    fn a_job_is_active_then_finished_and_otherwise_neither() {
        use Phase::*;
        for phase in [Free, Reserved] {
            assert!(!phase.is_active() && !phase.is_finished(), "{phase:?}");
        }
        for phase in [Queued, Starting, Running] {
            assert!(phase.is_active() && !phase.is_finished(), "{phase:?}");
        }
        for phase in [Completed, Failed, Canceled] {
            assert!(!phase.is_active() && phase.is_finished(), "{phase:?}");
        }
    }

    #[test]
    fn only_a_termination_asks_the_worker_to_exit() {
        let (word, generation) = running();
        assert!(!word.load().must_terminate());
        let _ = word.cancel(generation, Demand::Insist);
        assert!(!word.load().must_terminate());
        let _ = word.cancel(generation, Demand::Terminate);
        assert!(word.load().must_terminate());
    }

    #[test]
    fn a_queued_job_is_not_canceled_for_another_one() {
        let (word, generation) = at(Phase::Queued);
        let before = word.load();
        assert_eq!(word.cancel_queued(generation.next()), None);
        assert_eq!(word.load(), before);
        let (word, generation) = at(Phase::Starting);
        assert_eq!(word.cancel_queued(generation), None);
        assert_eq!(word.load().phase(), Phase::Starting);
    }

    #[test]
    fn a_leader_that_has_detached_is_not_woken() {
        let (word, generation) = running();
        let _ = word.watch(generation);
        let _ = word.await_end(generation);
        let _ = word.detach(generation);
        assert!(!word.load().is_watched());
    }

    /// A word in this phase, whose leader holds the job until it has finished.
    fn at(phase: Phase) -> (JobWord, Generation) {
        let word = JobWord::new();
        let generation = word.load().generation();
        let end = match phase {
            Phase::Completed => End::Completed,
            Phase::Failed => End::Failed,
            _ => End::Canceled,
        };
        let steps: [&dyn Fn(); 5] = [
            &|| assert_eq!(word.reserve(), generation),
            &|| word.publish(generation),
            &|| assert!(!word.bind(generation)),
            &|| assert_eq!(word.begin(generation), Begin::Running { watched: false }),
            &|| {
                if end == End::Canceled {
                    let _ = word.cancel(generation, Demand::Cancel);
                }
                let _ = word.detach(generation);
                assert_eq!(word.finish(generation, end), Release::LastOut);
            },
        ];
        steps.iter().take(phase as usize).for_each(|step| step());
        assert_eq!(word.load().phase(), phase);
        (word, generation)
    }

    #[test]
    fn a_transition_out_of_turn_is_a_panic() {
        use Phase::*;
        use std::panic::{AssertUnwindSafe, catch_unwind};
        type Transition = (&'static str, &'static [Phase], fn(&JobWord, Generation));
        const FINISHED: [Phase; 3] = [Completed, Failed, Canceled];
        let transitions: [Transition; 7] = [
            ("abandon", &[Reserved], |word, own| word.abandon(own)),
            ("publish", &[Reserved], |word, own| word.publish(own)),
            ("bind", &[Queued], |word, own| {
                let _ = word.bind(own);
            }),
            ("unbind", &[Starting], |word, own| {
                let _ = word.unbind(own);
            }),
            ("begin", &[Starting], |word, own| {
                let _ = word.begin(own);
            }),
            ("finish", &[Starting, Running], |word, own| {
                let _ = word.finish(own, End::Failed);
            }),
            ("free", &FINISHED, |word, own| word.free(own)),
        ];
        let all = [
            Free, Reserved, Queued, Starting, Running, Completed, Failed, Canceled,
        ];
        for (name, from, transition) in transitions {
            for phase in all {
                for is_own in [true, false] {
                    let (word, generation) = at(phase);
                    let named = if is_own {
                        generation
                    } else {
                        generation.next()
                    };
                    let made = catch_unwind(AssertUnwindSafe(|| transition(&word, named))).is_ok();
                    assert_eq!(
                        made,
                        is_own && from.contains(&phase),
                        "{name} from {phase:?}"
                    );
                }
            }
        }
        let (word, generation) = running();
        let _ = word.finish(generation, End::Completed);
        let freed = catch_unwind(AssertUnwindSafe(|| word.free(generation)));
        assert!(freed.is_err(), "its leader holds it");
    }

    #[test]
    fn the_generation_wraps() {
        let last = Generation::from_bits(u64::MAX);
        assert_eq!(last.next().get(), 0);
    }
}
