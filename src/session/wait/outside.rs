//! Waiting outside of the caller's transaction: `CALL pg_background_await`.
//!
//! A command with CONCURRENTLY waits for the transactions that are older than its phases: for those that have a
//! snapshot, and for those that have locked its table. A session that waits for such a job has both, as a rule, so it
//! waits for itself. This wait **ends the caller's transaction** first and goes on in another one, which has no lock,
//! no snapshot and no number, so nobody waits for it.
//!
//! It must not get one later. A command that looks for snapshots notes the transactions that have one, and then waits
//! for the end of these *transactions*, whatever becomes of the snapshots. Looking for a deadlock may take a snapshot,
//! because it may have to look into the catalogs. So each look has a transaction of its own: the one before ends
//! first, lest somebody waits for that one and it is found as a deadlock, and its own ends after it.

use crate::pg::error::{Error, Failure};
use crate::pg::transaction;
use crate::session::jobs;
use crate::session::jobs::JobName;
use crate::session::wait::until;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION;

/// Ends the transaction of the caller and waits until the job has finished, however it ended. The session may wait so
/// for each of its jobs, whatever its current role is.
///
/// # Errors
/// 2D000 the caller's transaction cannot be ended here; otherwise as [`jobs::find_in_session`]; those of a commit;
/// 40P01
///
/// # Safety
/// `fcinfo` is the argument of a procedure.
pub unsafe fn by_name(fcinfo: pg_sys::FunctionCallInfo, name: JobName) -> Result<(), Failure> {
    // SAFETY: by the caller.
    if !unsafe { transaction::may_end(fcinfo) } {
        return Err(Error::new(
            ERRCODE_INVALID_TRANSACTION_TERMINATION,
            "pg_background_await cannot end the transaction of its caller",
        )
        .detail("It is called in a transaction block, a function, a block with an EXCEPTION clause, or a procedure that cannot commit.")
        .hint("CALL it outside of a transaction block, or wait with pg_background_wait.")
        .into());
    }
    let job = jobs::find_in_session(name)?.job;
    transaction::next();
    until::finished_outside(job);
    Ok(())
}
