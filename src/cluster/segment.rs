//! Dynamic segments with one block each, and which of them this process has mapped.
//!
//! A segment is pinned: it stays until the last process that knows its job frees it, and every process that has mapped
//! it has unmapped it. So a mapping goes with a hold. A process maps a segment of a job that it holds when it first
//! accesses the segment, and unmaps it before it gives up its hold ([`unmap_all_of`]). At the exit of the process the
//! server unmaps it, after the callbacks of `pg/exit.rs`. A session unmaps what it does not read at the end of each
//! call: another session can purge its job, and the memory must not stay because this session is idle.
//!
//! The server must not undo a mapping at the end of a transaction: a job outlives the transaction.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim;
use engine::memory;
use std::num::NonZeroU32;
use std::ptr::null_mut;

#[derive(Clone, Copy)]
struct Mapped {
    job: Job,
    handle: NonZeroU32,
    address: *mut u8,
}

/// The list is short: [`crate::cluster::arena`] limits the number of segments. It grows before a segment is made or
/// mapped.
static MAPPED: Local<Vec<Mapped>> = Local::new(Vec::new());

fn make_room() -> Result<(), Error> {
    MAPPED
        .with(|mapped| memory::try_reserve(mapped, 1))
        .map_err(Error::from)
}

#[allow(clippy::disallowed_methods, reason = "`make_room` is called before")]
fn note(job: Job, handle: NonZeroU32, address: *mut u8) {
    MAPPED.with(|mapped| {
        mapped.push(Mapped {
            job,
            handle,
            address,
        });
    });
}

/// Makes a segment for a job that this process holds, and maps it. `None`: the server has as many segments as it can
/// have. Throws when the system has no memory for it.
///
/// # Errors
/// 53200 when this process has no memory.
pub fn create(job: Job, size: usize) -> Result<Option<NonZeroU32>, Error> {
    make_room()?;
    let mut address = null_mut();
    let at = &raw mut address;
    // SAFETY: one call of the shim, which writes the address.
    let handle = unsafe { shim::pgb_create_segment(size, at) };
    let handle = NonZeroU32::new(handle);
    if let Some(handle) = handle {
        note(job, handle, address.cast());
    }
    Ok(handle)
}

/// Makes a segment with these bytes, and does not keep it mapped. `None`: there is no memory, or the server has as many
/// segments as it can have. Does not throw.
pub fn try_store(bytes: &[u8]) -> Option<NonZeroU32> {
    // SAFETY: the bytes outlive the call, which does not throw.
    NonZeroU32::new(unsafe { shim::pgb_try_store(bytes.as_ptr().cast(), bytes.len()) })
}

/// The address of a segment of a job that this process holds. Maps the segment if necessary, and throws if it cannot be
/// mapped.
pub fn address(job: Job, handle: NonZeroU32) -> *mut u8 {
    let known = MAPPED.with(|mapped| {
        let known = mapped
            .iter()
            .find(|known| known.job == job && known.handle == handle);
        known.map(|known| known.address)
    });
    if let Some(address) = known {
        return address;
    }
    if let Err(error) = make_room() {
        error.raise();
    }
    // SAFETY: one call of the shim; the segment is not mapped here, because it is not in the list.
    let address = unsafe { shim::pgb_map_segment(handle.get()) }.cast();
    note(job, handle, address);
    address
}

/// Unmaps what this process has mapped of a job. Called before the process gives up its hold, when nothing in it
/// accesses the memory any more. Does not throw.
pub fn unmap_all_of(job: Job) {
    unmap_where(|mapped| mapped == job);
}

/// As [`unmap_all_of`], for all jobs for which `is_unused` is true.
pub fn unmap_where(is_unused: impl Fn(Job) -> bool) {
    let next = || {
        MAPPED.with(|mapped| {
            let index = mapped.iter().position(|known| is_unused(known.job))?;
            Some(mapped.swap_remove(index))
        })
    };
    while let Some(known) = next() {
        // SAFETY: by the caller's promise nothing refers to it.
        unsafe { shim::pgb_unmap_segment(known.handle.get()) };
    }
}

/// Frees a segment. Only for the last process that knows its job, once. Does not throw.
pub fn free(handle: NonZeroU32) {
    // SAFETY: one call of the shim.
    unsafe { shim::pgb_free_segment(handle.get()) };
}
