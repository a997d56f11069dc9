//! Putting on the leader's session, taking off what the job left.
//!
//! Making settings costs more than running a small statement, so it is skipped when it would change nothing.
//! The leader's bytes carry only what its session has of its own, with sources and scopes, and the worker has
//! that over its configuration; what can be compared is
//!
//! * the leader's bytes with the bytes of the leader that was put on last,
//! * the image of this session's own ([`Image`]) with its own right after that, and
//! * the users with those that were put on, each with its setting, which is in the image.
//!
//! If all are equal, and the configuration was not read again, the session is right already. Else what the last
//! leader and its job have set is taken off, which is a reset of all settings to the configuration, and the next
//! leader's is put on (`shim/settings.c`). In a process that has run no job yet there is mostly nothing to be
//! taken off.

use crate::cluster::block::Block;
use crate::pg::guc_state::Image;
use crate::pg::local::Local;
use crate::pg::shim::{Identity, Settings, guarded};
use crate::pg::{guc_state, shim};
use crate::settings;

struct AdoptedSession {
    leader_settings: Vec<u8>,
    own: Image,
    identity: Identity,
}

impl AdoptedSession {
    fn matches(&self, identity: &Identity, leader_settings: &[u8]) -> bool {
        let known = &self.identity;
        known.session == identity.session
            && known.outer == identity.outer
            && known.role_active == identity.role_active
            && self.leader_settings == leader_settings
    }
}

/// Lets go of the jobs that the session has launched.
static RELEASE_JOBS: Local<Option<fn()>> = Local::new(None);

/// Says how a job's session lets go of the jobs that it has launched: that is the other side's. When the library is
/// loaded.
pub fn provide(release_jobs: fn()) {
    RELEASE_JOBS.set(Some(release_jobs));
}

static ADOPTED: Local<Option<AdoptedSession>> = Local::new(None);

/// Forgets what was put on: the next job puts everything on again.
pub fn forget() {
    ADOPTED.with(|adopted| *adopted = None);
}

/// Makes this session the leader's. `false`: that failed, the error was reported, and the process must not
/// run another job.
pub fn adopt(block: &Block) -> bool {
    let identity = block.identity();
    let leader_settings = block.guc_state();
    let is_adopted = ADOPTED.with(|adopted| {
        adopted
            .as_ref()
            .is_some_and(|adopted| adopted.matches(&identity, leader_settings))
    });
    if is_adopted {
        return true;
    }
    forget();
    if !switch_to(&identity, leader_settings) {
        return false;
    }
    let own = Image::take();
    let fresh = AdoptedSession {
        leader_settings: guc_state::copy(leader_settings),
        own,
        identity,
    };
    ADOPTED.with(|adopted| *adopted = Some(fresh));
    true
}

fn switch_to(identity: &Identity, leader_settings: &[u8]) -> bool {
    if settings::names_own_setting(leader_settings) {
        // Checked here, as in a leader that knows them.
        settings::define();
    }
    let leaders = Settings {
        bytes: leader_settings.as_ptr().cast(),
        size: leader_settings.len(),
    };
    // SAFETY: everything named outlives the call, which catches every error itself.
    unsafe { shim::pgb_adopt(std::ptr::from_ref(identity), &raw const leaders) }
}

/// Takes off what the job left. `false`: something cannot be taken off, the process must not run another
/// job.
pub fn reset() -> bool {
    let release_jobs = RELEASE_JOBS.get();
    release_jobs.expect("provided when the library was loaded")();
    // SAFETY: one call of the shim.
    let clean = unsafe { guarded(|| shim::pgb_reset_session()) };
    let now = Image::take();
    let is_unchanged = ADOPTED.with(|adopted| {
        adopted
            .as_ref()
            .is_some_and(|adopted| adopted.own == now && adopted.identity.is_current())
    });
    now.recycle();
    if !is_unchanged {
        forget();
    }
    clean
}
