//! From the postmaster's fork to the exit: report in, connect, run or sleep, leave.
//!
//! 1. The process redirects its messages, attaches shared memory (which registers the exit callback), and installs its
//!    signal handlers. Only then it reports in, and others can see its pid.
//! 2. It takes its first job before it connects, so a leader that waits for a pid need not wait for the connection. If
//!    connecting fails, the exit callback fails that job with the error.
//! 3. [`step`] repeats: process the interrupts that the server allows between two statements, run the job, look for the
//!    next, sleep if there is none, leave when it is time.

use crate::cluster::attach::{Cluster, attached, cluster};
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::layout::worker_entry;
use crate::cluster::spawn::WorkerSlotRef;
use crate::cluster::{spawn, trace};
use crate::pg::exit::exit_process;
use crate::pg::process::{own_proc, wake};
use crate::pg::server;
use crate::pg::{boundary, error, process, shim};
use crate::settings;
use crate::worker::run::AfterJob;
use crate::worker::state::{
    NEXT, STATE, WorkerLimits, WorkerState, forget_worker_slot, state, update,
};
use crate::worker::{exit, run, send, session};
use engine::pool::NextStep;
use engine::wait::{Micros, condition, wait_for};
use engine::worker::Activity;
use pgrx::pg_sys;
use std::cell::Cell;
use std::panic::catch_unwind;

/// The workers' entry function, under the name of [`worker_entry`].
///
/// # Safety
/// Only for the server, in the worker's process, with the argument of the registration.
#[unsafe(export_name = worker_entry!())]
pub unsafe extern "C-unwind" fn enter(argument: pg_sys::Datum) {
    let body = move || {
        let worker_slot = WorkerSlotRef::from_datum(argument);
        fault!("worker-started");
        // SAFETY: one call of the shim, before any message is sent.
        unsafe { shim::pgb_redirect_messages() };
        let attached = catch_unwind(|| cluster().map_err(|error| error.message))
            .unwrap_or_else(|payload| Err(error::caught(&*payload).text()));
        let cluster = match attached {
            Ok(cluster) => cluster,
            Err(message) => {
                trace::not_attached(&message);
                exit_process(0);
            }
        };
        // SAFETY: installs handlers and unblocks signals.
        unsafe { shim::pgb_install_signals() };
        // Before the process connects: connecting adds the settings of the database and the role.
        // SAFETY: one call of the shim.
        unsafe { shim::pgb_note_configuration() };
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
        spawn::set_own_worker(Some(worker));
        look_for_next(cluster);
        // The leader of the first job, which was woken just now, may also have registered this process: it comes first.
        if let Some(registrar) = registrar {
            wake(registrar);
        }
        if let Some(next @ (NextStep::Restart | NextStep::Retire)) = NEXT.get() {
            leave(next);
        }
        fault!("worker-connects");
        // SAFETY: on the main thread, once. An error (the role may not log in, or the database is gone) ends the process,
        // and the exit callback handles the lane.
        unsafe {
            server::BackgroundWorkerInitializeConnectionByOid(
                pg_sys::Oid::from(key.database),
                pg_sys::Oid::from(key.role),
                0,
            );
        }
        // SAFETY: one call of the shim, outside a transaction; an error in it ends the process, as an error while
        // connecting.
        unsafe { shim::pgb_port_without_client() };
        cluster
            .pool()
            .locked(|scheduler| scheduler.note_connected(worker, own_proc()));
        settings::read_defaults();
        update(|state| {
            state.is_connected = true;
            state.limits = WorkerLimits::read();
        });
        fault!("worker-connected");
        // SAFETY: once, on the main thread; the loop never returns; `step` keeps the contract of a guarded callback.
        unsafe {
            shim::pgb_session_init();
            shim::pgb_prepare_runs();
            shim::pgb_worker_loop(step);
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

/// Asks the pool for the next step, and notes it.
fn look_for_next(cluster: &'static Cluster) {
    look_for_next_after(cluster, None);
}

/// As [`look_for_next`], after a job that took `took`.
fn look_for_next_after(cluster: &'static Cluster, took: Option<Micros>) {
    let Some(now) = state() else { exit_process(0) };
    let one_job = now.limits.idle_timeout == 0 && now.jobs > 0;
    let leaving = now.is_unfit || one_job || now.jobs >= now.limits.max_jobs;
    let (worker, cap) = (now.worker_slot.worker, cluster.worker_cap());
    let next = cluster.pool().locked(|scheduler| {
        if let Some(took) = took {
            scheduler.note_run_time(worker, took);
        }
        let shrunk = scheduler.shrink(worker, cap);
        shrunk.unwrap_or_else(|| scheduler.next(worker, leaving))
    });
    note_next_step(next);
}

fn note_next_step(next: NextStep) {
    update(|state| {
        let rests = next == NextStep::Idle;
        if rests && !state.is_idle {
            state.idle_since = process::now();
        }
        state.is_idle = rests;
    });
    NEXT.set(Some(next));
    if let NextStep::Run {
        leader: Some(leader),
        ..
    } = next
    {
        wake(leader);
    }
    trace::write_transitions();
}

/// One iteration of the main loop. After an error the shim cleans the process up and calls this again.
unsafe extern "C-unwind" fn step() {
    let body = move || {
        let Some(cluster) = attached() else {
            exit_process(0)
        };
        let has_reloaded = process::absorb_idle_interrupts();
        if has_reloaded {
            reloaded();
        }
        settings::publish();
        // The last iteration may have thrown while it had a job.
        run::fail_noted(cluster);
        let next = NEXT.with(Option::take);
        match next {
            Some(NextStep::Run { job, .. }) => {
                let job = cluster.job(job);
                // Unfit until the session has been reset: the reset may throw.
                update(|state| {
                    state.jobs += 1;
                    state.is_unfit = true;
                });
                // A job that needs a fresh process also has no other job run after it.
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
                // The last iteration has thrown.
                let Some(now) = state() else { exit_process(0) };
                let assigned = cluster
                    .pool()
                    .locked(|scheduler| scheduler.assigned(now.worker_slot.worker));
                if let Some(job) = assigned {
                    update(|state| state.is_unfit = true);
                    end_unbegun_job(cluster.job(job), now);
                }
                look_for_next(cluster);
            }
        }
    };
    // SAFETY: only C is above this frame, which has nothing to drop.
    unsafe { boundary::enter(body) }
}

/// Ends or returns a job that this process has not begun because of an error: it cannot map the job's memory.
///
/// A process that has mapped less memory may still be able to map it. But if this is the first job of the process, it has mapped as
/// little as any other: the next process could not map the memory either, and the job would go from process to process
/// forever. So the job fails then. In all other cases the process returns the job and exits, so a process returns a job
/// at most once.
fn end_unbegun_job(job: Job, state: WorkerState) {
    if state.jobs > 1 {
        exit::return_job(state.worker_slot, job);
    } else {
        run::fail(job, &send::take_error());
    }
}

/// Leaves the pool, as it has decided: the worker slot goes to a fresh process, or becomes vacant.
fn leave(next: NextStep) -> ! {
    // If an error interrupts this, the next iteration finds the same step.
    NEXT.set(Some(next));
    fault!("worker-leaves");
    trace::worker_exits(if next == NextStep::Restart {
        "Restart"
    } else {
        "Retire"
    });
    if let (NextStep::Restart, Some(state), Some(cluster)) = (next, state(), attached()) {
        spawn::respawn(cluster, state.worker_slot);
    }
    forget_worker_slot();
    exit_process(0)
}

/// Called when the configuration was read again. A process that could not connect again is not kept: nobody looks at that
/// otherwise, and it would stay for ever.
fn reloaded() {
    settings::define();
    // Reading the configuration again has left the process with that alone.
    settings::read_catalog();
    session::forget();
    let mut limits = WorkerLimits::read();
    // SAFETY: one call of the shim, outside a transaction.
    if limits.keep > 0 && !unsafe { shim::pgb_can_connect_again() } {
        limits.keep = 0;
    }
    update(|state| state.limits = limits);
}

/// Sleeps until the worker word changes, its turn is over or the idle timeout has passed, or the configuration was read
/// again (`already`: it was read before the sleep). At its turn's end another lane may need the worker slot. The
/// configuration may have another timeout, or require a smaller pool. Nobody wakes an idle worker for any of that.
fn sleep(cluster: &'static Cluster, already: bool) {
    let Some(now) = state() else { exit_process(0) };
    fault!("worker-idle");
    let WorkerSlotRef { worker, generation } = now.worker_slot;
    let word = &cluster.pool().worker(worker).word;
    let has_reloaded = Cell::new(false);
    let latch = ProcessLatch::for_idle_worker(cluster, &has_reloaded);
    let idle_limit = now.idle_since + now.limits.idle_timeout as u64 * 1000;
    let look_at = cluster.pool().worker(worker).look_at();
    let deadline = look_at.map_or(idle_limit, |look_at| look_at.min(idle_limit));
    let woken = wait_for(
        &latch,
        Some(deadline),
        &mut condition(report_idle, || {
            (already || has_reloaded.get() || word.load().activity() != Activity::Idle)
                .then_some(())
        }),
    );
    if has_reloaded.get() {
        reloaded();
    }
    let cap = cluster.worker_cap();
    let Some(WorkerState { limits, .. }) = state() else {
        exit_process(0)
    };
    let mut is_kept = false;
    let next = cluster.pool().locked(|scheduler| match woken {
        Some(()) => scheduler
            .shrink_idle(worker, generation, cap)
            .or_else(|| scheduler.awakened(worker, generation)),
        None if deadline < idle_limit => scheduler
            .end_turn(worker, generation)
            .or_else(|| scheduler.awakened(worker, generation)),
        None => {
            let next = scheduler.idle_limit(worker, generation, limits.keep);
            is_kept = next == Some(NextStep::Idle);
            next.or_else(|| scheduler.awakened(worker, generation))
        }
    });
    if is_kept {
        update(|state| state.idle_since = process::now());
    }
    note_next_step(next.unwrap_or(NextStep::Idle));
}

/// Reports the process as idle. That is done only when the process really sleeps.
fn report_idle() {
    // SAFETY: one call of the shim, outside a transaction.
    unsafe { shim::pgb_report_idle() };
}
