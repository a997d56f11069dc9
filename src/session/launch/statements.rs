//! What a fan-out runs: the texts of an array, or one text with the elements of another array as its parameters.
//!
//! The array is copied when the fan-out begins. Its elements are taken one after the other: a statement is *bound*
//! when there may be a job for it, and *passed* when it has one, or its row says why it has none. Until then, binding
//! it again gives the same.
//!
//! Texts are checked when the array is copied. Parameters are made when they are bound, by the shim (`elements.c`); the
//! types of the elements may be gone then, or have another form.

use crate::pg::error::Error;
use crate::pg::memory::{Bytes, within};
use crate::pg::server;
use crate::pg::shim::{Elements, binding};
use crate::pg::{array, shim};
use engine::memory;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_DATATYPE_MISMATCH, ERRCODE_NULL_VALUE_NOT_ALLOWED, ERRCODE_UNDEFINED_OBJECT,
};

/// Where the statements come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// An array of SQL texts.
    Texts(pg_sys::Datum),
    /// One SQL text, and an array of any type: an element for each statement.
    Elements(&'a [u8], pg_sys::Datum),
}

/// The statements of a fan-out.
pub struct Statements {
    source: Copied,
    count: usize,
    /// Index of the next statement.
    next: usize,
}

enum Copied {
    Texts(Vec<pg_sys::Datum>),
    Elements(Bytes, *mut Elements),
}

/// A statement that can be launched.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// SQL text.
    pub sql: &'a [u8],
    /// Its parameters as the shim serialized them; empty if there are none.
    pub params: &'a [u8],
}

/// The elements of an array of texts, copied into the current memory context.
///
/// # Errors
/// 22004 an element is NULL
fn texts_of(array: pg_sys::Datum) -> Result<Vec<pg_sys::Datum>, Error> {
    // SAFETY: declared as an array of text; the copy lives as long as the current context.
    let elements = unsafe {
        let copy = server::pg_detoast_datum_copy(array.cast_mut_ptr());
        array::elements(pg_sys::Datum::from(copy))
    };
    let mut texts = Vec::new();
    memory::try_reserve_exact(&mut texts, elements.len())?;
    for element in elements {
        let text = element.ok_or_else(|| {
            Error::new(
                ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "a statement in the array must not be null",
            )
        })?;
        memory::try_push(&mut texts, text)?;
    }
    Ok(texts)
}

impl Statements {
    /// Copies the source into `memory`.
    ///
    /// # Errors
    /// 22004 a text is NULL, or an element that is a record; 42704 the type of the elements does not exist
    ///
    /// # Safety
    /// `memory` lives as long as the statements; an array of texts is one.
    pub unsafe fn copy(source: Source<'_>, memory: pg_sys::MemoryContext) -> Result<Self, Error> {
        // SAFETY: by the caller.
        let (source, count) = unsafe {
            match source {
                Source::Texts(array) => {
                    let texts = within(memory, || texts_of(array))?;
                    let count = texts.len();
                    (Copied::Texts(texts), count)
                }
                Source::Elements(sql, array) => {
                    let elements = shim::pgb_elements(memory, array);
                    let sql = within(memory, || Bytes::copy(sql));
                    let count = shim::pgb_count_elements(elements) as usize;
                    (Copied::Elements(sql, elements), count)
                }
            }
        };
        Ok(Self {
            source,
            count,
            next: 0,
        })
    }

    /// How many there are in all.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Index of the next one, from 0; `None`: all were passed.
    pub fn next(&self) -> Option<usize> {
        (self.next < self.count).then_some(self.next)
    }

    /// The text of the one with this index.
    pub fn sql_of(&self, index: usize) -> &[u8] {
        match &self.source {
            // SAFETY: elements of an array of text.
            Copied::Texts(texts) => unsafe { array::text_bytes(texts[index]) },
            Copied::Elements(sql, _) => sql.bytes(),
        }
    }

    /// Binds the next one. There must be one.
    ///
    /// # Errors
    /// 42704, 42804 the type of an element was dropped or altered since the fan-out began. The statement is still to be
    /// passed.
    pub fn bind(&mut self) -> Result<Statement<'_>, Error> {
        match &self.source {
            Copied::Texts(_) => Ok(Statement {
                sql: self.sql_of(self.next),
                params: &[],
            }),
            Copied::Elements(_, elements) => Ok(Statement {
                sql: self.sql_of(self.next),
                params: bind_element(*elements, self.next + 1)?,
            }),
        }
    }

    /// Goes on to the one after the next, which was bound or could not be.
    pub fn pass(&mut self) {
        if let Copied::Elements(_, elements) = self.source {
            // SAFETY: by the contract of `copy`; does not throw.
            unsafe { shim::pgb_pass_element(elements) };
        }
        self.next += 1;
    }

    /// Passes the next one unbound, after which none is bound. Returns its index; `None`: all were passed.
    pub fn drop_one(&mut self) -> Option<usize> {
        let next = self.next()?;
        self.next += 1;
        Some(next)
    }

    /// Passes all others unbound. Does not throw.
    pub fn drop_rest(&mut self) {
        self.next = self.count;
    }
}

/// The parameters that the next element is. Valid until it is passed.
fn bind_element<'a>(elements: *mut Elements, number: usize) -> Result<&'a [u8], Error> {
    let (mut start, mut len) = (std::ptr::null(), 0);
    let (into, into_len) = (&raw mut start, &raw mut len);
    // SAFETY: by the contract of `Statements::copy`.
    match unsafe { shim::pgb_bind_element(elements, into, into_len) } {
        // SAFETY: the shim has filled in what it has made.
        binding::BOUND => Ok(unsafe { std::slice::from_raw_parts(start.cast(), len as usize) }),
        binding::TYPE_ALTERED => Err(Error::new(
            ERRCODE_DATATYPE_MISMATCH,
            "a row type of the array's elements was altered during the fan-out",
        )
        .detail(format_args!(
            "Element {number} and those after it have the old form of the type."
        ))
        .hint(RUN_THE_REST)),
        binding::TYPE_DROPPED => Err(Error::new(
            ERRCODE_UNDEFINED_OBJECT,
            "a type of the array's elements was dropped during the fan-out",
        )
        .detail(format_args!("Element {number} has no type any more."))
        .hint(RUN_THE_REST)),
        other => unreachable!("an element cannot be bound like {other}"),
    }
}

const RUN_THE_REST: &str = "Run the rest with an array that is made after the change.";
