//! What a process does at its exit.
//!
//! `proc_exit` does not unwind: nothing in shared memory is given back by a destructor then. Callbacks give back what
//! the process's own memory says it holds. What they do is not known here ([`provide`]).
//!
//! # Errors at exit
//!
//! Nothing in a callback can be caught: the server turns any error there into another exit, which goes on
//! with the callbacks that are still registered. One thing can fail all the same: a segment of the arena that
//! this process has not looked into yet has to be mapped, and the operating system may refuse. So a callback
//! *insists*: it registers itself again before it begins and takes that back at its end. If it is cut short it is
//! called once more, goes by the process's memory, from which what was done is gone, and does without the memory
//! that could not be reached ([`try_map`]).

use crate::pg::local::Local;
use pgrx::pg_sys;

static REGISTERED: Local<bool> = Local::new(false);

/// Memory that an exit callback tries to reach; 0: none.
static MAPPING: Local<pg_sys::dsa_pointer> = Local::new(0);

/// Memory that could not be reached.
static UNREACHABLE: Local<Vec<pg_sys::dsa_pointer>> = Local::new(Vec::new());

/// How often a callback was begun.
static RUNS: Local<u32> = Local::new(0);

/// A callback that was cut short so often is given up: each time the stack grows.
const MAX_RUNS: u32 = 100;

/// An exit callback of the server.
pub type Callback = unsafe extern "C-unwind" fn(i32, pg_sys::Datum);

/// What [`register`] registers, in this order.
static CALLBACKS: Local<[Option<Callback>; 2]> = Local::new([None; 2]);

/// Says what [`register`] is to register. When the library is loaded.
pub fn provide(callbacks: [Callback; 2]) {
    CALLBACKS.set(callbacks.map(Some));
}

/// Registers the callbacks, once. The last of them is the first to be called.
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
    unsafe { pg_sys::before_shmem_exit(Some(callback), pg_sys::Datum::from(0)) };
}

/// The ordinary way out of a PostgreSQL process: runs the exit callbacks, unwinds nothing.
pub fn exit_process(code: i32) -> ! {
    // SAFETY: on the main thread, as everything here.
    unsafe { pg_sys::proc_exit(code) };
    // The bindings of 18 do not say that it does not return.
    #[cfg(feature = "pg18")]
    unreachable!("proc_exit has returned")
}

/// Whether the process exits.
pub fn in_progress() -> bool {
    // SAFETY: a plain global of this process.
    unsafe { pg_sys::proc_exit_inprogress }
}

/// Runs `map`, which reaches for the memory at `pointer` and returns null when it cannot. During an exit it may
/// not return at all; it is not tried again then.
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

/// Runs `body`, from the beginning as often as it is cut short.
pub fn run_to_completion(callback: Callback, body: impl FnOnce()) {
    // SAFETY: sets a signal's disposition, because the handler reads memory that is unmapped later in the exit;
    // no lock is held for a reason by now, but an error outside a transaction may have left some.
    unsafe {
        crate::pg::shim::pgb_ignore_doorbell();
        pg_sys::LWLockReleaseAll();
    }
    let unreachable = MAPPING.get();
    if unreachable != 0 {
        MAPPING.set(0);
        #[allow(
            clippy::disallowed_methods,
            reason = "one for each time that an exit is cut short"
        )]
        UNREACHABLE.with(|memory| memory.push(unreachable));
    }
    RUNS.set(RUNS.get() + 1);
    if RUNS.get() > MAX_RUNS {
        return;
    }
    push(callback);
    body();
    // SAFETY: it is the one that was registered last.
    unsafe { pg_sys::cancel_before_shmem_exit(Some(callback), pg_sys::Datum::from(0)) };
}
