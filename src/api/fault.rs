//! Functions that arm fault points ([`crate::pg::fault`]), in builds for tests only. No script declares them: a test
//! declares them itself.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "in builds for tests only"
)]

use super::{STRICT, VOID, sql_function};
use crate::cluster::attach::cluster;
use crate::pg::allocator;
use crate::pg::error::Error;
use crate::pg::fault;
use crate::pg::fault::points::{POINTS, Sides};
use crate::pg::fault::{Fault, points};
use crate::pg::tuple::Value;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;

fn no(what: &str) -> Error {
    Error::new(
        ERRCODE_INVALID_PARAMETER_VALUE,
        format!("there is no such {what}"),
    )
}

fn text(text: &str) -> super::Result {
    Ok(Value::text(text.as_bytes()).datum())
}

sql_function!(
    /// `pgb_fault_points() text`: a line for each point and side that passes it: name, side, section, the faults that
    /// it admits and the occasions that lead past it, the last two as lists.
    pgb_fault_points,
    pg_finfo_pgb_fault_points,
    |_arguments| {
        let lines = POINTS.iter().flat_map(|point| {
            let section = point.section;
            [("leader", point.leader), ("worker", point.worker)]
                .into_iter()
                .filter(|(_, occasions)| !occasions.is_empty())
                .map(move |(side, occasions)| {
                    let (faults, occasions) = (section.admits().join(","), occasions.join(","));
                    let (name, section) = (point.name, section.name());
                    format!("{name} {side} {section} {faults} {occasions}")
                })
        });
        text(&lines.collect::<Vec<_>>().join("\n"))
    }
);

sql_function!(
    /// `pgb_fault_arm(point text, sides text, fault text, passing int4)`
    pgb_fault_arm,
    pg_finfo_pgb_fault_arm,
    |arguments| {
        let point = points::named(arguments.text(0).expect(STRICT)).ok_or_else(|| no("point"))?;
        let sides = Sides::named(arguments.text(1).expect(STRICT)).ok_or_else(|| no("side"))?;
        let fault = Fault::named(arguments.text(2).expect(STRICT)).ok_or_else(|| no("fault"))?;
        let passing = arguments.int4(3).expect(STRICT).max(1).cast_unsigned();
        fault::arm(point, sides, fault, passing);
        Ok(VOID)
    }
);

sql_function!(
    /// `pgb_fault_lift(point text)`
    pgb_fault_lift,
    pg_finfo_pgb_fault_lift,
    |arguments| {
        let point = points::named(arguments.text(0).expect(STRICT)).ok_or_else(|| no("point"))?;
        fault::lift(point);
        Ok(VOID)
    }
);

sql_function!(
    /// `pgb_fault_state(point text) text`: `idle`, `armed`, `struck PID` or `stalled PID`.
    pgb_fault_state,
    pg_finfo_pgb_fault_state,
    |arguments| {
        let point = points::named(arguments.text(0).expect(STRICT)).ok_or_else(|| no("point"))?;
        match fault::state(point) {
            (state, None) => text(state),
            (state, Some(pid)) => text(&format!("{state} {pid}")),
        }
    }
);

sql_function!(
    /// `pgb_fault_no_memory(after int4)`: after so many more allocations of Rust this process has no memory for others.
    pgb_fault_no_memory,
    pg_finfo_pgb_fault_no_memory,
    |arguments| {
        let count = arguments.int4(0).expect(STRICT).max(0).cast_unsigned();
        allocator::refuse_after(count as usize);
        Ok(VOID)
    }
);

sql_function!(
    /// `pgb_fault_under_lock()`: an assertion fails while this session has the pool's lock.
    pgb_fault_under_lock,
    pg_finfo_pgb_fault_under_lock,
    |_arguments| {
        cluster()?
            .pool()
            .locked(|_| panic!("an assertion fails on purpose"));
        Ok(VOID)
    }
);
