/*
 * What the C shim and the Rust side of the extension share.
 *
 * C is used only where Rust would be unsound (a jump over frames with destructors, a signal handler, an error that has
 * to keep all its fields) or where a server header offers only macros and inline functions. Each file says which.
 */
#ifndef PGB_SHIM_H
#define PGB_SHIM_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "shared.h"

/* The users of a session. A job runs as those of its leader. */
typedef struct PgbIdentity
{
	Oid			authenticated;	/* who logged in; the lane's role */
	Oid			session;		/* SET SESSION AUTHORIZATION */
	Oid			outer;			/* SET ROLE; equals session when no role is set */
	Oid			current;		/* the user whose privileges count now */
	int32		sec_context;	/* SECURITY_* bits that are set now */
	bool		role_active;	/* SET ROLE is in effect */
} PgbIdentity;

/* A leader's settings (settings.c). */
typedef struct PgbSettings
{
	const char *bytes;
	Size		size;
} PgbSettings;

/* What the row types in a type look like (shape.c). */
typedef struct PgbShape
{
	uint8		hash[PGB_SHAPE_SIZE];
} PgbShape;

/* One job to execute. */
typedef struct PgbRun
{
	const char *sql;
	const PgbIdentity *identity;
	int32		time_limit;		/* ms, of the whole job; -1: none, only statement_timeout applies */
	bool		send_rows;		/* somebody wants the rows of the last statement, or the tags */
	const char *params;			/* as pgb_params made them; NULL: none */
	const char *label;
	int32		label_len;		/* 0: no label */
	Oid			wanted;			/* with send_rows: the type of the only value that is sent; invalid: all is sent */
	const PgbShape *wanted_shape;	/* with wanted: as the leader sees the type */
	const PgbSettings *settings;	/* the leader's, which were adopted */
	Size		plan_memory;	/* bytes that saved plans may need; 0: none is saved */
} PgbRun;

/* Since 19 a descriptor that was made attribute by attribute has to be finalized before it is used. */
#if PG_VERSION_NUM < 190000
#define TupleDescFinalize(desc) ((void) (desc))
#endif

/* root.c */
extern void *pgb_root(const char *name, Size size, void (*init) (void *root));
struct LWLock;

extern void pgb_init_locks(int *tranche, struct LWLock **locks, int count);
extern void pgb_reserve_root(const char *name, Size size, void (*init) (void *root));
extern struct dsa_area *pgb_create_area(int tranche, Size limit, Size *total_size);
extern Size pgb_area_size(struct dsa_area *area, Size total_size);
extern void *pgb_reach(struct dsa_area *area, uint64 pointer);
extern uint64 pgb_try_allocate(struct dsa_area *area, Size size);
extern void pgb_free(struct dsa_area *area, uint64 pointer);
extern uint32 pgb_create_segment(Size size, void **address);
extern void *pgb_map_segment(uint32 handle);
extern uint32 pgb_try_store(const char *bytes, Size size);
extern void pgb_unmap_segment(uint32 handle);
extern void pgb_free_segment(uint32 handle);

/* execute.c */
extern bool pgb_run(const PgbRun *run);
extern const char *pgb_completion(int64 *row_count);
extern bool pgb_committed(void);
extern void pgb_prepare_runs(void);
extern void pgb_worker_loop(void (*step) (void));
extern void pgb_forget_job(void);
extern bool pgb_adopt(const PgbIdentity *identity, const PgbSettings *settings);

/* plans.c */
struct CachedPlan;
struct CachedPlanSource;
struct ParamListInfoData;
struct RawStmt;

extern void pgb_plans_init(void);
extern void pgb_plans_forget(void);
extern void pgb_plans_forget_settings(void);
extern struct CachedPlanSource *pgb_find_plan(const PgbRun *run);
extern struct CachedPlanSource *pgb_save_plan(const PgbRun *run, struct RawStmt *statement, Oid *types, int count,
											  List **queries);
extern struct CachedPlan *pgb_plan(struct CachedPlanSource *source, struct ParamListInfoData *values);
extern void pgb_note_function_of_plan(Oid function);
extern void pgb_plans_end_job(Size limit);

/* time_limit.c */
extern void pgb_begin_time_limit(int32 limit);
extern void pgb_forget_time_limit(void);
extern bool pgb_time_is_over(void);
extern void pgb_arm_statement_timer(void);
extern void pgb_arm_commit_timer(void);
extern void pgb_stop_timer(void);
extern void pgb_rearm_time_limit(void);

/* session.c */
extern void pgb_adopt_session(const PgbIdentity *identity, const PgbSettings *settings);
extern void pgb_check_rights(const PgbIdentity *identity);
extern bool pgb_may_switch_back(const PgbIdentity *identity);
extern bool pgb_reset_session(void);
extern void pgb_session_init(void);
extern bool pgb_idle_interrupts(void);
extern void pgb_report_idle(void);
extern void pgb_drop_replication_slots(void);

/* settings.c */
struct StringInfoData;
struct config_generic;

/* The part of a setting that its type has. It follows what all types have; since 19 it is a member of that struct. */
#if PG_VERSION_NUM >= 190000
#define PGB_BOOL_SETTING(setting) (&(setting)->_bool)
#define PGB_INT_SETTING(setting) (&(setting)->_int)
#define PGB_REAL_SETTING(setting) (&(setting)->_real)
#define PGB_STRING_SETTING(setting) (&(setting)->_string)
#define PGB_ENUM_SETTING(setting) (&(setting)->_enum)
#else
#define PGB_BOOL_SETTING(setting) ((struct config_bool *) (setting))
#define PGB_INT_SETTING(setting) ((struct config_int *) (setting))
#define PGB_REAL_SETTING(setting) ((struct config_real *) (setting))
#define PGB_STRING_SETTING(setting) ((struct config_string *) (setting))
#define PGB_ENUM_SETTING(setting) ((struct config_enum *) (setting))
#endif

extern Size pgb_settings_image(char *bytes, Size size); /* before 16 */
extern Size pgb_role_image(char *bytes, Size size); /* from 16 on */
extern Size pgb_settings_to_send(const char *state, char *bytes, Size size);
extern struct config_generic *pgb_find_setting(const char *name);
extern bool pgb_plan_settings(const PgbSettings *leaders, struct StringInfoData *into);
extern void pgb_read_files(const char *prefix);
extern void pgb_read_catalog(const char *prefix);
extern void pgb_note_configuration(void);
extern void pgb_restore_configuration(void);
extern void pgb_reload_configuration(void);
extern void pgb_make_settings(const PgbSettings *leaders);
extern void pgb_make_user_setting(const char *name, const char *value, int source, const PgbSettings *leaders);
extern const char *pgb_reset_value_of(const char *name, const PgbSettings *leaders, int *source);

/* placeholders.c */
extern void pgb_unhide(const char *name);
extern void pgb_hide_names_of_others(void);
extern bool pgb_hide_names_of_job(void);
extern bool pgb_has_hidden_too_many(void);
extern bool pgb_has_prefix(const char *name, const char *prefix);
extern bool pgb_hides_configuration(const char *prefix);
extern bool pgb_is_defined(const char *name);
extern bool pgb_hides_catalog(const char *prefix);

/* leftovers.c */
struct Node;

extern void pgb_watch_leftovers(void);
extern void pgb_watch_statement(const struct Node *statement);
extern bool pgb_remove_leftovers(void);

/* signal.c */
extern void pgb_install_signals(void);
extern void pgb_ignore_signal(void);
extern void pgb_raise_cancel(void);
extern void pgb_forget_cancel(void);
extern void pgb_cancel_after_commit(void);
extern bool pgb_is_cancel(const char *message);
extern struct ErrorContextCallback pgb_cancel_watch;
extern void pgb_signal_worker(int32 pid, bool terminate);
extern void pgb_nudge_postmaster(void);

/* library.c */
extern const char *pgb_library_path(void);
extern void pgb_be_the_only_copy(void);
extern bool pgb_library_is_in_place(void);

/* clock.c */
extern uint64 pgb_now(void);

/* comm.c */
extern void pgb_redirect_messages(void);
extern void pgb_port_without_client(void);
extern void pgb_raise_message(const char *message, int32 len, int32 max_level, int32 pid);

/* error.c */
typedef struct PgbAttempt
{
	MemoryContext context;
	struct ResourceOwnerData *owner;
} PgbAttempt;

/* What Rust reports. */
typedef struct PgbReport
{
	int			code;
	int			line;
	const char *file;
	const char *message;
	const char *detail;
	const char *hint;
} PgbReport;

extern ErrorData *pgb_guard(void (*call) (void *), void *arg);
extern void pgb_free_error(ErrorData *note);
extern void pgb_raise_error(ErrorData *note) __attribute__((noreturn));
extern void pgb_report(int level, const PgbReport *report);
extern void pgb_quietly(void (*call) (void *), void *arg);
extern bool pgb_survives(void (*call) (void *), void *arg, int *code);
extern bool pgb_cancels_statement(const char *message);
extern bool pgb_begin_attempt(PgbAttempt *attempt);
extern void pgb_end_attempt(const PgbAttempt *attempt, bool succeeded);

/* convert.c */
extern Datum pgb_text_of(Oid output, Datum value);
extern Datum pgb_coerce_length(Oid coercion, Datum value, int32 typmod);
extern void pgb_check_domain(Oid domain, Datum row);
extern void pgb_parse_type(const char *name, Oid *type, int32 *typmod);

/* memory.c */
/* The attribute is spelled out because the server's macro has another name since 18. */
extern void pgb_end_session_without_memory(Size size) __attribute__((noreturn));

extern void pgb_panic(const char *why, Size len) __attribute__((noreturn));

/* rows.c */
struct Tuplestorestate;

extern struct _DestReceiver *pgb_row_receiver(void);
extern void pgb_put_tuples(struct Tuplestorestate *store, const uint8 *const *tuples, int32 count);

/* value.c */
extern struct _DestReceiver *pgb_value_receiver(Oid type);
extern bool pgb_has_value(const struct _DestReceiver *receiver);
extern void pgb_check_wanted(Oid type, const PgbShape *shape);
extern void pgb_check_no_value(Oid type);

/* shape.c */
typedef struct PgbWatch PgbWatch;

/* How long a type exists, from the best case to the worst. */
typedef enum PgbLasts
{
	PGB_LASTS,
	PGB_UNCOMMITTED,			/* of this transaction: the reader finds it if that has committed */
	PGB_TEMPORARY				/* of this process */
} PgbLasts;

extern PgbShape pgb_shape(Oid type);
extern PgbLasts pgb_type_lasts(Oid type);
extern bool pgb_type_exists(Oid type);
extern bool pgb_has_shape(Oid type, const PgbShape *expected);
extern PgbWatch *pgb_watch(MemoryContext context);
extern void pgb_watch_type(PgbWatch *watch, Oid type, const PgbShape *shape);
extern bool pgb_is_watch_unchanged(PgbWatch *watch);
extern void pgb_check_watched(PgbWatch *watch);

/* record.c */
typedef struct PgbRecords PgbRecords;
struct HeapTupleHeaderData;
struct StringInfoData;
struct TupleDescData;

extern bool pgb_may_hold_record(Oid type);
extern PgbRecords *pgb_records(MemoryContext context);
extern PgbWatch *pgb_watch_of(PgbRecords *records);
extern void pgb_announce_records(PgbRecords *records, Oid type, Datum value, struct StringInfoData *into);
extern void pgb_remember_records(PgbRecords *records, const char *descriptions, int32 len);
extern Datum pgb_localize_record(PgbRecords *records, Oid type, Datum value);
extern void pgb_deform(struct HeapTupleHeaderData *header, struct TupleDescData *desc, Datum **values, bool **nulls);

/* lasting.c */
typedef struct PgbLasting PgbLasting;

extern PgbLasting *pgb_lasting(void);
extern const void *pgb_plan_to_last(PgbLasting *lasting, Oid from, Oid *type, int32 *typmod);
extern Datum pgb_make_last(PgbLasting *lasting, const void *plan, Datum value);
extern Datum pgb_make_record_last(PgbLasting *lasting, Oid type, Datum value);

/* params.c */
struct FunctionCallInfoBaseData;
struct ParamExternData;
struct ParamListInfoData;

extern struct ParamListInfoData *pgb_param_list(int64 count);
extern void pgb_set_param(struct ParamExternData *param, Oid type, Datum value, bool isnull, Size *size);
extern const char *pgb_serialize_params(struct ParamListInfoData *params, int32 *len);
extern const char *pgb_params(struct FunctionCallInfoBaseData *fcinfo, int32 first, int32 *len);
extern Size pgb_param_types_size(const char *bytes);
extern struct ParamListInfoData *pgb_restore_params(const char *bytes, Oid **types);

/* elements.c */
typedef struct PgbElements PgbElements;

extern PgbElements *pgb_elements(MemoryContext context, Datum array);
extern int32 pgb_count_elements(const PgbElements *elements);
extern uint32 pgb_bind_element(PgbElements *elements, const char **bytes, int32 *len);
extern void pgb_pass_element(PgbElements *elements);

/* json.c */
typedef struct PgbJson PgbJson;

extern PgbJson *pgb_json(struct TupleDescData *desc, bool is_binary);
extern Datum pgb_json_row(PgbJson *json, Datum *values, bool *nulls);
extern Datum pgb_json_tag(const char *tag, int32 len, bool is_binary);
extern void *pgb_json_array_push(void *state, Datum element);
extern Datum pgb_json_array_end(void *state);

/* spill.c */
extern Oid pgb_spill_tablespace(void);
extern void pgb_spill_write(const char *path, const char *directory, int64 offset, const char *bytes, int32 len);
extern int32 pgb_spill_open_rest(const char *path, const char *directory);
extern void pgb_spill_close(int32 file);
extern void pgb_spill_empty(const char *path);
extern void pgb_spill_end_transaction(bool is_abort);
extern int32 pgb_spill_open(const char *path);
extern void pgb_spill_read(int32 file, int64 offset, char *into, int32 len);

/* drop.c */
extern void pgb_watch_drops(void);

/* login.c */
extern bool pgb_can_connect_again(void);

/* pin.c */
extern bool pgb_waits_for_own_pin(int32 pid);

/* xact_end.c */
extern bool pgb_may_end_transaction(struct FunctionCallInfoBaseData *fcinfo);
extern void pgb_next_transaction(void);
extern bool pgb_waits_for_transaction(int32 pid);

/* trace.c */
extern bool pgb_events_are_read(void);
extern void pgb_write_event(const char *text);
extern bool pgb_transitions_are_read(void);
extern void pgb_write_transition(const char *text, bool is_first);
extern void pgb_log_unattached(const char *why, Size len);

/*
 * Provided by the Rust side.
 *
 * They are found by name when the library is linked, and are not exported: of all declarations of a name the one with
 * the strictest visibility counts, and these here hide it.
 */
#pragma GCC visibility push(hidden)

/*
 * The columns: int32 count, then for each: oid, shape (pgb_shape), int32 typmod, a byte, zero-terminated name. The byte
 * is 1 for a column whose type the reader may not find: oid, shape and typmod of another type follow it. Then each row
 * has the value of that other type in the column, and the values of the first type, in the order of the columns, after
 * the last column. May throw.
 */
extern void pgb_describe(const char *description, size_t len);
extern void pgb_send_frame(uint8 kind, const char *bytes, size_t len);	/* may wait, may throw */
extern void pgb_flush_messages(void);	/* may wait, may throw */
extern void pgb_on_message(char type, const char *bytes, size_t len);	/* never waits or throws */
extern uint32 pgb_current_flags(void);	/* async-signal-safe */
extern bool pgb_cancel_is_thrown(void); /* never waits or throws */
extern void pgb_release_database(Oid database);	/* never waits, may throw */

/* A fault point (src/pg/fault.rs). */
#ifdef PGB_FAULTS
extern void pgb_fault(const char *name);

#define PGB_FAULT(name) pgb_fault(name)
#else
#define PGB_FAULT(name) ((void) 0)
#endif

#pragma GCC visibility pop

#define PGB_ASSERT_STRUCT(type, size) \
	StaticAssertDecl(sizeof(type) == (size), #type " has another size than shared.h says");
#define PGB_ASSERT_MEMBER(type, member, at, size) \
	StaticAssertDecl(offsetof(type, member) == (at) && sizeof(((type *) NULL)->member) == (size), \
					 #type "." #member " is not laid out as shared.h says");

PGB_LAYOUTS(PGB_ASSERT_STRUCT, PGB_ASSERT_MEMBER)

StaticAssertDecl(MAXIMUM_ALIGNOF == PGB_FRAME_ALIGNMENT, "rows are aligned to something else than shared.h says");

#endif
