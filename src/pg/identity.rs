//! Who a session is: seen in the one that launches, and in the worker that plays it.

use crate::pg::error::Error;
use crate::pg::shim::Identity;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;

/// What a job takes over of `SECURITY_*`: it goes on being code of a user that must not change. That a foreign key's
/// check overlooks the policies of a table ends with that check.
const INHERITED_BITS: i32 = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;

impl Identity {
    /// This session's: for every function that makes a job or starts a worker, so that what is refused is refused to
    /// all of them.
    ///
    /// Raises 42501 within a security-restricted operation. The server runs the functions of an index, of a
    /// materialized view and the like as the owner of the table, in the session of whoever maintains it, a superuser
    /// or autovacuum, and forbids them what would last beyond the operation. A job lasts, and could do all that is
    /// forbidden.
    pub fn capture() -> Self {
        // SAFETY: all of them look at variables of the process; the last one fills in what it is given.
        unsafe {
            if pg_sys::InSecurityRestrictedOperation() {
                restricted().raise();
            }
            let mut identity = Self {
                authenticated: pg_sys::GetAuthenticatedUserId(),
                session: pg_sys::GetSessionUserId(),
                outer: pg_sys::GetOuterUserId(),
                current: pg_sys::InvalidOid,
                sec_context: 0,
                role_active: has_role(),
            };
            pg_sys::GetUserIdAndSecContext(
                &raw mut identity.current,
                &raw mut identity.sec_context,
            );
            identity.sec_context &= INHERITED_BITS;
            // Somebody else's code that changed the user without saying so: treated as the security-definer function
            // that it must be, so that the job cannot go back to the session's own rights.
            if identity.current != identity.outer {
                identity.sec_context |= INHERITED_BITS;
            }
            identity
        }
    }

    /// Whether this worker's session is the one that was made for this identity, as far as the users go.
    pub fn is_current(&self) -> bool {
        // SAFETY: look at variables of the process.
        unsafe {
            pg_sys::GetSessionUserId() == self.session
                && pg_sys::GetOuterUserId() == self.outer
                && has_role() == self.role_active
        }
    }
}

/// SET ROLE is in effect.
fn has_role() -> bool {
    // SAFETY: looks at variables of the process.
    unsafe { pg_sys::GetCurrentRoleId() != pg_sys::InvalidOid }
}

fn restricted() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_PRIVILEGE,
        "cannot launch a background job within security-restricted operation",
    )
    .detail("What outlives the operation would not be restricted by it.")
    .hint("Launch the job outside of index expressions, ANALYZE, and CREATE or REFRESH MATERIALIZED VIEW.")
}
