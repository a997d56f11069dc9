//! Runs SQL in PostgreSQL background workers.
//!
//! | module | subject |
//! |---|---|
//! | [`engine`] | the state machines: no PostgreSQL, checked by the models in `loom_tests/` |
//! | `pg` | the PostgreSQL facilities the engine stands on, each wrapped once |
//! | `leader` | a session's side: launch, wait, result, cancel, detach, list |
//! | `worker` | a worker's side: main loop, session, execution, sending |
//! | `api` | the SQL-callable functions |
//!
//! `docs/architecture.md` tells how they fit together.

#[macro_use]
mod pg;

mod api;
mod leader;
mod worker;

pgrx::pg_module_magic!(name, version);
