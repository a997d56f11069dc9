//! List, last error, progress: what a session sees of its jobs.

use crate::cluster::block::Block;
use crate::pg::error::Error;
use crate::pg::rows::{Caller, Store};
use crate::pg::text;
use crate::pg::tuple::{Value, split};
use crate::session::jobs;
use crate::session::jobs::{JobName, Purpose, Tracked};
use crate::session::outcome::{error_of, state_name};
use crate::session::read::columns;
use engine::error_message;
use engine::job::Phase;
use engine::progress::Report;
use engine::sync::Ordering;
use pgrx::pg_sys;

/// Maximum length of `last_error` in bytes.
const LAST_ERROR_LIMIT: usize = 512;

fn last_error(tracked: &Tracked, phase: Phase) -> Value {
    if !matches!(phase, Phase::Failed | Phase::Canceled) {
        return Value::NULL;
    }
    let noted = Block::of(tracked.job).error();
    let body = error_of(phase, noted, tracked.pid.cast_signed());
    let primary = error_message::field(&body, error_message::PRIMARY).unwrap_or_default();
    Value::text(&text::cut_marked::<LAST_ERROR_LIMIT>(primary))
}

/// Types of the list's columns. The last, the label, may be omitted.
const LIST_TYPES: [pg_sys::Oid; 10] = [
    pg_sys::INT4OID,
    pg_sys::INT8OID,
    pg_sys::TIMESTAMPTZOID,
    pg_sys::OIDOID,
    pg_sys::INT4OID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::TEXTOID,
    pg_sys::BOOLOID,
    pg_sys::TEXTOID,
];

/// Checks that the caller's column list is the list's.
///
/// # Errors
/// 42804 otherwise
pub fn check_list(caller: &Caller) -> Result<(), Error> {
    columns::check_fixed(&LIST_TYPES, LIST_TYPES.len() - 1, caller.columns())
}

/// One row per tracked job that the current user may manage.
pub fn list(store: &mut Store) {
    for tracked in jobs::tracked() {
        if !tracked.may_manage() {
            continue;
        }
        let now = jobs::count_if_finished(tracked.job);
        let slot = tracked.job.slot();
        let (values, nulls) = split([
            Value::int4(tracked.job.pid().cast_signed()),
            Value::int8(tracked.shown_cookie()),
            Value::timestamptz(slot.launched_at.load(Ordering::Relaxed)),
            Value::oid(pg_sys::Oid::from(slot.user.load(Ordering::Relaxed))),
            Value::int4(slot.queue_size.load(Ordering::Relaxed).cast_signed()),
            Value::text(state_name(now).as_bytes()),
            Value::text(&slot.preview.load()),
            last_error(&tracked, now.phase()),
            Value::bool(tracked.consumed),
            Value::text_or_null(slot.label().as_deref()),
        ]);
        store.put_values(&values, &nulls);
    }
}

/// What a job reported last; `None` if it has reported nothing.
///
/// # Errors
/// As [`jobs::find`].
pub fn progress(name: JobName) -> Result<Option<Report>, Error> {
    let tracked = jobs::find(name, Purpose::ForControl)?;
    Ok(tracked.job.slot().progress.read())
}

/// The same for the name that 1.8 has: also `None` for a handle that names no job of this session.
///
/// # Errors
/// 42501 missing privileges
pub fn progress_if_known(name: JobName) -> Result<Option<Report>, Error> {
    let JobName::Handle(pid, cookie) = name else {
        return progress(name);
    };
    let found = jobs::find_tracked(pid, cookie)?;
    Ok(found.and_then(|tracked| tracked.job.slot().progress.read()))
}
