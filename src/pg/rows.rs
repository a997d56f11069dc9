//! What the calling query expects of a set-returning function, and where its rows go.
//!
//! A call in `FROM` gets all rows at once in a tuplestore ([`Store`]). In a select list PostgreSQL asks for one row
//! after another, so a cursor or a LIMIT costs no more than the rows that it fetches.

use crate::pg::error::Error;
use crate::pg::memory::within;
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::Shape;
use crate::pg::tuple::{attributes, finalize, set_typmod};
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;

/// The calling query's side of one call.
#[derive(Clone, Copy)]
pub struct Caller {
    info: *mut pg_sys::ReturnSetInfo,
    /// The columns that it expects; lives as long as the query.
    desc: pg_sys::TupleDesc,
    /// Whether a result is a row of these columns; otherwise it is the value of the only column.
    composite: bool,
    /// The domain over a row type that a result has to satisfy; invalid: none.
    domain: pg_sys::Oid,
    /// Whether all rows are returned at once.
    materialize: bool,
    /// The named row type of a result that is fetched row by row, and its shape at the first row.
    row_type: Option<(pg_sys::Oid, Shape)>,
}

fn no_column_list() -> Error {
    Error::new(
        ERRCODE_FEATURE_NOT_SUPPORTED,
        "function returning record called in context that cannot accept type record",
    )
    .hint("Call the function in the FROM clause with a column definition list.")
}

/// A descriptor of one column of the type, in the current memory context.
///
/// # Safety
/// The type exists.
unsafe fn one_column(type_oid: pg_sys::Oid) -> pg_sys::TupleDesc {
    // SAFETY: by the caller.
    unsafe {
        let desc = server::CreateTemplateTupleDesc(1);
        server::TupleDescInitEntry(desc, 1, c"".as_ptr(), type_oid, -1, 0);
        finalize(desc)
    }
}

impl Caller {
    /// The caller of the function with the argument `fcinfo`.
    ///
    /// # Errors
    /// 0A000 when the caller has no column list, or cannot take a set.
    ///
    /// # Safety
    /// `fcinfo` is the argument of a set-returning function.
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Result<Self, Error> {
        // SAFETY: by the caller; the type of the result info node is checked before it is used.
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if info.is_null() || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
                return Err(Error::new(
                    ERRCODE_FEATURE_NOT_SUPPORTED,
                    "set-valued function called in context that cannot accept a set",
                ));
            }
            let modes = (*info).allowedModes;
            let allows = |mode: pg_sys::SetFunctionReturnMode::Type| modes & mode as i32 != 0;
            use pg_sys::SetFunctionReturnMode as Mode;
            let materialize =
                allows(Mode::SFRM_Materialize_Preferred) || !allows(Mode::SFRM_ValuePerCall);
            if materialize && !allows(Mode::SFRM_Materialize) {
                return Err(Error::new(
                    ERRCODE_FEATURE_NOT_SUPPORTED,
                    "materialize mode required, but it is not allowed in this context",
                ));
            }
            let (mut type_oid, mut desc) = (pg_sys::InvalidOid, std::ptr::null_mut());
            let class = server::get_call_result_type(fcinfo, &raw mut type_oid, &raw mut desc);
            let query = (*(*info).econtext).ecxt_per_query_memory;
            let domain = match class {
                pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE_DOMAIN => type_oid,
                _ => pg_sys::InvalidOid,
            };
            let desc = within(query, || match class {
                pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE
                | pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE_DOMAIN => {
                    Ok(server::CreateTupleDescCopy(desc))
                }
                pg_sys::TypeFuncClass::TYPEFUNC_SCALAR => Ok(one_column(type_oid)),
                _ => Err(no_column_list()),
            })?;
            let row_type = (*desc).tdtypeid;
            let is_named = class != pg_sys::TypeFuncClass::TYPEFUNC_SCALAR
                && row_type.to_u32() >= pg_sys::FirstNormalObjectId;
            let row_type =
                (is_named && !materialize).then(|| (row_type, shim::pgb_shape(row_type).hash));
            Ok(Self {
                info,
                desc,
                row_type,
                composite: class != pg_sys::TypeFuncClass::TYPEFUNC_SCALAR,
                domain,
                materialize,
            })
        }
    }

    /// The caller of a function that returns one value of the type, and no set.
    pub fn of_value(type_oid: pg_sys::Oid) -> Self {
        Self {
            info: std::ptr::null_mut(),
            // SAFETY: the call has the type; the context of the call outlives the caller.
            desc: unsafe { one_column(type_oid) },
            row_type: None,
            composite: false,
            domain: pg_sys::InvalidOid,
            materialize: false,
        }
    }

    /// The columns that it expects.
    pub fn columns(&self) -> &[pg_sys::FormData_pg_attribute] {
        // SAFETY: the descriptor lives as long as the query.
        unsafe { attributes(self.desc) }
    }

    /// Makes it expect a length or precision of a column, as in `numeric(10, 2)`.
    pub fn set_typmod(&self, column: usize, typmod: i32) {
        // SAFETY: the descriptor is this caller's own copy.
        unsafe { set_typmod(self.desc, column, typmod) };
    }

    /// The type of its rows and their shape at the first row, if the type can be altered between two rows.
    pub fn row_type(&self) -> Option<&(pg_sys::Oid, Shape)> {
        self.row_type.as_ref()
    }

    /// Whether it gets all rows at once.
    pub fn materializes(&self) -> bool {
        self.materialize
    }

    /// Whether rows also have to satisfy a domain.
    pub fn has_domain(&self) -> bool {
        self.domain != pg_sys::InvalidOid
    }

    /// The memory context that lives as long as the calling query.
    pub fn query_context(&self) -> pg_sys::MemoryContext {
        // SAFETY: the call's expression context.
        unsafe { (*(*self.info).econtext).ecxt_per_query_memory }
    }

    /// The expression context of the call.
    pub fn expression_context(&self) -> *mut pg_sys::ExprContext {
        // SAFETY: a field of the call.
        unsafe { (*self.info).econtext }
    }

    /// Notes a later call of the same function.
    ///
    /// # Safety
    /// `fcinfo` is the argument of a later call.
    pub unsafe fn called_again(&mut self, fcinfo: pg_sys::FunctionCallInfo) {
        // SAFETY: by the caller.
        self.info = unsafe { (*fcinfo).resultinfo.cast() };
    }

    /// Tells the caller, which fetches row by row, whether there are no more rows.
    pub fn answer(&self, done: bool) {
        use pg_sys::ExprDoneCond as Done;
        // SAFETY: a field of the call that the function sets.
        unsafe {
            (*self.info).isDone = if done {
                Done::ExprEndResult
            } else {
                Done::ExprMultipleResult
            };
        }
    }

    /// A row of the caller's types as one value, in the current memory context.
    pub fn value(&self, values: &[Datum], nulls: &[bool]) -> Option<Datum> {
        assert!(values.len() >= self.columns().len() && nulls.len() >= self.columns().len());
        // SAFETY: the server reads as many of each as the descriptor has columns.
        unsafe {
            if self.composite {
                return Some(self.row(values, nulls));
            }
            let column = self.columns()[0];
            (!nulls[0]).then(|| copy(values[0], column.attbyval, column.attlen))
        }
    }

    unsafe fn row(&self, values: &[Datum], nulls: &[bool]) -> Datum {
        // SAFETY: see `value`; blessing registers the descriptor of an anonymous row type, once.
        unsafe {
            let desc = server::BlessTupleDesc(self.desc);
            let (values, nulls) = (values.as_ptr().cast_mut(), nulls.as_ptr().cast_mut());
            let tuple = server::heap_form_tuple(desc, values, nulls);
            let row = server::HeapTupleHeaderGetDatum((*tuple).t_data);
            if self.has_domain() {
                let domain = self.domain;
                shim::pgb_check_domain(domain, row);
            }
            row
        }
    }
}

/// # Safety
/// `value` is of a type of that length.
unsafe fn copy(value: Datum, by_value: bool, len: i16) -> Datum {
    // SAFETY: by the caller; the size of a value that is not passed by value follows from its length or its header.
    unsafe {
        if by_value {
            return value;
        }
        let start = value.cast_mut_ptr::<u8>();
        let size = match len {
            -1 => pgrx::varlena::varsize_any(start.cast()),
            -2 => std::ffi::CStr::from_ptr(start.cast()).count_bytes() + 1,
            len => len as usize,
        };
        let copy = server::palloc(size).cast::<u8>();
        copy.copy_from_nonoverlapping(start, size);
        Datum::from(copy)
    }
}

/// All rows of one call. The executor frees them with the call's context.
pub struct Store {
    caller: Caller,
    store: *mut pg_sys::Tuplestorestate,
}

impl Store {
    /// Sets up materialize mode for this call.
    pub fn new(caller: &Caller) -> Self {
        let info = caller.info;
        // SAFETY: the function has to set these fields; the store lives as long as the query.
        unsafe {
            let random = (*info).allowedModes
                & pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random as i32
                != 0;
            let store = within(caller.query_context(), || {
                server::tuplestore_begin_heap(random, false, pg_sys::work_mem)
            });
            (*info).returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            (*info).setResult = store;
            (*info).setDesc = caller.desc;
            Self {
                caller: *caller,
                store,
            }
        }
    }

    /// Adds the row of a tuple table slot.
    ///
    /// # Safety
    /// Its columns are the caller's.
    pub unsafe fn put_slot(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: by the caller; the store copies the tuple.
        unsafe { server::tuplestore_puttupleslot(self.store, slot) };
    }

    /// Adds several `MinimalTuple`s.
    ///
    /// # Safety
    /// Their columns are the caller's, and they stay valid during the call.
    pub unsafe fn put_tuples(&mut self, tuples: &[*const u8]) {
        let (store, start, count) = (self.store, tuples.as_ptr(), tuples.len() as i32);
        // SAFETY: by the caller; the store copies the tuples.
        unsafe { shim::pgb_put_tuples(store, start, count) };
    }

    /// Adds a row of the caller's types.
    pub fn put_values(&mut self, values: &[Datum], nulls: &[bool]) {
        assert!(values.len() >= self.caller.columns().len());
        assert!(nulls.len() >= self.caller.columns().len());
        // SAFETY: the server reads as many of each as the descriptor has columns.
        unsafe {
            if self.caller.has_domain() {
                self.caller.row(values, nulls);
            }
            server::tuplestore_putvalues(
                self.store,
                self.caller.desc,
                values.as_ptr().cast_mut(),
                nulls.as_ptr().cast_mut(),
            );
        }
    }
}
