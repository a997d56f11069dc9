//! The pool: lanes, their queues, the workers, and who runs what next.
//!
//! | module | subject |
//! |---|---|
//! | `entries` | the structures in shared memory |
//! | `scheduler` | the pool as one process sees it, and the right to change it under the lock |
//! | `place` | placing a job, handing it to an idle worker |
//! | `cancel` | canceling a job, wherever it is |
//! | `view` | who waits for what, and how many are doing what |
//! | `worker_slot` | a worker's place: a process reports in, takes jobs, rests, gives the place away, exits |
//! | `spawn` | seeing to it that every lane with queued jobs has workers on their way |
//! | `quota` | how many of a session's jobs may hold a worker |
//! | [`ends`], `tally` | how those of a session's jobs ended that it did not see end |
//! | [`gate`] | letting go of another session's finished jobs |
//! | [`usage`], `roles` | what each login role uses; finding its entry, refusing its new jobs |
//! | [`slot_waiters`] | waiting for a slot of the job table, or for one of those that a role may have |
//! | `deferred_free` | finished jobs that their last holder could not free |
//! | [`handoff`] | fewer wake-ups for short jobs |
//!
//! # Words
//!
//! * A **lane** is one (database, authenticated login role). Its jobs run only on its workers, first in
//!   first out.
//! * A **worker** is a place for one process. It belongs to one lane; to serve another lane the place is
//!   given to a fresh process ([`Activity::Starting`](crate::worker::Activity::Starting) again), because no process ever serves two login
//!   roles.
//! * A lane is **short of workers** when it has more jobs queued than workers on their way.
//! * A session's **share** bounds how many of its jobs are in its lane or on a worker; what is over it is
//!   held back outside the lane (`pool/quota.rs`).
//! * A launch that finds the job table full, or its login role at its limit, can wait ([`slot_waiters`]).
//! * A lane may have a **limit** of workers: at it the lane is served by those that it has.
//!
//! # The lock
//!
//! Lists change under one lock for the whole pool ([`PoolLock`]); everything else (claiming a slot,
//! cancel, finish, detach, waiting) needs only the words. A lock, because three things have to change
//! together: membership in a list, the job word, the worker word. It is held for some tens of
//! nanoseconds, twice per job, with no call in between that could fail, allocate or sleep, and the holder
//! cannot be interrupted. Should something fail there all the same, which would be a defect, nobody goes on with lists
//! that are half changed ([`PoolLock::broken`]). What it buys: first in first out to the letter, a canceled job leaves its queue
//! at once, a job whose worker died goes back to the *head*, and the race between "enqueue, then look for
//! an idle worker" and "look for a job, then go idle" cannot happen at all. What it costs is measured in
//! `docs/architecture.md`.
//!
//! # Who may touch what
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | everything in [`Lane`] | holder of the lock | nobody |
//! | `WorkerSlot::word` | holder of the lock | the worker itself |
//! | `WorkerSlot::proc` | the worker itself, under the lock, when it reports in; cleared by who vacates the place | nobody |
//! | `WorkerSlot::lane`, `links`, `claimed_at`, `permit` | holder of the lock | nobody |
//! | everything in [`Leader`] | holder of the lock | the session itself, whether the entry is its own |
//! | `Totals` | holder of the lock | anyone, for a count; the number of launches that wait for a slot, after a fence |
//! | `WorkerSlot::registrar` | holder of the lock: who registers, or has registered, the process that the place awaits; of a place that is given on the process that leaves it, from that moment on | nobody |
//! | `WorkerSlot::registration`, `registration_generation` | holder of the lock: the server's name of that process, until it reports in; then, in the first, whether it has connected | anyone, for a hint |
//!
//! # Invariants (checked by the property test in `pool/tests.rs`)
//!
//! * A job is on its lane's list, or held back on its leader's, exactly when its word says `Queued`.
//! * A worker is on its lane's idle list exactly when its word says `Idle`.
//! * `lane.starting` counts the lane's workers in `Starting`, `lane.workers` all that are not `Vacant`.
//! * While a lane has an idle worker, its queue holds only jobs that this worker must not run.
//! * While jobs are queued, some process is on its way, at work, or leaving, and looks for a lane that is
//!   short before it rests or goes; unless the server refused to start one.
//!
//! A launch looks for a worker that need not be woken first: see [`handoff`].
//!
//! # Hazards
//!
//! * **A worker that leaves** does so under the lock: either a leader handed it a job before, then it is
//!   not `Idle` any more and does not leave, or the leader finds it gone and takes another.
//! * **A lane without workers** whose leaders have gone is an orphan. Every launch, every worker that
//!   runs out of work and every worker that exits looks for a lane that is short ([`Scheduler::spawn_decision`]).
//! * **A lane that never runs dry** could keep every place for itself. A worker that finished a job
//!   therefore gives its place to a lane that has work and nobody at all, before its own lane's next job.
//!   It takes the first such lane *after its own*, in a ring: whatever the others do, no lane is passed
//!   over twice by the same entry.
//! * **A worker that is counted as on its way** and turns out not to take its lane's job (it dies, or must
//!   not run that one) must not count itself when it looks whether the lane is short, or the job would be
//!   left with nobody.
//! * **A process that never reports in** (the server could not start it, or its library is gone) would
//!   be counted as on its way for ever. The place says how the server calls the process that it awaits
//!   ([`Registration`]), so that any session can ask the server what has become of it; whoever finds that it has
//!   ended takes the place back ([`Scheduler::lost`]), and in any case after [`START_LIMIT`]. If a process
//!   turns up after all, its generation is stale and it leaves. The same goes for an idle process that was
//!   told to make room and did not look for so long: it proves its generation when it does.
//! * **A process that gives its place on** registers the next one itself, and may find the server's table full, because
//!   its own entry is in use until it has gone. It gives the place back then, and tells whoever waits for the lane
//!   ([`Scheduler::pass_on`]).
//! * **A place that is given on again** while the process that gave it on before has not gone yet, and is told to exit:
//!   its exit gives the place on as well. All processes of a registered place have one generation, so it is the registrar
//!   that tells them apart; a second process in the place of one that has not noticed yet would have both run one job.
//! * **A lane's entry that is used again** while somebody outside the lock still means the lane before: what is to be
//!   done to a lane names it by its key ([`Scheduler::take_to_fail`]).
//! * **Signals.** Nobody signals a worker but under the lock, after looking at its `proc`; a worker
//!   clears that under the lock before it exits. So no signal goes to a recycled pid.

pub mod ends;
pub mod gate;
pub mod handoff;
pub mod slot_waiters;
pub mod usage;

mod cancel;
mod deferred_free;
mod dispatch;
mod entries;
mod quota;
mod roles;
mod scheduler;
mod spawn;
mod tally;
mod view;
mod worker_slot;

pub use cancel::Canceling;
pub use dispatch::{Dispatched, Limits};
pub use entries::{
    Lane, LaneKey, Leader, PendingStart, Registration, START_LIMIT, Totals, WorkerSlot,
};
pub use scheduler::{Pool, PoolLock, Scheduler, Shared, Waker};
pub use spawn::SpawnDecision;
pub use view::{Awaited, WorkerCounts};
pub use worker_slot::{NextStep, Returned};

#[cfg(all(test, not(loom)))]
mod tests;
