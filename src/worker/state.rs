//! What this process knows of itself as a worker.

use crate::cluster::spawn::WorkerSlotRef;
use crate::pg::local::Local;
use crate::settings;
use engine::pool::NextStep;
use engine::wait::Micros;

/// This process as a worker.
#[derive(Clone, Copy)]
pub struct WorkerState {
    /// Its place.
    pub worker_slot: WorkerSlotRef,
    /// It has connected to its lane's database.
    pub is_connected: bool,
    /// It has published `Idle` and not yet seen what came of it.
    pub(super) is_idle: bool,
    /// When it began to rest.
    pub(super) idle_since: Micros,
    /// It must not run another job.
    pub(super) is_unfit: bool,
    pub(super) jobs: u32,
    pub(super) limits: WorkerLimits,
}

/// What the configuration says of workers, as it was read last.
#[derive(Clone, Copy)]
pub(super) struct WorkerLimits {
    /// Milliseconds.
    pub(super) idle_timeout: i32,
    pub(super) max_jobs: u32,
}

impl WorkerLimits {
    pub(super) fn read() -> Self {
        Self {
            idle_timeout: settings::worker_idle_timeout(),
            max_jobs: settings::worker_max_jobs(),
        }
    }
}

pub(super) static STATE: Local<Option<WorkerState>> = Local::new(None);

pub(super) static NEXT: Local<Option<NextStep>> = Local::new(None);

/// This process as a worker; `None` in every other process.
pub fn state() -> Option<WorkerState> {
    STATE.get()
}

/// This process is no worker any more: its place is given up.
pub fn forget_worker_slot() {
    STATE.set(None);
}

pub(super) fn update(change: impl FnOnce(&mut WorkerState)) {
    STATE.with(|state| change(state.as_mut().expect("in a worker")));
}
