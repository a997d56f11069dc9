//! C functions that only catalogs of older versions name.
//!
//! From the moment the library is replaced until `ALTER EXTENSION pg_background UPDATE`, a database uses the catalog of
//! the C extension. The functions that it names must exist. Versions 1.9 and 1.10 name C functions with `_v2` that this
//! version's scripts name without; 2.0 is the other way round.

use super::{control, function_record, view};

macro_rules! old_name {
    ($(#[$meta:meta])* $name:ident, $info:ident, $now:path) => {
        function_record!($info);

        $(#[$meta])*
        ///
        /// # Safety
        /// Called by the server with the arguments that the script declares.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: by the caller.
            unsafe { $now(fcinfo) }
        }
    };
}

old_name!(
    /// 1.9, 1.10
    pg_background_result_info_v2,
    pg_finfo_pg_background_result_info_v2,
    view::pg_background_result_info
);

old_name!(
    /// 1.9, 1.10
    pg_background_error_info_v2,
    pg_finfo_pg_background_error_info_v2,
    view::pg_background_error_info
);

old_name!(
    /// 1.9, 1.10
    pg_background_detach_all_v2,
    pg_finfo_pg_background_detach_all_v2,
    control::pg_background_detach_all
);

old_name!(
    /// 1.9, 1.10
    pg_background_cancel_all_v2,
    pg_finfo_pg_background_cancel_all_v2,
    control::pg_background_cancel_all
);

old_name!(
    /// 1.10
    pg_background_full_sql_v2,
    pg_finfo_pg_background_full_sql_v2,
    view::pg_background_full_sql
);

old_name!(
    /// 2.0
    pg_background_list,
    pg_finfo_pg_background_list,
    view::pg_background_list_v2
);

old_name!(
    /// 2.0
    pg_background_stats,
    pg_finfo_pg_background_stats,
    view::pg_background_stats_v2
);
