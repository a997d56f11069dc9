//! From the postmaster's fork to the exit: report in, connect, run or sleep, leave.
//!
//! 1. Messages are redirected, shared memory is attached (with that the exit callback is in place), the
//!    signal handlers are installed. Only then the process reports in, and its pid can be seen.
//! 2. It takes its first job before it connects, so that the leader that waits for a pid need not wait for
//!    the connection. If connecting fails, the exit callback fails that job with the error.
//! 3. [`step`] repeats: absorb what the server asks of every process between two statements, run the job,
//!    look for the next, sleep when there is none, leave when it is time.

use crate::cluster::attach::{Cluster, attached, cluster};
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::layout::worker_entry;
use crate::cluster::spawn::WorkerSlotRef;
use crate::cluster::trace::TraceStep;
use crate::cluster::{spawn, trace};
use crate::pg::exit::exit_process;
use crate::pg::process::{own_proc, wake};
use crate::pg::shim::guarded;
use crate::pg::{process, shim};
use crate::settings;
use crate::worker::run::AfterJob;
use crate::worker::state::{
    NEXT, STATE, WorkerLimits, WorkerState, forget_worker_slot, state, update,
};
use crate::worker::{exit, run, send, session};
use engine::pool::NextStep;
use engine::wait::{Micros, condition, wait_for};
use engine::worker::Activity;
use pgrx::{PgTryBuilder, pg_guard, pg_sys};
use std::cell::Cell;

/// The workers' entry function, under the name of [`worker_entry`].
///
/// # Safety
/// Called by the postmaster's child with the argument of the registration.
#[pg_guard]
#[unsafe(export_name = worker_entry!())]
#[allow(clippy::disallowed_macros, reason = "an error that ends the process")]
pub unsafe extern "C-unwind" fn enter(argument: pg_sys::Datum) {
    let worker_slot = WorkerSlotRef::from_datum(argument);
    fault!("worker-started");
    // SAFETY: one call of the shim; nothing is sent yet.
    unsafe { shim::pgb_redirect_messages() };
    let attached = PgTryBuilder::new(|| cluster().map_err(|error| error.message))
        .catch_others(|cause| Err(format!("{cause:?}")))
        .execute();
    let cluster = match attached {
        Ok(cluster) => cluster,
        Err(message) => {
            trace::not_attached(&message);
            exit_process(0);
        }
    };
    // SAFETY: installs handlers and lets signals in.
    unsafe { shim::pgb_install_signals() };
    // Before it connects, which adds what the database and the role say.
    // SAFETY: one call of the shim.
    unsafe { guarded(|| shim::pgb_note_configuration()) };
    settings::read_configured();
    settings::publish_at_start();
    fault!("worker-attached");
    let WorkerSlotRef { worker, generation } = worker_slot;
    let known = cluster.pool().locked(|scheduler| {
        scheduler
            .report_in(worker, generation, own_proc())
            .then(|| (scheduler.lane_key(worker), scheduler.take_registrar(worker)))
    });
    let Some((key, registrar)) = known else {
        exit_process(0);
    };
    fault!("worker-reported");
    STATE.set(Some(WorkerState {
        worker_slot,
        is_connected: false,
        is_idle: false,
        idle_since: 0,
        is_unfit: false,
        jobs: 0,
        limits: WorkerLimits::read(),
    }));
    look_for_next(cluster);
    // After its first job has woken its leader, who may have registered this process.
    if let Some(registrar) = registrar {
        wake(registrar);
    }
    if let Some(next @ (NextStep::Restart | NextStep::Retire)) = NEXT.get() {
        leave(next);
    }
    fault!("worker-connects");
    // SAFETY: throws when the role may not log in, or the database is gone: that ends the process, and the
    // exit callback takes care of the lane.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(key.database),
            pg_sys::Oid::from(key.role),
            0,
        );
    }
    // SAFETY: one call of the shim, outside a transaction; an error in it ends the process as one of connecting.
    unsafe { guarded(|| shim::pgb_port_without_client()) };
    cluster
        .pool()
        .locked(|scheduler| scheduler.connected(worker));
    settings::read_defaults();
    update(|state| state.is_connected = true);
    fault!("worker-connected");
    // SAFETY: the loop never returns; `step` keeps the contract of a guarded callback.
    unsafe {
        guarded(|| shim::pgb_session_init());
        shim::pgb_worker_loop(step);
    }
}

/// Asks the pool what to do next, and notes it.
fn look_for_next(cluster: &'static Cluster) {
    look_for_next_after(cluster, None);
}

/// As [`look_for_next`], after a job that took so long.
fn look_for_next_after(cluster: &'static Cluster, took: Option<Micros>) {
    let Some(now) = state() else { exit_process(0) };
    let one_job = now.limits.idle_timeout == 0 && now.jobs > 0;
    let leaving = now.is_unfit || one_job || now.jobs >= now.limits.max_jobs;
    let (worker, cap) = (now.worker_slot.worker, cluster.worker_cap());
    let next = cluster.pool().locked(|scheduler| {
        if let Some(took) = took {
            scheduler.took(worker, took);
        }
        let shrunk = scheduler.shrink(worker, cap);
        shrunk.unwrap_or_else(|| scheduler.next(worker, leaving))
    });
    note_next_step(cluster, next);
}

fn note_next_step(cluster: &'static Cluster, next: NextStep) {
    update(|state| {
        let rests = next == NextStep::Idle;
        if rests && !state.is_idle {
            state.idle_since = process::now();
        }
        state.is_idle = rests;
    });
    NEXT.set(Some(next));
    if let NextStep::Run { job, leader } = next {
        if let Some(leader) = leader {
            wake(leader);
        }
        trace::step(cluster.job(job), TraceStep::Taken(own_proc().pid()));
    }
}

/// One round of the main loop. Called again after an error, with the process clean.
#[pg_guard]
unsafe extern "C-unwind" fn step() {
    let Some(cluster) = attached() else {
        exit_process(0)
    };
    let has_reloaded = process::absorb_idle_interrupts();
    if has_reloaded {
        reloaded();
    }
    settings::publish();
    // The last round may have thrown while it had a job.
    run::fail_noted(cluster);
    let next = NEXT.with(Option::take);
    match next {
        Some(NextStep::Run { job, .. }) => {
            let job = cluster.job(job);
            // Unfit until the job has been taken off again: taking off may throw.
            update(|state| {
                state.jobs += 1;
                state.is_unfit = true;
            });
            // Who wants a process in which nothing ran before has nothing run after, either.
            let is_fresh_only = job.slot().options().fresh_only;
            let began = process::now();
            if run::run(job) == AfterJob::Clean && !is_fresh_only {
                update(|state| state.is_unfit = false);
            }
            let took = process::now() - began;
            look_for_next_after(cluster, Some(took));
        }
        Some(NextStep::Idle) => sleep(cluster, has_reloaded),
        Some(next @ (NextStep::Restart | NextStep::Retire)) => leave(next),
        None if state().is_some_and(|state| state.is_idle) => sleep(cluster, has_reloaded),
        None => {
            // The last round threw.
            let Some(now) = state() else { exit_process(0) };
            let assigned = cluster
                .pool()
                .locked(|scheduler| scheduler.assigned(now.worker_slot.worker));
            if let Some(job) = assigned {
                update(|state| state.is_unfit = true);
                end_unbegun_job(cluster.job(job), now.jobs);
            }
            look_for_next(cluster);
        }
    }
}

/// An error came before the job that this process was given was begun: it cannot map the job's memory. `jobs`: how
/// many it was given.
///
/// Another may be able to, which has mapped less. But a process whose first job it is has mapped as little as any; what
/// it cannot, the next could not either, and the job would go from process to process for ever. So the job fails
/// then. All others leave after they have returned a job, so each of them has returned it once at most.
fn end_unbegun_job(job: Job, jobs: u32) {
    if jobs > 1 {
        exit::return_job(job);
    } else {
        run::fail(job, &send::take_error());
    }
}

/// Leaves, as the pool has decided: for a fresh process in the place, or for good.
fn leave(next: NextStep) -> ! {
    // An error on the way does not make it forget: it is what the next round finds.
    NEXT.set(Some(next));
    fault!("worker-leaves");
    trace::worker_exits(if next == NextStep::Restart {
        c"Restart"
    } else {
        c"Retire"
    });
    if let (NextStep::Restart, Some(state), Some(cluster)) = (next, state(), attached()) {
        spawn::respawn(cluster, state.worker_slot);
    }
    forget_worker_slot();
    exit_process(0)
}

/// The configuration was read again.
fn reloaded() {
    settings::define();
    session::forget();
    update(|state| state.limits = WorkerLimits::read());
}

/// Sleeps until the worker word says otherwise, the idle limit has come, or the configuration was read again:
/// `already`, or meanwhile. That may have another limit, and the pool may have to be smaller now; nobody wakes an idle
/// worker to tell it.
fn sleep(cluster: &'static Cluster, already: bool) {
    let Some(now) = state() else { exit_process(0) };
    fault!("worker-idle");
    let WorkerSlotRef { worker, generation } = now.worker_slot;
    let word = &cluster.pool().worker(worker).word;
    let has_reloaded = Cell::new(false);
    let latch = ProcessLatch::for_idle_worker(cluster, &has_reloaded);
    let limit = now.limits.idle_timeout as u64 * 1000;
    let deadline = Some(now.idle_since + limit);
    let woken = wait_for(
        &latch,
        deadline,
        &mut condition(report_idle, || {
            (already || has_reloaded.get() || word.load().activity() != Activity::Idle)
                .then_some(())
        }),
    );
    if has_reloaded.get() {
        reloaded();
    }
    let cap = cluster.worker_cap();
    let next = cluster.pool().locked(|scheduler| match woken {
        Some(()) => scheduler
            .shrink_idle(worker, generation, cap)
            .or_else(|| scheduler.awakened(worker, generation)),
        None => scheduler
            .idle_limit(worker, generation)
            .or_else(|| scheduler.awakened(worker, generation)),
    });
    note_next_step(cluster, next.unwrap_or(NextStep::Idle));
}

/// What is put off until the process really sleeps.
fn report_idle() {
    // SAFETY: one call of the shim, outside a transaction.
    unsafe { guarded(|| shim::pgb_report_idle()) };
}
