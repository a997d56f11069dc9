//! The settings of a session as bytes.
//!
//! `SerializeGUCState` writes every setting that is not at its compiled-in default, with its source and
//! scope. What goes with a job is picked from that: what the session itself has, not what its process has
//! from the configuration. `src/shim/settings.c` does it, says which, and how a worker comes to them.
//!
//! # Images
//!
//! Before 16 the server takes microseconds to serialize, as long as a small job. A session whose settings
//! have not changed gives the same bytes again, and an [`Image`] tells that sooner. From 16 on the server
//! keeps a list of the settings that matter, and the serialized state is itself the image.

use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim::{guarded, pgb_settings_to_send};
use engine::memory;
use pgrx::pg_sys;
use std::rc::Rc;

/// Settings whose image is larger are serialized each time, rather than kept twice by every session.
const MAX_KEPT: usize = 64 * 1024;

/// Room for so many bytes, none of them used.
///
/// # Errors
/// Raises 53200: how large the settings are is up to the user.
fn room(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if memory::try_reserve_exact(&mut bytes, size).is_err() {
        Error::out_of_memory().raise();
    }
    bytes
}

/// A copy.
///
/// # Errors
/// Raises 53200.
#[allow(clippy::disallowed_methods, reason = "there is room for it")]
pub fn copy(state: &[u8]) -> Vec<u8> {
    let mut bytes = room(state.len());
    bytes.extend_from_slice(state);
    bytes
}

/// Serializes this process's settings.
fn serialize() -> Vec<u8> {
    // SAFETY: both run on the main thread; the buffer has the size that the server estimated.
    unsafe {
        let size = pg_sys::EstimateGUCStateSpace();
        let mut bytes = room(size);
        pg_sys::SerializeGUCState(size, bytes.as_mut_ptr().cast());
        // The length word counts what follows it; the rest of the estimate is unused.
        let used = bytes.as_ptr().cast::<usize>().read_unaligned();
        bytes.set_len(used + size_of::<usize>());
        bytes
    }
}

/// The settings of a session at one moment. Two of one session are equal only if the settings are: values,
/// sources and scopes.
#[derive(PartialEq, Eq, Default)]
pub struct Image(Vec<u8>);

impl Image {
    /// Of this session, now.
    ///
    /// # Errors
    /// Raises 53200.
    pub fn take() -> Self {
        let mut image = SPARE.with(std::mem::take);
        image.retake();
        image
    }

    /// Not needed any more: its memory serves for the next.
    pub fn recycle(self) {
        if self.0.capacity() <= MAX_KEPT {
            SPARE.with(|spare| *spare = self);
        }
    }

    #[cfg(any(feature = "pg14", feature = "pg15"))]
    fn retake(&mut self) {
        use crate::pg::shim::pgb_settings_image;
        // SAFETY: writes at most the capacity, throws nothing; what it says it needs, it has written if it
        // had the room.
        unsafe {
            let mut needed = pgb_settings_image(self.0.as_mut_ptr().cast(), self.0.capacity());
            if needed > self.0.capacity() {
                self.0 = room(needed);
                needed = pgb_settings_image(self.0.as_mut_ptr().cast(), self.0.capacity());
            }
            self.0.set_len(needed);
        }
    }

    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    fn retake(&mut self) {
        use crate::pg::shim::pgb_role_image;
        self.0 = serialize();
        // SAFETY: writes at most the room that is left, throws nothing.
        unsafe {
            let used = self.0.len();
            let needed = pgb_role_image(std::ptr::null_mut(), 0);
            if self.0.try_reserve_exact(needed).is_err() {
                Error::out_of_memory().raise();
            }
            pgb_role_image(self.0.as_mut_ptr().add(used).cast(), needed);
            self.0.set_len(used + needed);
        }
    }
}

/// What of this session's settings goes with a job.
fn settings_to_send() -> Vec<u8> {
    let state = serialize();
    let state = state.as_ptr().cast();
    // SAFETY: the server has written the state; nothing that the shim throws on is in it. What it says it
    // needs, it writes when it has the room.
    unsafe {
        let needed = guarded(|| pgb_settings_to_send(state, std::ptr::null_mut(), 0));
        let mut bytes = room(needed);
        let into = bytes.as_mut_ptr().cast();
        guarded(|| pgb_settings_to_send(state, into, needed));
        bytes.set_len(needed);
        bytes
    }
}

static SPARE: Local<Image> = Local::new(Image(Vec::new()));

/// What this session last sent, and its settings then.
struct Known {
    image: Image,
    state: Rc<Vec<u8>>,
}

static KNOWN: Local<Option<Known>> = Local::new(None);

/// What of this session's settings goes with a job.
///
/// # Errors
/// Raises 53200.
pub fn current() -> Rc<Vec<u8>> {
    let image = Image::take();
    let known = KNOWN.with(|known| {
        known
            .as_ref()
            .filter(|known| known.image == image)
            .map(|known| Rc::clone(&known.state))
    });
    if let Some(state) = known {
        image.recycle();
        return state;
    }
    let state = Rc::new(settings_to_send());
    KNOWN.with(|known| {
        *known = (image.0.len() <= MAX_KEPT).then(|| Known {
            image,
            state: Rc::clone(&state),
        });
    });
    state
}
