//! The identity of a session: of the leader, and of the worker that has adopted it.

use crate::pg::error::Error;
use crate::pg::server;
use crate::pg::shim::Identity;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;

/// The `SECURITY_*` bits that a job inherits: its code still runs as a user that must not change. The bit that lets a
/// foreign-key check bypass row-level security is not inherited: it ends with the check.
const INHERITED_BITS: i32 = pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;

impl Identity {
    /// The identity of this session. Every function that makes a job or starts a worker calls this, so that all of them
    /// refuse the same.
    ///
    /// Raises 42501 within a security-restricted operation. The server runs the functions of an index, of a
    /// materialized view and the like as the owner of the table, in the session that maintains it (of a superuser or
    /// autovacuum), and forbids them what would outlast the operation. A job outlasts it, and could do all that is
    /// forbidden.
    pub fn capture() -> Self {
        // SAFETY: all of them read variables of the process; the last one fills in its arguments.
        unsafe {
            if server::InSecurityRestrictedOperation() {
                restricted().raise();
            }
            let mut identity = Self {
                authenticated: server::GetAuthenticatedUserId(),
                session: server::GetSessionUserId(),
                outer: server::GetOuterUserId(),
                current: pg_sys::InvalidOid,
                sec_context: 0,
                role_active: has_role(),
            };
            server::GetUserIdAndSecContext(
                &raw mut identity.current,
                &raw mut identity.sec_context,
            );
            identity.sec_context &= INHERITED_BITS;
            // Code of another library has changed the user without setting the bit. It is treated as a SECURITY DEFINER
            // function, so that the job cannot switch back to the session's own privileges.
            if identity.current != identity.outer {
                identity.sec_context |= INHERITED_BITS;
            }
            identity
        }
    }

    /// Whether the users of this worker's session are still those of this identity.
    pub fn is_current(&self) -> bool {
        // SAFETY: read variables of the process.
        unsafe {
            server::GetSessionUserId() == self.session
                && server::GetOuterUserId() == self.outer
                && has_role() == self.role_active
        }
    }
}

/// Whether SET ROLE is in effect.
fn has_role() -> bool {
    // SAFETY: reads variables of the process.
    unsafe { server::GetCurrentRoleId() != pg_sys::InvalidOid }
}

fn restricted() -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_PRIVILEGE,
        "cannot launch a background job within security-restricted operation",
    )
    .detail("A job could outlive the operation and would not be restricted.")
    .hint("Launch the job outside of index expressions, ANALYZE, and CREATE or REFRESH MATERIALIZED VIEW.")
}
