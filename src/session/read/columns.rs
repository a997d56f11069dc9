//! Fits the rows of a job to the columns that the caller wants.
//!
//! Types are compared by OID, before the first row is taken. A column of the job fits the caller's column if
//!
//! * the types are the same, or the job's type is a domain over the caller's;
//! * the caller asks for `text`: any type fits, through its output function.
//!
//! If the caller's list has a length or precision that the job's column does not have, it is applied as in an
//! assignment. Dropped columns of a table's row type become NULL and do not count.

use crate::pg::error::Error;
use crate::pg::rows::Caller;
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::{Records, SHAPE_SIZE, Shape, TypeWatch};
use arrayvec::ArrayVec;
use engine::column_list::{columns_of, type_part, without_collation};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_DATATYPE_MISMATCH, ERRCODE_PROGRAM_LIMIT_EXCEEDED, ERRCODE_UNDEFINED_OBJECT,
};
use smallvec::SmallVec;
use std::ffi::CStr;
use std::fmt::{Display, Formatter};

/// A column as the job describes it.
#[derive(Clone, Copy, Debug)]
pub struct JobColumn<'a> {
    /// Type.
    pub type_oid: pg_sys::Oid,
    /// Shape of the row types in it, as the worker saw them.
    shape: &'a Shape,
    /// Type modifier; -1 for none.
    pub typmod: i32,
    /// Column name.
    pub name: &'a CStr,
    /// Index of its values in a row as sent.
    source: usize,
    /// How its values are sent a second time, for a reader that does not find the type.
    fallback: Option<Fallback<'a>>,
}

/// A type that stands in for a column's own type when that is gone.
#[derive(Clone, Copy, Debug)]
struct Fallback<'a> {
    type_oid: pg_sys::Oid,
    shape: &'a Shape,
    typmod: i32,
}

/// How the values of a column are converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Conversion {
    Keep,
    /// A record or an array of records: give its row types this process's typmods.
    Localize,
    /// Through this output function. `record`: localize first.
    ToText {
        function: pg_sys::Oid,
        record: bool,
    },
    /// Through this length coercion function.
    Coerce {
        function: pg_sys::Oid,
        typmod: i32,
    },
}

/// Where the values of a job's column come from and go to.
#[derive(Clone, Copy, Debug)]
struct ColumnStep {
    conversion: Conversion,
    type_oid: pg_sys::Oid,
    /// Index of the value in a row as sent.
    source: usize,
    /// Index of the caller's column that it goes to.
    target: usize,
}

/// The conversions of all columns.
pub struct Conversions {
    steps: SmallVec<[ColumnStep; 8]>,
    identity: bool,
}

/// The columns of a job's result.
pub type JobColumns = SmallVec<[JobColumn<'static>; 8]>;

/// Parses a description (`shim.h`).
#[allow(
    clippy::disallowed_methods,
    reason = "at most as many as a row has columns"
)]
pub fn parse_description(description: &'static [u8]) -> JobColumns {
    let mut rest = description;
    let word = |rest: &mut &'static [u8]| {
        let (word, tail) = rest.split_first_chunk::<4>().expect("four bytes");
        *rest = tail;
        *word
    };
    let described = |rest: &mut &'static [u8]| {
        let type_oid = pg_sys::Oid::from(u32::from_ne_bytes(word(rest)));
        let (shape, tail) = rest.split_first_chunk::<SHAPE_SIZE>().expect("a shape");
        *rest = tail;
        let typmod = i32::from_ne_bytes(word(rest));
        Fallback {
            type_oid,
            shape,
            typmod,
        }
    };
    let count = i32::from_ne_bytes(word(&mut rest));
    let mut appended = count as usize;
    (0..count as usize)
        .map(|index| {
            let first = described(&mut rest);
            let (has_fallback, tail) = rest.split_first().expect("a byte");
            rest = tail;
            let fallback = (*has_fallback != 0).then(|| described(&mut rest));
            let source = match fallback {
                None => index,
                Some(_) => {
                    appended += 1;
                    appended - 1
                }
            };
            let name = CStr::from_bytes_until_nul(rest).expect("a zero-terminated name");
            rest = &rest[name.count_bytes() + 1..];
            JobColumn {
                type_oid: first.type_oid,
                shape: first.shape,
                typmod: first.typmod,
                name,
                source,
                fallback,
            }
        })
        .collect()
}

/// If a type that the job itself has made is gone, makes all columns of such types use their fallbacks.
pub fn use_fallbacks(columns: &mut [JobColumn<'_>]) {
    let is_gone = |column: &JobColumn<'_>| {
        column.fallback.is_some() && (is_missing(column) || is_altered(column))
    };
    if !columns.iter().any(is_gone) {
        return;
    }
    for (index, column) in columns.iter_mut().enumerate() {
        if let Some(fallback) = column.fallback.take() {
            column.type_oid = fallback.type_oid;
            column.shape = fallback.shape;
            column.typmod = fallback.typmod;
            column.source = index;
        }
    }
}

/// Types and modifiers of the values in a row as sent, in their order.
#[allow(
    clippy::disallowed_methods,
    reason = "at most as many as a row has columns"
)]
pub fn sent_types(columns: &[JobColumn<'_>]) -> SmallVec<[(pg_sys::Oid, i32); 8]> {
    let in_place = columns.iter().map(|column| match column.fallback {
        Some(fallback) => (fallback.type_oid, fallback.typmod),
        None => (column.type_oid, column.typmod),
    });
    let appended = columns.iter().filter(|column| column.fallback.is_some());
    in_place
        .chain(appended.map(|column| (column.type_oid, column.typmod)))
        .collect()
}

/// A type of the server itself, which nobody drops or alters.
fn is_built_in(column: &JobColumn<'_>) -> bool {
    column.type_oid.to_u32() < pg_sys::FirstNormalObjectId
}

fn is_missing(column: &JobColumn<'_>) -> bool {
    // SAFETY: a catalog lookup, in the transaction of the calling function.
    !is_built_in(column) && !unsafe { server::get_typisdefined(column.type_oid) }
}

fn is_altered(column: &JobColumn<'_>) -> bool {
    // SAFETY: catalog lookups, in the transaction of the calling function.
    !is_built_in(column) && !unsafe { shim::pgb_has_shape(column.type_oid, column.shape) }
}

/// Whether somebody could alter a row type in the column.
fn is_alterable(column: &JobColumn<'_>) -> bool {
    column.shape.iter().any(|byte| *byte != 0)
}

/// Whether somebody could alter a type of one of the job's columns.
pub fn has_alterable_types(job: &[JobColumn<'_>]) -> bool {
    job.iter().any(is_alterable)
}

/// Makes the shim check the types of the job's columns again with each row.
///
/// # Safety
/// `watch` must be valid.
pub unsafe fn watch_types(job: &[JobColumn<'_>], watch: *mut TypeWatch) {
    for column in job.iter().filter(|column| is_alterable(column)) {
        let (type_oid, shape) = (column.type_oid, std::ptr::from_ref(column.shape));
        // SAFETY: by the caller.
        unsafe { shim::pgb_watch_type(watch, type_oid, shape) };
    }
}

/// Whether a type of the job's columns does not exist, or is not as the job saw it. The job may have created or altered
/// it without having committed yet.
pub fn has_unknown_types(description: &'static [u8]) -> bool {
    let columns = parse_description(description);
    if has_alterable_types(&columns) {
        // Other processes may have altered them.
        // SAFETY: in a transaction.
        unsafe { server::AcceptInvalidationMessages() };
    }
    columns
        .iter()
        .any(|column| is_missing(column) || is_altered(column))
}

/// Checks whether a type of the job's columns was dropped or altered since the job ran.
///
/// # Errors
/// 42704 a type was dropped; 42804 a row type was altered
pub fn check_types(job: &[JobColumn<'_>]) -> Result<(), Error> {
    for (number, column) in (1..).zip(job) {
        let error = if is_missing(column) {
            Error::new(
                ERRCODE_UNDEFINED_OBJECT,
                format_args!("the type of column {number} of the job's result no longer exists"),
            )
        } else if is_altered(column) {
            Error::new(
                ERRCODE_DATATYPE_MISMATCH,
                format_args!(
                    "the type of column {number} of the job's result was altered after the job had run"
                ),
            )
        } else {
            continue;
        };
        return Err(error.hint("The result cannot be read. Detach the job."));
    }
    Ok(())
}

/// A type with its modifier, as messages show it.
#[derive(Clone, Copy)]
pub struct TypeName(pub pg_sys::Oid, pub i32);

impl Display for TypeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        // SAFETY: returns a palloc'ed, null-terminated text.
        let name = unsafe { CStr::from_ptr(server::format_type_with_typemod(self.0, self.1)) };
        name.to_bytes()
            .utf8_chunks()
            .try_for_each(|chunk| f.write_str(chunk.valid()))
    }
}

/// Type names, separated by commas.
struct TypeNames<I>(I);

impl<I: Iterator<Item = TypeName> + Clone> Display for TypeNames<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (index, name) in self.0.clone().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

fn mismatch(message: &str, detail: impl Display) -> Error {
    Error::new(ERRCODE_DATATYPE_MISMATCH, message)
        .detail(detail)
        .hint("The result is kept: call again with a column list that fits, or ask for text.")
}

/// Checks that the caller's list fits command tags: one column of type text.
///
/// # Errors
/// 42804 otherwise
pub fn check_tags(expected: &[pg_sys::FormData_pg_attribute]) -> Result<(), Error> {
    match expected {
        [column] if column.atttypid == pg_sys::TEXTOID => Ok(()),
        _ => Err(mismatch(
            "remote query did not return rows",
            "Its result is the command tags of its statements, one column of type text.",
        )),
    }
}

/// Checks that the caller's list has these types, or at least the first `least` of them.
///
/// # Errors
/// 42804 otherwise
pub fn check_fixed(
    types: &[pg_sys::Oid],
    least: usize,
    expected: &[pg_sys::FormData_pg_attribute],
) -> Result<(), Error> {
    let fits = (least..=types.len()).contains(&expected.len())
        && types
            .iter()
            .zip(expected)
            .all(|(wanted, column)| *wanted == column.atttypid);
    if fits {
        return Ok(());
    }
    let names = TypeNames(types.iter().map(|&oid| TypeName(oid, -1)));
    Err(Error::new(
        ERRCODE_DATATYPE_MISMATCH,
        "the column definition list does not match what the function returns",
    )
    .detail(format_args!("It returns columns of these types: {names}.")))
}

/// Checks a column definition list that was passed as text beside the real one: its types must be those of the caller's
/// columns. A length or precision that only the text has is applied to the rows. A collation is not compared, because
/// values have none. Nothing is executed; the server's parser reads the type names.
///
/// # Errors
/// 42804 the types differ; 54000 a type name is too long; the parser's own error for an invalid type name
pub fn apply_definition(definition: &[u8], caller: &Caller) -> Result<(), Error> {
    // The caller decides how long the text is. So it is read column by column, and no further than needed.
    let mut columns = columns_of(definition);
    let mut fits = true;
    for index in 0..caller.columns().len() {
        server::check_for_interrupts();
        let Some(column) = columns.next() else {
            fits = false;
            break;
        };
        let (type_oid, typmod) = type_of(without_collation(type_part(column)))?;
        let wanted = &caller.columns()[index];
        let (wanted_oid, wanted_typmod) = (wanted.atttypid, wanted.atttypmod);
        fits &= type_oid == wanted_oid && (wanted_typmod < 0 || typmod == wanted_typmod);
        if wanted_typmod < 0 {
            caller.set_typmod(index, typmod);
        }
    }
    if fits && columns.next().is_none() {
        return Ok(());
    }
    let names = caller
        .columns()
        .iter()
        .map(|column| TypeName(column.atttypid, column.atttypmod));
    Err(Error::new(
        ERRCODE_DATATYPE_MISMATCH,
        "col_def does not agree with the column definition list of the call",
    )
    .detail(format_args!(
        "The columns of the call are of these types: {}.",
        TypeNames(names)
    )))
}

/// Maximum length in bytes of a type name with schema, quotes, modifiers and brackets: far more than one needs.
const TYPE_NAME_LIMIT: usize = 1024;

#[allow(clippy::disallowed_methods, reason = "an array of its own size")]
fn type_of(name: &[u8]) -> Result<(pg_sys::Oid, i32), Error> {
    let mut text = ArrayVec::<u8, { TYPE_NAME_LIMIT + 1 }>::new();
    if name.len() > TYPE_NAME_LIMIT {
        return Err(Error::new(
            ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the name of a type in col_def is too long",
        )
        .detail(format_args!(
            "It has {} bytes, of at most {TYPE_NAME_LIMIT}.",
            name.len()
        ))
        .hint("col_def is a column definition list, as in the FROM clause."));
    }
    text.extend(name.iter().copied().chain([0]));
    // A text value of the server contains no zero byte.
    let name = CStr::from_bytes_until_nul(&text).expect("a zero byte was appended");
    Ok(crate::pg::text::parse_type(name))
}

/// Compares the columns and plans the conversions.
///
/// # Errors
/// 42804 the columns do not fit
#[allow(
    clippy::disallowed_methods,
    reason = "at most as many as a row has columns"
)]
pub fn plan(
    job: &[JobColumn<'_>],
    expected: &[pg_sys::FormData_pg_attribute],
) -> Result<Conversions, Error> {
    let wanted: SmallVec<[usize; 8]> = (0..expected.len())
        .filter(|&index| !expected[index].attisdropped)
        .collect();
    if job.len() != wanted.len() {
        return Err(mismatch(
            "remote query result rowtype does not match the specified FROM clause rowtype",
            format_args!(
                "The job returns {} columns, the caller expects {}.",
                job.len(),
                wanted.len()
            ),
        ));
    }
    let mut steps = SmallVec::new();
    for (column, &target) in job.iter().zip(&wanted) {
        let attribute = &expected[target];
        let conversion = conversion(column, attribute).ok_or_else(|| {
            mismatch(
                "remote query result rowtype does not match the specified FROM clause rowtype",
                format_args!(
                    "Column {} is of type {}, the caller expects {}.",
                    steps.len() + 1,
                    TypeName(column.type_oid, column.typmod),
                    TypeName(attribute.atttypid, attribute.atttypmod)
                ),
            )
        })?;
        steps.push(ColumnStep {
            conversion,
            type_oid: column.type_oid,
            source: column.source,
            target,
        });
    }
    let keep =
        |step: &ColumnStep| step.conversion == Conversion::Keep && step.source == step.target;
    let identity = wanted.len() == expected.len() && steps.iter().all(keep);
    Ok(Conversions { steps, identity })
}

/// Plans rows that stay as they are, except that records are localized.
#[allow(
    clippy::disallowed_methods,
    reason = "at most as many as a row has columns"
)]
pub fn plan_as_is(job: &[JobColumn<'_>]) -> Conversions {
    let steps = job.iter().enumerate().map(|(target, column)| ColumnStep {
        // SAFETY: looks only at the type's OID.
        conversion: match unsafe { shim::pgb_may_hold_record(column.type_oid) } {
            true => Conversion::Localize,
            false => Conversion::Keep,
        },
        type_oid: column.type_oid,
        source: column.source,
        target,
    });
    Conversions {
        steps: steps.collect(),
        identity: false,
    }
}

fn conversion(
    column: &JobColumn<'_>,
    wanted: &pg_sys::FormData_pg_attribute,
) -> Option<Conversion> {
    // SAFETY: catalog lookups, in the transaction of the calling function.
    unsafe {
        let same = wanted.atttypid == column.type_oid
            || wanted.atttypid == server::getBaseType(column.type_oid);
        let record = shim::pgb_may_hold_record(column.type_oid);
        if same && record {
            return Some(Conversion::Localize);
        }
        if same {
            return Some(length_coercion(column, wanted));
        }
        if wanted.atttypid != pg_sys::TEXTOID {
            return None;
        }
        let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
        server::getTypeOutputInfo(column.type_oid, &raw mut function, &raw mut varlena);
        Some(Conversion::ToText { function, record })
    }
}

unsafe fn length_coercion(
    column: &JobColumn<'_>,
    wanted: &pg_sys::FormData_pg_attribute,
) -> Conversion {
    if wanted.atttypmod < 0 || wanted.atttypmod == column.typmod {
        return Conversion::Keep;
    }
    let mut function = pg_sys::InvalidOid;
    // SAFETY: a catalog lookup, as above.
    let path = unsafe { server::find_typmod_coercion_function(wanted.atttypid, &raw mut function) };
    if path == pg_sys::CoercionPathType::COERCION_PATH_FUNC {
        Conversion::Coerce {
            function,
            typmod: wanted.atttypmod,
        }
    } else {
        Conversion::Keep
    }
}

impl Conversions {
    /// Whether rows can be used as sent.
    pub fn is_identity(&self) -> bool {
        self.identity
    }

    /// Converts the values of one row, in the current memory context.
    ///
    /// # Safety
    /// `values` and `nulls` are a row as sent; `records` knows the row types in it.
    pub unsafe fn apply(
        &self,
        records: *mut Records,
        (values, nulls): (&[pg_sys::Datum], &[bool]),
        (into, into_nulls): (&mut [pg_sys::Datum], &mut [bool]),
    ) {
        into_nulls.fill(true);
        for step in &self.steps {
            if nulls[step.source] {
                continue;
            }
            // SAFETY: the functions were looked up for the value's type.
            into[step.target] = unsafe { convert(*step, records, values[step.source]) };
            into_nulls[step.target] = false;
        }
    }
}

unsafe fn convert(step: ColumnStep, records: *mut Records, value: pg_sys::Datum) -> pg_sys::Datum {
    let localize = || {
        // SAFETY: see `Conversions::apply`.
        unsafe { shim::pgb_localize_record(records, step.type_oid, value) }
    };
    // SAFETY: see `Conversions::apply`.
    unsafe {
        match step.conversion {
            Conversion::Keep => value,
            Conversion::Localize => localize(),
            Conversion::ToText { function, record } => {
                let value = if record { localize() } else { value };
                shim::pgb_text_of(function, value)
            }
            Conversion::Coerce { function, typmod } => {
                shim::pgb_coerce_length(function, value, typmod)
            }
        }
    }
}
