//! The pool: lanes, their queues, the workers, and who runs what next.
//!
//! | module | subject |
//! |---|---|
//! | `entries` | the structures in shared memory |
//! | `scheduler` | the pool as one process sees it, and the right to change it under the lock |
//! | `dispatch` | dispatching a job: handing it to an idle worker, or queueing it in its lane |
//! | `cancel` | canceling a job, wherever it is |
//! | [`sleep`] | what sessions sleep on, for the deadlock check |
//! | `view` | how many workers are doing what |
//! | `worker_slot` | the life of a worker slot: a process reports in, takes jobs, goes idle, passes the worker slot on, exits |
//! | [`worker_exit`] | how a worker's process leaves its worker slot when it exits, in its steps |
//! | [`failing_lane`] | failing the jobs of a lane for which no process can be started, in its steps |
//! | `spawn` | deciding for which lane a worker is started, and in which worker slot |
//! | [`worker_start`] | starting workers, and the process to which a worker slot is left, in steps |
//! | `keep` | workers that stay beyond their idle limit |
//! | [`turns`] | which lane gets a worker slot when there are fewer worker slots than lanes with jobs |
//! | `lanes` | finding a lane by its key; using the entry of an unused lane again |
//! | `quota` | how many of a session's jobs may have a worker |
//! | [`ends`], `tally` | how many of a session's jobs ended in which way, for jobs that ended without it |
//! | [`gate`] | purging another session's finished jobs |
//! | [`session_call`] | a session's steps with the jobs that it tracks: a call, a job given up, its end |
//! | [`usage`], `roles` | what each login role uses; finding its entry, refusing its new jobs |
//! | [`refusal`] | refusing a role's new jobs, and publishing a job that may be refused, in steps |
//! | [`slot_claim`] | a launch's steps to a slot of the job table, in their order |
//! | [`slot_waiters`] | waiting for a slot of the job table, or for a slot that counts for a login role |
//! | [`release`] | what follows a job's end, and the steps of the last one out, in their order |
//! | `deferred_free` | finished jobs that their last holder could not free |
//! | [`handoff`] | fewer wake-ups for short jobs |
//!
//! # Words
//!
//! * A **lane** is a pair (database, authenticated login role). Its jobs run only on its workers, first in
//!   first out. There are as many as can have jobs or workers at a time; an unused entry serves the next one.
//! * A **worker slot** has room for one process and belongs to one lane. A process never serves two login
//!   roles. So a worker slot that changes lanes gets a fresh process
//!   ([`Activity::Starting`](crate::worker::Activity::Starting) again).
//! * A lane is **short of workers** when it has more queued jobs than starting workers. It is **in need** when it may
//!   also have one more worker.
//! * A session's **quota** bounds how many of its jobs are in its lane or on a worker. A job beyond it is
//!   throttled: it waits outside the lane (`pool/quota.rs`).
//! * A launch can wait when the job table is full or its login role is at its limit ([`slot_waiters`]).
//! * A lane may have a **limit** of workers. At its limit, it is served by the workers that it has.
//!
//! # The lock
//!
//! Lists change under one lock for the whole pool ([`PoolLock`]). Everything else (claiming a slot, cancel,
//! finish, detach, waiting) needs only the words. There is a lock because three things have to change together:
//! membership in a list, the job word, the worker word. A process holds it twice per job, for some tens of
//! nanoseconds. Nothing under it can fail, allocate or sleep, and the holder cannot be interrupted. If
//! something fails under it all the same, that is a defect, and no process may go on with lists that are half
//! changed ([`PoolLock::broken`]).
//!
//! The lock buys four things. Jobs run strictly first in first out. A canceled job leaves its queue at once. A
//! job whose worker died goes back to the *head* of the queue. The race between "enqueue, then look for an idle
//! worker" and "look for a job, then go idle" cannot happen. `docs/architecture.md` has what the lock costs.
//!
//! # Who may touch what
//!
//! | field | written by | read without the lock by |
//! |---|---|---|
//! | everything else in [`Lane`] | holder of the lock | nobody |
//! | `WorkerSlot::word` | holder of the lock | the worker itself |
//! | `WorkerSlot::proc` | the worker itself, under the lock, when it reports in; cleared by the process that vacates the worker slot | nobody |
//! | `WorkerSlot::lane` | holder of the lock | the worker itself, while it has a job |
//! | `WorkerSlot::links`, `idle_links`, `claimed_at`, `permit` | holder of the lock | nobody |
//! | `WorkerSlot::look_at` | holder of the lock | the worker itself, while it is idle |
//! | `WorkerSlot::finishing`, `Lane::finishing` | set and counted by the worker itself, without the lock; cleared by the holder of the lock | nobody |
//! | everything in [`Leader`] but its gate and its sleep | holder of the lock | the session itself, to see whether the entry is its own; anyone, to find the entry of a process |
//! | `Totals` | holder of the lock | anyone, for a count; the number of launches that wait for a slot, after a fence |
//! | `WorkerSlot::registrar` | holder of the lock. It is the process that registers, or has registered, the process that the worker slot awaits. When a worker slot is passed on, it is the process that leaves, from that moment on | nobody |
//! | `WorkerSlot::registration`, `registration_generation` | holder of the lock. Until the process reports in: how the server names it. Then the first says whether it has connected | anyone, for a hint |
//!
//! # Invariants (checked by the property test in `pool/tests.rs`)
//!
//! * A job is on its lane's list, or on its leader's list of throttled jobs, exactly when its word says
//!   `Queued`.
//! * A worker is on its lane's idle list exactly when its word says `Idle`.
//! * `lane.starting` counts the lane's workers in `Starting`, `lane.workers` all that are not `Vacant`.
//! * While a lane has an idle worker, its queue holds only jobs that this worker must not run.
//! * While jobs are queued, some process is starting, at work, leaving, or idle in its turn, and looks for a lane in
//!   need before it rests for longer or exits. The exception: the server refused to start one.
//! * Every lane and every worker slot is on the list where it belongs, and on no other.
//!
//! # What a step costs
//!
//! Every step under the lock takes constant time, whatever the number of worker slots, lanes and queued jobs. The lists
//! that this needs go through the structures themselves: worker slots that are vacant, that await a process (the oldest
//! first), that are idle (in their lane, and in all lanes); lanes that are in need, and that are unused. Lanes are found
//! by a hash. The exceptions grow with what they return or give away (dismissing idle workers, the jobs of a session that
//! ends and was throttled in a lane, the launches that missed a pass through the deferred jobs), or with jobs that need
//! another process than their session has just used: a worker walks past those. Jobs that need a fresh process are not on
//! the list from which other processes take jobs. `benches/engine/src/scheduling.rs` measures it.
//!
//! A launch looks for a worker that need not be woken first: see [`handoff`].
//!
//! # Hazards
//!
//! * **A worker leaves while a leader hands it a job.** The worker leaves under the lock. If a leader handed it
//!   a job before, it is no longer `Idle` and does not leave. Otherwise the leader finds it gone and takes
//!   another.
//! * **A lane without workers** whose leaders have gone is an orphan. Every launch, every worker that runs out
//!   of work and every worker that exits looks for a lane in need ([`Scheduler::spawn_decision`]).
//! * **A lane that never runs dry** could keep every worker slot for itself. So a worker whose turn is over leaves its
//!   worker slot to another lane in need ([`turns`]).
//! * **A worker rests in its turn** although another lane is in need. It must look when the turn is over. Whether it has
//!   looked is one decision with one look at the clock: if the turn ended between two looks, nobody would look
//!   ([`WorkerSlot::look_at`]).
//! * **A starting worker that does not take its lane's job** (it dies, or must not run that job) must not count
//!   itself when it looks whether the lane is short. Otherwise nobody would run the job.
//! * **A worker leaves a lane that is at its limit**, and the lane's idle workers must not run what is queued. The
//!   lane may not grow, so it does not look short to others. The worker that leaves has one of the idle workers
//!   make room for a fresh process.
//! * **A process that never reports in** (the server could not start it, or its library is gone) would count as
//!   starting forever. The worker slot says how the server names the process that it awaits ([`Registration`]),
//!   so any session can ask the server what has become of it. The session that finds it ended takes the worker
//!   slot back ([`Scheduler::give_up_start`]). After [`START_LIMIT`] the worker slot is taken back in any case.
//!   If a process reports in later, its generation is stale and it leaves. The same holds for an idle process
//!   that was told to make room and did not look for as long: it compares its generation when it does.
//! * **A process that passes its worker slot on** registers the next process itself. The server's table may be
//!   full, because its own entry is in use until it has exited. It then gives the worker slot back, and tells
//!   the process that waits for the lane ([`Scheduler::pass_on`]).
//! * **A worker slot is passed on again** while the process that passed it on before has not exited yet and is
//!   told to exit: the exit would pass the worker slot on as well. All processes of one registration have the
//!   same generation, so the registrar tells them apart. A second process in the same worker slot would make
//!   both run one job.
//! * **A lane's entry is used again** while a process outside the lock still means the former lane. So a change
//!   to a lane from outside names it by its key ([`Scheduler::take_to_fail`]).
//! * **Signals.** A process signals a worker only under the lock, after looking at its `proc`. A worker clears
//!   `proc` under the lock before it exits. So no signal goes to a recycled pid.

pub mod ends;
pub mod failing_lane;
pub mod gate;
pub mod handoff;
pub mod refusal;
pub mod release;
pub mod session_call;
pub mod sleep;
pub mod slot_claim;
pub mod slot_waiters;
pub mod usage;
pub mod worker_exit;
pub mod worker_start;

mod cancel;
mod deferred_free;
mod dispatch;
mod entries;
mod keep;
mod lanes;
mod quota;
mod roles;
mod scheduler;
mod spawn;
mod tally;
pub mod turns;
mod view;
pub(crate) mod words;
mod worker_slot;

pub use cancel::Canceling;
pub use dispatch::{Dispatched, Limits};
pub use entries::{
    Lane, LaneKey, Leader, PendingStart, Registration, START_LIMIT, Totals, WorkerSlot,
};
pub use scheduler::{Pool, PoolLock, Scheduler, Shared, Waker, Words, index_of};
pub use spawn::SpawnDecision;
pub use view::WorkerCounts;
pub use worker_slot::{Heir, NextStep, Returned};

#[cfg(all(test, not(loom)))]
mod tests;
