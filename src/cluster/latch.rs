//! The latch of this process, as the engine's wait loop uses it.

use crate::cluster::attach::Cluster;
use crate::cluster::trace;
use crate::pg::local::Local;
use crate::pg::process::{absorb_idle_interrupts, now, sleep};
use crate::pg::wait_event::WaitEvent;
use crate::settings;
use engine::sync::Ordering;
use engine::wait::{AdaptiveSpin, Latch, Micros};
use pgrx::pg_sys;
use std::cell::Cell;

/// How often spinning has paid in this process.
static SPIN: Local<AdaptiveSpin> = Local::new(AdaptiveSpin::new());

/// The latch of this process, for leaders and workers alike.
pub struct ProcessLatch<'a> {
    cluster: &'static Cluster,
    wait_event: WaitEvent,
    /// Only for an idle worker: set when the configuration was read again.
    reloaded: Option<&'a Cell<bool>>,
    may_spin: bool,
}

impl ProcessLatch<'static> {
    /// For a session that waits for its jobs.
    pub fn new(cluster: &'static Cluster) -> Self {
        Self {
            cluster,
            wait_event: WaitEvent::Wait,
            reloaded: None,
            may_spin: true,
        }
    }

    /// For a process that exits and waits for another to start. A start takes long, so spinning would not pay.
    pub fn without_spin(cluster: &'static Cluster) -> Self {
        Self {
            may_spin: false,
            ..Self::new(cluster)
        }
    }

    /// For a worker that waits for the reader of its job.
    pub fn for_sending(cluster: &'static Cluster) -> Self {
        Self {
            wait_event: WaitEvent::Send,
            ..Self::new(cluster)
        }
    }
}

impl<'a> ProcessLatch<'a> {
    /// For a worker without a job: each sleep also processes what only an idle process may.
    pub fn for_idle_worker(cluster: &'static Cluster, reloaded: &'a Cell<bool>) -> Self {
        Self {
            cluster,
            wait_event: WaitEvent::Idle,
            reloaded: Some(reloaded),
            may_spin: true,
        }
    }
}

impl Latch for ProcessLatch<'_> {
    fn now(&self) -> Micros {
        now()
    }

    /// A session spins while its job runs. Idle workers spin for work that may never come, so only as many of them spin
    /// as leave one processor free.
    fn spin_limit(&self) -> Micros {
        let limit = settings::spin();
        let processors = self.cluster.processors();
        if processors < 2 || !self.may_spin {
            return 0;
        }
        let limit = SPIN.with(|spin| spin.next(limit));
        if limit > 0 && self.reloaded.is_some() {
            let spinning = self.cluster.idle_spinning();
            if spinning.fetch_add(1, Ordering::Relaxed) >= processors - 1 {
                spinning.fetch_sub(1, Ordering::Relaxed);
                return 0;
            }
        }
        limit
    }

    fn may_linger(&self) -> bool {
        settings::spin() > 0 && self.cluster.processors() > 1
    }

    /// The process that is waited for may have been scheduled on this processor, and others want to run too. If nobody
    /// else is ready to run, yielding costs a fraction of a microsecond.
    fn pace(&self) {
        std::thread::yield_now();
    }

    fn note_spin(&self, found: bool) {
        SPIN.with(|spin| spin.learn(found));
        if self.reloaded.is_some() {
            self.cluster.idle_spinning().fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn is_interrupted(&self) -> bool {
        // SAFETY: a volatile flag that signal handlers set.
        unsafe { (&raw const pg_sys::InterruptPending).read_volatile() != 0 }
    }

    fn sleep(&self, until: Option<Micros>) {
        trace::write_transitions();
        sleep(self.wait_event, until);
        if let Some(reloaded) = self.reloaded
            && absorb_idle_interrupts()
        {
            reloaded.set(true);
        }
    }
}
