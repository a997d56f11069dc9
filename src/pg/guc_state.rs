//! The settings of a session as bytes.
//!
//! `SerializeGUCState` writes every setting that does not have its compiled-in default, with its source and scope. Of
//! these, a job gets the settings that the session itself has, not those that its process has from the configuration.
//! `src/shim/settings.c` selects them, and describes how a worker applies them.
//!
//! # Images
//!
//! Before 16 it takes microseconds to serialize the settings, as long as a small job. A session whose settings have not
//! changed would get the same bytes again, and an [`Image`] shows that sooner. From 16 on the server keeps a list of
//! the settings that matter, and the serialized state itself is the image.

use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::server;
use crate::pg::shim::pgb_settings_to_send;
use engine::memory;
use std::rc::Rc;

/// Settings with a larger image are serialized each time, so that a session does not keep them twice.
const MAX_KEPT: usize = 64 * 1024;

/// An empty buffer with room for so many bytes.
///
/// # Errors
/// Raises 53200: a user decides how large the settings are.
fn room(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if memory::try_reserve_exact(&mut bytes, size).is_err() {
        Error::out_of_memory().raise();
    }
    bytes
}

/// A copy of `state`.
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
        let size = server::EstimateGUCStateSpace();
        let mut bytes = room(size);
        server::SerializeGUCState(size, bytes.as_mut_ptr().cast());
        // The length word counts what follows it; the rest of the estimate is unused.
        let used = bytes.as_ptr().cast::<usize>().read_unaligned();
        bytes.set_len(used + size_of::<usize>());
        bytes
    }
}

/// The settings of a session at one moment. Two images of a session are equal only if the settings are: values, sources
/// and scopes.
#[derive(PartialEq, Eq, Default)]
pub struct Image(Vec<u8>);

impl Image {
    /// The image of this session now.
    ///
    /// # Errors
    /// Raises 53200.
    pub fn take() -> Self {
        let mut image = SPARE.with(std::mem::take);
        image.retake();
        image
    }

    /// Keeps the memory for the next image.
    pub fn recycle(self) {
        if self.0.capacity() <= MAX_KEPT {
            SPARE.with(|spare| *spare = self);
        }
    }

    #[cfg(any(feature = "pg14", feature = "pg15"))]
    fn retake(&mut self) {
        use crate::pg::shim::pgb_settings_image;
        // SAFETY: writes at most the capacity and does not throw. It returns what it needs, and has written that many
        // bytes if there was room.
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
        // SAFETY: writes at most the room that is left, and does not throw.
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

/// The settings of this session that a job gets.
fn settings_to_send() -> Vec<u8> {
    let state = serialize();
    let state = state.as_ptr().cast();
    // SAFETY: the server has written the state. The shim returns what it needs, and writes that many bytes if there is
    // room.
    unsafe {
        let needed = pgb_settings_to_send(state, std::ptr::null_mut(), 0);
        let mut bytes = room(needed);
        let into = bytes.as_mut_ptr().cast();
        pgb_settings_to_send(state, into, needed);
        bytes.set_len(needed);
        bytes
    }
}

static SPARE: Local<Image> = Local::new(Image(Vec::new()));

/// What this session sent last, and the image of its settings then.
struct Known {
    image: Image,
    state: Rc<Vec<u8>>,
}

static KNOWN: Local<Option<Known>> = Local::new(None);

/// The settings of this session that a job gets, as bytes.
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
