//! The job that this process runs now, as its signal handler sees it.
//!
//! The signal handler (`signal.c`) asks here which flags the current job has. The worker's steps ([`engine::steps`])
//! determine when the job is noted and when it is forgotten.
//!
//! Only this process writes the two statics. The handler interrupts this process, so compiler fences suffice.

use crate::pg::shim::flag;
use engine::job::{Generation, JobWord};
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

/// Forgets the job.
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
    // SAFETY: `note` was given a word in the control segment, which stays mapped until after the exit callback has made
    // the process ignore the signal.
    let Some(now) = (unsafe { &*word }).load_if(generation) else {
        return 0;
    };
    let mut flags = 0;
    if now.is_pending() {
        flags |= flag::CANCEL;
    }
    if now.is_insistent() {
        flags |= flag::INSISTS;
    }
    if now.must_terminate() {
        flags |= flag::TERMINATE;
    }
    flags
}
