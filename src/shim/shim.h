/*
 * What the C shim and the Rust side of the extension share.
 *
 * C is used only where Rust would be unsound (a jump over frames with destructors, a signal handler, an
 * error that must keep all its fields) or where a server header offers nothing but macros and inline
 * functions. Each file says which.
 */
#ifndef PGB_SHIM_H
#define PGB_SHIM_H

#include "postgres.h"

/* Who a session is, or a job runs as. */
typedef struct PgbIdentity
{
	Oid			authenticated;	/* who logged in; the lane's role */
	Oid			session;		/* SET SESSION AUTHORIZATION */
	Oid			outer;			/* SET ROLE; equals session when no role is set */
	Oid			current;		/* the user whose rights count now */
	int32		sec_context;	/* SECURITY_* bits that hold now */
	bool		role_active;	/* SET ROLE is in effect */
} PgbIdentity;

/* A setting to be made. */
typedef struct PgbSetting
{
	const char *name;
	const char *value;
	uint32		source;			/* GucSource */
	uint32		scope;			/* GucContext */
	Oid			role;			/* who set it, from 15 on */
} PgbSetting;

/* How to come to the leader's settings. */
typedef struct PgbGucTarget
{
	const char *state;			/* all of them, as serialized by the leader */
	const PgbSetting *changes;	/* only these have to be made; NULL: put on state as a whole */
	int32		count;			/* of changes */
} PgbGucTarget;

/* One job to execute. */
typedef struct PgbRun
{
	const char *sql;
	const PgbIdentity *identity;
	int32		statement_timeout;	/* ms; -1: what the restored state says */
	bool		send_rows;		/* there is a result ring */
	const char *params;			/* as pgb_params made them; NULL: none */
} PgbRun;

/* root.c */
extern void *pgb_root(const char *name, Size size, void (*init) (void *root));
extern struct dsa_area *pgb_create_area(int tranche);
extern void *pgb_reach(struct dsa_area *area, uint64 pointer);
extern uint64 pgb_try_allocate(struct dsa_area *area, Size size);
extern void pgb_free(struct dsa_area *area, uint64 pointer);

/* execute.c */
extern bool pgb_run(const PgbRun *run);
extern const char *pgb_completion(int64 *row_count);
extern bool pgb_committed(void);
extern void pgb_worker_loop(void (*step) (void));
extern void pgb_forget_job(void);
extern bool pgb_adopt(const PgbIdentity *identity, const PgbGucTarget *settings);

/* session.c */
extern void pgb_capture_identity(PgbIdentity *identity);
extern void pgb_adopt_session(const PgbIdentity *identity, const PgbGucTarget *settings);
extern void pgb_check_rights(const PgbIdentity *identity);
extern void pgb_release_session_locks(void);
extern bool pgb_reset_session(void);
extern void pgb_session_init(void);
extern bool pgb_idle_interrupts(void);
extern void pgb_report_idle(void);
extern void pgb_drop_replication_slots(void);

/* settings.c; before 16 */
extern Size pgb_settings_image(char *bytes, Size size);

/* signal.c */
extern void pgb_install_signals(void);
extern void pgb_ignore_doorbell(void);
extern void pgb_clear_cancel(void);
extern void pgb_rearm_cancel(void);
extern void pgb_nudge_postmaster(void);

/* comm.c */
extern void pgb_redirect_messages(void);
extern void pgb_mute_messages(void);
extern void pgb_port_without_client(void);
extern void pgb_raise_message(const char *message, int32 len, int32 max_level, int32 pid);

/* rows.c */
struct Tuplestorestate;

extern struct _DestReceiver *pgb_row_receiver(void);
extern void pgb_put_tuples(struct Tuplestorestate *store, const uint8 *const *tuples, int32 count);

/* record.c */
typedef struct PgbRecords PgbRecords;
struct StringInfoData;
struct TupleDescData;

extern bool pgb_may_hold_record(Oid type);
extern uint32 pgb_shape(Oid type);
extern PgbRecords *pgb_records(MemoryContext context);
extern void pgb_announce_records(PgbRecords *records, Oid type, Datum value, struct StringInfoData *into);
extern void pgb_remember_records(PgbRecords *records, const char *descriptions, int32 len);
extern Datum pgb_localize_record(PgbRecords *records, Oid type, Datum value);

/* params.c */
struct FunctionCallInfoBaseData;
struct ParamListInfoData;

extern const char *pgb_params(struct FunctionCallInfoBaseData *fcinfo, int32 first, int32 *len);
extern struct ParamListInfoData *pgb_restore_params(const char *bytes, Oid **types);

/* json.c */
typedef struct PgbJson PgbJson;

extern PgbJson *pgb_json(struct TupleDescData *desc);
extern Datum pgb_json_row(PgbJson *json, Datum *values, bool *nulls);
extern Datum pgb_json_tag(const char *tag, int32 len);
extern void *pgb_json_array_push(void *state, Datum element);
extern Datum pgb_json_array_end(void *state);

/* spill.c */
extern Oid pgb_spill_tablespace(void);
extern void pgb_spill_write(Oid tablespace, uint64 number, bool create, int64 offset, const char *bytes, int32 len);
extern bool pgb_spill_write_rest(Oid tablespace, uint64 number, bool create, int64 offset, const char *bytes, int32 len);
extern void pgb_spill_empty(void);
extern void pgb_spill_end_transaction(bool is_abort);
extern void pgb_spill_delete(Oid tablespace, uint64 number);
extern int32 pgb_spill_open(Oid tablespace, uint64 number);
extern void pgb_spill_read(int32 file, int64 offset, char *into, int32 len);
extern void pgb_spill_close(int32 file);

/* trace.c */
extern void pgb_trace(bool detail, uint32 index, uint64 generation, const char *what, int32 pid);

/* Provided by the Rust side. */
#define PGB_FRAME_ROW 1			/* a MinimalTuple */
#define PGB_FRAME_RECORDS_ROW 2 /* int32 length, descriptions of row types, padding, a MinimalTuple */
#define PGB_FRAME_TAG 3			/* command tag of one statement */
#define PGB_FRAME_NOTICE 4		/* body of a NoticeResponse message */

/*
 * They are found by name when the library is linked, and by nobody after that: the strictest visibility of
 * all that mention a name holds, so that these here keep them out of the library's exports.
 */
#pragma GCC visibility push(hidden)

/* The columns: int32 count, then oid, uint32 shape (pgb_shape), int32 typmod and zero-terminated name of
 * each. May throw. */
extern void pgb_describe(const char *description, size_t len);
extern void pgb_send_frame(uint8 kind, const char *bytes, size_t len);	/* may wait, may throw */
extern void pgb_flush_messages(void);	/* may wait, may throw */
extern void pgb_on_message(char type, const char *bytes, size_t len);	/* never waits or throws */
extern uint32 pgb_current_flags(void);	/* async-signal-safe */

/* A fault point (src/pg/fault.rs). */
#ifdef PGB_FAULTS
extern void pgb_fault(const char *name);

#define PGB_FAULT(name) pgb_fault(name)
#else
#define PGB_FAULT(name) ((void) 0)
#endif

#pragma GCC visibility pop

#define PGB_JOB_CANCEL 1
#define PGB_JOB_TERMINATE 2

#endif
