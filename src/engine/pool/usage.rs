//! What each login role uses of the cluster.
//!
//! # Words
//!
//! * A **usage** is the entry of one login role. It counts the slots of the job table that the role's jobs have
//!   (queued, running and unread ones), the bytes of their blocks, and the bytes of their files. It is one
//!   entry for all databases and whatever the current user is.
//! * A **limit** is not in the entry: it is a setting of the launching session, and is given with each claim.
//!
//! # The word
//!
//! Role and slots are one word. So a claim cannot be made on the entry of another role.
//!
//! The transitions are data: [`USAGE`](crate::transitions::USAGE), printed in `docs/transitions.md`. No other change is
//! made: tests and models check each one against the table.
//!
//! Only the holder of the lock writes another role into a word, after looking at all of them. So a role has at
//! most one entry. A process remembers where its role's entry is; the word tells it when the entry is another
//! role's.
//!
//! Bytes are claimed for a job that has its slot, and released before the slot is. So an entry without slots
//! has no bytes.
//!
//! # Refusing
//!
//! While an administrator ends a role's jobs, new ones of the role are **refused** until the others have ended.
//! The refusal is written under the lock, and publishing checks it under the lock. So a job is either published
//! before the refusal, and a look through the table afterwards finds it; or it is refused.
//!
//! Each refusal has a **number**. A process that looks through the table and finds that all jobs have ended
//! takes back the refusal that it knew of before it looked, and no later one. While that refusal stands no job
//! is published, so the result of the look is still true at its end.
//!
//! # Waiting for a role's jobs to end
//!
//! A process that ends jobs of other sessions cannot watch their words: a word wakes its leader. It registers
//! as the usage's **watcher**, fences, and looks at the words. A process that ends a job changes its word,
//! fences, and looks for a watcher. A second watcher replaces the first one, which then wakes up at its
//! deadline. A process that takes the entry for another role wakes the watcher: the job's end may not find the
//! watcher any more.

use super::words::{role_in, slots_in};
use crate::list::List;
use crate::process_ref::ProcRef;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::transitions::{self, Named as _};

/// A login role in shared memory. See the module documentation.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Usage {
    /// Role above, slots below; 0: never used.
    pub(super) word: AtomicU64,
    bytes: AtomicU64,
    file_bytes: AtomicU64,
    pub(super) watcher: AtomicU64,
    /// The refusal that stands; 0: none.
    pub(super) refusal: AtomicU32,
    /// The number of the latest refusal.
    pub(super) refusals: AtomicU32,
    /// Launches that wait for one of its slots.
    pub(super) waiters: List,
}

/// What became of a claim.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// It was made.
    Yes,
    /// The role is at its limit.
    AtLimit,
    /// The entry is another role's by now.
    Gone,
}

impl Usage {
    /// Object id of the login role.
    #[must_use]
    pub fn role(&self) -> u32 {
        role_in(self.word.load(Ordering::Relaxed))
    }

    /// Slots of the job table that its jobs have.
    #[must_use]
    pub fn slots(&self) -> u32 {
        slots_in(self.word.load(Ordering::Relaxed))
    }

    /// Bytes of their blocks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of their files.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Claims one of the `limit` slots that the role may have. The caller notes the claim in its own memory
    /// before it can be interrupted.
    pub fn claim_slot(&self, role: u32, limit: u32) -> Claimed {
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            if role_in(now) != role {
                return Claimed::Gone;
            }
            if slots_in(now) >= limit {
                return Claimed::AtLimit;
            }
            match exchange!(
                "role-slot-claimed-in-two-steps",
                self.word,
                now,
                now + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    transitions::Usage::ClaimSlot.made(&self.word, now, now + 1);
                    return Claimed::Yes;
                }
                Err(seen) => now = seen,
            }
        }
    }

    fn claim_of(count: &AtomicU64, bytes: u64, limit: u64) -> bool {
        let mut now = count.load(Ordering::Relaxed);
        loop {
            let Some(wanted) = now.checked_add(bytes).filter(|wanted| *wanted <= limit) else {
                return false;
            };
            match count.compare_exchange_weak(now, wanted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
    }

    /// Claims bytes of memory for a job of the role. `false`: the role would have more than `limit`.
    #[must_use]
    pub fn claim_bytes(&self, bytes: u64, limit: u64) -> bool {
        Self::claim_of(&self.bytes, bytes, limit)
    }

    /// Gives bytes of memory back.
    pub fn release_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Claims bytes of a file for a job of the role. `false`: the role would have more than `limit`.
    #[must_use]
    pub fn claim_file_bytes(&self, bytes: u64, limit: u64) -> bool {
        Self::claim_of(&self.file_bytes, bytes, limit)
    }

    /// Gives bytes of a file back.
    pub fn release_file_bytes(&self, bytes: u64) {
        self.file_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Registers the process that wants to know when jobs of the role end. The caller then looks at them.
    pub fn watch(&self, watcher: ProcRef) {
        self.watcher.store(watcher.to_bits(), Ordering::Relaxed);
        // Pairs with the fence in `Pool::wake_watcher`.
        fenced!("usage-watched-without-fence", Ordering::SeqCst);
    }

    /// The process no longer waits.
    pub fn unwatch(&self, watcher: ProcRef) {
        let _ = self.watcher.compare_exchange(
            watcher.to_bits(),
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}
