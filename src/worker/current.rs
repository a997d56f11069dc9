//! The job this process runs now, as its signal handler sees it.
//!
//! The doorbell's handler (`signal.c`) asks here which flags the current job carries. The order makes a
//! cancel neither lost nor misdirected:
//!
//! * **begin:** note the job here, then `Starting → Running`, which refuses when CANCEL is set. A cancel
//!   before that transition is seen by it; one after it finds the job noted when its signal arrives.
//! * **end:** `Running → finished`, then forget the job here, then clear what a signal may have left
//!   pending meanwhile. After finishing, a cancel sets no flag any more; a signal that was under way finds
//!   the flag in the old job's word, or nothing, and what it raised is cleared before the next begin.
//!
//! Only this process writes these two; the handler interrupts it, so compiler fences suffice.

use crate::engine::job::{Generation, JobWord};
use crate::pg::shim::flag;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, compiler_fence};

static WORD: AtomicPtr<JobWord> = AtomicPtr::new(std::ptr::null_mut());
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Notes the job that is about to begin.
pub fn note(word: &'static JobWord, generation: Generation) {
    GENERATION.store(generation.get(), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    WORD.store(std::ptr::from_ref(word).cast_mut(), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
}

/// No job any more.
pub fn forget() {
    compiler_fence(Ordering::SeqCst);
    WORD.store(std::ptr::null_mut(), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
}

/// The flags of the current job, for the signal handler and the shim.
#[unsafe(no_mangle)]
extern "C" fn pgb_current_flags() -> u32 {
    let word = WORD.load(Ordering::Relaxed);
    if word.is_null() {
        return 0;
    }
    let generation = Generation::from_bits(GENERATION.load(Ordering::Relaxed));
    // SAFETY: `note` was given a word in the control segment, which stays mapped until the exit callback
    // has made the process ignore the signal.
    let Some(now) = (unsafe { &*word }).load_if(generation) else {
        return 0;
    };
    let mut flags = 0;
    if now.cancel() {
        flags |= flag::CANCEL;
    }
    if now.terminate() {
        flags |= flag::TERMINATE;
    }
    flags
}
