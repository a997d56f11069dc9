//! The state of this process as a worker.

use crate::cluster::spawn;
use crate::cluster::spawn::WorkerSlotRef;
use crate::pg::local::Local;
use crate::settings;
use engine::pool::NextStep;
use engine::wait::Micros;

/// This process as a worker.
#[derive(Clone, Copy)]
pub struct WorkerState {
    /// Its worker slot.
    pub worker_slot: WorkerSlotRef,
    /// Whether it has connected to its lane's database.
    pub is_connected: bool,
    /// Whether it has published `Idle`, and has not got its next step yet.
    pub(super) is_idle: bool,
    /// When it became idle, or was told at its idle limit to stay.
    pub(super) idle_since: Micros,
    /// Whether it must not run another job.
    pub(super) is_unfit: bool,
    /// How many jobs it was given.
    pub(super) jobs: u32,
    pub(super) limits: WorkerLimits,
}

/// The settings of workers, as they were read last.
#[derive(Clone, Copy)]
pub(super) struct WorkerLimits {
    /// Milliseconds.
    pub(super) idle_timeout: i32,
    pub(super) max_jobs: u32,
    /// How many idle workers of the lane stay beyond the idle timeout.
    pub(super) keep: u32,
}

impl WorkerLimits {
    pub(super) fn read() -> Self {
        Self {
            idle_timeout: settings::worker_idle_timeout(),
            max_jobs: settings::worker_max_jobs(),
            keep: settings::keep_workers(),
        }
    }
}

pub(super) static STATE: Local<Option<WorkerState>> = Local::new(None);

pub(super) static NEXT: Local<Option<NextStep>> = Local::new(None);

/// This process as a worker; `None` in every other process.
pub fn state() -> Option<WorkerState> {
    STATE.get()
}

/// This process has given up its worker slot and is no worker any more.
pub fn forget_worker_slot() {
    STATE.set(None);
    spawn::set_own_worker(None);
}

pub(super) fn update(change: impl FnOnce(&mut WorkerState)) {
    STATE.with(|state| change(state.as_mut().expect("in a worker")));
}
