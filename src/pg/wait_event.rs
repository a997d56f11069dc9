//! What `pg_stat_activity` shows while a process sleeps: the wait event type `Extension`, and on 17 and later a name
//! for the reason. Before 17 the waits of every extension are called `Extension`.
//!
//! | name | which process sleeps, and for what |
//! |---|---|
//! | `PgBackgroundWait` | a session, for its jobs |
//! | `PgBackgroundIdle` | a worker, for the next job of its lane |
//! | `PgBackgroundSend` | a worker, for the reader to make room in the result ring |
//!
//! The cluster has a number for each name. Each process looks the numbers up once, when it attaches, because the lookup
//! can throw, and a wait at exit must not.

/// The reason why a process sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitEvent {
    /// A session, for its jobs.
    Wait,
    /// A worker, for the next job.
    Idle,
    /// A worker, for the reader.
    Send,
}

#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
mod version {
    use super::WaitEvent;
    use pgrx::pg_sys;

    pub fn define() {}

    impl WaitEvent {
        /// The number for `WaitLatch`.
        pub fn number(self) -> u32 {
            pg_sys::PG_WAIT_EXTENSION
        }
    }
}

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
mod version {
    use super::WaitEvent;
    use crate::pg::local::Local;
    use pgrx::pg_sys;

    static NUMBERS: Local<[u32; 3]> = Local::new([pg_sys::PG_WAIT_EXTENSION; 3]);

    /// Looks the numbers up; the cluster's first process has the server assign them. May throw: the cluster has room
    /// for some hundred names of all extensions.
    pub fn define() {
        let names = [
            c"PgBackgroundWait",
            c"PgBackgroundIdle",
            c"PgBackgroundSend",
        ];
        // SAFETY: zero-terminated constants, which the server copies.
        NUMBERS.set(
            names.map(|name| unsafe { crate::pg::server::WaitEventExtensionNew(name.as_ptr()) }),
        );
    }

    impl WaitEvent {
        /// The number for `WaitLatch`.
        pub fn number(self) -> u32 {
            NUMBERS.get()[self as usize]
        }
    }
}

pub use version::define;
