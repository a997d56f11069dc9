//! SQL values and rows of them.

#![allow(
    clippy::disallowed_methods,
    reason = "at most as many as a row has attributes"
)]

use crate::pg::server;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::ffi::CStr;

/// The attributes of a descriptor.
///
/// # Safety
/// The descriptor must outlive the slice.
pub unsafe fn attributes<'a>(desc: pg_sys::TupleDesc) -> &'a [pg_sys::FormData_pg_attribute] {
    // SAFETY: the server keeps `natts` attributes in line after the descriptor.
    unsafe { std::slice::from_raw_parts(first_attribute(desc), (*desc).natts as usize) }
}

/// Changes the type modifier of an attribute.
///
/// # Safety
/// Nobody else uses the descriptor, nor a slice of its [`attributes`].
pub unsafe fn set_typmod(desc: pg_sys::TupleDesc, index: usize, typmod: i32) {
    // SAFETY: by the caller; the index is checked.
    unsafe {
        assert!(index < (*desc).natts as usize);
        (*first_attribute(desc).cast_mut().add(index)).atttypmod = typmod;
    }
}

/// To be called when all attributes of a new descriptor are initialized, before it is used.
///
/// # Safety
/// Nobody else uses the descriptor.
pub unsafe fn finalize(desc: pg_sys::TupleDesc) -> pg_sys::TupleDesc {
    #[cfg(feature = "pg19")]
    // SAFETY: by the caller.
    unsafe {
        server::TupleDescFinalize(desc);
    }
    desc
}

#[cfg(not(any(feature = "pg18", feature = "pg19")))]
unsafe fn first_attribute(desc: pg_sys::TupleDesc) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: takes the address of a field of a descriptor that the caller vouches for.
    unsafe { (&raw const (*desc).attrs).cast() }
}

/// Since 18 they follow an array of as many compact attributes (`TupleDescAttr` of tupdesc.h).
#[cfg(any(feature = "pg18", feature = "pg19"))]
unsafe fn first_attribute(desc: pg_sys::TupleDesc) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: both arrays are in the one allocation of a descriptor that the caller vouches for.
    unsafe {
        let compact = (&raw const (*desc).compact_attrs).cast::<pg_sys::CompactAttribute>();
        compact.add((*desc).natts as usize).cast()
    }
}

/// A nullable value for a row.
#[derive(Clone, Copy)]
pub struct Value {
    datum: Datum,
    null: bool,
}

impl Value {
    /// SQL NULL.
    pub const NULL: Self = Self {
        datum: Datum::null(),
        null: true,
    };

    fn some(datum: Datum) -> Self {
        Self { datum, null: false }
    }

    /// A value of any type.
    pub fn of(datum: Datum) -> Self {
        Self::some(datum)
    }

    /// The value itself; undefined for NULL.
    pub fn datum(self) -> Datum {
        self.datum
    }

    /// `int4`.
    pub fn int4(value: i32) -> Self {
        Self::some(Datum::from(value))
    }

    /// `int8`.
    pub fn int8(value: i64) -> Self {
        Self::some(Datum::from(value))
    }

    /// `float8`.
    pub fn float8(value: f64) -> Self {
        Self::some(Datum::from(value.to_bits()))
    }

    /// `bool`.
    pub fn bool(value: bool) -> Self {
        Self::some(Datum::from(value))
    }

    /// `oid`.
    pub fn oid(value: pg_sys::Oid) -> Self {
        Self::some(Datum::from(value))
    }

    /// `timestamptz`, from microseconds of the server's clock.
    pub fn timestamptz(value: u64) -> Self {
        Self::int8(value.cast_signed())
    }

    /// `text`, in the server's encoding.
    pub fn text(bytes: &[u8]) -> Self {
        // SAFETY: copies the bytes into a palloc'ed text.
        let text =
            unsafe { server::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32) };
        Self::some(Datum::from(text))
    }

    /// As [`text`](Self::text); NULL for `None`.
    pub fn text_or_null(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::NULL, Self::text)
    }
}

/// Splits a row into the two arrays that the server expects: data and null flags.
pub fn split<const N: usize>(row: [Value; N]) -> ([Datum; N], [bool; N]) {
    (row.map(|value| value.datum), row.map(|value| value.null))
}

/// The descriptor of the function's declared result type. It is looked up in the type cache and blessed once per call
/// site, and kept in `fn_extra`.
///
/// # Safety
/// `fcinfo` is the argument of a function whose result is a composite type, and which uses `fn_extra` for nothing else.
unsafe fn result_descriptor(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::TupleDesc {
    // SAFETY: by the caller.
    unsafe {
        let function = (*fcinfo).flinfo;
        if (*function).fn_extra.is_null() {
            let mut desc = std::ptr::null_mut();
            server::get_call_result_type(fcinfo, std::ptr::null_mut(), &raw mut desc);
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = (*function).fn_mcxt;
            let kept = server::BlessTupleDesc(server::CreateTupleDescCopy(desc));
            pg_sys::CurrentMemoryContext = caller;
            (*function).fn_extra = kept.cast();
        }
        (*function).fn_extra.cast()
    }
}

/// A composite value of the function's declared result type, attribute by attribute.
///
/// # Safety
/// As [`result_descriptor`]; the values have the types of the attributes. If the type has more attributes than `row`
/// has values, the rest are NULL; if it has fewer, the rest of the values are dropped.
pub unsafe fn composite<const N: usize>(
    fcinfo: pg_sys::FunctionCallInfo,
    row: [Value; N],
) -> Datum {
    // SAFETY: by the caller.
    unsafe {
        let desc = result_descriptor(fcinfo);
        let (mut values, mut nulls) = (Vec::from(split(row).0), Vec::from(split(row).1));
        let natts = (*desc).natts as usize;
        values.resize(natts, Datum::null());
        nulls.resize(natts, true);
        form(desc, &mut values, &mut nulls)
    }
}

/// A composite value of the function's declared result type, each value in the attribute with its name.
///
/// For types that got new attributes: in older versions of the extension they lack some, or have another order.
///
/// # Safety
/// As [`result_descriptor`]; a value has the type of the attribute with its name. An attribute without a value is NULL,
/// and a value without an attribute is dropped.
pub unsafe fn composite_by_name<const N: usize>(
    fcinfo: pg_sys::FunctionCallInfo,
    names: [&str; N],
    row: [Value; N],
) -> Datum {
    // SAFETY: by the caller; the descriptor lives as long as the call site.
    unsafe {
        let desc = result_descriptor(fcinfo);
        let (mut values, mut nulls): (Vec<_>, Vec<_>) = attributes(desc)
            .iter()
            .map(|attribute| {
                let name = CStr::from_ptr(attribute.attname.data.as_ptr()).to_bytes();
                let index = names.iter().position(|known| known.as_bytes() == name);
                let value = index.map_or(Value::NULL, |index| row[index]);
                (value.datum, value.null)
            })
            .unzip();
        form(desc, &mut values, &mut nulls)
    }
}

/// # Safety
/// The descriptor is blessed; there is a value and a flag for each attribute.
unsafe fn form(desc: pg_sys::TupleDesc, values: &mut [Datum], nulls: &mut [bool]) -> Datum {
    // SAFETY: by the caller.
    unsafe {
        let tuple = server::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr());
        server::HeapTupleHeaderGetDatum((*tuple).t_data)
    }
}
