//! Dynamic segments that have one block each, and which of them this process has mapped.
//!
//! A segment is pinned: it stays until it is freed, by the last that knows its job, and until every process that has
//! mapped it has unmapped it. So a mapping belongs to a hold: a process maps a segment of a job that it holds, when
//! it first looks into it, and unmaps it with its hold ([`unmap_all_of`]); at its exit the server does, after the
//! callbacks of `pg/exit.rs`. A session unmaps what it does not read at the end of each call already: its job can be let
//! go of by somebody else, and the memory must not stay for a session that sits idle.
//!
//! A mapping is not the server's to undo at the end of a transaction: a job outlives that.

use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::shim;
use crate::pg::shim::guarded;
use engine::memory;
use std::num::NonZeroU32;
use std::ptr::null_mut;

#[derive(Clone, Copy)]
struct Mapped {
    job: Job,
    handle: NonZeroU32,
    address: *mut u8,
}

/// Few: the processes of the cluster together have no more of them than [`crate::cluster::attach`] allows segments, and
/// `MAPPED` grows before a segment is made or mapped.
static MAPPED: Local<Vec<Mapped>> = Local::new(Vec::new());

fn make_room() -> Result<(), Error> {
    MAPPED
        .with(|mapped| memory::try_reserve(mapped, 1))
        .map_err(Error::from)
}

#[allow(clippy::disallowed_methods, reason = "`make_room` comes before")]
fn note(job: Job, handle: NonZeroU32, address: *mut u8) {
    MAPPED.with(|mapped| {
        mapped.push(Mapped {
            job,
            handle,
            address,
        });
    });
}

/// Makes a segment for a job that this process holds, and maps it. `None`: the server has no place for another. Throws
/// when the system has no memory for it.
///
/// # Errors
/// 53200 when this process has no memory.
pub fn create(job: Job, size: usize) -> Result<Option<NonZeroU32>, Error> {
    make_room()?;
    let mut address = null_mut();
    let at = &raw mut address;
    // SAFETY: one call of the shim, which writes the address.
    let handle = unsafe { guarded(|| shim::pgb_create_segment(size, at)) };
    let handle = NonZeroU32::new(handle);
    if let Some(handle) = handle {
        note(job, handle, address.cast());
    }
    Ok(handle)
}

/// Makes a segment with these bytes, and does not keep it mapped. `None`: there is no memory, or no place for it. Does
/// not throw.
pub fn try_store(bytes: &[u8]) -> Option<NonZeroU32> {
    // SAFETY: the bytes outlive the call, which does not throw.
    NonZeroU32::new(unsafe { shim::pgb_try_store(bytes.as_ptr().cast(), bytes.len()) })
}

/// Where a segment of a job that this process holds is. Maps it if need be, and throws if that cannot be.
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
    // SAFETY: one call of the shim; the segment is not mapped here, as it is not noted.
    let address = unsafe { guarded(|| shim::pgb_map_segment(handle.get())) }.cast();
    note(job, handle, address);
    address
}

/// Unmaps what this process has mapped of a job. Before it gives up its hold, when nothing looks there any more.
/// Does not throw.
pub fn unmap_all_of(job: Job) {
    unmap_where(|mapped| mapped == job);
}

/// As [`unmap_all_of`], for all jobs of which `may` holds.
pub fn unmap_where(may: impl Fn(Job) -> bool) {
    let next = || {
        MAPPED.with(|mapped| {
            let index = mapped.iter().position(|known| may(known.job))?;
            Some(mapped.swap_remove(index))
        })
    };
    while let Some(known) = next() {
        // SAFETY: by the caller's promise nothing refers to it.
        unsafe { shim::pgb_unmap_segment(known.handle.get()) };
    }
}

/// Frees a segment. Only by the last that knows its job, once. Does not throw.
pub fn free(handle: NonZeroU32) {
    // SAFETY: one call of the shim.
    unsafe { shim::pgb_free_segment(handle.get()) };
}
