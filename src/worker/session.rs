//! Putting on the leader's session, taking off what the job left.
//!
//! Restoring settings costs more than running a small statement, so it is skipped when it would change
//! nothing. Serialized settings carry sources and scopes, so that the leader's bytes and the worker's own
//! differ even when the sessions are equal; what can be compared is
//!
//! * the leader's bytes with the bytes of the leader that was put on last, and
//! * this session's own bytes with its own right after that.
//!
//! If both are equal (and the users are), the session is right already. A failed restore, a reload of the
//! configuration, or anything a job left changed makes one of them differ.

use crate::pg::block::Block;
use crate::pg::guc_state;
use crate::pg::local::Local;
use crate::pg::shim::{self, Identity, guarded};
use pgrx::pg_sys;

struct PutOn {
    incoming: Vec<u8>,
    own: Vec<u8>,
    session: pg_sys::Oid,
    outer: pg_sys::Oid,
    role_active: bool,
}

impl PutOn {
    fn is(&self, identity: &Identity, incoming: &[u8]) -> bool {
        self.session == identity.session
            && self.outer == identity.outer
            && self.role_active == identity.role_active
            && self.incoming == incoming
    }
}

static PUT_ON: Local<Option<PutOn>> = Local::new(None);

/// Forgets what was put on: the next job puts everything on again.
pub fn forget() {
    PUT_ON.with(|put_on| *put_on = None);
}

/// Makes this session the leader's. `false`: that failed, the error was reported, and the process must not
/// run another job.
pub fn put_on(block: &Block) -> bool {
    let identity = block.identity();
    let incoming = block.guc_state();
    let right = PUT_ON.with(|put_on| {
        put_on
            .as_ref()
            .is_some_and(|put_on| put_on.is(&identity, incoming))
    });
    if right {
        return true;
    }
    forget();
    // SAFETY: both outlive the call, which catches every error itself.
    if !unsafe { shim::pgb_adopt(&raw const identity, incoming.as_ptr().cast()) } {
        return false;
    }
    let own = guc_state::serialize();
    let fresh = PutOn {
        incoming: incoming.to_vec(),
        own,
        session: identity.session,
        outer: identity.outer,
        role_active: identity.role_active,
    };
    PUT_ON.with(|put_on| *put_on = Some(fresh));
    true
}

/// Takes off what the job left. `false`: something cannot be taken off, the process must not run another
/// job.
pub fn take_off() -> bool {
    crate::leader::exit::release_all();
    // SAFETY: one call of the shim.
    let clean = unsafe { guarded(|| shim::pgb_reset_session()) };
    let now = guc_state::serialize();
    let same = PUT_ON.with(|put_on| put_on.as_ref().is_some_and(|put_on| put_on.own == now));
    if !same {
        forget();
    }
    clean
}
