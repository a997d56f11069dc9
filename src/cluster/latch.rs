//! The latch of this process, as the engine's wait loop uses it.

use crate::cluster::attach::Cluster;
use crate::cluster::trace;
use crate::pg::local::Local;
use crate::pg::process::{absorb_idle_interrupts, now, sleep};
use crate::pg::run_delay::run_delay;
use crate::pg::wait_event::WaitEvent;
use crate::settings;
use engine::spin::{AdaptiveSpin, RunDelay};
use engine::sync::Ordering;
use engine::wait::{Latch, Micros};
use pgrx::pg_sys;
use std::cell::Cell;

/// What this process has learned from its waits for others that work for it.
static SPIN: Local<AdaptiveSpin> = Local::new(AdaptiveSpin::new());

/// What this process, a worker, has learned from its waits for work.
static IDLE_SPIN: Local<AdaptiveSpin> = Local::new(AdaptiveSpin::new());

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

/// How long this process waits for a processor.
static RUN_DELAY: Local<RunDelay> = Local::new(RunDelay::new());

/// Whether more processes want to run than there are processors. A spin would take one from them.
fn are_processors_short() -> bool {
    RUN_DELAY.with(|delay| {
        if delay.is_due() {
            delay.note(run_delay());
        }
        delay.is_long()
    })
}

impl ProcessLatch<'_> {
    fn learned(&self) -> &'static Local<AdaptiveSpin> {
        if self.reloaded.is_some() {
            &IDLE_SPIN
        } else {
            &SPIN
        }
    }

    /// For how long a process may spin at all.
    fn longest_spin(&self) -> Micros {
        if self.may_spin && self.cluster.processors() > 1 {
            settings::spin()
        } else {
            0
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
        let longest = self.longest_spin();
        if longest == 0 || are_processors_short() {
            return 0;
        }
        let limit = self.learned().with(|spin| spin.next(longest));
        if limit > 0 && self.reloaded.is_some() {
            let spinning = self.cluster.idle_spinning();
            if spinning.fetch_add(1, Ordering::Relaxed) >= self.cluster.processors() - 1 {
                spinning.fetch_sub(1, Ordering::Relaxed);
                return 0;
            }
        }
        limit
    }

    fn may_linger(&self) -> bool {
        let longest = self.longest_spin();
        longest > 0
            && !RUN_DELAY.with(|delay| delay.is_long())
            && self.learned().with(|spin| spin.pays(longest))
    }

    fn note_spin(&self, paid: bool) {
        self.learned().with(|spin| spin.note_spin(paid));
        if self.reloaded.is_some() {
            self.cluster.idle_spinning().fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn note_wait(&self, took: Micros) {
        self.learned().with(|spin| spin.note_wait(took));
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
