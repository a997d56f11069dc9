//! Texts in the server's encoding.

use crate::pg::server;
use crate::pg::shim;
use crate::pg::tuple::Value;
use arrayvec::ArrayVec;
use engine::text;
use pgrx::pg_sys;

/// How many bytes of `text`, at most `limit`, are complete characters in the server's encoding.
pub fn clip(text: &[u8], limit: usize) -> usize {
    let start = text.as_ptr().cast();
    // SAFETY: `start` points at `text.len()` bytes, and the function reads no more.
    let kept = unsafe { server::pg_mbcliplen(start, text.len() as i32, limit as i32) };
    kept as usize
}

/// `bytes` cut to `LIMIT` bytes; a text that was cut ends in `...`.
pub fn cut_marked<const LIMIT: usize>(bytes: &[u8]) -> ArrayVec<u8, LIMIT> {
    text::cut_marked(bytes, clip)
}

/// `bytes` cut to `LIMIT` bytes.
pub fn cut<const LIMIT: usize>(bytes: &[u8]) -> ArrayVec<u8, LIMIT> {
    text::cut(bytes, clip)
}

/// A role's name, quoted as an SQL identifier; its OID, if the role does not exist any more. In a transaction.
pub fn role_name(role: u32) -> RoleName {
    // SAFETY: raises no error for a missing role; the name is zero-terminated, in the current memory context.
    RoleName(role, unsafe {
        let name = server::GetUserNameFromId(pg_sys::Oid::from(role), true);
        if name.is_null() {
            name.cast_const()
        } else {
            server::quote_identifier(name)
        }
    })
}

/// See [`role_name`]. Only for the call that made it.
pub struct RoleName(u32, *const std::ffi::c_char);

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let &Self(role, name) = self;
        if name.is_null() {
            return write!(f, "{role}");
        }
        // SAFETY: as in `role_name`.
        for chunk in unsafe { std::ffi::CStr::from_ptr(name) }
            .to_bytes()
            .utf8_chunks()
        {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

/// A name from the catalog as a text; NULL if there is none.
///
/// # Safety
/// `name` is null or zero-terminated.
unsafe fn name(name: *const std::ffi::c_char) -> Value {
    if name.is_null() {
        return Value::NULL;
    }
    // SAFETY: by the caller.
    Value::text(unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes())
}

/// A role's name; NULL if the role does not exist any more. In a transaction.
pub fn role(role: u32) -> Value {
    // SAFETY: raises no error for a missing role.
    unsafe { name(server::GetUserNameFromId(pg_sys::Oid::from(role), true)) }
}

/// A database's name; NULL if the database does not exist any more. In a transaction.
pub fn database(database: u32) -> Value {
    // SAFETY: returns null for a missing database.
    unsafe { name(server::get_database_name(pg_sys::Oid::from(database))) }
}

/// OID of the function `textlike(text, text)`.
const TEXT_LIKE: u32 = 850;

/// Whether `text` matches the LIKE pattern, a text.
pub fn is_like(text: &[u8], pattern: Value) -> bool {
    let text = Value::text(text);
    // SAFETY: a built-in function of two texts that returns bool.
    let matches = unsafe {
        server::OidFunctionCall2Coll(
            pg_sys::Oid::from(TEXT_LIKE),
            pg_sys::DEFAULT_COLLATION_OID,
            text.datum(),
            pattern.datum(),
        )
    };
    matches.value() != 0
}

/// The type with this name, and its modifier. Raises the server's error if there is no such type.
pub fn parse_type(name: &std::ffi::CStr) -> (pg_sys::Oid, i32) {
    let (mut oid, mut typmod) = (pg_sys::InvalidOid, -1);
    let (name, into_oid, into_typmod) = (name.as_ptr(), &raw mut oid, &raw mut typmod);
    // SAFETY: the text is zero-terminated; throws when it names no type.
    unsafe { shim::pgb_parse_type(name, into_oid, into_typmod) };
    (oid, typmod)
}
