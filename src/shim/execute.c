/*
 * Runs the SQL text of a job, and recovers from its errors.
 *
 * In C because errors jump here: no Rust frame with destructors may be in between. An error has to be reported with
 * all its fields before the transaction is aborted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "jit/jit.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "shim.h"

/* An error repeats the text of its job, to show the position, if the text has at most this many bytes. */
#define MAX_ERROR_TEXT 8192

static MemoryContext job_context;

/* The job's last transaction is committing, or has committed. */
static volatile bool final_commit;
static volatile bool last_committed;

/* How the job's last statement completed. */
static QueryCompletion last_completion;

static void
after_transaction(XactEvent event, void *arg)
{
	/* Interrupts are held here: last_committed always agrees with what has happened. */
	if (event == XACT_EVENT_COMMIT)
		last_committed = true;
	else if (event == XACT_EVENT_ABORT)
		last_committed = false;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_ABORT)
		pgb_spill_end_transaction(event == XACT_EVENT_ABORT);
	if (event == XACT_EVENT_COMMIT && !final_commit)
		pgb_cancel_after_commit();
	if (final_commit && event == XACT_EVENT_PRE_COMMIT)
		PGB_FAULT("commit-begun");
	if (final_commit && event == XACT_EVENT_COMMIT)
		PGB_FAULT("commit-recorded");
}

/* Whether the job's work is durable. This holds even if the process is about to fail or exit. */
bool
pgb_committed(void)
{
	return final_commit && last_committed;
}

/*
 * Restores a clean state after an error, in the order of PostgresMain. LWLocks are released first, because outside
 * a transaction AbortCurrentTransaction does not release them. EmitErrorReport passes the error to pgb_on_message,
 * which keeps it for the job's outcome.
 */
static void
recover(void)
{
	error_context_stack = NULL;
	HOLD_INTERRUPTS();
	LWLockReleaseAll();
	pgb_forget_time_limit();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	EmitErrorReport();
	debug_query_string = NULL;
	AbortOutOfAnyTransaction();
	PortalErrorCleanup();
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	pgb_drop_replication_slots();
	jit_reset_after_error();
	MemoryContextSwitchTo(TopMemoryContext);
	FlushErrorState();
	/* For a canceled job the abort may have set the flag again (signal.c). */
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
}

/*
 * The position of an error refers to the job's text, not to the statement with which the leader reads the result. So
 * it is reported as the position in an internal query, with the text of the job unless that is long.
 */
static void
set_internal_position(void *text)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	if (strlen(text) <= MAX_ERROR_TEXT)
	{
		internalerrposition(position);
		internalerrquery(text);
	}
}

static bool
must_log(List *statements)
{
	ListCell   *cell;

	if (log_statement == LOGSTMT_NONE || log_statement == LOGSTMT_ALL)
		return log_statement == LOGSTMT_ALL;
	foreach(cell, statements)
	{
		if (GetCommandLogLevel((Node *) lfirst(cell)) <= log_statement)
			return true;
	}
	return false;
}

static void
log_duration_of(const char *sql, bool was_logged)
{
	char		msec[32];

	switch (check_log_duration(msec, was_logged))
	{
		case 1:
			ereport(LOG, (errmsg("duration: %s ms", msec), errhidestmt(true)));
			break;
		case 2:
			ereport(LOG, (errmsg("duration: %s ms  statement: %s", msec, sql), errhidestmt(true)));
			break;
	}
}

static void
check_is_supported(RawStmt *statement)
{
	if (IsA(statement->stmt, TransactionStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("transaction control statements are not allowed in a background job"),
				 errdetail("A job runs in a transaction of its own, committed when it succeeds and rolled back when it fails."),
				 errhint("Use a procedure with COMMIT, called as the job's only statement.")));
	if (IsA(statement->stmt, CopyStmt) && ((CopyStmt *) statement->stmt)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY to or from the client is not allowed in a background job"),
				 errdetail("A background worker has no client."),
				 errhint("Use COPY with a file or a program, or read the job's result.")));
}

/*
 * Whether the statement ends its transaction and starts others, as VACUUM does. These are the statements that reach
 * StartTransactionCommand by way of standard_ProcessUtility. In PostgreSQL 14 to 19 its callers are: in
 * src/backend/commands vacuum() and vacuum_rel, cluster() or ExecRepack, DefineIndex, ReindexMultipleInternal,
 * ReindexRelationConcurrently, DETACH PARTITION CONCURRENTLY in tablecmds.c, and movedb; in src/backend/catalog
 * index_drop; and _SPI_commit and _SPI_rollback, which CALL and DO reach when they are not atomic. The other
 * statements that call PreventInTransactionBlock (CREATE DATABASE and TABLESPACE, ALTER SYSTEM, DISCARD ALL, those
 * of subscriptions) only do what cannot be rolled back. ANALYZE is not in the list: it starts transactions only at
 * top level. For a new version of the server the same callers have to be checked.
 */
static bool
starts_transactions(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VacuumStmt:
			return castNode(VacuumStmt, statement)->is_vacuumcmd;
#if PG_VERSION_NUM >= 190000
		case T_RepackStmt:			/* CLUSTER, too */
#else
		case T_ClusterStmt:
#endif
		case T_ReindexStmt:
			return true;
		case T_IndexStmt:
			return castNode(IndexStmt, statement)->concurrent;
		case T_DropStmt:
			return castNode(DropStmt, statement)->concurrent;
		case T_AlterTableStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(AlterTableStmt, statement)->cmds)
				{
					AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

					if (command->subtype == AT_DetachPartition && castNode(PartitionCmd, command->def)->concurrent)
						return true;
				}
				return false;
			}
		case T_AlterDatabaseStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(AlterDatabaseStmt, statement)->options)
				{
					if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
						return true;
				}
				return false;
			}
		default:
			return false;
	}
}

/*
 * Whether the statement can also run atomically, without transactions of its own: ANALYZE of several tables, and user
 * code that may commit and roll back.
 */
static bool
can_run_atomically(Node *statement)
{
	return IsA(statement, VacuumStmt) || IsA(statement, CallStmt) || IsA(statement, DoStmt);
}

/*
 * Whether the job's only statement runs without the security context under which the job was launched.
 *
 * A transaction must not start under a security context, because every abort would return to it (the server asserts
 * this). So a statement that starts transactions has to run without one. But its analysis and execution evaluate
 * expressions of users (a literal of a domain, a policy, a cast) as the current user, and without the context this
 * code could switch back to the session user or the login role. So the statement runs only if the current user gains
 * nothing by that. This is checked before anything of the statement but its kind is looked at.
 */
static bool
runs_without_context(const PgbIdentity *identity, Node *statement)
{
	if (identity->sec_context == 0)
		return true;
	if (!starts_transactions(statement))
		return false;
	if (pgb_may_switch_back(identity))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to run %s in a background job of a security-definer function",
					GetCommandTagName(CreateCommandTag(statement))),
			 errdetail("The statement starts transactions of its own, in which code could switch back to role \"%s\" or \"%s\", whose privileges role \"%s\" does not have.",
					   GetUserNameFromId(identity->session, false),
					   GetUserNameFromId(identity->authenticated, false),
					   GetUserNameFromId(identity->current, false)),
			 errhint("Launch the job outside of the function, or from a function whose owner is a superuser or has the privileges of the session's users.")));
}

/*
 * The name of the command tag of the last job's last statement, and how many rows it returned or changed (-1: the tag
 * has no row count). NULL: there was no statement, or the job did not complete.
 */
const char *
pgb_completion(int64 *row_count)
{
	CommandTag	tag = last_completion.commandTag;

	if (tag == CMDTAG_UNKNOWN)
		return NULL;
	*row_count = command_tag_display_rowcount(tag) ? (int64) last_completion.nprocessed : -1;
	return GetCommandTagName(tag);
}

/* The command tag as psql shows it. */
static char *
describe_completion(const QueryCompletion *completion)
{
	const char *name = GetCommandTagName(completion->commandTag);

	if (!command_tag_display_rowcount(completion->commandTag))
		return pstrdup(name);
	if (completion->commandTag == CMDTAG_INSERT)
		return psprintf("%s 0 " UINT64_FORMAT, name, completion->nprocessed);
	return psprintf("%s " UINT64_FORMAT, name, completion->nprocessed);
}

/* The values of $1, $2 and so on, the same in every statement. */
typedef struct PgbParams
{
	ParamListInfo values;		/* NULL: there are none */
	Oid		   *types;
	int			count;
} PgbParams;

/* What a statement has returned. */
typedef enum Returned
{
	NO_ROWS,					/* it is not of a kind that returns rows */
	ROWS,						/* it is, whether there were any or not */
	VALUE						/* the wanted value */
} Returned;

/* Where the rows of a statement go. */
static DestReceiver *
receiver_for(const PgbRun *run, bool sends)
{
	if (!sends)
		return None_Receiver;
	return OidIsValid(run->wanted) ? pgb_value_receiver(run->wanted) : pgb_row_receiver();
}

/* Gives the portal the saved plan of its statement. False: it is out of date. */
static bool
define_with_saved_plan(Portal portal, const PgbRun *run, const PgbParams *params, CommandTag tag, CachedPlanSource *saved)
{
	CachedPlan *plan = pgb_plan(saved, params->values);

	if (plan == NULL)
		return false;
	/* Nothing may throw before this: then nobody would give up the plan. */
	PortalDefineQuery(portal, NULL, run->sql, tag, plan->stmt_list, plan);
#if PG_VERSION_NUM >= 180000
	{
		ListCell   *cell;

		/* The planner has not reported it. */
		foreach(cell, plan->stmt_list)
			pgstat_report_plan_id(lfirst_node(PlannedStmt, cell)->planId, false);
	}
#endif
	return true;
}

/* Plans the statement of the portal, and analyzes it before, unless that has been done: `queries`. */
static void
define(Portal portal, const PgbRun *run, const PgbParams *params, CommandTag tag, RawStmt *statement, List *queries)
{
	List	   *plans;

	if (queries == NIL)
	{
#if PG_VERSION_NUM >= 150000
		queries = pg_analyze_and_rewrite_fixedparams(statement, run->sql, params->types, params->count, NULL);
#else
		queries = pg_analyze_and_rewrite(statement, run->sql, params->types, params->count, NULL);
#endif
	}
	plans = pg_plan_queries(queries, run->sql, CURSOR_OPT_PARALLEL_OK, params->values);
	PortalDefineQuery(portal, NULL, run->sql, tag, plans, NULL);
}

/* Runs one statement and sets its completion. With `saved`, the statement is only looked at. */
static Returned
run_statement(const PgbRun *run, const PgbParams *params, RawStmt *statement, CachedPlanSource *saved, bool single,
			  bool top_level, bool last, QueryCompletion *completion)
{
	CommandTag	tag = CreateCommandTag(statement->stmt);
	bool		snapshot_set = false;
	List	   *queries = NIL;
	Portal		portal;
	DestReceiver *receiver;
	Returned	returned;
	bool		sends;

	pgstat_report_query_id(0, true);
	check_is_supported(statement);
	set_ps_display(GetCommandTagName(tag));
	CHECK_FOR_INTERRUPTS();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	if (analyze_requires_snapshot(statement))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		snapshot_set = true;
	}
	if (saved == NULL && single)
		saved = pgb_save_plan(run, statement, params->types, params->count, &queries);
	if (saved == NULL)
		define(portal, run, params, tag, statement, queries);
	else if (!define_with_saved_plan(portal, run, params, tag, saved))
		define(portal, run, params, tag, copyObject(saved->raw_parse_tree), NIL);
	if (snapshot_set)
		PopActiveSnapshot();
	CHECK_FOR_INTERRUPTS();
	PortalStart(portal, params->values, 0, InvalidSnapshot);

	/* PortalStart has set the columns. Only the last statement's rows are sent. */
	returned = portal->tupDesc != NULL ? ROWS : NO_ROWS;
	sends = last && returned == ROWS && run->send_rows;
	receiver = receiver_for(run, sends);
#if PG_VERSION_NUM >= 180000
	(void) PortalRun(portal, FETCH_ALL, top_level, receiver, receiver, completion);
#else
	(void) PortalRun(portal, FETCH_ALL, top_level, true, receiver, receiver, completion);
#endif
	if (sends && OidIsValid(run->wanted) && pgb_has_value(receiver))
		returned = VALUE;
	receiver->rDestroy(receiver);
	PortalDrop(portal, false);
	return returned;
}

/* If the last statement returns no rows, the result consists of the tags of all statements. */
static void
send_tags(List *tags)
{
	ListCell   *cell;

	foreach(cell, tags)
	{
		const char *tag = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		pgb_send_frame(PGB_FRAME_TAG, tag, strlen(tag));
	}
}

/*
 * What pg_stat_activity shows as the application while the job runs: "pg_background:LABEL:PID", or without a label
 * "pg_background:PID". A name that the leader has set itself stays, and the job may set another. This is reported only:
 * in the job the setting has the leader's value. A report is ASCII, because every database shows it.
 */
static void
report_application(const char *label, int32 label_len)
{
	char		name[NAMEDATALEN + sizeof("\\xff") + sizeof(":2147483647")];
	char	   *end = name + sprintf(name, "pg_background:");

	if (pgb_find_setting("application_name")->source >= PGC_S_INTERACTIVE)
	{
		pgstat_report_appname(application_name);
		return;
	}
	/* The server cuts a name at NAMEDATALEN. */
	for (int32 at = 0; at < label_len && end < name + NAMEDATALEN; at++)
	{
		unsigned char byte = label[at];

		end += sprintf(end, byte >= 0x20 && byte < 0x7f ? "%c" : "\\x%02x", byte);
	}
	sprintf(end, label_len > 0 ? ":%d" : "%d", MyProcPid);
	pgstat_report_appname(name);
}

static void
run_text(const PgbRun *run)
{
	List	   *statements;
	List	   *tags = NIL;
	ListCell   *cell;
	PgbParams	params = {0};
	CachedPlanSource *saved;
	bool		single;
	bool		atomic;
	bool		was_logged;
	Returned	returned = NO_ROWS;
	int32		sec_context = run->identity->sec_context;
	ErrorContextCallback context = {
		.previous = error_context_stack, .callback = set_internal_position, .arg = (void *) run->sql
	};

	error_context_stack = &context;
	debug_query_string = run->sql;
	SetCurrentStatementStartTimestamp();
	report_application(run->label, run->label_len);
	pgstat_report_activity(STATE_RUNNING, run->sql);

	/* The user is set before the transaction begins, because every abort in it goes back to the user at its start. */
	SetUserIdAndSecContext(run->identity->current, 0);

	StartTransactionCommand();
	pgb_check_rights(run->identity);
	pgb_begin_time_limit(run->time_limit);
	pgb_arm_statement_timer();
	PGB_FAULT("transaction-begun");

	MemoryContextSwitchTo(job_context);
	saved = pgb_find_plan(run);
	statements = saved != NULL ? list_make1(saved->raw_parse_tree) : pg_parse_query(run->sql);
	was_logged = must_log(statements);
	if (was_logged)
		ereport(LOG, (errmsg("statement: %s", run->sql), errhidestmt(true)));
	single = list_length(statements) == 1;
	atomic = !single;
	if (!single || !runs_without_context(run->identity, linitial_node(RawStmt, statements)->stmt))
	{
		SetUserIdAndSecContext(run->identity->current, sec_context);
		/* After a ROLLBACK in the statement, the next transaction would start without the context. */
		if (single && sec_context != 0)
			atomic = can_run_atomically(linitial_node(RawStmt, statements)->stmt);
	}
	if (OidIsValid(run->wanted))
		pgb_check_wanted(run->wanted, run->wanted_shape);
	if (run->params != NULL)
	{
		params.values = pgb_restore_params(run->params, &params.types);
		params.count = params.values->numParams;
	}

	foreach(cell, statements)
	{
		RawStmt    *statement = lfirst_node(RawStmt, cell);
		bool		last = lnext(statements, cell) == NULL;
		QueryCompletion completion;

		if (!single)
			BeginImplicitTransactionBlock();
		if (statement != linitial(statements))
			pgb_arm_statement_timer();
		returned = run_statement(run, &params, statement, saved, single, !atomic, last, &completion);
		PGB_FAULT("statement-done");
		last_completion = completion;
		MemoryContextSwitchTo(job_context);
		tags = lappend(tags, describe_completion(&completion));
		if (!last)
		{
			CommandCounterIncrement();
			pgb_stop_timer();
		}
	}
	if (OidIsValid(run->wanted))
	{
		if (returned != VALUE)
			pgb_check_no_value(run->wanted);
	}
	else if (run->send_rows && returned == NO_ROWS)
		send_tags(tags);
	/* Before the commit, because nothing may wait or fail after it. */
	pgb_flush_messages();
	if (!single && statements != NIL)
		EndImplicitTransactionBlock();

	/* Deferred triggers and constraints belong to no statement: only the job's own limit applies to them. */
	pgb_stop_timer();
	pgb_arm_commit_timer();
	final_commit = true;
	CommitTransactionCommand();
	PGB_FAULT("committed");
	pgb_forget_time_limit();
	disable_timeout(STATEMENT_TIMEOUT, false);
	log_duration_of(run->sql, was_logged);
	debug_query_string = NULL;
	error_context_stack = context.previous;
}

/*
 * Gives this session the leader's identity and settings (session.c). False: this failed, and the error was reported.
 * The session is then in between, and the process must not run a job.
 */
bool
pgb_adopt(const PgbIdentity *identity, const PgbSettings *settings)
{
	volatile bool succeeded = false;

	pgb_plans_forget_settings();
	PG_TRY();
	{
		/* A cancel waits until the session is complete. An error releases the hold by itself. */
		HOLD_CANCEL_INTERRUPTS();
		SetUserIdAndSecContext(GetSessionUserId(), 0);
		StartTransactionCommand();
		pgb_adopt_session(identity, settings);
		CommitTransactionCommand();
		RESUME_CANCEL_INTERRUPTS();
		succeeded = true;
	}
	PG_CATCH();
	{
		recover();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	return succeeded;
}

/* Forgets the last job, before the next one begins. */
void
pgb_forget_job(void)
{
	final_commit = false;
	last_committed = false;
	pgb_forget_time_limit();
	pgb_forget_cancel();
	SetQueryCompletion(&last_completion, CMDTAG_UNKNOWN, 0);
}

/* Runs one job. True: it committed. False: it failed, the error was reported, and the process is in a clean state. */
bool
pgb_run(const PgbRun *run)
{
	volatile bool succeeded = false;

	PG_TRY();
	{
		run_text(run);
		succeeded = true;
	}
	PG_CATCH();
	{
		recover();
		succeeded = pgb_committed();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(job_context);
	pgb_plans_end_job(run->plan_memory);
	return succeeded;
}

/* Called once, before pgb_worker_loop. */
void
pgb_prepare_runs(void)
{
	job_context = AllocSetContextCreate(TopMemoryContext, "pg_background job",
										ALLOCSET_DEFAULT_SIZES);
	MessageContext = job_context;
	RegisterXactCallback(after_transaction, NULL);
}

/*
 * The worker's outermost loop. Never returns: step ends the process when there is nothing left to do. An error jumps
 * to here.
 */
void
pgb_worker_loop(void (*step) (void))
{
	sigjmp_buf	here;

	if (sigsetjmp(here, 1) != 0)
		recover();
	PG_exception_stack = &here;
	error_context_stack = &pgb_cancel_watch;
	for (;;)
		step();
}
