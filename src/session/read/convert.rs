//! Converts the rows of a job to the rows that the caller wants.

use crate::pg::error::Error;
use crate::pg::memory::{child_of, within};
use crate::pg::rows::{Caller, Store};
use crate::pg::server;
use crate::pg::shim;
use crate::pg::shim::{Json, Records, TypeWatch, frame};
use crate::pg::tuple::finalize;
use crate::session::read::columns;
use crate::session::read::columns::Conversions;
use crate::session::read::frames::Frame;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::ffi::CStr;

/// What rows are converted to.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// Rows of the caller's columns.
    Columns(&'a Caller),
    /// The same, without the command tags of a result that has no rows.
    Rows(&'a Caller),
    /// One JSON value of this type for each row.
    Json(JsonType),
}

/// A JSON type of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonType {
    /// A text: an object has the columns in their order, and those of one name as well.
    Json,
    /// Sorted by key, with one column of each name.
    Jsonb,
}

impl JsonType {
    fn is_binary(self) -> bool {
        self == Self::Jsonb
    }
}

impl<'a> Wanted<'a> {
    /// The caller whose columns are wanted.
    fn caller(self) -> Option<&'a Caller> {
        match self {
            Wanted::Columns(caller) | Wanted::Rows(caller) => Some(caller),
            Wanted::Json(_) => None,
        }
    }
}

/// Converts the rows of one result. It is made, and checks the types, when the columns are known.
pub struct Converter {
    records: *mut Records,
    /// The types in the rows that somebody may alter meanwhile.
    watch: *mut TypeWatch,
    /// Whether there are any.
    watches: bool,
    /// Holds tuples of the job's columns.
    slot: *mut pg_sys::TupleTableSlot,
    plan: Plan,
    /// A converted row.
    values: Vec<Datum>,
    nulls: Vec<bool>,
    /// A row of the job's columns before it becomes JSON.
    localized: (Vec<Datum>, Vec<bool>),
}

enum Plan {
    Columns(Conversions),
    Json(*mut Json, Conversions),
    /// Command tags, as JSON or text.
    Tags(Option<JsonType>),
}

/// A converted row, valid until the next one.
pub enum ResultRow<'a> {
    /// The row in the slot, unchanged.
    AsIs(*mut pg_sys::TupleTableSlot),
    /// These values.
    Values(&'a [Datum], &'a [bool]),
}

impl ResultRow<'_> {
    /// Puts the row into a store.
    pub fn put(self, store: &mut Store) {
        match self {
            // SAFETY: the columns were compared with the caller's.
            ResultRow::AsIs(slot) => unsafe { store.put_slot(slot) },
            ResultRow::Values(values, nulls) => store.put_values(values, nulls),
        }
    }
}

/// A descriptor for a row of these columns.
///
/// # Safety
/// The current memory context lives as long as the descriptor is used.
unsafe fn descriptor<'a>(
    columns: impl ExactSizeIterator<Item = (pg_sys::Oid, i32, Option<&'a CStr>)>,
) -> pg_sys::TupleDesc {
    // SAFETY: by the caller; the types exist.
    unsafe {
        let desc = server::CreateTemplateTupleDesc(columns.len() as i32);
        for (number, (type_oid, typmod, name)) in (1..).zip(columns) {
            let name = name.map_or(std::ptr::null(), CStr::as_ptr);
            server::TupleDescInitEntry(desc, number, name, type_oid, typmod, 0);
        }
        finalize(desc)
    }
}

/// A slot for rows as sent.
///
/// # Safety
/// The current memory context lives as long as the slot.
unsafe fn slot_for(job: &columns::JobColumns) -> *mut pg_sys::TupleTableSlot {
    let sent = columns::sent_types(job);
    // SAFETY: by the caller.
    unsafe {
        let columns = sent
            .iter()
            .map(|&(type_oid, typmod)| (type_oid, typmod, None));
        let desc = descriptor(columns);
        server::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple)
    }
}

impl Converter {
    /// A converter for a result with these columns, as the job describes them (`None`: command tags). Memory comes from
    /// `context`, which must live as long.
    ///
    /// # Errors
    /// 42804 the columns do not fit; 42704 one of their types was dropped
    ///
    /// # Safety
    /// The context must be valid.
    #[allow(
        clippy::disallowed_macros,
        reason = "at most as many as a row has columns"
    )]
    pub unsafe fn new(
        context: pg_sys::MemoryContext,
        description: Option<&'static [u8]>,
        wanted: Wanted<'_>,
    ) -> Result<Self, Error> {
        let width = wanted.caller().map_or(1, |caller| caller.columns().len());
        // SAFETY: by the caller.
        let (records, watch) = unsafe {
            let records = shim::pgb_records(context);
            (records, shim::pgb_watch_of(records))
        };
        let mut converter = Self {
            records,
            watch,
            watches: false,
            slot: std::ptr::null_mut(),
            plan: Plan::Tags(match wanted {
                Wanted::Json(json) => Some(json),
                Wanted::Columns(_) | Wanted::Rows(_) => None,
            }),
            values: vec![Datum::null(); width],
            nulls: vec![false; width],
            localized: (Vec::new(), Vec::new()),
        };
        if let Some(caller) = wanted.caller()
            && let Some((type_oid, shape)) = caller.row_type()
        {
            converter.watches = true;
            // SAFETY: just made.
            unsafe { shim::pgb_watch_type(watch, *type_oid, shape) };
            // The row type may have been altered while the session waited for the first row.
            converter.check_types();
        }
        let Some(description) = description else {
            if let Some(caller) = wanted.caller() {
                columns::check_tags(caller.columns())?;
            }
            return Ok(converter);
        };
        let mut job = columns::parse_description(description);
        columns::use_fallbacks(&mut job);
        columns::check_types(&job)?;
        converter.watches |= columns::has_alterable_types(&job);
        // SAFETY: just made.
        unsafe { columns::watch_types(&job, watch) };
        if let Some(caller) = wanted.caller() {
            converter.plan = Plan::Columns(columns::plan(&job, caller.columns())?);
        }
        // SAFETY: by the caller.
        unsafe {
            within(context, || {
                converter.slot = slot_for(&job);
                if let Wanted::Json(json) = wanted {
                    let columns = job.iter();
                    let desc = descriptor(
                        columns.map(|column| (column.type_oid, column.typmod, Some(column.name))),
                    );
                    let json = shim::pgb_json(desc, json.is_binary());
                    converter.plan = Plan::Json(json, columns::plan_as_is(&job));
                    converter.localized = (vec![Datum::null(); job.len()], vec![true; job.len()]);
                }
            });
        }
        Ok(converter)
    }

    /// Raises 42804 if a row type was altered since the previous row, as may happen between two fetches.
    pub fn check_types(&self) {
        if self.watches {
            let watch = self.watch;
            // SAFETY: it lives as long as the converter.
            unsafe { shim::pgb_check_watched(watch) };
        }
    }

    /// Whether [`check_types`](Self::check_types) has anything to check.
    pub fn watches(&self) -> bool {
        self.watches
    }

    /// Whether rows can be returned as sent.
    fn is_identity(&self) -> bool {
        matches!(&self.plan, Plan::Columns(conversions) if conversions.is_identity())
    }

    /// Converts a frame with a row or a tag. New values are made in the current memory context. `values`: return values
    /// even if the row is unchanged.
    ///
    /// # Safety
    /// The frame belongs to this result and stays valid while the row is used.
    pub unsafe fn row(&mut self, found: Frame, values: bool) -> ResultRow<'_> {
        // SAFETY: by the caller.
        unsafe {
            if let Plan::Tags(json) = self.plan {
                assert_eq!(found.kind, frame::TAG, "a row without columns");
                self.values[0] = tag(found, json);
                self.nulls[0] = false;
                return ResultRow::Values(&self.values, &self.nulls);
            }
            let tuple = self.tuple(found);
            server::ExecStoreMinimalTuple(tuple.cast_mut().cast(), self.slot, false);
            if self.is_identity() && !values {
                return ResultRow::AsIs(self.slot);
            }
            self.convert();
            ResultRow::Values(&self.values, &self.nulls)
        }
    }

    /// The tuple in a frame. Registers the row types that precede it.
    unsafe fn tuple(&mut self, found: Frame) -> *const u8 {
        if found.kind == frame::ROW {
            return found.start;
        }
        assert!(
            found.kind == frame::RECORDS_ROW,
            "frame of kind {} in a result",
            found.kind
        );
        const LENGTH: usize = size_of::<i32>();
        // SAFETY: the worker has written the frame in this layout (rows.c).
        unsafe {
            let len = found.start.cast::<i32>().read();
            let (records, descriptions) = (self.records, found.start.add(LENGTH).cast());
            shim::pgb_remember_records(records, descriptions, len);
            self.watches = true;
            found
                .start
                .add((LENGTH + len as usize).next_multiple_of(frame::ALIGNMENT))
        }
    }

    unsafe fn convert(&mut self) {
        // SAFETY: the slot holds a tuple of its descriptor.
        unsafe {
            let count = (*(*self.slot).tts_tupleDescriptor).natts;
            let row = if count == 0 {
                (&[][..], &[][..])
            } else {
                server::slot_getsomeattrs_int(self.slot, count);
                let count = count as usize;
                (
                    std::slice::from_raw_parts((*self.slot).tts_values, count),
                    std::slice::from_raw_parts((*self.slot).tts_isnull, count),
                )
            };
            match &self.plan {
                Plan::Columns(conversions) => {
                    conversions.apply(self.records, row, (&mut self.values, &mut self.nulls));
                }
                Plan::Json(json, conversions) => {
                    let (values, nulls) = &mut self.localized;
                    conversions.apply(self.records, row, (values, nulls));
                    let (json, values, nulls) = (*json, values.as_mut_ptr(), nulls.as_mut_ptr());
                    self.values[0] = shim::pgb_json_row(json, values, nulls);
                }
                Plan::Tags(_) => unreachable!("tags come without columns"),
            }
        }
    }
}

unsafe fn tag(frame: Frame, json: Option<JsonType>) -> Datum {
    let (start, len) = (frame.start.cast(), frame.len as i32);
    // SAFETY: by the caller of `row`.
    unsafe {
        match json {
            Some(json) => shim::pgb_json_tag(start, len, json.is_binary()),
            None => Datum::from(server::cstring_to_text_with_len(start, len)),
        }
    }
}

/// The two memory contexts of a read.
pub struct ReadContexts {
    /// Lives as long as the read.
    pub reading: pg_sys::MemoryContext,
    /// Emptied for each row.
    pub row: pg_sys::MemoryContext,
}

impl ReadContexts {
    /// Creates them under `parent`.
    ///
    /// # Safety
    /// `parent` must be valid.
    pub unsafe fn under(parent: pg_sys::MemoryContext) -> Self {
        // SAFETY: by the caller.
        unsafe {
            let reading = child_of(parent, c"pg_background result");
            Self {
                reading,
                row: child_of(reading, c"pg_background row"),
            }
        }
    }
}
