//! The exit of a process.
//!
//! `proc_exit` does not unwind, so no destructor releases anything in shared memory. Callbacks release what the process
//! holds according to its own memory. This module does not know what they do ([`provide`]).
//!
//! # Errors at exit
//!
//! An error in a callback cannot be caught: the server turns it into another exit, which goes on with the callbacks
//! that are still registered. Nevertheless one thing can fail: a segment of the arena that this process has not
//! accessed yet has to be mapped, and the operating system may refuse. So a callback runs to completion
//! ([`run_to_completion`]): it registers itself again before it begins, and cancels that registration at its end. If an
//! error interrupts it, the server calls it again. It then goes by the process's memory, which no longer contains what
//! was done, and does without the memory that could not be mapped ([`try_map`]).

use crate::pg::local::Local;
use crate::pg::server;
use pgrx::pg_sys;

static REGISTERED: Local<bool> = Local::new(false);

/// Memory that an exit callback is mapping; 0: none.
static MAPPING: Local<pg_sys::dsa_pointer> = Local::new(0);

/// Memory that could not be mapped.
static UNREACHABLE: Local<Vec<pg_sys::dsa_pointer>> = Local::new(Vec::new());

/// How often callbacks were begun.
static RUNS: Local<u32> = Local::new(0);

/// After this many runs callbacks do nothing: the stack grows with each run.
const MAX_RUNS: u32 = 100;

/// An exit callback of the server.
pub type Callback = unsafe extern "C-unwind" fn(i32, pg_sys::Datum);

/// The callbacks that [`register`] registers, in this order.
static CALLBACKS: Local<[Option<Callback>; 2]> = Local::new([None; 2]);

/// Provides the callbacks for [`register`]. Called when the library is loaded.
pub fn provide(callbacks: [Callback; 2]) {
    CALLBACKS.set(callbacks.map(Some));
}

/// Registers the callbacks, once. The last one is called first.
pub fn register() {
    if !REGISTERED.get() {
        for callback in CALLBACKS.get() {
            push(callback.expect("provided when the library was loaded"));
        }
        REGISTERED.set(true);
    }
}

fn push(callback: Callback) {
    // SAFETY: a function of this library, which is never unloaded.
    unsafe { server::before_shmem_exit(Some(callback), pg_sys::Datum::from(0)) };
}

/// Exits as every PostgreSQL process does: runs the exit callbacks and does not unwind.
pub fn exit_process(code: i32) -> ! {
    // SAFETY: on the main thread, as everything here.
    unsafe { server::proc_exit(code) }
}

/// Whether the process is exiting.
pub fn in_progress() -> bool {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::proc_exit_inprogress }
}

/// Runs `map`, which maps the memory at `pointer` and returns null if it cannot. During an exit `map` may not return at
/// all; then it is not tried again.
pub fn try_map(pointer: pg_sys::dsa_pointer, map: impl FnOnce() -> *mut u8) -> *mut u8 {
    if !in_progress() {
        return map();
    }
    if UNREACHABLE.with(|memory| memory.contains(&pointer)) {
        return std::ptr::null_mut();
    }
    MAPPING.set(pointer);
    let address = map();
    MAPPING.set(0);
    address
}

/// Runs `body`, and again from the beginning whenever an error has interrupted it. False: it has been interrupted too
/// often, and is not run.
pub fn run_to_completion(callback: Callback, body: impl FnOnce()) -> bool {
    // SAFETY: sets a signal's disposition, because the handler reads memory that is unmapped later in the exit. No lock
    // is needed any more, but an error outside a transaction may have left some held.
    unsafe {
        crate::pg::shim::pgb_ignore_signal();
        server::LWLockReleaseAll();
    }
    let unreachable = MAPPING.get();
    if unreachable != 0 {
        MAPPING.set(0);
        #[allow(
            clippy::disallowed_methods,
            reason = "one for each error that interrupts an exit"
        )]
        UNREACHABLE.with(|memory| memory.push(unreachable));
    }
    RUNS.set(RUNS.get() + 1);
    if RUNS.get() > MAX_RUNS {
        return false;
    }
    push(callback);
    body();
    // SAFETY: the callback is the one that was registered last.
    unsafe { server::cancel_before_shmem_exit(Some(callback), pg_sys::Datum::from(0)) };
    true
}
