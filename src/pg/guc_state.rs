//! The settings of a session as bytes.
//!
//! `SerializeGUCState` writes every setting that is not at its compiled-in default, with its source and
//! scope. Because of those, two equal sessions need not have equal bytes; what the bytes are compared
//! with is told in [`crate::worker::session`].
//!
//! The format, the same from 14 on (`serialize_variable` of guc.c), but for the role, which came with 15:
//!
//! | part | |
//! |---|---|
//! | length | a word; counts what follows |
//! | of each setting: name, value, file | zero-terminated; an empty file means none |
//! | line | an int, if there is a file |
//! | source, scope | an int each |
//! | role | an oid |
//!
//! It is read only to find out how two states differ ([`changes`]). Bytes that do not fit the format to the
//! letter are not interpreted: then the server's own `RestoreGUCState` does it all.

//!
//! # Images
//!
//! Before 16 the server takes microseconds to serialize, as long as a small job. A session whose settings
//! have not changed gives the same bytes again, and an [`Image`] tells that sooner. From 16 on the server
//! keeps a list of the settings that matter, and the serialized state is itself the image.

use crate::engine::memory;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim::Setting;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::rc::Rc;

/// Settings whose image is larger are serialized each time, rather than kept twice by every session.
const KEPT: usize = 64 * 1024;

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

/// Serializes this session's settings.
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
    pub fn give_back(self) {
        if self.0.capacity() <= KEPT {
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
        self.0 = serialize();
    }
}

static SPARE: Local<Image> = Local::new(Image(Vec::new()));

/// What this session last serialized, and its settings then.
struct Known {
    image: Image,
    state: Rc<Vec<u8>>,
}

static KNOWN: Local<Option<Known>> = Local::new(None);

/// This session's settings, serialized.
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
        image.give_back();
        return state;
    }
    let state = Rc::new(serialize());
    KNOWN.with(|known| {
        *known = (image.0.len() <= KEPT).then(|| Known {
            image,
            state: Rc::clone(&state),
        });
    });
    state
}

/// One setting as serialized.
struct Entry<'a> {
    name: &'a CStr,
    /// Everything after the name, to be compared.
    rest: &'a [u8],
    setting: Setting,
    has_file: bool,
}

/// What is left of a serialized state.
struct Remaining<'a>(&'a [u8]);

impl<'a> Remaining<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, back) = self.0.split_at_checked(count)?;
        self.0 = back;
        Some(front)
    }

    fn word(&mut self) -> Option<[u8; 4]> {
        self.bytes(4)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a CStr> {
        let text = CStr::from_bytes_until_nul(self.0).ok()?;
        self.bytes(text.to_bytes_with_nul().len())?;
        Some(text)
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let name = self.text()?;
        let after_name = self.0;
        let value = self.text()?;
        let has_file = !self.text()?.is_empty();
        if has_file {
            self.word()?;
        }
        let setting = Setting {
            name: name.as_ptr(),
            value: value.as_ptr(),
            source: u32::from_ne_bytes(self.word()?),
            scope: u32::from_ne_bytes(self.word()?),
            role: self.role()?,
        };
        (setting.source <= pg_sys::GucSource::PGC_S_SESSION
            && setting.scope <= pg_sys::GucContext::PGC_USERSET)
            .then_some(Entry {
                name,
                rest: &after_name[..after_name.len() - self.0.len()],
                setting,
                has_file,
            })
    }

    #[cfg(feature = "pg14")]
    fn role(&mut self) -> Option<pg_sys::Oid> {
        Some(pg_sys::InvalidOid)
    }

    #[cfg(not(feature = "pg14"))]
    fn role(&mut self) -> Option<pg_sys::Oid> {
        Some(pg_sys::Oid::from(u32::from_ne_bytes(self.word()?)))
    }
}

fn entries(state: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut remaining = Remaining(state);
    let length = usize::from_ne_bytes(remaining.bytes(size_of::<usize>())?.try_into().ok()?);
    if length != remaining.0.len() {
        return None;
    }
    let mut entries = Vec::new();
    while !remaining.0.is_empty() {
        memory::try_push(&mut entries, remaining.entry()?).ok()?;
    }
    Some(entries)
}

/// The settings that lead from the state `own` to the state `wanted`, which they point into. `None`: it
/// cannot be told, or setting them is not enough: one would have to be reset, or comes from another place
/// in a file.
pub fn changes(own: &[u8], wanted: &[u8]) -> Option<Vec<Setting>> {
    let (mut own, wanted) = (entries(own)?, entries(wanted)?);
    own.sort_unstable_by_key(|entry| entry.name);
    let mut changes = Vec::new();
    let mut found = 0;
    for entry in &wanted {
        if let Ok(at) = own.binary_search_by_key(&entry.name, |entry| entry.name) {
            found += 1;
            if own[at].rest == entry.rest {
                continue;
            }
            if own[at].has_file {
                return None;
            }
        }
        if entry.has_file {
            return None;
        }
        memory::try_push(&mut changes, entry.setting).ok()?;
    }
    (found == own.len()).then_some(changes)
}
