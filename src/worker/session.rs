//! Adopting the leader's session, and resetting the worker's session after the job.
//!
//! Changing settings costs more than running a small statement, so it is skipped when it would change nothing. A leader
//! sends only the settings that its session has of its own, with sources and scopes. The worker applies them on top of
//! its configuration. So three things are compared:
//!
//! * the leader's settings, as bytes, with those of the leader that was adopted last;
//! * the image of this session's settings ([`Image`]) with the image taken right after that adoption;
//! * the users with those that were adopted; the settings that belong to them are in the image.
//!
//! If all are equal, and the configuration was not read again, nothing has to be done. Otherwise all settings are reset
//! to the configuration, which removes what the last leader and its job have set, and the next leader's settings are
//! applied (`shim/settings.c`). In a process that has not run a job yet there is mostly nothing to reset.

use crate::cluster::block::Block;
use crate::pg::guc_state::Image;
use crate::pg::local::Local;
use crate::pg::shim::{Identity, Settings};
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

/// Detaches the jobs that the session has launched.
static RELEASE_JOBS: Local<Option<fn()>> = Local::new(None);

/// Provides the function that detaches the jobs that a job's session has launched: it is part of `src/session`, which
/// this side does not know. Called when the library is loaded.
pub fn provide(release_jobs: fn()) {
    RELEASE_JOBS.set(Some(release_jobs));
}

static ADOPTED: Local<Option<AdoptedSession>> = Local::new(None);

/// Forgets what was adopted: the next job adopts everything again.
pub fn forget() {
    ADOPTED.with(|adopted| *adopted = None);
}

/// Gives this session the identity and settings of the leader. `false`: that failed, the error was reported, and the
/// process must not run another job.
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
        // So the values are checked, as in a leader that has defined the settings.
        settings::define();
    }
    let leaders = Settings::of(leader_settings);
    let (identity, leaders) = (std::ptr::from_ref(identity), &raw const leaders);
    // SAFETY: identity and settings outlive the call. It catches every error, but cleaning up after one may fail.
    unsafe { shim::pgb_adopt(identity, leaders) }
}

/// Removes what the job has left in the session. `false`: something cannot be removed, and the process must not run
/// another job.
pub fn reset() -> bool {
    let release_jobs = RELEASE_JOBS.get();
    release_jobs.expect("provided when the library was loaded")();
    // SAFETY: one call of the shim.
    let clean = unsafe { shim::pgb_reset_session() };
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
