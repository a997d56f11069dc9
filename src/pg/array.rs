//! Arrays, rows and texts that are passed as arguments.

use crate::pg::server;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

/// The elements of an array in storage order, whatever its dimensions; `None` for NULL. They live as long as the memory
/// context that is current now.
///
/// # Safety
/// `datum` is an array.
pub unsafe fn elements(datum: Datum) -> impl ExactSizeIterator<Item = Option<Datum>> {
    // SAFETY: by the caller; the server's allocations stay until the current context is reset.
    unsafe {
        let array = server::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let element = (*array).elemtype;
        let (mut len, mut by_value, mut align) = (0, false, 0);
        server::get_typlenbyvalalign(element, &raw mut len, &raw mut by_value, &raw mut align);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        server::deconstruct_array(
            array,
            element,
            i32::from(len),
            by_value,
            align,
            &raw mut values,
            &raw mut nulls,
            &raw mut count,
        );
        (0..count as usize)
            .map(move |index| (!nulls.add(index).read()).then(|| values.add(index).read()))
    }
}

/// An attribute of a row, by its number, which starts at 1; `None` for NULL.
///
/// # Safety
/// `row` is a composite value with an attribute of this number.
pub unsafe fn attribute(row: Datum, number: i16) -> Option<Datum> {
    // SAFETY: by the caller.
    unsafe {
        let header =
            server::pg_detoast_datum(row.cast_mut_ptr()).cast::<pg_sys::HeapTupleHeaderData>();
        let mut is_null = false;
        let value = server::GetAttributeByNum(header, number, &raw mut is_null);
        (!is_null).then_some(value)
    }
}

/// The bytes of a `text`, in the server's encoding. They live as long as the value, or, if it was toasted, as long as
/// the memory context that is current now.
///
/// # Safety
/// `datum` is a text.
pub unsafe fn text_bytes<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: by the caller.
    unsafe {
        let value = server::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let start = pgrx::varlena::vardata_any(value).cast();
        std::slice::from_raw_parts(start, pgrx::varlena::varsize_any_exhdr(value))
    }
}
