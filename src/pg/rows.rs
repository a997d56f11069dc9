//! Where a set-returning function puts its rows: a tuplestore, in materialize mode.

use crate::leader::columns::{Conversions, JobColumn};
use crate::pg::error::Error;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;

/// The rows of one call of a set-returning function. Freed by the executor with the call's context.
pub struct RowSink {
    expected: pg_sys::TupleDesc,
    store: *mut pg_sys::Tuplestorestate,
    /// For tuples of the job's types.
    slot: *mut pg_sys::TupleTableSlot,
    per_row: pg_sys::MemoryContext,
}

impl RowSink {
    /// Sets up materialize mode for this call.
    ///
    /// # Errors
    /// 0A000 when the caller has no column list, or cannot take a set.
    ///
    /// # Safety
    /// `fcinfo` is the argument of a set-returning function.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Error> {
        // SAFETY: by the caller; a result info node is checked for before it is used as one.
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if info.is_null() || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
                return Err(Error::new(
                    ERRCODE_FEATURE_NOT_SUPPORTED,
                    "set-valued function called in context that cannot accept a set",
                ));
            }
            if (*info).allowedModes & pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32 == 0 {
                return Err(Error::new(
                    ERRCODE_FEATURE_NOT_SUPPORTED,
                    "materialize mode required, but it is not allowed in this context",
                ));
            }
            if (*info).expectedDesc.is_null() {
                return Err(Error::new(
                    ERRCODE_FEATURE_NOT_SUPPORTED,
                    "function returning record called in context that cannot accept type record",
                )
                .hint("Call the function in the FROM clause with a column definition list."));
            }
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = (*(*info).econtext).ecxt_per_query_memory;
            let expected = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
            let random = (*info).allowedModes
                & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32
                != 0;
            let store = pg_sys::tuplestore_begin_heap(random, false, pg_sys::work_mem);
            pg_sys::CurrentMemoryContext = caller;
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = expected;
            Ok(Self {
                expected,
                store,
                slot: std::ptr::null_mut(),
                per_row: std::ptr::null_mut(),
            })
        }
    }

    /// The caller's columns.
    pub fn expected(&self) -> &[pg_sys::FormData_pg_attribute] {
        // SAFETY: our own copy of the descriptor, which lives as long as the query.
        unsafe { crate::pg::tuple::attributes(self.expected) }
    }

    /// Rows of these columns will follow.
    pub fn begin(&mut self, columns: &[JobColumn]) {
        // SAFETY: the descriptor and the slot live in the current context, which outlives the reading.
        unsafe {
            let desc = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
            for (number, column) in (1..).zip(columns) {
                pg_sys::TupleDescInitEntry(
                    desc,
                    number,
                    c"".as_ptr(),
                    column.type_oid,
                    column.typmod,
                    0,
                );
            }
            self.slot =
                pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple);
            self.per_row = pg_sys::AllocSetContextCreateExtended(
                pg_sys::CurrentMemoryContext,
                c"pg_background row".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
        }
    }

    /// Puts a row of the job's types, converted.
    ///
    /// # Safety
    /// `tuple` is a row of the columns that `begin` was given, and stays during the call.
    pub unsafe fn put(&mut self, tuple: pg_sys::MinimalTuple, conversions: &Conversions) {
        // SAFETY: by the caller; the store copies the tuple.
        unsafe {
            pg_sys::ExecStoreMinimalTuple(tuple, self.slot, false);
            if conversions.is_identity() {
                pg_sys::tuplestore_puttupleslot(self.store, self.slot);
                return;
            }
            pg_sys::slot_getsomeattrs_int(self.slot, (*(*self.slot).tts_tupleDescriptor).natts);
            let count = (*(*self.slot).tts_tupleDescriptor).natts as usize;
            let values = std::slice::from_raw_parts_mut((*self.slot).tts_values, count);
            let nulls = std::slice::from_raw_parts((*self.slot).tts_isnull, count);
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.per_row;
            conversions.apply(values, nulls);
            pg_sys::CurrentMemoryContext = caller;
            self.put_values(values, nulls);
            pg_sys::MemoryContextReset(self.per_row);
        }
    }

    /// Puts a row of one text.
    pub fn put_text(&mut self, text: &[u8]) {
        // SAFETY: copies the bytes into a palloc'ed text.
        let datum =
            unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32) };
        self.put_values(&[pg_sys::Datum::from(datum)], &[false]);
    }

    /// Puts a row of the caller's types.
    pub fn put_values(&mut self, values: &[pg_sys::Datum], nulls: &[bool]) {
        assert!(values.len() >= self.expected().len() && nulls.len() >= self.expected().len());
        // SAFETY: the server reads as many of each as the descriptor has columns.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.expected,
                values.as_ptr().cast_mut(),
                nulls.as_ptr().cast_mut(),
            );
        }
    }
}
