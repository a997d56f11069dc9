//! The pool's side of what each login role uses: finding its entry, refusing its new jobs, telling whoever waits.
//!
//! The words and their rules are in [`super::usage`].

use super::scheduler::{Pool, PoolLock, Scheduler};
use super::slot_waiters::Resource;
use super::usage::{Usage, slots_in};
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;

impl<'a, L: PoolLock> Pool<'a, L> {
    /// A role's usage.
    ///
    /// # Panics
    /// When there is none with this index.
    #[must_use]
    pub fn usage(&self, index: u32) -> &'a Usage {
        &self.shared.usages[index as usize]
    }

    /// The index of a role's usage, which is made if need be. `None`: too many roles have jobs.
    #[must_use]
    pub fn usage_of(&self, role: u32) -> Option<u32> {
        self.locked(|scheduler| scheduler.usage_of(role))
    }

    /// The index of a role's usage, if it has one.
    #[must_use]
    pub fn find_usage(&self, role: u32) -> Option<u32> {
        let is_its = |usage: &Usage| usage.role() == role;
        self.shared
            .usages
            .iter()
            .position(is_its)
            .map(|index| index as u32)
    }

    /// Gives back what [`Usage::claim_slot`] claimed.
    pub fn release_role_slot(&self, index: u32) {
        // Release: who takes the entry over when it has no slots comes after the end of the jobs that had them.
        self.shared.usages[index as usize]
            .word
            .fetch_sub(1, Ordering::Release);
        self.released(Resource::RoleSlots(index));
    }

    /// A job of the role has ended. After its word says so.
    pub fn job_ended(&self, index: u32) {
        // Pairs with the fence in `Usage::watch`: the job's word before our look for a watcher.
        fenced!("job-ended-without-fence", Ordering::SeqCst);
        let watcher = self.shared.usages[index as usize]
            .watcher
            .load(Ordering::Relaxed);
        if let Some(watcher) = ProcRef::from_bits(watcher) {
            self.lock.wake(watcher);
        }
    }

    /// New jobs of the role are refused from now on. The number of that refusal; `None`: the entry is another role's.
    #[must_use]
    pub fn refuse(&self, index: u32, role: u32) -> Option<u32> {
        self.locked(|scheduler| {
            let usage = &scheduler.shared.usages[index as usize];
            if usage.role() != role {
                return None;
            }
            let number = load(&usage.refusals).wrapping_add(1).max(1);
            usage.refusals.store(number, Ordering::Relaxed);
            usage.refusal.store(number, Ordering::Relaxed);
            Some(number)
        })
    }

    /// The refusal that stands; 0: none. To be asked for before a look at the role's jobs.
    #[must_use]
    pub fn refusal(&self, index: u32) -> u32 {
        self.locked(|scheduler| load(&scheduler.shared.usages[index as usize].refusal))
    }

    /// All jobs of the role have ended: takes back a refusal, if it still stands.
    pub fn accept_again(&self, index: u32, refusal: u32) {
        self.locked(|scheduler| {
            let usage = &scheduler.shared.usages[index as usize];
            if load(&usage.refusal) == refusal {
                usage.refusal.store(0, Ordering::Relaxed);
            }
        });
    }
}

impl Scheduler<'_> {
    /// Whether new jobs of the role are refused.
    pub(super) fn refuses(&self, index: u32) -> bool {
        let usage = &self.shared.usages[index as usize];
        checked!("refusal-ignored", load(&usage.refusal) != 0)
    }

    fn usage_of(&mut self, role: u32) -> Option<u32> {
        if let Some(found) = self
            .shared
            .usages
            .iter()
            .position(|usage| usage.role() == role)
        {
            return Some(found as u32);
        }
        // One that is free now can be claimed for its own role until the word is changed. Acquire and release: whoever
        // sees the new role sees that the jobs of the one before are gone.
        let own = u64::from(role) << 32;
        let take = |usage: &&Usage| {
            let now = usage.word.load(Ordering::Relaxed);
            slots_in(now) == 0
                && usage.waiters.is_empty()
                && usage
                    .word
                    .compare_exchange(now, own, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        };
        let is_unused = |usage: &&Usage| usage.role() == 0;
        let find = |may: &dyn Fn(&&Usage) -> bool| {
            self.shared
                .usages
                .iter()
                .position(|usage| may(&usage) && take(&usage))
        };
        let index = find(&is_unused).or_else(|| find(&|_| true))?;
        let usage = &self.shared.usages[index];
        usage.refusal.store(0, Ordering::Relaxed);
        let watcher = usage.watcher.swap(0, Ordering::Relaxed);
        if let Some(watcher) = ProcRef::from_bits(watcher) {
            self.waker.wake(watcher);
        }
        Some(index as u32)
    }
}
