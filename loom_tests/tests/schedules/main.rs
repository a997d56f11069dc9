//! The whole table and pool under random schedules: more processes than loom can handle, and everything of the
//! engine except the result ring.
//!
//! Leaders launch, wait for a slot until they have one or their time is up, wait for jobs, cancel, detach and
//! leave, and count how their jobs ended. They know some jobs by the pid of their process alone; some jobs need
//! a fresh process. Workers run jobs, go idle, leave, die in every phase, and defer the freeing of what they
//! cannot free. Other processes cancel jobs that they have heard of, with handles that may be stale. Lanes
//! share fewer worker slots than there are jobs. [`ledger`] checks what must hold: it sees what happened
//! without taking part. A lost wake-up is a deadlock, which shuttle reports.
//!
//! shuttle interleaves at every access to an atomic or a lock, but shows every store to all threads at once. So
//! weak orderings are left to loom.
//!
//! Runs have seeds. `PGB_SECONDS` says how long to go on at each scale. A run that fails is made smaller before it is
//! reported ([`explore`](mod@explore)), for `PGB_SHRINK_SECONDS` at most; what is printed, `PGB_SCALE` and `PGB_SEED`,
//! repeats it.
#![cfg(shuttle)]

mod explore;
mod leader;
mod ledger;
mod scale;
mod shrinking;
mod trace;
mod worker;
mod world;

use scale::Scale;

fn explore(name: &str, scale: Scale) {
    explore::explore(name, scale, world::run);
}

/// Three leaders, two strangers that cancel, an administrator, two lanes, three worker slots: nine threads and
/// their successors.
#[test]
fn every_accepted_job_ends_once_and_nothing_is_left() {
    let scale = Scale {
        leaders: 3,
        jobs_each: 3,
        cancelers: 2,
        lanes: 2,
        places: 3,
        slots: 5,
        role_limit: 2,
        lane_limit: 0,
        administrators: 1,
        times_out: 4,
    };
    explore("three leaders", scale);
}

/// Two lanes and one worker slot: for every job of the other lane the worker slot has to be passed on.
#[test]
fn lanes_that_share_one_worker_slot_are_both_served() {
    let scale = Scale {
        leaders: 2,
        jobs_each: 3,
        cancelers: 1,
        lanes: 2,
        places: 1,
        slots: 4,
        role_limit: 1,
        lane_limit: 1,
        administrators: 1,
        times_out: 4,
    };
    explore("one worker slot", scale);
}

/// One slot: every job follows another one in the same word, and every handle but one is stale.
#[test]
fn jobs_that_share_one_slot_are_never_confused() {
    let scale = Scale {
        leaders: 3,
        jobs_each: 3,
        cancelers: 2,
        lanes: 1,
        places: 2,
        slots: 1,
        role_limit: 1,
        lane_limit: 1,
        administrators: 1,
        times_out: 4,
    };
    explore("one slot", scale);
}

/// Lanes that may have one worker each, in a pool with more worker slots; roles that may have most of the
/// table; two administrators.
#[test]
fn lanes_and_roles_at_their_limits_are_served() {
    let scale = Scale {
        leaders: 3,
        jobs_each: 3,
        cancelers: 1,
        lanes: 2,
        places: 3,
        slots: 4,
        role_limit: 2,
        lane_limit: 1,
        administrators: 2,
        times_out: 4,
    };
    explore("lanes at their limit", scale);
}

/// Few slots, each free only for a moment, and many sessions that wait for them.
#[test]
fn many_that_wait_for_few_slots_are_served() {
    let scale = Scale {
        leaders: 5,
        jobs_each: 2,
        cancelers: 0,
        lanes: 1,
        places: 2,
        slots: 3,
        role_limit: 3,
        lane_limit: 0,
        administrators: 1,
        times_out: 6,
    };
    explore("few slots", scale);
}

/// The same, and no session gives up.
#[test]
fn all_that_wait_for_few_slots_are_served() {
    let scale = Scale {
        leaders: 4,
        jobs_each: 2,
        cancelers: 1,
        lanes: 2,
        places: 2,
        slots: 2,
        role_limit: 2,
        lane_limit: 0,
        administrators: 1,
        times_out: 0,
    };
    explore("few slots, patient", scale);
}
