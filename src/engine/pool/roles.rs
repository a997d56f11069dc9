//! Login roles as the pool sees them: finding a role's usage, refusing its new jobs, waking its watcher.
//!
//! The words and their rules are in [`super::usage`].

use super::scheduler::{Pool, PoolLock, Scheduler, Shared};
use super::slot_waiters::Resource;
use super::usage::Usage;
use super::words::slots_in;
use crate::locked::load;
use crate::process_ref::ProcRef;
use crate::sync::Ordering;
use crate::transitions::{self, Named as _};

impl Shared<'_> {
    fn find_usage(&self, role: u32) -> Option<u32> {
        let found = self.usages.iter().position(|usage| usage.role() == role);
        found.map(|index| index as u32)
    }
}

impl<'a, L: PoolLock> Pool<'a, L> {
    /// A role's usage.
    ///
    /// # Panics
    /// When there is no usage with this index.
    #[must_use]
    pub fn usage(&self, index: u32) -> &'a Usage {
        &self.shared.usages[index as usize]
    }

    /// The index of a role's usage, which is created if necessary. `None`: too many roles have jobs.
    #[must_use]
    pub fn usage_of(&self, role: u32) -> Option<u32> {
        self.locked(|scheduler| scheduler.usage_of(role))
    }

    /// The index of a role's usage, if it has one.
    #[must_use]
    pub fn find_usage(&self, role: u32) -> Option<u32> {
        self.shared.find_usage(role)
    }

    /// The bytes of all roles' blocks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.usages.iter().map(Usage::bytes).sum()
    }

    /// The bytes of all roles' files.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.shared.usages.iter().map(Usage::file_bytes).sum()
    }

    /// Gives back what [`Usage::claim_slot`] claimed.
    pub fn release_role_slot(&self, index: u32) {
        // Release: a process that reuses the entry without slots comes after the end of the jobs that had them.
        let word = &self.shared.usages[index as usize].word;
        let before = word.fetch_sub(
            1,
            weakened!("role-slot-released-relaxed", Ordering::Release),
        );
        transitions::Usage::ReleaseRoleSlot.made(word, before, before - 1);
        self.call_next(Resource::RoleSlots(index));
    }

    /// A job of the role has ended: wakes the process that watches the role. Called after the job's word has
    /// changed.
    pub fn wake_watcher(&self, index: u32) {
        // Pairs with the fence in `Usage::watch`: the job's word comes before our look for a watcher.
        fenced!("job-ended-without-fence", Ordering::SeqCst);
        let watcher = self.shared.usages[index as usize]
            .watcher
            .load(Ordering::Relaxed);
        if let Some(watcher) = ProcRef::from_bits(watcher) {
            self.lock.wake(watcher);
        }
    }

    /// Refuses new jobs of the role from now on. Returns the number of the refusal. `None`: the entry is
    /// another role's.
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

    /// The refusal that stands; 0: none. Call it before looking at the role's jobs.
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
        if let Some(found) = self.shared.find_usage(role) {
            return Some(found);
        }
        // A free entry can still be claimed for its own role until the word is changed. Acquire and release: a
        // process that sees the new role sees that the jobs of the old one are gone.
        let own = u64::from(role) << 32;
        let take = |usage: &&Usage| {
            let word = &usage.word;
            let now = word.load(Ordering::Relaxed);
            let is_taken = slots_in(now) == 0
                && usage.waiters.is_empty()
                && word
                    .compare_exchange(
                        now,
                        own,
                        weakened!("usage-taken-relaxed", Ordering::AcqRel),
                        Ordering::Relaxed,
                    )
                    .is_ok();
            if is_taken {
                transitions::Usage::UsageOf.made(word, now, own);
            }
            is_taken
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
