//! Putting on the leader's session, taking off what the job left.
//!
//! Restoring settings costs more than running a small statement, so it is skipped when it would change
//! nothing. Serialized settings carry sources and scopes, so that the leader's bytes and the worker's own
//! differ even when the sessions are equal; what can be compared is
//!
//! * the leader's bytes with the bytes of the leader that was put on last, and
//! * the image of this session's own ([`Image`]) with its own right after that.
//!
//! If both are equal (and the users are), the session is right already. A failed restore, a reload of the
//! configuration, or anything a job left changed makes one of them differ.
//!
//! # The first job of a process
//!
//! `RestoreGUCState` first resets every setting, then makes those in the leader's bytes: a quarter of a
//! millisecond in a process that has just started, whose settings are those of a fresh session of the same
//! database and role and mostly the leader's already. There only the settings that differ are made
//! ([`guc_state::changes`]), with the same call and the same arguments as `RestoreGUCState` makes them. The
//! reset is left out, which is sound because
//!
//! * no job has run here, so that there is nothing of another's to be reset, neither in values nor in what
//!   a RESET goes back to;
//! * every setting that is not at its compiled-in default here is in the leader's bytes too (else `changes`
//!   says that it cannot be done), so that none is left that the leader does not have;
//! * no setting with a place in a file differs: only `RestoreGUCState` can note such a place.
//!
//! What differs from a whole restore is what a RESET in the job goes back to: the setting of the
//! configuration, the database or the role, as in the leader, and not the compiled-in one. A session user
//! or a role that is not the login role is put on as a whole, for its settings are more than values.

use crate::pg::block::Block;
use crate::pg::guc_state::{self, Image};
use crate::pg::local::Local;
use crate::pg::settings;
use crate::pg::shim::{self, GucTarget, Identity, Setting, guarded};
use pgrx::pg_sys;

struct PutOn {
    incoming: Vec<u8>,
    own: Image,
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

/// A leader's session was put on before.
static USED: Local<bool> = Local::new(false);

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
    if !adopt(&identity, incoming) {
        return false;
    }
    let own = Image::take();
    let fresh = PutOn {
        incoming: guc_state::copy(incoming),
        own,
        session: identity.session,
        outer: identity.outer,
        role_active: identity.role_active,
    };
    PUT_ON.with(|put_on| *put_on = Some(fresh));
    true
}

/// The settings to be made for the first job of this process; `None`: put on the whole state.
fn changes(identity: &Identity, incoming: &[u8]) -> Option<Vec<Setting>> {
    let plain = identity.session == identity.authenticated && !identity.role_active;
    if !plain || USED.get() {
        return None;
    }
    guc_state::changes(&guc_state::current(), incoming)
}

fn adopt(identity: &Identity, incoming: &[u8]) -> bool {
    let mut changes = changes(identity, incoming);
    let of_ours = match &changes {
        // SAFETY: the names lie in `incoming`.
        Some(changes) => changes
            .iter()
            .any(|made| unsafe { settings::is_ours(made.name) }),
        None => settings::are_named_in(incoming),
    };
    if of_ours && settings::define() {
        // They are not placeholders any more.
        changes = self::changes(identity, incoming);
    }
    USED.set(true);
    let target = GucTarget {
        state: incoming.as_ptr().cast(),
        changes: changes
            .as_ref()
            .map_or(std::ptr::null(), |list| list.as_ptr()),
        count: changes.as_ref().map_or(0, |list| list.len() as i32),
    };
    // SAFETY: everything named outlives the call, which catches every error itself.
    unsafe { shim::pgb_adopt(std::ptr::from_ref(identity), &raw const target) }
}

/// Takes off what the job left. `false`: something cannot be taken off, the process must not run another
/// job.
pub fn take_off() -> bool {
    crate::leader::exit::release_all();
    // SAFETY: one call of the shim.
    let clean = unsafe { guarded(|| shim::pgb_reset_session()) };
    let now = Image::take();
    let same = PUT_ON.with(|put_on| put_on.as_ref().is_some_and(|put_on| put_on.own == now));
    now.give_back();
    if !same {
        forget();
    }
    clean
}
