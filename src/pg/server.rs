//! The functions of the server that are called from Rust.
//!
//! They are declared here, with the types of pgrx's bindings, and not taken from there: in the bindings each has pgrx's
//! own guard around it (see [`boundary`](crate::pg::boundary)). `ci/lint` checks that no other is called. The server's
//! documentation and sources say what they do.

#![allow(non_snake_case, reason = "the names of the server")]
#![allow(missing_docs, reason = "they are the server's")]
#![allow(clippy::too_many_arguments, reason = "they are the server's")]

use crate::pg::guard::{not_throwing, throwing};
use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_long, c_void};

/// What the server only reads, and has said so since 17.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
type To<T> = *mut T;
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
type To<T> = *const T;

/// The same, since 19.
#[cfg(not(feature = "pg19"))]
type ToArray = *mut pg_sys::ArrayType;
#[cfg(feature = "pg19")]
type ToArray = *const pg_sys::ArrayType;

/// Declares them as `$kind` does. The bindings, which are made from the headers of this server, have the same types.
macro_rules! of_the_server {
    ($kind:ident! { $($(#[$cfg:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)* }) => {
        $kind! { $($(#[$cfg])* fn $name($($argument: $type),*) $(-> $result)?;)* }

        $(
            $(#[$cfg])*
            const _: unsafe fn($($type),*) $(-> $result)? = pg_sys::$name;
        )*
    };
}

of_the_server! { throwing! {
    fn AcceptInvalidationMessages();
    fn BackgroundWorkerInitializeConnectionByOid(dboid: pg_sys::Oid, useroid: pg_sys::Oid, flags: u32);
    fn before_shmem_exit(function: pg_sys::pg_on_exit_callback, arg: pg_sys::Datum);
    fn BlessTupleDesc(tupdesc: pg_sys::TupleDesc) -> pg_sys::TupleDesc;
    fn cancel_before_shmem_exit(function: pg_sys::pg_on_exit_callback, arg: pg_sys::Datum);
    fn CreateTemplateTupleDesc(natts: c_int) -> pg_sys::TupleDesc;
    fn CreateTupleDescCopy(tupdesc: pg_sys::TupleDesc) -> pg_sys::TupleDesc;
    fn cstring_to_text_with_len(s: *const c_char, len: c_int) -> *mut pg_sys::text;
    fn DefineCustomBoolVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut bool,
        boot_value: bool,
        context: pg_sys::GucContext::Type,
        flags: c_int,
        check_hook: pg_sys::GucBoolCheckHook,
        assign_hook: pg_sys::GucBoolAssignHook,
        show_hook: pg_sys::GucShowHook,
    );
    fn DefineCustomEnumVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut c_int,
        boot_value: c_int,
        options: *const pg_sys::config_enum_entry,
        context: pg_sys::GucContext::Type,
        flags: c_int,
        check_hook: pg_sys::GucEnumCheckHook,
        assign_hook: pg_sys::GucEnumAssignHook,
        show_hook: pg_sys::GucShowHook,
    );
    fn DefineCustomIntVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut c_int,
        boot_value: c_int,
        least: c_int,
        most: c_int,
        context: pg_sys::GucContext::Type,
        flags: c_int,
        check_hook: pg_sys::GucIntCheckHook,
        assign_hook: pg_sys::GucIntAssignHook,
        show_hook: pg_sys::GucShowHook,
    );
    fn DefineCustomStringVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut *mut c_char,
        boot_value: *const c_char,
        context: pg_sys::GucContext::Type,
        flags: c_int,
        check_hook: pg_sys::GucStringCheckHook,
        assign_hook: pg_sys::GucStringAssignHook,
        show_hook: pg_sys::GucShowHook,
    );
    fn deconstruct_array(
        array: ToArray,
        elmtype: pg_sys::Oid,
        elmlen: c_int,
        elmbyval: bool,
        elmalign: c_char,
        elemsp: *mut *mut pg_sys::Datum,
        nullsp: *mut *mut bool,
        nelemsp: *mut c_int,
    );
    fn dsa_allocate_extended(area: *mut pg_sys::dsa_area, size: usize, flags: c_int) -> pg_sys::dsa_pointer;
    fn dsa_attach(handle: pg_sys::dsa_handle) -> *mut pg_sys::dsa_area;
    fn dsa_get_address(area: *mut pg_sys::dsa_area, dp: pg_sys::dsa_pointer) -> *mut c_void;
    fn dsa_get_handle(area: *mut pg_sys::dsa_area) -> pg_sys::dsa_handle;
    fn dsa_pin(area: *mut pg_sys::dsa_area);
    fn dsa_pin_mapping(area: *mut pg_sys::dsa_area);
    fn dsa_set_size_limit(area: *mut pg_sys::dsa_area, limit: usize);
    fn dsm_attach(h: pg_sys::dsm_handle) -> *mut pg_sys::dsm_segment;
    fn dsm_create(size: pg_sys::Size, flags: c_int) -> *mut pg_sys::dsm_segment;
    fn dsm_pin_mapping(seg: *mut pg_sys::dsm_segment);
    fn dsm_pin_segment(seg: *mut pg_sys::dsm_segment);
    #[cfg(feature = "pg14")]
    fn EmitWarningsOnPlaceholders(class_name: *const c_char);
    fn EstimateGUCStateSpace() -> pg_sys::Size;
    fn ExecStoreMinimalTuple(
        mtup: pg_sys::MinimalTuple,
        slot: *mut pg_sys::TupleTableSlot,
        should_free: bool,
    ) -> *mut pg_sys::TupleTableSlot;
    fn find_typmod_coercion_function(
        type_id: pg_sys::Oid,
        funcid: *mut pg_sys::Oid,
    ) -> pg_sys::CoercionPathType::Type;
    fn format_type_with_typemod(type_oid: pg_sys::Oid, typemod: i32) -> *mut c_char;
    fn get_call_result_type(
        fcinfo: pg_sys::FunctionCallInfo,
        result_type_id: *mut pg_sys::Oid,
        result_tuple_desc: *mut pg_sys::TupleDesc,
    ) -> pg_sys::TypeFuncClass::Type;
    fn get_database_name(dbid: pg_sys::Oid) -> *mut c_char;
    fn get_fn_expr_argtype(flinfo: *mut pg_sys::FmgrInfo, argnum: c_int) -> pg_sys::Oid;
    fn get_func_rettype(funcid: pg_sys::Oid) -> pg_sys::Oid;
    fn get_typisdefined(typid: pg_sys::Oid) -> bool;
    fn get_typlenbyvalalign(typid: pg_sys::Oid, typlen: *mut i16, typbyval: *mut bool, typalign: *mut c_char);
    fn get_typtype(typid: pg_sys::Oid) -> c_char;
    fn GetAttributeByNum(
        tuple: pg_sys::HeapTupleHeader,
        attrno: pg_sys::AttrNumber,
        is_null: *mut bool,
    ) -> pg_sys::Datum;
    fn GetBackgroundWorkerPid(
        handle: *mut pg_sys::BackgroundWorkerHandle,
        pidp: *mut pg_sys::pid_t,
    ) -> pg_sys::BgwHandleStatus::Type;
    fn getBaseType(typid: pg_sys::Oid) -> pg_sys::Oid;
    fn GetConfigOption(name: *const c_char, missing_ok: bool, restrict_privileged: bool) -> *const c_char;
    fn GetConfigOptionResetString(name: *const c_char) -> *const c_char;
    fn getTypeOutputInfo(type_: pg_sys::Oid, typ_output: *mut pg_sys::Oid, typ_is_varlena: *mut bool);
    fn GetUserNameFromId(roleid: pg_sys::Oid, noerr: bool) -> *mut c_char;
    fn has_privs_of_role(member: pg_sys::Oid, role: pg_sys::Oid) -> bool;
    fn heap_form_tuple(
        tuple_descriptor: pg_sys::TupleDesc,
        values: To<pg_sys::Datum>,
        isnull: To<bool>,
    ) -> pg_sys::HeapTuple;
    fn HeapTupleHeaderGetDatum(tuple: pg_sys::HeapTupleHeader) -> pg_sys::Datum;
    fn LockReleaseAll(lockmethodid: pg_sys::LOCKMETHODID, all_locks: bool);
    fn LWLockAcquire(lock: *mut pg_sys::LWLock, mode: pg_sys::LWLockMode::Type) -> bool;
    fn LWLockRelease(lock: *mut pg_sys::LWLock);
    fn LWLockReleaseAll();
    fn MakeSingleTupleTableSlot(
        tupdesc: pg_sys::TupleDesc,
        tts_ops: *const pg_sys::TupleTableSlotOps,
    ) -> *mut pg_sys::TupleTableSlot;
    #[cfg(not(feature = "pg14"))]
    fn MarkGUCPrefixReserved(class_name: *const c_char);
    fn MemoryContextAllocHuge(context: pg_sys::MemoryContext, size: pg_sys::Size) -> *mut c_void;
    fn MemoryContextAllocZero(context: pg_sys::MemoryContext, size: pg_sys::Size) -> *mut c_void;
    fn MemoryContextDelete(context: pg_sys::MemoryContext);
    fn MemoryContextDeleteChildren(context: pg_sys::MemoryContext);
    fn MemoryContextRegisterResetCallback(
        context: pg_sys::MemoryContext,
        cb: *mut pg_sys::MemoryContextCallback,
    );
    fn MemoryContextReset(context: pg_sys::MemoryContext);
    fn OidFunctionCall1Coll(
        function_id: pg_sys::Oid,
        collation: pg_sys::Oid,
        arg1: pg_sys::Datum,
    ) -> pg_sys::Datum;
    fn OidFunctionCall2Coll(
        function_id: pg_sys::Oid,
        collation: pg_sys::Oid,
        arg1: pg_sys::Datum,
        arg2: pg_sys::Datum,
    ) -> pg_sys::Datum;
    fn palloc(size: pg_sys::Size) -> *mut c_void;
    fn parse_bool(value: *const c_char, result: *mut bool) -> bool;
    fn parse_int(value: *const c_char, result: *mut c_int, flags: c_int, hintmsg: *mut *const c_char) -> bool;
    fn pfree(pointer: *mut c_void);
    fn pg_detoast_datum(datum: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    fn pg_detoast_datum_copy(datum: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    fn pg_detoast_datum_packed(datum: *mut pg_sys::varlena) -> *mut pg_sys::varlena;
    fn pg_mbcliplen(mbstr: *const c_char, len: c_int, limit: c_int) -> c_int;
    fn pg_strong_random(buf: *mut c_void, len: usize) -> bool;
    fn pg_verifymbstr(mbstr: *const c_char, len: c_int, no_error: bool) -> bool;
    fn ProcessInterrupts();
    fn quote_identifier(ident: *const c_char) -> *const c_char;
    fn RegisterDynamicBackgroundWorker(
        worker: *mut pg_sys::BackgroundWorker,
        handle: *mut *mut pg_sys::BackgroundWorkerHandle,
    ) -> bool;
    fn RegisterExprContextCallback(
        econtext: *mut pg_sys::ExprContext,
        function: pg_sys::ExprContextCallbackFunction,
        arg: pg_sys::Datum,
    );
    fn RegisterSubXactCallback(callback: pg_sys::SubXactCallback, arg: *mut c_void);
    fn RegisterXactCallback(callback: pg_sys::XactCallback, arg: *mut c_void);
    fn repalloc_huge(pointer: *mut c_void, size: pg_sys::Size) -> *mut c_void;
    fn SerializeGUCState(maxsize: pg_sys::Size, start_address: *mut c_char);
    fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, attnum: c_int);
    fn superuser() -> bool;
    fn superuser_arg(roleid: pg_sys::Oid) -> bool;
    fn TempTablespacePath(path: *mut c_char, tablespace: pg_sys::Oid);
    fn TerminateBackgroundWorker(handle: *mut pg_sys::BackgroundWorkerHandle);
    #[cfg(feature = "pg19")]
    fn TupleDescFinalize(tupdesc: pg_sys::TupleDesc);
    fn TupleDescInitEntry(
        desc: pg_sys::TupleDesc,
        attribute_number: pg_sys::AttrNumber,
        attribute_name: *const c_char,
        oidtypeid: pg_sys::Oid,
        typmod: i32,
        attdim: c_int,
    );
    fn tuplestore_begin_heap(
        random_access: bool,
        inter_xact: bool,
        max_k_bytes: c_int,
    ) -> *mut pg_sys::Tuplestorestate;
    fn tuplestore_puttupleslot(state: *mut pg_sys::Tuplestorestate, slot: *mut pg_sys::TupleTableSlot);
    fn tuplestore_putvalues(
        state: *mut pg_sys::Tuplestorestate,
        tdesc: pg_sys::TupleDesc,
        values: To<pg_sys::Datum>,
        isnull: To<bool>,
    );
    fn UnregisterExprContextCallback(
        econtext: *mut pg_sys::ExprContext,
        function: pg_sys::ExprContextCallbackFunction,
        arg: pg_sys::Datum,
    );
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    fn WaitEventExtensionNew(wait_event_name: *const c_char) -> u32;
    fn WaitLatch(
        latch: *mut pg_sys::Latch,
        wake_events: c_int,
        timeout: c_long,
        wait_event_info: u32,
    ) -> c_int;
    fn AllocSetContextCreateInternal(
        parent: pg_sys::MemoryContext,
        name: *const c_char,
        min_context_size: usize,
        init_block_size: usize,
        max_block_size: usize,
    ) -> pg_sys::MemoryContext;
} }

of_the_server! { not_throwing! {
    fn dsm_segment_address(seg: *mut pg_sys::dsm_segment) -> *mut c_void;
    fn dsm_segment_handle(seg: *mut pg_sys::dsm_segment) -> pg_sys::dsm_handle;
    fn GetAuthenticatedUserId() -> pg_sys::Oid;
    fn GetCurrentRoleId() -> pg_sys::Oid;
    fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    fn GetCurrentTimestamp() -> pg_sys::TimestampTz;
    fn GetOuterUserId() -> pg_sys::Oid;
    fn GetSessionUserId() -> pg_sys::Oid;
    fn GetUserId() -> pg_sys::Oid;
    fn GetUserIdAndSecContext(userid: *mut pg_sys::Oid, sec_context: *mut c_int);
    fn InSecurityRestrictedOperation() -> bool;
    fn IsInParallelMode() -> bool;
    fn IsTransactionState() -> bool;
    fn ResetLatch(latch: *mut pg_sys::Latch);
    fn SetLatch(latch: *mut pg_sys::Latch);
} }

not_throwing! {
    // Since 18 the bindings do not say that it does not return.
    fn proc_exit(code: c_int) -> !;
}

/// Lets an interrupt that is pending happen: it unwinds from here.
pub fn check_for_interrupts() {
    // SAFETY: reads a flag that signal handlers set, at a place where an interrupt may happen.
    unsafe {
        if (&raw const pg_sys::InterruptPending).read_volatile() != 0 {
            ProcessInterrupts();
        }
    }
}
