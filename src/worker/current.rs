//! The job this process runs now, as its signal handler sees it.
//!
//! The doorbell's handler (`signal.c`) asks here which flags the current job carries. When the job is noted here and
//! when it is forgotten is part of the worker's steps ([`engine::steps`]).
//!
//! Only this process writes these two; the handler interrupts it, so compiler fences suffice.

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
